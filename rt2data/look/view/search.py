"""Looking for examples: by side, source, words, or for the next one that is of another episode or source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rt2data.look.inspect.examples import Examples, Seen


@dataclass(frozen=True)
class Wanted:
    """What an example has to be; what is left empty may be anything."""

    source: str = ""
    kind: str = ""
    text: str = ""
    other_source: str = ""
    other_place: tuple[str, str] | None = None  # source and episode

    @property
    def anything(self) -> bool:
        return self == Wanted()

    def by_source(self, examples: Examples, source: str) -> bool:
        """Whether examples of that source can be wanted."""
        kind = examples.sources.get(source, "")
        return self.source in ("", source) and self.kind in ("", kind) and source != self.other_source

    def fits(self, seen: Seen) -> bool:
        """Whether this one is wanted."""
        return (
            self.source in ("", seen.source)
            and self.kind in ("", seen.kind)
            and seen.source != self.other_source
            and seen.place != self.other_place
            and self.text.casefold() in "\n".join((seen.prompt, seen.target, seen.key, *seen.answers)).casefold()
        )


def look_through(examples: Examples, wanted: Wanted, numbers: Iterable[int]) -> Iterator[tuple[int, bool]]:
    """Each number, and whether its example is wanted, up to the end. No picture is read, and no record whose source will not do."""
    for number in numbers:
        try:
            yield number, _fits(examples, wanted, number)
        except IndexError:
            return


def _fits(examples: Examples, wanted: Wanted, number: int) -> bool:
    if examples.total is not None and number >= examples.total:
        raise IndexError(number)
    source = examples.source_of(number)
    if source is not None and not wanted.by_source(examples, source):
        return False
    return wanted.fits(examples.at(number, whole=False))
