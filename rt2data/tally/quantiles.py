"""Exact quantiles of any number of float32 values, in two passes of integer counts.

Every float32 maps to an integer of the same order. The first pass counts the high 16 bits of these integers, which shows which few
of 65,536 bins contain the wanted order statistics; the second pass counts the values in those bins only. The result equals
np.quantile to the last bit. Unlike a sketch (KLL, t-digest) there is no error to explain and nothing random, and sums merge by
adding integers, so neither order nor number of workers matters. The price is a second read of small columns. A stored sum can be
extended by new rows without re-reading the old ones as long as the wanted order statistics stay in the counted bins, which include
some margin; otherwise it raises.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rt2data.order import I64, U64
from rt2data.records import F32
from rt2data.tally.counts import Counts, count, interpolate, rank

U32 = NDArray[np.uint32]
QUANTILES = (0.01, 0.05, 0.1, 0.5, 0.9, 0.95, 0.99)
HIGH, WHOLE = 16, 32
"""Bits of a bin, and of a value; the number of the dimension is in the bits above."""
MARGIN = 1024
"""One row in MARGIN on each side of an order statistic is also counted."""
_SIGN = np.uint32(1 << 31)


def to_keys(values: F32) -> U32:
    """uint32 of float32, in the same order; -0.0 is 0.0. Not for NaN."""
    bits = (values + np.float32(0)).view(np.int32)
    found: U32 = (bits ^ (bits >> 31 | np.int32(-(1 << 31)))).view(np.uint32)  # flip the sign bit, and all bits of negatives
    return found


def to_values(keys: NDArray[Any]) -> F32:
    """The inverse of `to_keys`."""
    bits = keys.astype(np.uint32)
    return np.where(bits & _SIGN, bits & ~_SIGN, ~bits).view(np.float32)


def of_dimension(found: Counts, i: int, bits: int) -> Counts:
    """The counts of dimension i, without its number."""
    inside = found.between(i << bits, (i + 1) << bits)
    return Counts(inside.keys - np.uint64(i << bits), inside.counts)


def _by_dimension(values: F32, bits: int, count_keys: Callable[[U32, int], Counts]) -> Counts:
    """Counts of the finite values of each column of [N, D], with the column's number above the bits."""
    found = []
    for i, column in enumerate(np.ascontiguousarray(values.T)):
        finite = np.isfinite(column)
        found.append(count_keys(to_keys(column if finite.all() else column[finite]), i))
    keys = [each.keys + np.uint64(i << bits) for i, each in enumerate(found)]
    return Counts(np.concatenate(keys), np.concatenate([each.counts for each in found])) if found else Counts()


def count_bins(values: F32) -> Counts:
    """First pass: how many values of each dimension are in each bin."""
    return _by_dimension(values, HIGH, _count_bins)


def _count_bins(keys: U32, _: int) -> Counts:
    times = np.bincount(keys >> np.uint32(HIGH))
    kept = np.flatnonzero(times)
    return Counts(kept.astype(np.uint64), times[kept])


def count_values(values: F32, bins: U64) -> Counts:
    """Second pass: how often each value in these bins (dimension and bin) occurs."""

    def count_keys(keys: U32, i: int) -> Counts:
        inside = np.zeros(1 << HIGH, np.bool_)
        first, end = np.searchsorted(bins, np.array([i << HIGH, (i + 1) << HIGH], np.uint64))
        inside[bins[first:end] - np.uint64(i << HIGH)] = True
        return count(keys[inside[keys >> np.uint32(HIGH)]])

    return _by_dimension(values, WHOLE, count_keys)


def wanted_bins(bins: Counts, dims: int, wanted: Sequence[float] = QUANTILES) -> U64:
    """The bins (dimension and bin, rising) that hold the order statistics of these quantiles, and those within the margin."""
    found = [np.empty(0, np.uint64)]
    for i in range(dims):
        inside = of_dimension(bins, i, HIGH)
        if len(inside):
            found.append(inside.keys[_around(np.cumsum(inside.counts), wanted)] + np.uint64(i << HIGH))
    return np.concatenate(found)


def _around(ends: I64, wanted: Sequence[float]) -> NDArray[np.bool_]:
    """bool per bin, given the ranks at which the bins end: whether it is wanted or within the margin."""
    count, kept = int(ends[-1]), np.zeros(len(ends), np.bool_)
    for low, high, _ in (rank(count, q) for q in wanted):
        nearest = [max(low - count // MARGIN, 0), min(high + count // MARGIN, count - 1)]
        first, last = np.searchsorted(ends, nearest, side="right")
        kept[first : last + 1] = True
    return kept


def quantiles(bins: Counts, values: Counts, i: int, wanted: Sequence[float] = QUANTILES) -> list[float]:
    """Quantiles of dimension i from both passes. Raises LookupError if an order statistic is in a bin that was not counted."""
    inside, counted = of_dimension(bins, i, HIGH), of_dimension(values, i, WHOLE)
    if not len(inside):
        return [0.0] * len(wanted)
    ranks = [rank(inside.total, q) for q in wanted]
    return [
        interpolate(_order_statistic(inside, counted, low), _order_statistic(inside, counted, high), part)
        for low, high, part in ranks
    ]


def _order_statistic(bins: Counts, values: Counts, rank: int) -> float:
    """The value of this rank, from 0."""
    ends = np.cumsum(bins.counts)
    at = int(np.searchsorted(ends, rank, side="right"))
    low = int(bins.keys[at]) << HIGH
    here = values.between(low, low + (1 << HIGH))
    if here.total != bins.counts[at]:
        raise LookupError(f"bin {int(bins.keys[at])} was not counted: read the rows again")
    before = int(ends[at] - bins.counts[at])
    return float(to_values(here.keys[np.searchsorted(np.cumsum(here.counts), [rank - before], side="right")])[0])
