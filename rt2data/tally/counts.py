"""Exact distributions of non-negative integers as sparse counts: lengths, hashes, bins, bit patterns. Integer addition only."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from rt2data.order import I64, U64
from rt2data.tally.sums import Sum

BINS = 64
"""Bins of a histogram."""
IN_MEMORY = 1 << 22
"""Integers that `count_distinct` holds at a time: 32 MB."""


def _no_keys() -> U64:
    return np.empty(0, np.uint64)


def _no_counts() -> I64:
    return np.empty(0, np.int64)


class Counts(Sum, frozen=True, eq=False):
    """How often each integer occurs: `keys` uint64[n] strictly rising, `counts` int64[n] >= 1. 16 bytes per distinct integer."""

    keys: U64 = msgspec.field(default_factory=_no_keys)
    counts: I64 = msgspec.field(default_factory=_no_counts)

    def __add__(self, other: Counts) -> Counts:
        if not len(self.keys) or not len(other.keys):
            return self if len(self.keys) else other
        return _merge(self, other) if len(self.keys) >= len(other.keys) else _merge(other, self)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def total(self) -> int:
        """Number of integers counted."""
        return int(self.counts.sum())

    def of(self, keys: ArrayLike) -> I64:
        """int64[n]: how often each of these keys occurs."""
        wanted = np.asarray(keys, np.uint64)
        if not len(self.keys):
            return np.zeros(len(wanted), np.int64)
        at = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where(self.keys[at] == wanted, self.counts[at], 0)

    def between(self, low: int, high: int) -> Counts:
        """The counts of keys with low <= key < high."""
        first, end = np.searchsorted(self.keys, np.array([low, high], np.uint64))
        return Counts(self.keys[first:end], self.counts[first:end])

    def most_common(self, most: int) -> list[tuple[int, int]]:
        """(key, count), highest count first; of equal counts the lowest key first."""
        order = np.lexsort((self.keys, -self.counts))[:most]
        return list(zip(self.keys[order].tolist(), self.counts[order].tolist(), strict=True))


def count(values: NDArray[Any], times: I64 | None = None) -> Counts:
    """Counts of integers, each counted once or `times` times."""
    if times is not None:
        kept = times > 0
        return _count_weighted(values[kept].astype(np.uint64), times[kept].astype(np.int64))
    rising = np.sort(values.astype(np.uint64))
    starts = _run_starts(rising)
    return Counts(rising[starts], np.diff(starts, append=len(rising)))


def _run_starts(rising: U64) -> I64:
    if not len(rising):
        return np.empty(0, np.int64)
    return np.concatenate([[0], np.flatnonzero(rising[1:] != rising[:-1]) + 1])


def _count_weighted(keys: U64, times: I64) -> Counts:
    """Counts of keys in any order."""
    order = np.argsort(keys, kind="stable")
    rising = keys[order]
    starts = _run_starts(rising)
    return Counts(rising[starts], np.add.reduceat(times[order], starts) if len(starts) else _no_counts())


def _merge(many: Counts, few: Counts) -> Counts:
    """The sum; the smaller operand is inserted into the larger, which copies little."""
    at = np.searchsorted(many.keys, few.keys)
    known = many.keys[np.minimum(at, len(many.keys) - 1)] == few.keys
    counts = many.counts.copy()
    counts[at[known]] += few.counts[known]
    at, fresh = at[~known], ~known
    return Counts(np.insert(many.keys, at, few.keys[fresh]), np.insert(counts, at, few.counts[fresh]))


def quantiles_of(values: NDArray[np.float64], counts: I64, wanted: Sequence[float]) -> list[float]:
    """np.quantile(method="linear") of rising values, each occurring `counts` times."""
    ends = np.cumsum(counts)
    ranks = [rank(int(ends[-1]), q) for q in wanted]
    neighbors = [values[np.searchsorted(ends, [low, high], side="right")].tolist() for low, high, _ in ranks]
    return [interpolate(low, high, part) for (low, high), (_, _, part) in zip(neighbors, ranks, strict=True)]


def rank(count: int, q: float) -> tuple[int, int, float]:
    """The two order statistics on either side of a quantile, from 0, and the fraction of the way to the second."""
    exact = (count - 1) * q
    low = int(np.floor(exact))
    return low, min(low + 1, count - 1), exact - low


def interpolate(low: float, high: float, part: float) -> float:
    """Linear interpolation with numpy's rounding: from the nearer end."""
    step = high - low
    return high - step * (1 - part) if part >= 0.5 else low + step * part


def histogram(found: Counts, most: int = BINS) -> tuple[tuple[int, int], ...]:
    """Equal-width bins: (lowest integer of a bin, count). Empty bins are omitted."""
    if not len(found):
        return ()
    low, high = int(found.keys[0]), int(found.keys[-1])
    width = -(-(high - low + 1) // most)
    which = ((found.keys - np.uint64(low)) // np.uint64(width)).astype(np.int64)
    heights = np.bincount(which, weights=found.counts, minlength=1).astype(np.int64)
    return tuple((low + i * width, int(heights[i])) for i in np.flatnonzero(heights).tolist())


def count_distinct(parts: Iterable[U64], most: int, folder: Path | None) -> int:
    """Number of distinct integers in all parts, in bounded memory.

    `most` is an upper bound on how many there are. The integers must be spread evenly, as hashes are: they are written to unnamed
    files in `folder` (None: where temporary files go), one file per remainder, and counted file by file.
    """
    files = max(1, -(-most // IN_MEMORY))
    with ExitStack() as stack:
        buckets = [stack.enter_context(TemporaryFile(dir=folder)) for _ in range(files)]
        for part in parts:
            which = part % np.uint64(files)
            for i, file in enumerate(buckets):
                file.write(part[which == i].tobytes())
        found = 0
        for file in buckets:
            file.seek(0)
            found += len(np.unique(np.frombuffer(file.read(), np.uint64)))
        return found
