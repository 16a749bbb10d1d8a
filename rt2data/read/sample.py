"""What a source says of itself without being read through: how much there is, and a sample that stands for it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

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
