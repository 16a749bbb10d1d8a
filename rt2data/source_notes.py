"""What a prepared source says of itself before it is mixed: how it was joined, read and changed. One function for each subject.

`plan`, `build-mixture`, `stats`, `report` and the card all show these; a new subject is one function and one line in `SUBJECTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rt2data.plan import SourcePlan
from rt2data.sources.base import Source
from rt2data.store import StoreInfo
from rt2data.warn import Level, Warn

Note = tuple[str, Level, str, str]
"""code, level, what, what to do."""
NAMED = 8
"""Dimensions that a note names."""


def source_notes(source: Source, info: StoreInfo, planned: SourcePlan) -> Iterator[Warn]:
    """All notes about one source. `info` may be an estimate; `planned` holds its codec."""
    for subject in SUBJECTS:
        for code, level, what, do in subject(source, info, planned):
            yield Warn(code, level, info.name, what, do)


def cameras(source: Source, info: StoreInfo, planned: SourcePlan) -> Iterator[Note]:
    """Which of several cameras the mixture takes."""
    others = [name for name in info.cameras if name != info.camera]
    if others:
        what = f"camera {info.camera}, 1 of {len(info.cameras)}; not in the mixture: {', '.join(others)}"
        yield "cameras", "note", what, "set `camera` to take another"


def held(source: Source, info: StoreInfo, planned: SourcePlan) -> Iterator[Note]:
    """Dimensions that the codec writes as one value, whatever the robot did."""
    dims = planned.codec["dims"] if planned.codec else []
    still = [f"{dim['name']} at {dim['lo']:g}" for dim in dims if dim["lo"] == dim["hi"]]
    if still:
        listed = ", ".join(still[:NAMED]) + (f" and {len(still) - NAMED} more" if len(still) > NAMED else "")
        what = f"{len(still)} of {len(dims)} action dimensions are held, as they hardly ever move: {listed}"
        yield "held", "warning", what, "if one matters, give it bounds = [lo, hi] in the action space"


SUBJECTS: tuple[Callable[[Source, StoreInfo, SourcePlan], Iterator[Note]], ...] = (cameras, held)
