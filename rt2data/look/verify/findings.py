"""What verify finds: faults, each with its place, and the figures counted on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from rt2data.order import U64
from rt2data.write.shard import SideTotals

MANIFEST, STATISTICS = "manifest.json", "dataset_statistics.json"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with an output."""

    file: str  # in the output's folder
    where: str  # example and key, byte, or path of a value; empty for the file as a whole
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.where}: {self.what}" if self.where else f"{self.file}: {self.what}"


@dataclass(frozen=True, slots=True)
class EpochSums:
    """Sums over the examples of one epoch of one source."""

    examples: int = 0
    rows: int = 0  # sum of the rows' hashes mod 2**64: two full epochs of the same rows have the same

    def __add__(self, other: EpochSums) -> EpochSums:
        return EpochSums(self.examples + other.examples, (self.rows + other.rows) % 2**64)


@dataclass(frozen=True)
class ShardFindings:
    """What one shard holds, whatever the manifest says. Small: it is sent between processes."""

    name: str
    index: int
    bytes: int  # 0 if the file is missing
    examples: int
    robot: int  # examples
    totals: Mapping[str, SideTotals]  # by source
    epochs: Mapping[tuple[str, int], EpochSums]  # by source and epoch
    keys: U64  # hash of each example's key
    empty: Mapping[str, int]  # by source: examples with a blank instruction or question
    faults: tuple[Fault, ...]


@dataclass(frozen=True)
class Findings:
    """All faults of an output, and its real figures."""

    out: str
    faults: tuple[Fault, ...]
    notes: tuple[str, ...]  # what could not be checked, and why; what figures mean
    shards: int
    bytes: int
    examples: int
    totals: Mapping[str, SideTotals]  # by source
    epochs: Mapping[str, tuple[int, ...]]  # by source: examples with epoch 0, 1, ...
    robot_frac: float  # of all examples
    robot_frac_shards: tuple[float, float]  # smallest and largest of all shards

    @property
    def ok(self) -> bool:
        return not self.faults


NO_KEYS: U64 = np.empty(0, np.uint64)
