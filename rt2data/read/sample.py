"""What a source says of itself without being read through: how much there is, a sample that stands for it, and settings that name
what is not there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from rt2data.io import location
from rt2data.io.words import closest
from rt2data.order import keyed_permutation
from rt2data.records import SourceRecord, Unit

Each = TypeVar("Each")


class SamplePart(NamedTuple):
    """A sampled stretch of a source."""

    measure: float  # how much of the survey's `whole` it is
    bytes: int  # to be read
    place: Unit


@dataclass(frozen=True)
class Survey:
    """How much there is of one split, in some measure, and parts of it in a random order: take the first few as a sample.

    `parts` are drawn from all over the split, and none comes twice. Where they are all there is, reading them all gives exact
    counts. `read` gives the records of a part.
    """

    measure: str  # what is counted: episodes, questions, bytes
    whole: float
    units: int  # work orders of the whole source
    bytes: int  # that preparing the whole source reads
    parts: Sequence[SamplePart]
    read: Callable[[SamplePart], Iterable[SourceRecord]]
    image_bytes: tuple[int, ...] = ()  # of more images than the parts hold, where sizes can be had without reading
    group_rates: tuple[float, ...] = ()  # groups begun for each of `measure`, where parts are cut without regard to groups
    unchecked: tuple[str, ...] = ()  # what a scan cannot know


def shuffled(sequence: Sequence[Each], seed: int) -> list[Each]:
    """In an order by seed."""
    return [sequence[i] for i in keyed_permutation(len(sequence), seed).tolist()]


_NAMES = 5000
"""Names of a folder that are compared."""


class Misfit(NamedTuple):
    """A setting of a source that does not fit what is there."""

    setting: tuple[str | int, ...]  # its key, below the source: ("camera",), ("image_dirs", 0)
    message: str
    suggestion: str = ""  # what was probably meant


def nearest_path(path: Path) -> str:
    """The path with its first part that is not there replaced by the nearest name in its folder; empty where none is near."""
    there = next((parent for parent in path.parents if location.is_folder(parent)), None)
    if there is None:
        return ""
    missing, *rest = path.relative_to(there).parts
    try:
        names = sorted(each.name for each in islice(location.children(there), _NAMES))
    except OSError:
        return ""
    ending = Path(missing).suffix
    stems = {Path(name).stem: name for name in names if Path(name).suffix == ending}
    near = stems.get(closest(Path(missing).stem, list(stems))) or closest(missing, names, cutoff=0.8)
    if not near:
        return ""
    whole = there.joinpath(near, *rest)
    return str(whole if location.exists(whole) else there / near)
