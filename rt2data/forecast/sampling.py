"""From a sample to the whole, with the error of sampling. Pure.

Source: W. G. Cochran, Sampling Techniques, 3rd edition, chapters 2 (means) and 6 (ratio estimates).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import NamedTuple

import msgspec
import numpy as np

_T = (12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23)
"""Student's t, 97.5 %, for 1 to 10 degrees of freedom; 2.0 from 60 on, and a little more between."""


class Range(msgspec.Struct, frozen=True):
    """An estimate and the ends of its range: they are missing where one sample alone says nothing of its error."""

    value: float
    low: float | None
    high: float | None


class Guess(NamedTuple):
    """An estimate and the half width of its 95 % range; None where that cannot be known."""

    value: float
    error: float | None

    def range(self) -> Range:
        """Never below zero."""
        if self.error is None:
            return Range(self.value, None, None)
        return Range(self.value, max(self.value - self.error, 0.0), self.value + self.error)


def total_guess(values: Sequence[float], measures: Sequence[float], whole: float) -> Guess:
    """The total over `whole` of what parts of these measures gave, by ratio; exact where the parts are the whole."""
    sampled = sum(measures)
    if not sampled:
        return Guess(0.0, 0.0 if not whole else None)
    ratio = sum(values) / sampled
    if sampled >= whole:
        return Guess(float(sum(values)), 0.0)
    if len(values) < 2:
        return Guess(ratio * whole, None)
    rest = np.asarray(values) - ratio * np.asarray(measures)
    spread = sqrt(float((rest**2).sum()) / (len(values) - 1) / len(values) * (1 - sampled / whole))
    return Guess(ratio * whole, student_t(len(values) - 1) * spread * whole / (sampled / len(values)))


def mean_guess(values: Sequence[float]) -> Guess:
    """The mean of a sample; 0 for none."""
    if len(values) < 2:
        return Guess(float(sum(values)), None if values else 0.0)
    return Guess(float(np.mean(values)), student_t(len(values) - 1) * float(np.std(values, ddof=1)) / sqrt(len(values)))


def student_t(freedom: int) -> float:
    """The factor from standard errors to a 95 % range."""
    return _T[freedom - 1] if freedom <= len(_T) else 1.96 + 2.5 / freedom
