"""Exact quantiles of any number of float32 values, in two passes of integer counts.

Every float32 has a whole number that rises with it. The first pass counts the high 16 bits of these numbers, which says in which
few of 65,536 bins the wanted order statistics lie; the second counts the values inside those bins only. Then the quantile is that
of np.quantile, to the last bit: no sketch (KLL, t-digest) with an error to explain, nothing random, and merging is the addition of
integers, so that neither order nor number of workers can matter. It costs a second reading of small columns. A sum that was kept
can take in new rows without reading the old ones again as long as the wanted order statistics stay in the bins that were counted,
which have some room, and says so where they do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rt2data.order import I64, U64
from rt2data.records import F32
from rt2data.tally.counts import Counts, between, count, rank

U32 = NDArray[np.uint32]
QUANTILES = (0.01, 0.05, 0.1, 0.5, 0.9, 0.95, 0.99)
HIGH, WHOLE = 16, 32
"""Bits of a bin's number, and of a value's: the number of the dimension stands before them."""
ROOM = 1024
"""This part of the rows to each side of an order statistic is counted too."""
_DENSE = 64 << HIGH
"""Bins that are counted in an array rather than by sorting."""
_SIGN = np.uint32(1 << 31)


def to_keys(values: F32) -> U32:
    """uint32 of float32, that rises with it; -0.0 counts as 0.0. Not for NaN."""
    bits = (values + np.float32(0)).view(np.int32)
    found: U32 = (bits ^ (bits >> 31 | np.int32(-(1 << 31)))).view(np.uint32)  # the sign turned; of negative ones all bits
    return found


def to_values(keys: NDArray[Any]) -> F32:
    """float32 of the numbers that `to_keys` gives."""
    bits = keys.astype(np.uint32)
    return np.where(bits & _SIGN, bits & ~_SIGN, ~bits).view(np.float32)


def dimension_keys(values: F32) -> U64:
    """The keys of the finite values of [N, D], in any order, with the number of the dimension before each."""
    keys = to_keys(values).astype(np.uint64) | (np.arange(values.shape[1], dtype=np.uint64) << np.uint64(WHOLE))
    finite = np.isfinite(values)
    found: U64 = keys.ravel() if finite.all() else keys[finite]
    return found


def one_dimension(found: Counts, i: int, bits: int) -> Counts:
    """The counts of one dimension, without its number."""
    inside = found.between(i << bits, (i + 1) << bits)
    return Counts(inside.keys - np.uint64(i << bits), inside.counts)


def count_bins(keys: U64) -> Counts:
    """First pass: how many values of each dimension lie in each bin, with the number of the dimension before it."""
    bins = (keys >> np.uint64(HIGH)).view(np.int64)
    if not len(bins) or bins.max() >= _DENSE:
        return count(bins)
    times = np.bincount(bins)
    kept = np.flatnonzero(times)
    return Counts(kept.astype(np.uint64), times[kept])


def wanted_bins(bins: Counts, dims: int, wanted: Sequence[float] = QUANTILES) -> U64:
    """The bins that hold the order statistics of these quantiles, with the dimension's number before them, rising.

    And those around that hold one row in a thousand to each side: so sums that are kept can take in new rows.
    """
    found = [np.empty(0, np.uint64)]
    for i in range(dims):
        inside = one_dimension(bins, i, HIGH)
        if len(inside):
            found.append(inside.keys[_around(np.cumsum(inside.counts), wanted)] + np.uint64(i << HIGH))
    return np.concatenate(found)


def _around(ends: I64, wanted: Sequence[float]) -> NDArray[np.bool_]:
    """Which bins, of those that end at these ranks."""
    count, kept = int(ends[-1]), np.zeros(len(ends), np.bool_)
    for low, high, _ in (rank(count, q) for q in wanted):
        nearest = [max(low - count // ROOM, 0), min(high + count // ROOM, count - 1)]
        first, last = np.searchsorted(ends, nearest, side="right")
        kept[first : last + 1] = True
    return kept


def count_values(keys: U64, bins: U64) -> Counts:
    """Second pass: how often each value in these bins occurs, with the number of the dimension before it."""
    if not len(bins):
        return Counts()
    inside = np.zeros(int(bins[-1]) + 2, np.bool_)  # and one that no bin has, for all beyond
    inside[bins] = True
    return count(keys[inside.take((keys >> np.uint64(HIGH)).view(np.int64), mode="clip")])


def quantiles(bins: Counts, values: Counts, i: int, wanted: Sequence[float] = QUANTILES) -> list[float]:
    """Quantiles of dimension i from both passes. Raises LookupError where an order statistic lies in a bin that was not counted."""
    inside, counted = one_dimension(bins, i, HIGH), one_dimension(values, i, WHOLE)
    if not len(inside):
        return [0.0] * len(wanted)
    places = [rank(inside.total, q) for q in wanted]
    return [between(_statistic(inside, counted, low), _statistic(inside, counted, high), part) for low, high, part in places]


def _statistic(bins: Counts, values: Counts, place: int) -> float:
    """Order statistic `place`, from 0."""
    ends = np.cumsum(bins.counts)
    at = int(np.searchsorted(ends, place, side="right"))
    low = int(bins.keys[at]) << HIGH
    here = values.between(low, low + (1 << HIGH))
    if here.total != bins.counts[at]:
        raise LookupError(f"bin {int(bins.keys[at])} was not counted: read the rows again")
    before = int(ends[at] - bins.counts[at])
    return float(to_values(here.keys[np.searchsorted(np.cumsum(here.counts), [place - before], side="right")])[0])
