"""Which steps of an episode stand for those of a lower rate, by their times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rt2data.records import Step

F64 = NDArray[np.float64]
FINE = 1000
"""Parts of a period to which times are rounded, so that noise decides nothing."""
LONGEST = 1e9
"""Periods of an episode: times that are further apart are no times."""
FASTER = 1.05
"""How much more than the log's own rate may be asked for: rates are measured."""


@dataclass(frozen=True)
class Times:
    """When the T steps of an episode were recorded, as far as the log says."""

    numbers: NDArray[np.int64]  # T: of the steps in the episode
    stamps: F64 | None  # T, seconds; None where a step has none
    hz: float | None  # steps per second, where the log says so

    @classmethod
    def of(cls, episode: Sequence[Step], hz: float | None) -> Times:
        """Those of these steps, of a log that says that it has so many a second."""
        stamps = [step.timestamp for step in episode if step.timestamp is not None]
        numbers = np.array([step.step for step in episode], np.int64)
        return cls(numbers, np.array(stamps, np.float64) if len(stamps) == len(episode) else None, hz)

    def seconds(self, hz: float | None = None) -> F64 | None:
        """T: by this rate if one is given, else as recorded; None where nothing says."""
        if hz is None and self.stamps is not None:
            return self.stamps
        rate = hz or self.hz
        return None if rate is None else self.numbers / rate


def are_times(seconds: F64, hz: float) -> bool:
    """Whether they are finite, run on, and end."""
    steps = np.diff(seconds)
    return bool(np.isfinite(seconds).all() and (steps >= 0).all() and (seconds[-1] - seconds[0]) * hz <= LONGEST)


def rate_of(seconds: F64) -> float | None:
    """Steps per second; None where times say nothing of it."""
    period = float(np.median(np.diff(seconds))) if len(seconds) > 1 else 0.0
    return 1 / period if period > 0 else None


def nearest_steps(seconds: F64, hz: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which steps stand for those of a rate, and the numbers of these: both rise, and begin with 0.

    The k-th step of the rate is k periods behind the first; of the steps within half a period the nearest stands for it, of two
    the earlier. A number that no step is near is left out.
    """
    at = np.rint((seconds - seconds[0]) * hz * FINE).astype(np.int64)
    numbers = -((FINE // 2 - at) // FINE)  # rounded; what is half-way belongs to the earlier one
    inside = numbers <= at[-1] // FINE
    order = np.lexsort((np.abs(at - FINE * numbers)[inside], numbers[inside]))
    found, first = np.unique(numbers[inside][order], return_index=True)
    return order[first], found
