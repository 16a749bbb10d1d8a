"""Facts about a source that do not need a full read: its size, a representative sample, and settings that name missing things."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from rt2data.errors import UsageError
from rt2data.io import location
from rt2data.io.words import closest
from rt2data.order import keyed_permutation
from rt2data.records import SourceRecord, Unit

Each = TypeVar("Each")


class SamplePart(NamedTuple):
    """A contiguous part of a source to sample."""

    measure: float  # its amount, in the measure of the plan's `whole`
    bytes: int  # to be read
    place: Unit


@dataclass(frozen=True)
class SamplePlan:
    """The size of one split, in some measure, and its parts in random order: the first few are the sample.

    `parts` are distinct and come from the whole split. If they cover it, reading them all gives exact counts. `read` yields the
    records of a part.
    """

    measure: str  # what is counted: episodes, questions, bytes
    whole: float
    units: int  # work orders of the whole source
    bytes: int  # read when the whole source is prepared
    parts: Sequence[SamplePart]
    read: Callable[[SamplePart], Iterable[SourceRecord]]
    image_bytes: tuple[int, ...] = ()  # of more images than those in the parts, if sizes are known without reading
    group_rates: tuple[float, ...] = ()  # groups per unit of `measure`, if parts may cut groups
    unchecked: tuple[str, ...] = ()  # what a scan cannot determine


def shuffled(sequence: Sequence[Each], seed: int) -> list[Each]:
    """The sequence, shuffled by seed."""
    return [sequence[i] for i in keyed_permutation(len(sequence), seed).tolist()]


_NAMES = 5000
"""Maximum number of a folder's names to compare."""


class InvalidSetting(NamedTuple):
    """A setting of a source that does not match the data."""

    setting: tuple[str | int, ...]  # its key, below the source: ("camera",), ("image_dirs", 0)
    message: str
    suggestion: str = ""  # what was probably meant


def nearest_path(path: Path) -> str:
    """The path with its first missing part replaced by the most similar name in that folder; empty if none is similar."""
    try:
        there = next((parent for parent in path.parents if location.is_folder(parent)), None)
    except UsageError:  # a parent cannot be a folder, or its folders cannot be listed
        return ""
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
