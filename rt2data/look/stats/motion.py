"""Relates actions and measured states over the steps of whole episodes, and describes the gripper's motion.

Logs do not say which state dimension an action dimension moves, so they are paired by correlation. A displacement correlates with
the change of the state it moves, a position with the state itself. Two dimensions are a pair if each is the other's best match by a
clear margin: a correlation far above chance. If actions and states have equally many dimensions they are mostly in the same order:
pairs in the same position need less evidence, and win a near tie.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import msgspec
import numpy as np
from numpy.typing import NDArray

from rt2data.order import I64
from rt2data.read.action_space import ActionSpace
from rt2data.records import F32
from rt2data.tally.counts import Counts, count
from rt2data.tally.moments import F64, Covariance, covariance
from rt2data.tally.sums import Sum

STILL = 1e-4
"""A step whose motion has a smaller norm is a no-op (the threshold of OpenVLA's regenerated LIBERO)."""
LAGS = (-3, -2, -1, 0, 1, 2, 3)
NO_LAG = LAGS.index(0)
SURE = 0.1
"""A gripper is open or closed if it is this far from the middle, as a share of the range."""
HALF_TURN = np.pi
MOST_PAIRS = 4096
"""Maximum pairs of an action dimension and a state dimension to compare."""
MARGIN = 0.3
"""The correlation with a state must exceed that with its change by this much to be evidence of a position: actions and states drift
slowly, and correlate by chance."""
CLEAR, CLEAR_IN_PLACE = 0.3, 0.1
ERRORS, ERRORS_IN_PLACE = 4.0, 3.0
"""Required standard errors of a correlation: for the best of many pairs, and for a single pair."""
NEAR_TIE = 0.1


@dataclass(frozen=True)
class Steps:
    """Steps of whole episodes, in order. N rows."""

    episode: I64  # int64[N], 0, 1, 2, ...
    step: NDArray[np.int32]
    action: F32  # [N, D]
    state: F32 | None  # [N, S]
    timestamp: F64  # NaN if there is none

    def __len__(self) -> int:
        return len(self.episode)

    @cached_property
    def same_episode(self) -> NDArray[np.bool_]:
        """bool[N]: whether the previous row is of the same episode."""
        found: NDArray[np.bool_] = np.diff(self.episode, prepend=-1) == 0
        return found

    @cached_property
    def consecutive(self) -> NDArray[np.bool_]:
        """bool[N]: whether the previous row is the previous step."""
        found: NDArray[np.bool_] = self.same_episode & (np.diff(self.step, prepend=0) == 1)
        return found

    @cached_property
    def starts(self) -> I64:
        """Row of each episode's first step."""
        return np.flatnonzero(~self.same_episode)

    @cached_property
    def run(self) -> I64:
        """int64[N]: the index of each row's run of consecutive steps."""
        return np.cumsum(~self.consecutive)


class MotionSums(Sum, frozen=True, eq=False):
    """Sums over steps, all of D dimensions."""

    still: int = 0  # no-op steps if actions are displacements or velocities
    same_place: int = 0  # the same if actions are positions
    repeated: int = 0  # steps whose action equals the previous one
    transitions: Counts = msgspec.field(default_factory=Counts)  # open to closed or back -> episodes
    lags: tuple[Covariance, ...] = ()  # each a[t] with each s[t+k+1] - s[t+k], for each k of LAGS: pair i * `compared` + j
    level: Covariance = msgspec.field(default_factory=Covariance)  # a[t] with s[t+1], in the same pairs
    wraps: tuple[int, ...] = ()  # per state dimension: steps at which it jumps by more than pi


def sum_motion(steps: Steps, space: ActionSpace) -> MotionSums:
    """Sums over whole episodes."""
    before = np.roll(steps.action, 1, axis=0)
    grips = [*space.grippers]
    moves = [i for i in range(steps.action.shape[1]) if i not in (*grips, space.terminate)]
    holds = (steps.action[:, grips] == before[:, grips]).all(axis=1) | ~steps.consecutive
    same = steps.consecutive & _quiet(steps.action[:, moves].astype(np.float64) - before[:, moves])
    return MotionSums(
        int((holds & _quiet(steps.action[:, moves])).sum()),
        int((holds & same).sum()),
        int((steps.consecutive & (steps.action == before).all(axis=1)).sum()),
        count(_transitions(steps, space)),
        *_with_states(steps),
    )


def _quiet(motion: NDArray[np.floating]) -> NDArray[np.bool_]:
    return np.linalg.norm(motion.astype(np.float64), axis=1) < STILL if motion.shape[1] else np.zeros(len(motion), np.bool_)


def _transitions(steps: Steps, space: ActionSpace) -> I64:
    """The number of commands to open or close the gripper in each episode, int64[episodes]; empty without a gripper.

    A value near the middle, as in logs that command only changes, keeps the last command.
    """
    if space.gripper is None:
        return np.empty(0, np.int64)
    dim = space.dims[space.gripper]
    opened, closed = dim.open or 0.0, dim.closed or 0.0
    part = (steps.action[:, space.gripper].astype(np.float64) - closed) / (opened - closed) - 0.5
    command = np.where(np.abs(part) > SURE, np.sign(part), 0)
    last = np.maximum.accumulate(np.where(command != 0, np.arange(len(command)), -1))
    first = np.repeat(steps.starts, np.diff(steps.starts, append=len(steps)))
    carried = np.where(last >= first, command[np.maximum(last, 0)], 0)
    changes = steps.same_episode & (carried * np.roll(carried, 1) < 0)
    return np.add.reduceat(changes.astype(np.int64), steps.starts)


def _with_states(steps: Steps) -> tuple[tuple[Covariance, ...], Covariance, tuple[int, ...]]:
    """Every action dimension with every state dimension; zero without states."""
    if steps.state is None:
        return (), Covariance(), ()
    state, change = steps.state.astype(np.float64), np.diff(steps.state.astype(np.float64), axis=0)
    rows = np.flatnonzero(steps.consecutive[1:])
    with np.errstate(invalid="ignore"):
        wraps = (np.abs(change[rows]) > HALF_TURN).sum(axis=0)
    kept = compared(steps.action.shape[1], state.shape[1])
    lags = tuple(_lagged(steps, change[:, :kept], lag) for lag in LAGS)
    return lags, covariance(steps.action[rows], state[rows + 1, :kept]), tuple(map(int, wraps))


def compared(dims: int, states: int) -> int:
    """How many leading state dimensions are compared with actions of `dims` dimensions."""
    return min(states, MOST_PAIRS // dims)


def _lagged(steps: Steps, change: F64, lag: int) -> Covariance:
    """a[t] with s[t+lag+1] - s[t+lag], within runs of consecutive steps."""
    t = np.arange(max(0, -lag), min(len(steps), len(change) - lag))
    t = t[(steps.run[t + lag] == steps.run[t]) & (steps.run[t + lag + 1] == steps.run[t])]
    return covariance(steps.action[t], change[t + lag])


# Pairs


@dataclass(frozen=True)
class Correlations:
    """Correlations of D action dimensions with S state dimensions."""

    change: F64  # [lags, D, S], of a[t] with s[t+k+1] - s[t+k] for each k of LAGS
    level: F64  # [D, S], of a[t] with s[t+1]
    steps: int  # pairs of consecutive steps

    def pairs(self, states: int) -> dict[int, int]:
        """Action dimension -> paired state dimension, if any. `states` is the total number of state dimensions."""
        evidence = np.maximum(np.abs(self.change).max(axis=0), np.abs(self.level) - MARGIN)
        in_place = np.eye(*evidence.shape, dtype=np.bool_) & (states == len(evidence))
        error = 1 / np.sqrt(max(self.steps, 1))
        threshold = np.where(in_place, max(CLEAR_IN_PLACE, ERRORS_IN_PLACE * error), max(CLEAR, ERRORS * error))
        rank = np.where(evidence > threshold, evidence + NEAR_TIE * in_place, 0.0)
        best_state, best_action = rank.argmax(axis=1), rank.argmax(axis=0)
        return {i: j for i, j in enumerate(best_state.tolist()) if rank[i, j] > 0 and best_action[j] == i}


def correlate(sums: MotionSums, dims: int) -> Correlations | None:
    """Correlations of actions of `dims` dimensions with the states; None without states or consecutive steps."""
    if not sums.lags or not sums.lags[NO_LAG].count:
        return None
    size = len(sums.lags[NO_LAG].x)
    change = np.stack([_matrix(pairs, dims, size) for pairs in sums.lags])
    return Correlations(change, _matrix(sums.level, dims, size), sums.lags[NO_LAG].count)


def _matrix(pairs: Covariance, dims: int, size: int) -> F64:
    """Correlations float64[D, S]; zeros if no steps are that far apart."""
    return (pairs.correlation if pairs.count else np.zeros(size)).reshape(dims, -1)
