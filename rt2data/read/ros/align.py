"""Assigns messages to steps by their times, in nanoseconds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

I64 = NDArray[np.int64]

GAP = 1.5
"""If steps are this many periods apart or more, a step is missing between them."""
UNEVEN = 0.25
"""Tolerated deviation of an interval, as a share of the period."""
_LONGEST_GAP = 1000
"""Maximum jump in step numbers."""
_MOST_TICKS = 10_000_000


class Clock(NamedTuple):
    """The steps of an episode."""

    times: I64  # rising
    numbers: I64  # rising from 0; they jump at missing steps
    period: int
    missing: int = 0  # steps missing between others
    uneven: int = 0  # intervals that differ from the period
    repeated: int = 0  # duplicate times, which were left out


def clock_of(times: I64, fallback: int) -> Clock:
    """The steps at the given times (in any order). The period is the median interval, or `fallback` if there is none."""
    rising = np.unique(times)
    intervals = np.diff(rising)
    period = max(int(np.median(intervals)), 1) if len(intervals) else fallback
    jumps = np.where(intervals > GAP * period, np.rint(intervals / period), 1).astype(np.int64)
    numbers = np.concatenate([[0], np.cumsum(np.minimum(jumps, _LONGEST_GAP))]).astype(np.int64)
    uneven = int(np.count_nonzero((jumps == 1) & (np.abs(intervals - period) > UNEVEN * period)))
    return Clock(rising, numbers[: len(rising)], period, int(np.sum(jumps - 1)), uneven, len(times) - len(rising))


def ticks_of(times: I64, hz: float) -> Clock:
    """Evenly spaced steps from the first time to the last. Raises ValueError if there would be too many."""
    period = round(1e9 / hz)
    first, last = (int(times.min()), int(times.max())) if len(times) else (0, -1)
    count = (last - first) // period + 1
    if count > _MOST_TICKS:
        raise ValueError(f"{count:,} steps between the first time and the last")
    return Clock(first + np.arange(count, dtype=np.int64) * period, np.arange(count, dtype=np.int64), period)


def nearest(at: I64, times: I64, tolerance: float) -> I64:
    """For each step the message nearest in time, the earlier one if tied; -1 if none is near enough. `times` must rise."""
    if not len(times):
        return np.full(len(at), -1, np.int64)
    after = np.clip(np.searchsorted(times, at), 0, len(times) - 1)
    before = np.maximum(after - 1, 0)
    found = np.where(np.abs(at - times[before]) <= np.abs(times[after] - at), before, after)
    return np.where(np.abs(times[found] - at) <= tolerance, found, -1)


def following(at: I64, times: I64, period: int) -> I64:
    """For each step the first message at or after its time and before the next step; -1 if there is none.

    Before missing steps, and after the last step, the message must come within 1.5 periods.
    """
    ends = np.minimum(np.append(at[1:], np.iinfo(np.int64).max), at + int(GAP * period))
    found = np.searchsorted(times, at)
    there = found < len(times)
    there[there] &= times[found[there]] < ends[there]
    return np.where(there, found, -1)


def held(at: I64, times: I64) -> I64:
    """For each step the last message at or before its time; -1 if there is none."""
    return np.searchsorted(times, at, side="right") - 1


def median_interval(times: I64) -> int:
    """The median interval of rising times; 0 if there is none."""
    intervals = np.diff(np.unique(times))
    return int(np.median(intervals)) if len(intervals) else 0
