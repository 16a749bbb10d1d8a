"""Exact distributions of whole numbers as sparse counts: lengths, hashes, bins, parts of floats. Merged by integers alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from rt2data.order import I64, U64
from rt2data.tally.sums import Sum

BARS = 64
"""Bars of a histogram."""


def _no_keys() -> U64:
    return np.empty(0, np.uint64)


def _no_counts() -> I64:
    return np.empty(0, np.int64)


class Counts(Sum, frozen=True, eq=False):
    """How often each whole number occurs: `keys` uint64[n] rise, `counts` int64[n] are at least 1. 16 bytes for each number."""

    keys: U64 = msgspec.field(default_factory=_no_keys)
    counts: I64 = msgspec.field(default_factory=_no_counts)

    def __add__(self, other: Counts) -> Counts:
        if not len(self.keys) or not len(other.keys):
            return self if len(self.keys) else other
        return _merged(self, other) if len(self.keys) >= len(other.keys) else _merged(other, self)

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def total(self) -> int:
        """How many numbers were counted."""
        return int(self.counts.sum())

    def of(self, keys: ArrayLike) -> I64:
        """int64[n]: how often each of these occurs."""
        wanted = np.asarray(keys, np.uint64)
        if not len(self.keys):
            return np.zeros(len(wanted), np.int64)
        at = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where(self.keys[at] == wanted, self.counts[at], 0)

    def between(self, low: int, high: int) -> Counts:
        """Those with low <= key < high."""
        first, end = np.searchsorted(self.keys, np.array([low, high], np.uint64))
        return Counts(self.keys[first:end], self.counts[first:end])

    def commonest(self, most: int) -> list[tuple[int, int]]:
        """(number, how often), the commonest first, of those alike the lowest first."""
        order = np.lexsort((self.keys, -self.counts))[:most]
        return list(zip(self.keys[order].tolist(), self.counts[order].tolist(), strict=True))


def count(values: NDArray[Any], times: I64 | None = None) -> Counts:
    """Counts of whole numbers, each counted once or so many `times`."""
    if times is not None:
        kept = times > 0
        return _added(values[kept].astype(np.uint64), times[kept].astype(np.int64))
    return Counts(*runs(np.sort(values.astype(np.uint64))))


def runs(rising: NDArray[Any]) -> tuple[NDArray[Any], I64]:
    """Different values of an array that rises, and how often each is there."""
    starts = _starts(rising)
    return rising[starts], np.diff(starts, append=len(rising))


def _starts(rising: NDArray[Any]) -> I64:
    if not len(rising):
        return np.empty(0, np.int64)
    return np.concatenate([[0], np.flatnonzero(rising[1:] != rising[:-1]) + 1])


def _merged(many: Counts, few: Counts) -> Counts:
    """Both together; the few are let in where they belong, so that little is copied."""
    at = np.searchsorted(many.keys, few.keys)
    known = many.keys[np.minimum(at, len(many.keys) - 1)] == few.keys
    counts = many.counts.copy()
    counts[at[known]] += few.counts[known]
    at, fresh = at[~known], ~known
    return Counts(np.insert(many.keys, at, few.keys[fresh]), np.insert(counts, at, few.counts[fresh]))


def _added(keys: U64, times: I64) -> Counts:
    """Counts of keys in any order."""
    order = np.argsort(keys, kind="stable")
    rising = keys[order]
    starts = _starts(rising)
    return Counts(rising[starts], np.add.reduceat(times[order], starts) if len(starts) else _no_counts())


def quantiles_of(values: NDArray[np.float64], counts: I64, wanted: Sequence[float]) -> list[float]:
    """np.quantile(method="linear") of values that rise, each there so many times."""
    ends = np.cumsum(counts)
    places = [rank(int(ends[-1]), q) for q in wanted]
    ends_of = [values[np.searchsorted(ends, [low, high], side="right")].tolist() for low, high, _ in places]
    return [between(low, high, part) for (low, high), (_, _, part) in zip(ends_of, places, strict=True)]


def rank(count: int, q: float) -> tuple[int, int, float]:
    """The two order statistics that a quantile lies between, from 0, and how far it lies towards the second."""
    exact = (count - 1) * q
    low = int(np.floor(exact))
    return low, min(low + 1, count - 1), exact - low


def between(low: float, high: float, part: float) -> float:
    """Linear interpolation as numpy's quantiles have it, from the nearer end."""
    step = high - low
    return high - step * (1 - part) if part >= 0.5 else low + step * part


def bars(found: Counts, most: int = BARS) -> tuple[tuple[int, int], ...]:
    """A histogram with equally wide bars: (lowest number of a bar, how often); bars without any are left out."""
    if not len(found):
        return ()
    low, high = int(found.keys[0]), int(found.keys[-1])
    width = -(-(high - low + 1) // most)
    bar = ((found.keys - np.uint64(low)) // np.uint64(width)).astype(np.int64)
    heights = np.bincount(bar, weights=found.counts, minlength=1).astype(np.int64)
    return tuple((low + i * width, int(heights[i])) for i in np.flatnonzero(heights).tolist())
