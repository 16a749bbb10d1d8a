"""Whether annotations and instruction pools fit a robot log: how much matched, and an error if that is too little."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction

from rt2data.errors import DataError, RtError
from rt2data.plan.recipe import Recipe
from rt2data.prepare.store import Known, StoreInfo
from rt2data.read.annotations.facts import BARE, KNOWN, LEFT, NAMED, NOTED, UNLIKE, fact
from rt2data.read.annotations.settings import NOTES, Joined
from rt2data.read.source import RobotSource

WHAT = {NOTES: "annotations", "instructions": "a pool of instructions"}
"""What matched steps have, by setting."""
_COUNTED = {
    "episodes.ambiguous": "episodes are called as two annotated ones",
    "episodes.shared": "episodes are called as an earlier one",
    "episodes.unusable": "annotated episodes hold something of another kind",
    "episodes.other_length": "episodes have another number of steps than the annotations say",
    "disputed": "notes have two texts and are left out",
    "too_long": "texts are longer than max_text_bytes",
    "left.steps": "annotations are of steps that the log has not",
    LEFT: "annotated episodes are not in the log",
}
"""Other counts, in words."""


@dataclass(frozen=True)
class Match:
    """How well one setting fits the log."""

    setting: str
    noted: int
    bare: int
    facts: Mapping[str, int]

    @property
    def share(self) -> Fraction:
        """The share of all steps that have a match."""
        return Fraction(self.noted, max(self.noted + self.bare, 1))

    @property
    def line(self) -> str:
        """The match rate and the other counts, in words."""
        steps = f"{self.noted:,} of {self.noted + self.bare:,} steps ({percent(self.share)}) have {WHAT[self.setting]}"
        return "; ".join([steps, *(f"{count:,} {what}" for what, count in self._counted())])

    def _counted(self) -> Iterator[tuple[str, int]]:
        found = ((what, self.facts.get(fact(self.setting, name), 0)) for name, what in _COUNTED.items())
        return ((what, count) for what, count in found if count)

    @property
    def unlike(self) -> list[str]:
        """Some episodes of the log without a match."""
        begin = fact(self.setting, f"{UNLIKE}.")
        return [name.removeprefix(begin) for name in self.facts if name.startswith(begin)][:NAMED]


def matches(source: RobotSource, info: StoreInfo) -> Iterator[Match]:
    """How well each joined setting of a source fits its log."""
    for setting in source.joined:
        noted, bare = (info.facts.get(fact(setting, what), 0) for what in (NOTED, BARE))
        yield Match(setting, noted, bare, info.facts)


def percent(share: Fraction) -> str:
    """A rounded-down percentage: 99.95 % is not shown as 100 %."""
    return f"{int(share * 1000) / 10:g} %"


def require_matched(recipe: Recipe, stores: Mapping[str, Known]) -> None:
    """Raises DataError if less of a prepared source matched than its recipe requires. Estimates never raise."""
    for name, known in stores.items():
        source = recipe.sources[name]
        if isinstance(source, RobotSource) and known.info.digest:
            for found in matches(source, known.info):
                _require(name, source.joined[found.setting], found)


def _require(name: str, joined: Joined, found: Match) -> None:
    if found.share >= joined.min_matched:
        return
    raise DataError(
        f"of source {name} {found.line}; {found.setting}.min_matched is {percent(joined.min_matched)}",
        f"the log has {_listed(found.unlike)}; {joined.path} has {_listed(_keys(joined))}",
        f"correct {_advice(found)}, or lower min_matched",
    )


def _advice(found: Match) -> str:
    if found.setting != NOTES:
        return "the keys of the pool, `by` or `path_parts`"
    return "first_step" if found.facts.get(fact(NOTES, KNOWN)) and not found.unlike else "the names, or set path_parts"


def _keys(joined: Joined) -> list[str]:
    from rt2data.read.annotations.index import some_keys

    try:
        return some_keys(joined, NAMED)
    except RtError:
        return []


def _listed(names: list[str]) -> str:
    return ", ".join(names) or "no other"
