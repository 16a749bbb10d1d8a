"""Sums over the dimensions of actions or states, in two passes, and their summary."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from rt2data.look.stats.model import Numbers
from rt2data.order import U64
from rt2data.read.action_space import too_narrow
from rt2data.records import F32
from rt2data.tally.counts import Counts, count
from rt2data.tally.moments import Moments, moments
from rt2data.tally.quantiles import (
    HIGH,
    WHOLE,
    count_bins,
    count_values,
    dimension_keys,
    one_dimension,
    quantiles,
    to_values,
    wanted_bins,
)
from rt2data.tally.sums import Sum

COMMON = 64
"""A value that makes up this part of one file of rows is counted exactly in all; a value that is as common in all rows is as
common in one of the files."""
CANDIDATES = 256
"""Common values of each dimension that are counted."""
NEAR = 0.02
"""How near to an end, as a share of the range, a value counts as that end."""


class NumberSums(Sum, frozen=True, eq=False):
    """First pass over float32[N, D]."""

    moments: Moments = msgspec.field(default_factory=Moments)
    bins: Counts = msgspec.field(default_factory=Counts)  # of the high 16 bits
    common: Counts = msgspec.field(default_factory=Counts)  # candidates for the commonest value, counted where they are common

    @property
    def dims(self) -> int:
        """D."""
        return len(self.moments.count)

    def wanted(self) -> Wanted:
        """What the second pass is to count."""
        common = [one_dimension(self.common, i, WHOLE).commonest(CANDIDATES) for i in range(self.dims)]
        candidates = [(i << WHOLE | key) >> HIGH for i, found in enumerate(common) for key, _ in found]
        bins = np.union1d(wanted_bins(self.bins, self.dims), np.array(candidates, np.uint64))
        return Wanted(bins, tuple(zip(self.moments.min.tolist(), self.moments.max.tolist(), strict=True)))


class Wanted(msgspec.Struct, frozen=True, eq=False):
    """What the second pass is to count."""

    bins: U64  # dimension and bin
    ends: tuple[tuple[float, float], ...]  # least and most of each dimension


class ValueSums(Sum, frozen=True, eq=False):
    """Second pass over float32[N, D]."""

    values: Counts = msgspec.field(default_factory=Counts)  # inside the wanted bins
    at_ends: Counts = msgspec.field(default_factory=Counts)  # dimension -> values near its least or its most


def sum_numbers(values: F32) -> NumberSums:
    """First pass over the rows of f32[N, D]."""
    keys = dimension_keys(values)
    bins = count_bins(keys)
    enough = max(len(values) // COMMON, 2)
    inside = count_values(keys, bins.keys[bins.counts >= enough])
    often = inside.counts >= enough
    return NumberSums(moments(values), bins, Counts(inside.keys[often], inside.counts[often]))


def sum_values(values: F32, wanted: Wanted) -> ValueSums:
    """Second pass over the rows of f32[N, D]."""
    low, high = np.array(wanted.ends, np.float64).reshape(-1, 2).T
    reach = NEAR * (high - low)
    near = (values <= (low + reach).astype(np.float32)) | (values >= (high - reach).astype(np.float32))
    times = (near & np.isfinite(values)).sum(axis=0)
    return ValueSums(count_values(dimension_keys(values), wanted.bins), count(np.arange(len(times)), times))


def numbers(first: NumberSums, second: ValueSums, names: Sequence[str], units: Sequence[str]) -> tuple[Numbers, ...]:
    """The summary of each dimension. Raises LookupError where the second pass did not count what the first asks for."""
    return tuple(_numbers(first, second, i, name, unit) for i, (name, unit) in enumerate(zip(names, units, strict=True)))


def _numbers(first: NumberSums, second: ValueSums, i: int, name: str, unit: str) -> Numbers:
    m = first.moments
    count, empty = int(m.count[i]), not m.count[i]
    low, high = (0.0, 0.0) if empty else (float(m.min[i]), float(m.max[i]))
    q01, q05, q10, q50, q90, q95, q99 = quantiles(first.bins, second.values, i)
    common = int(one_dimension(second.values, i, WHOLE).counts.max(initial=0))
    return Numbers(
        name=name,
        unit=unit,
        count=count,
        not_finite=int(m.not_finite[i]),
        mean=float(m.mean[i]),
        std=float(m.std[i]),
        min=low,
        max=high,
        q01=q01,
        q05=q05,
        q10=q10,
        q50=q50,
        q90=q90,
        q95=q95,
        q99=q99,
        zeros=float(m.zeros[i]) / max(count, 1),
        top=common / max(count, 1),
        dead=low == high,
        sparse=low != high and too_narrow(q01, q99),
    )


def commonest_values(second: ValueSums, i: int, most: int) -> dict[str, int]:
    """The commonest values of a dimension as text, and how often they occur."""
    found = one_dimension(second.values, i, WHOLE).commonest(most)
    return {f"{float(to_values(np.array([key]))[0]):.6g}": times for key, times in found}
