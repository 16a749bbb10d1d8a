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


def source_notes(source: Source, info: StoreInfo, planned: SourcePlan) -> Iterator[Warn]:
    """All notes about one source. `info` may be an estimate; `planned` holds its codec."""
    for subject in SUBJECTS:
        for code, level, what, do in subject(source, info, planned):
            yield Warn(code, level, info.name, what, do)


def cameras(source: Source, info: StoreInfo, planned: SourcePlan) -> Iterator[Note]:
    """Which of several cameras the mixture takes."""
    if planned.camera_line:
        yield "cameras", "note", planned.camera_line, "set `camera` to take another"


SUBJECTS: tuple[Callable[[Source, StoreInfo, SourcePlan], Iterator[Note]], ...] = (cameras,)
