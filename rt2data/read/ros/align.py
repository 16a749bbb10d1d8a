"""Which messages belong to which step: arithmetic of times, in nanoseconds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]

GAP = 1.5
"""Periods between two steps from which on a step is missing between them."""
UNEVEN = 0.25
"""Share of a period by which an interval may differ."""
_LONGEST_GAP = 1000
"""Steps by which numbers jump at most."""
_MOST_TICKS = 10_000_000


class Clock(NamedTuple):
    """The steps of an episode."""

    times: I64  # rising
    numbers: I64  # rising from 0; they jump where steps are missing
    period: int
    missing: int = 0  # steps that are missing between others
    uneven: int = 0  # intervals that differ from the period
    repeated: int = 0  # times that were there twice, and were left out


def clock_of(times: I64, fallback: int) -> Clock:
    """The steps at some times, in any order. The period is their median interval, `fallback` where there is none."""
    rising = np.unique(times)
    intervals = np.diff(rising)
    period = max(int(np.median(intervals)), 1) if len(intervals) else fallback
    jumps = np.where(intervals > GAP * period, np.rint(intervals / period), 1).astype(np.int64)
    numbers = np.concatenate([[0], np.cumsum(np.minimum(jumps, _LONGEST_GAP))]).astype(np.int64)
    uneven = int(np.count_nonzero((jumps == 1) & (np.abs(intervals - period) > UNEVEN * period)))
    return Clock(rising, numbers[: len(rising)], period, int(np.sum(jumps - 1)), uneven, len(times) - len(rising))


def ticks_of(times: I64, hz: float) -> Clock:
    """Even steps from the first of some times to the last. Raises ValueError where they would be too many."""
    period = round(1e9 / hz)
    first, last = (int(times.min()), int(times.max())) if len(times) else (0, -1)
    count = (last - first) // period + 1
    if count > _MOST_TICKS:
        raise ValueError(f"{count:,} steps between the first time and the last")
    return Clock(first + np.arange(count, dtype=np.int64) * period, np.arange(count, dtype=np.int64), period)


def nearest(at: I64, times: I64, tolerance: float) -> I64:
    """For each step the message that is nearest in time, the earlier of two; -1 where none is near enough. `times` rise."""
    if not len(times):
        return np.full(len(at), -1, np.int64)
    after = np.clip(np.searchsorted(times, at), 0, len(times) - 1)
    before = np.maximum(after - 1, 0)
    found = np.where(np.abs(at - times[before]) <= np.abs(times[after] - at), before, after)
    return np.where(np.abs(times[found] - at) <= tolerance, found, -1)


def following(at: I64, times: I64, period: int) -> I64:
    """For each step the first message at its time or after it, before the next step; -1 where there is none.

    Where steps are missing, and behind the last one, it must come within a period and a half.
    """
    ends = np.minimum(np.append(at[1:], np.iinfo(np.int64).max), at + int(GAP * period))
    found = np.searchsorted(times, at)
    there = found < len(times)
    there[there] &= times[found[there]] < ends[there]
    return np.where(there, found, -1)


def held(at: I64, times: I64) -> I64:
    """For each step the last message at its time or before it; -1 where there is none."""
    return np.searchsorted(times, at, side="right") - 1


def median_interval(times: I64) -> int:
    """Of rising times; 0 where there is none."""
    intervals = np.diff(np.unique(times))
    return int(np.median(intervals)) if len(intervals) else 0
