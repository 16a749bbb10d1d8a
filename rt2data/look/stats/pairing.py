"""Which dimension of the state each dimension of the actions moves. Logs name neither, so what goes together is paired.

A displacement goes with the change of what it moves, a position with the state itself. Two dimensions are a pair where each is
the other's best, and clearly so: a correlation far from what chance gives. Where actions and states have equally many dimensions
they mostly stand in the same order: there less is asked of the pairs of the same place, and they win what is nearly a draw.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rt2data.look.stats.motion import LAGS, MotionSums
from rt2data.tally.moments import F64, Together

HERE = LAGS.index(0)
MARGIN = 0.3
"""By so much the correlation with a state must exceed the one with its change to be evidence of a position: both drift slowly,
and by chance together."""
CLEAR, CLEAR_IN_PLACE = 0.3, 0.1
SURE, SURE_IN_PLACE = 4.0, 3.0
"""Standard errors of a correlation: of the best of many pairs, and of one."""
DRAW = 0.1


@dataclass(frozen=True)
class Compared:
    """Correlations of D dimensions of actions with S of states."""

    change: F64  # [lags, D, S], of a[t] with s[t+k+1] - s[t+k] for each k of LAGS
    level: F64  # [D, S], of a[t] with s[t+1]
    steps: int  # pairs of neighbouring steps

    @property
    def evidence(self) -> F64:
        """float64[D, S]: how much speaks for each pair."""
        found: F64 = np.maximum(np.abs(self.change).max(axis=0), np.abs(self.level) - MARGIN)
        return found

    def pairs(self, states: int) -> dict[int, int]:
        """Action dimension -> state dimension, where there is one. `states` is the number of all state dimensions."""
        evidence = self.evidence
        in_place = np.eye(*evidence.shape, dtype=np.bool_) & (states == len(evidence))
        error = 1 / np.sqrt(max(self.steps, 1))
        bar = np.where(in_place, max(CLEAR_IN_PLACE, SURE_IN_PLACE * error), max(CLEAR, SURE * error))
        rank = np.where(evidence > bar, evidence + DRAW * in_place, 0.0)
        return _each_others_best(rank)


def compare(sums: MotionSums, dims: int) -> Compared | None:
    """What sums over episodes say of actions of so many dimensions; None where there is nothing to compare them with."""
    if not sums.lags or not sums.lags[HERE].count:
        return None
    size = len(sums.lags[HERE].x)
    change = np.stack([_correlations(pairs, dims, size) for pairs in sums.lags])
    return Compared(change, _correlations(sums.level, dims, size), sums.lags[HERE].count)


def _correlations(pairs: Together, dims: int, size: int) -> F64:
    """float64[D, S]; zeros where no steps lie so far apart."""
    found = pairs.correlation if pairs.count else np.zeros(size)
    return found.reshape(dims, -1)


def _each_others_best(rank: NDArray[np.float64]) -> dict[int, int]:
    theirs, ours = rank.argmax(axis=1), rank.argmax(axis=0)
    return {i: j for i, j in enumerate(theirs.tolist()) if rank[i, j] > 0 and ours[j] == i}
