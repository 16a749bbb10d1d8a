"""Exact quantiles of any number of float32 values, in two passes of integer counts.

Every float32 has a whole number that rises with it. The first pass counts the high 16 bits of these numbers, which says in which
few of 65,536 bins the wanted order statistics lie; the second counts the values inside those bins only. Then the quantile is that
of np.quantile, to the last bit: no sketch (KLL, t-digest) with an error to explain, nothing random, and merging is the addition of
integers, so that neither order nor number of workers can matter. It costs a second reading of small columns. A sum that was kept
can take in new rows without reading the old ones again as long as the wanted order statistics stay in the bins that were counted,
and says so where they do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rt2data.order import U64
from rt2data.records import F32
from rt2data.stats.counts import Counts, between, quantiles_of, rank, runs

U32 = NDArray[np.uint32]
QUANTILES = (0.01, 0.05, 0.1, 0.5, 0.9, 0.95, 0.99)
HIGH, WHOLE = 16, 32
"""Bits of a bin's number, and of a value's: the number of the dimension stands before them."""
_SIGN = np.uint32(1 << 31)


def to_keys(values: F32) -> U32:
    """uint32 of float32, that rises with it; -0.0 counts as 0.0. Not for NaN."""
    bits = (values + np.float32(0)).view(np.uint32)
    return np.where(bits & _SIGN, ~bits, bits | _SIGN)


def to_values(keys: NDArray[Any]) -> F32:
    """float32 of the numbers that `to_keys` gives."""
    bits = keys.astype(np.uint32)
    return np.where(bits & _SIGN, bits & ~_SIGN, ~bits).astype(np.uint32).view(np.float32)


def rising_keys(values: F32) -> list[U32]:
    """For each column of [N, D] the keys of its finite values, rising."""
    columns = (np.ascontiguousarray(values[:, i]) for i in range(values.shape[1]))
    return [np.sort(to_keys(column[np.isfinite(column)])) for column in columns]


def gathered(columns: Sequence[tuple[NDArray[Any], NDArray[np.int64]]], bits: int) -> Counts:
    """Numbers and counts of each dimension as one Counts: the dimension's number stands before the `bits` of each."""
    keys = [np.uint64(i << bits) + numbers.astype(np.uint64) for i, (numbers, _) in enumerate(columns)]
    counts = [times for _, times in columns]
    return Counts(np.concatenate(keys), np.concatenate(counts)) if columns else Counts()


def one_dimension(found: Counts, i: int, bits: int) -> Counts:
    """The counts of one dimension, without its number."""
    inside = found.between(i << bits, (i + 1) << bits)
    return Counts(inside.keys - np.uint64(i << bits), inside.counts)


def count_bins(columns: Sequence[U32]) -> Counts:
    """First pass: how many values of each dimension lie in each bin. `columns` are rising keys."""
    return gathered([runs(keys >> np.uint32(HIGH)) for keys in columns], HIGH)


def wanted_bins(bins: Counts, dims: int, wanted: Sequence[float] = QUANTILES) -> U64:
    """The bins that hold the order statistics of these quantiles, with the dimension's number before them, rising."""
    found = [np.empty(0, np.uint64)]
    for i in range(dims):
        inside = one_dimension(bins, i, HIGH)
        if len(inside):
            at = np.searchsorted(np.cumsum(inside.counts), _ranks(inside.total, wanted), side="right")
            found.append(inside.keys[np.unique(at)] + np.uint64(i << HIGH))
    return np.concatenate(found)


def _ranks(count: int, wanted: Sequence[float]) -> list[int]:
    return sorted({place for q in wanted for place in rank(count, q)[:2]})


def count_values(columns: Sequence[U32], bins: U64) -> Counts:
    """Second pass: how often each value in these bins occurs. `columns` are rising keys."""
    return gathered([_inside(keys, _of_dimension(bins, i, HIGH)) for i, keys in enumerate(columns)], WHOLE)


def _of_dimension(keys: U64, i: int, bits: int) -> U64:
    first, end = np.searchsorted(keys, np.array([i << bits, (i + 1) << bits], np.uint64))
    return keys[first:end] - np.uint64(i << bits)


def _inside(keys: U32, bins: U64) -> tuple[NDArray[Any], NDArray[np.int64]]:
    starts = np.searchsorted(keys, (bins << np.uint64(HIGH)).astype(np.uint32))
    ends = np.searchsorted(keys, ((bins << np.uint64(HIGH)) | np.uint64(0xFFFF)).astype(np.uint32), side="right")
    parts = [keys[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    return runs(np.concatenate(parts) if parts else keys[:0])


def count_these(columns: Sequence[U32], values: U64) -> Counts:
    """How often each of these values occurs, with the dimension's number before each. `columns` are rising keys."""
    found = []
    for i, keys in enumerate(columns):
        mine = _of_dimension(values, i, WHOLE).astype(np.uint32)
        times = np.searchsorted(keys, mine, side="right") - np.searchsorted(keys, mine)
        found.append((mine[times > 0], times[times > 0]))
    return gathered(found, WHOLE)


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


def exact_quantiles(values: F32, wanted: Sequence[float] = QUANTILES) -> list[list[float]]:
    """Quantiles of the columns of [N, D] that are at hand, the same numbers as by two passes."""
    found = [runs(keys) for keys in rising_keys(values)]
    return [quantiles_of(to_values(keys).astype(np.float64), times, wanted) for keys, times in found]
