"""Which shards go where, and which settings help if a layout would exceed limits of common dataset hubs and readers.

All shards are in one folder, with repeats; or, with `materialize: once`, each source has its own folder. `once` writes each drawn
row a single time. How often to read it is the weight of its part: an exact share of all examples, as small whole numbers. So a
source repeated twenty times takes no more space than one that is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import gcd, lcm

import numpy as np

from rt2data.errors import UsageError
from rt2data.formats.base import Format
from rt2data.io import words
from rt2data.order import I64, EvenEnds, SidedQuotas, multiply_divide
from rt2data.plan.model import MixturePart, Plan, SourcePlan
from rt2data.records import Warn


def part_weights(sources: Sequence[SourcePlan]) -> list[int]:
    """The shares as the smallest whole numbers in the same proportions."""
    shares = [Fraction(source.share) for source in sources]
    whole = lcm(*(share.denominator for share in shares))
    weights = [int(share * whole) for share in shares]
    return [weight // (gcd(*weights) or 1) for weight in weights]


def readable_weights(sources: Sequence[SourcePlan]) -> list[int]:
    """Weights from the shares; from the draws if those weights exceed the 63 bits of readers, as shares from roots may."""
    exact = part_weights(sources)
    if max(exact, default=0) < 1 << 63:
        return exact
    common = gcd(*(source.draws for source in sources))
    return [source.draws // common for source in sources]


def make_parts(sources: Sequence[SourcePlan], shards: Sequence[int]) -> tuple[MixturePart, ...]:
    """A part for each source, in order. Raises UsageError if a source would have no examples."""
    for source in sources:
        if not source.draws:
            raise UsageError(f"source {source.name} would not be drawn at all", "size", "ask for more examples, or leave it out")
    return tuple(
        MixturePart(source=source.name, examples=min(source.draws, source.rows), shards=count, weight=weight)
        for source, count, weight in zip(sources, shards, readable_weights(sources), strict=True)
    )


@dataclass(frozen=True)
class ShardLayout:
    """`layout[k]`: the first draw of each source in shard k, int64[sources]; one past the last shard: all draws.

    Each is computed on its own; no memory grows with the number of shards.
    """

    plan: Plan

    def __getitem__(self, index: int) -> I64:
        return _before_shard(self.plan.parts, index) if self.plan.parts else self._quotas.at(index)

    def counts(self, index: int) -> I64:
        """How many examples of each source a shard has, int64[sources]."""
        return self[index + 1] - self[index]

    @cached_property
    def _quotas(self) -> SidedQuotas:
        return SidedQuotas(tuple(map(tuple, self.plan.sides())), EvenEnds(self.plan.num_examples, self.plan.shards))


def _before_shard(parts: Sequence[MixturePart], index: int) -> I64:
    """How many examples of each part come before a shard, int64[parts]."""
    shards = np.array([part.shards for part in parts], np.int64)
    before = np.clip(index - (np.cumsum(shards) - shards), 0, shards)
    return multiply_divide(before, np.array([part.examples for part in parts], np.int64), shards)[0]


def shard_file(plan: Plan, form: Format, index: int, shards: int) -> str:
    """Path of one of `shards` shards, relative to the output folder."""
    for part in plan.parts or ():
        if index < part.shards:
            return f"{part.source}/{form.shard_name(index, part.shards, plan.split)}"
        index -= part.shards
    return form.shard_name(index, shards, plan.split)


MAX_SHARDS = 1_000_000
"""Shard names have six digits: readers expand `{000000..999999}` and sort by name."""


def require_names(plan: Plan) -> Plan:
    """The plan, if its shards can be named. Raises UsageError if there are too many."""
    if plan.shards > MAX_SHARDS:
        fit = _bytes(-(-plan.bytes // MAX_SHARDS))
        raise UsageError(f"{plan.shards:,} shards, there can be {MAX_SHARDS:,}", "shards.bytes", f"set it to {fit} or more")
    return plan


FILES_IN_A_FOLDER = 10_000
FILE_BYTES = 5_000_000_000
ENERGON_SHARDS = 10_000
SOME_READERS = 16
BESIDE = 16
"""Files next to the shards: manifest, cards, statistics."""


def layout_warnings(form: str, shards: int, size: int) -> tuple[Warn, ...]:
    """Which limits an output of `size` bytes in `shards` files would exceed, and the shard size that fixes it.

    Dataset hubs take 10,000 files per folder and files of 5 GB without special care; Energon wants fewer than 10,000 shards.
    """
    found = [Warn(code, "warning", "", what, f"set shards.bytes to {fit}") for code, what, fit in _found(form, shards, size)]
    if form == "webdataset" and shards == 1:
        what = "one shard: at most 1 reader of webdataset (rank x worker) gets examples"
        found.append(Warn("one_shard", "note", "", what, f"for more, set shards.bytes to {_bytes(size // SOME_READERS)} or less"))
    return tuple(found)


def _found(form: str, shards: int, size: int) -> Iterator[tuple[str, str, str]]:
    each = 2 if form == "webdataset" else 1  # every tar has an index
    files = each * shards + BESIDE
    if files > FILES_IN_A_FOLDER:
        fit = -(-size * each // (FILES_IN_A_FOLDER - BESIDE))
        yield "many_files", f"{files:,} files in one folder: hubs take {FILES_IN_A_FOLDER:,}", f"{_bytes(fit)} or more"
    if form == "webdataset" and shards >= ENERGON_SHARDS:
        fit = -(-size // (ENERGON_SHARDS - 1))
        yield "many_shards", f"{shards:,} shards: Energon wants fewer than {ENERGON_SHARDS:,}", f"{_bytes(fit)} or more"
    if size / shards > FILE_BYTES:
        yield "large_shards", f"shards of about {words.size(size / shards)}: hubs take files of 5 GB", "3GB or less"


def _bytes(count: int) -> str:
    """Rounded up to whole megabytes, with a margin: sizes are estimates."""
    return f"{-(-count * 11 // 10_000_000)}MB"
