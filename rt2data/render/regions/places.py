"""Fills the region places in texts: each `<region>` becomes what a model family writes there.

Places separated only by white space and `;` form one list, which a family may write as a unit, such as a JSON list.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rt2data.errors import UsageError
from rt2data.records import Region, Rows, Turn
from rt2data.render.regions.convention import Convention, Marked, Size
from rt2data.standardize.conversation import REGION

_LIST = re.compile(rf"{REGION}(?:[\s;]*{REGION})*")


@dataclass
class Filler:
    """Puts the regions of one example into its texts, in order."""

    convention: Convention
    regions: Sequence[Region]
    sizes: Sequence[Size]  # of the example's images
    at: int = 0

    def fill(self, text: str) -> str:
        """A text with the next regions filled in. Raises ValueError for what the convention cannot write."""
        return _LIST.sub(lambda match: self.convention.render(self._next(match[0].count(REGION))), text)

    def _next(self, count: int) -> list[Marked]:
        taken, self.at = self.regions[self.at : self.at + count], self.at + count
        return [Marked(region.coords, region.label, self.sizes[region.image]) for region in taken]

    def answer(self, text: str) -> str:
        """The same for one of several answers: each continues where the question ended."""
        return replace(self).fill(text)

    def turn(self, turn: Turn) -> Turn:
        """The same for a turn; system turns have no places."""
        return turn if turn.role == "system" else turn._replace(text=self.fill(turn.text))


def filled(rows: Rows, convention: Convention) -> Rows:
    """Rows with their regions filled into their texts. Raises UsageError, naming the row, for what the convention cannot write."""
    texts, answers, turns = list(rows.text), list(rows.answers), list(rows.turns)
    for at, filler in _fillers(rows, convention):
        try:
            if (spoken := turns[at]) is not None:
                turns[at] = tuple(filler.turn(turn) for turn in spoken)
            else:
                texts[at] = filler.fill(texts[at])
                answers[at] = [filler.answer(text) for text in answers[at] or ()]
        except ValueError as error:
            raise UsageError(f"regions {convention.name}: {error}", f"{rows.source}, {rows.keys[at]}", "choose others") from None
    return replace(rows, text=texts, answers=answers, turns=turns)


def _fillers(rows: Rows, convention: Convention) -> Iterator[tuple[int, Filler]]:
    """Row number and filler of each row with regions."""
    starts, sizes = rows.images.starts.tolist(), [] if rows.images.sizes is None else rows.images.sizes.tolist()
    for at, regions in enumerate(rows.regions or ()):
        if regions:
            yield at, Filler(convention, regions, [(width, height) for width, height in sizes[starts[at] : starts[at + 1]]])
