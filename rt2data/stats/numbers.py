"""Sums over the dimensions of actions or states, in two passes, and their summary."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from rt2data.actions.dims import too_narrow
from rt2data.order import U64
from rt2data.records import F32
from rt2data.stats.counts import Counts, runs
from rt2data.stats.model import Numbers
from rt2data.stats.moments import Moments, moments
from rt2data.stats.quantiles import (
    WHOLE,
    count_bins,
    count_these,
    count_values,
    gathered,
    one_dimension,
    quantiles,
    rising_keys,
    to_keys,
    to_values,
    wanted_bins,
)
from rt2data.stats.sums import Sum

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
        candidates = [np.empty(0, np.uint64)]
        for i in range(self.dims):
            mine = one_dimension(self.common, i, WHOLE).commonest(CANDIDATES)
            candidates.append(np.sort(np.array([key for key, _ in mine], np.uint64)) + np.uint64(i << WHOLE))
        ends = tuple(zip(self.moments.min.tolist(), self.moments.max.tolist(), strict=True))
        return Wanted(wanted_bins(self.bins, self.dims), np.concatenate(candidates), ends)


class Wanted(msgspec.Struct, frozen=True, eq=False):
    """What the second pass is to count."""

    bins: U64
    common: U64
    ends: tuple[tuple[float, float], ...]  # least and most of each dimension


class ValueSums(Sum, frozen=True, eq=False):
    """Second pass over float32[N, D]."""

    values: Counts = msgspec.field(default_factory=Counts)  # inside the wanted bins
    common: Counts = msgspec.field(default_factory=Counts)  # of the candidates
    at_ends: Counts = msgspec.field(default_factory=Counts)  # dimension -> values near its least or its most


def sum_numbers(values: F32) -> NumberSums:
    """First pass over the rows of f32[N, D]."""
    columns = rising_keys(values)
    found = [runs(keys) for keys in columns]
    often = []
    for keys, times in found:
        most = int(times.max(initial=0))
        kept = times >= min(max(len(values) // COMMON, 1), most)
        kept &= np.cumsum(kept) <= CANDIDATES  # of a single file of different values
        often.append((keys[kept], times[kept]))
    return NumberSums(moments(values), count_bins(columns), gathered(often, WHOLE))


def sum_values(values: F32, wanted: Wanted) -> ValueSums:
    """Second pass over the rows of f32[N, D]."""
    columns = rising_keys(values)
    near = [len(keys) - _between_ends(keys, *ends) for keys, ends in zip(columns, wanted.ends, strict=True)]
    at = np.flatnonzero(near)
    at_ends = Counts(at.astype(np.uint64), np.array(near, np.int64)[at])
    return ValueSums(count_values(columns, wanted.bins), count_these(columns, wanted.common), at_ends)


def _between_ends(keys: np.ndarray[tuple[int], np.dtype[np.uint32]], low: float, high: float) -> int:
    """How many values are near neither end."""
    if not low < high:
        return 0
    first, last = to_keys(np.array([low + NEAR * (high - low), high - NEAR * (high - low)], np.float32))
    return int(max(np.searchsorted(keys, last) - np.searchsorted(keys, first, side="right"), 0))


def numbers(first: NumberSums, second: ValueSums, names: Sequence[str], units: Sequence[str]) -> tuple[Numbers, ...]:
    """The summary of each dimension. Raises LookupError where the second pass did not count what the first asks for."""
    return tuple(_numbers(first, second, i, name, unit) for i, (name, unit) in enumerate(zip(names, units, strict=True)))


def _numbers(first: NumberSums, second: ValueSums, i: int, name: str, unit: str) -> Numbers:
    m = first.moments
    count, empty = int(m.count[i]), not m.count[i]
    low, high = (0.0, 0.0) if empty else (float(m.min[i]), float(m.max[i]))
    q01, q05, q10, q50, q90, q95, q99 = quantiles(first.bins, second.values, i)
    common = one_dimension(second.common, i, WHOLE).counts.max(initial=0)
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
        zeros=m.zeros[i] / max(count, 1),
        top=common / max(count, 1),
        dead=low == high,
        sparse=low != high and too_narrow(q01, q99),
    )


def commonest_values(second: ValueSums, i: int, most: int) -> dict[str, int]:
    """The commonest values of a dimension as text, and how often they occur."""
    found = one_dimension(second.common, i, WHOLE).commonest(most)
    return {f"{float(to_values(np.array([key]))[0]):.6g}": times for key, times in found}
