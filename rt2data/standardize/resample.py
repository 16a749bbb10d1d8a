"""Which steps of an episode stand for those at a lower rate, by their times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rt2data.records import Step

F64 = NDArray[np.float64]
FINE = 1000
"""Fraction of a period to which times are rounded, so that noise decides nothing."""
LONGEST = 1e9
"""Most periods in an episode: times further apart are invalid."""
FASTER = 1.05
"""How far the requested rate may exceed the log's: rates are measured."""


@dataclass(frozen=True)
class Times:
    """When the T steps of an episode were recorded, as far as the log says."""

    numbers: NDArray[np.int64]  # T: step numbers in the episode
    stamps: F64 | None  # T, seconds; None if any step has none
    hz: float | None  # steps per second, if the log says so

    @classmethod
    def of(cls, episode: Sequence[Step], hz: float | None) -> Times:
        """The times of these steps; `hz` is the log's rate, if it states one."""
        stamps = [step.timestamp for step in episode if step.timestamp is not None]
        numbers = np.array([step.step for step in episode], np.int64)
        return cls(numbers, np.array(stamps, np.float64) if len(stamps) == len(episode) else None, hz)

    def seconds(self, hz: float | None = None) -> F64 | None:
        """T: by this rate if given, else as recorded; None if unknown."""
        if hz is None and self.stamps is not None:
            return self.stamps
        rate = hz or self.hz
        return None if rate is None else self.numbers / rate


def are_times(seconds: F64, hz: float) -> bool:
    """Whether the times are finite, do not decrease, and span at most `LONGEST` periods."""
    steps = np.diff(seconds)
    return bool(np.isfinite(seconds).all() and (steps >= 0).all() and (seconds[-1] - seconds[0]) * hz <= LONGEST)


def rate_of(seconds: F64) -> float | None:
    """Steps per second; None if the times do not tell."""
    period = float(np.median(np.diff(seconds))) if len(seconds) > 1 else 0.0
    return 1 / period if period > 0 else None


def nearest_steps(seconds: F64, hz: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which steps stand for those at a rate, and the numbers of these: both rise, starting at 0.

    Step k at that rate is k periods after the first; the nearest recorded step within half a period stands for it, the earlier of
    two equally near. A number without a nearby step is left out.
    """
    at = np.rint((seconds - seconds[0]) * hz * FINE).astype(np.int64)
    numbers = -((FINE // 2 - at) // FINE)  # rounded; half-way belongs to the earlier number
    inside = numbers <= at[-1] // FINE
    order = np.lexsort((np.abs(at - FINE * numbers)[inside], numbers[inside]))
    found, first = np.unique(numbers[inside][order], return_index=True)
    return order[first], found
