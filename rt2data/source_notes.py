"""What a prepared source says of itself before it is mixed: how it was joined, read and changed. One function for each subject.

`plan`, `build-mixture`, `stats`, `report` and the card all show these; a new subject is one function and one line in `SUBJECTS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rt2data.plan import SourcePlan
from rt2data.sources.base import Source
from rt2data.sources.join_words import join_line, written_line
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
    if planned.camera_line:
        yield "cameras", "note", planned.camera_line, "set `camera` to take another"


def join(source: Source, info: StoreInfo, planned: SourcePlan) -> Iterator[Note]:
    """By what questions, answers and images were put together, and what was read that is written another way."""
    line = join_line(info.facts)
    if line:
        about = "" if info.digest else "in a sample, "
        chosen = info.facts.get("join.first_folder")
        do = "look whether these are the images that are meant" if chosen else ""
        yield "join", "warning" if chosen else "note", f"{about}{line}", do
    written = written_line(info.facts)
    if written:
        yield "read_as", "note", written, ""


def held(source: Source, info: StoreInfo, planned: SourcePlan) -> Iterator[Note]:
    """Dimensions that the codec writes as one value, whatever the robot did."""
    dims = planned.codec["dims"] if planned.codec else []
    still = [f"{dim['name']} at {dim['lo']:g}" for dim in dims if dim["lo"] == dim["hi"]]
    if still:
        listed = ", ".join(still[:NAMED]) + (f" and {len(still) - NAMED} more" if len(still) > NAMED else "")
        what = f"{len(still)} of {len(dims)} action dimensions are held, as they hardly ever move: {listed}"
        yield "held", "warning", what, "if one matters, give it bounds = [lo, hi] in the action space"


SUBJECTS: tuple[Callable[[Source, StoreInfo, SourcePlan], Iterator[Note]], ...] = (cameras, join, held)
