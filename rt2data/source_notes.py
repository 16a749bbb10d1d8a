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
    others = [name for name in info.cameras if name != info.camera]
    if others:
        what = f"camera {info.camera}, 1 of {len(info.cameras)}; not in the mixture: {', '.join(others)}"
        yield "cameras", "note", what, "set `camera` to take another"


def reencoded(source: Source, info: StoreInfo, planned: SourcePlan) -> Iterator[Note]:
    """Which images are not the source's own bytes."""
    count = sum(info.conversions.values())
    if count:
        rules = ", ".join(
            f"{rule} {times:,}" for rule, times in sorted(info.conversions.items(), key=lambda rule: (-rule[1], rule[0]))
        )
        of = "images are" if info.digest else "sampled images are"  # a quick scan's counts are those of its sample
        what = f"{count:,} {of} re-encoded as JPEG, quality {source.images.quality}: {rules}"
        yield "reencoded_images", "note", what, "see `images` in the recipe: `quality`, `resize`, `png`"


SUBJECTS: tuple[Callable[[Source, StoreInfo, SourcePlan], Iterator[Note]], ...] = (cameras, reencoded)
