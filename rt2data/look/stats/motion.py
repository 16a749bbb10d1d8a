"""Sums over the steps of whole episodes: how commands and measured states follow each other, and what the gripper does."""

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
from rt2data.tally.moments import F64, Together, crossed
from rt2data.tally.sums import Sum

STILL = 1e-4
"""A step whose motion has a smaller norm moves nothing (as OpenVLA's regeneration of LIBERO has it)."""
LAGS = (-3, -2, -1, 0, 1, 2, 3)
SURE = 0.1
"""How far from the middle between open and closed, as a share of the way, a gripper is one of them."""
HALF_TURN = np.pi
MOST_PAIRS = 4096
"""Pairs of an action's dimension and a state's that are compared."""


@dataclass(frozen=True)
class Steps:
    """Steps of whole episodes, in order. N rows."""

    episode: I64  # int64[N], 0, 1, 2, ...: which episode
    step: NDArray[np.int32]
    action: F32  # [N, D]
    state: F32 | None  # [N, S]
    timestamp: F64  # NaN where there is none

    def __len__(self) -> int:
        return len(self.episode)

    @cached_property
    def follows(self) -> NDArray[np.bool_]:
        """bool[N]: the row before is of the same episode."""
        found: NDArray[np.bool_] = np.diff(self.episode, prepend=-1) == 0
        return found

    @cached_property
    def next_to(self) -> NDArray[np.bool_]:
        """bool[N]: the row before is the step before."""
        found: NDArray[np.bool_] = self.follows & (np.diff(self.step, prepend=0) == 1)
        return found

    @cached_property
    def starts(self) -> I64:
        """Row of each episode's first step."""
        return np.flatnonzero(~self.follows)

    @cached_property
    def stretch(self) -> I64:
        """int64[N]: which run of steps without a gap."""
        return np.cumsum(~self.next_to)


class MotionSums(Sum, frozen=True, eq=False):
    """Sums over steps, all of D dimensions."""

    still: int = 0  # steps that move nothing, if actions are displacements or velocities
    same_place: int = 0  # if they are positions
    repeated: int = 0  # steps whose action equals the one before
    transitions: Counts = msgspec.field(default_factory=Counts)  # open to closed or back -> episodes
    lags: tuple[Together, ...] = ()  # each a[t] with each s[t+k+1] - s[t+k], for each k of LAGS: pair i * `compared` + j
    level: Together = msgspec.field(default_factory=Together)  # a[t] with s[t+1], in the same pairs
    wraps: tuple[int, ...] = ()  # of each state dimension: steps at which it jumps by more than pi


def sum_motion(steps: Steps, space: ActionSpace) -> MotionSums:
    """Sums over some whole episodes."""
    before = np.roll(steps.action, 1, axis=0)
    moves = [i for i in range(steps.action.shape[1]) if i not in (space.gripper, space.terminate)]
    grip = space.gripper
    holds = ~steps.next_to if grip is None else ~steps.next_to | (steps.action[:, grip] == before[:, grip])
    holds = np.ones(len(steps), np.bool_) if grip is None else holds
    same = steps.next_to & _quiet(steps.action[:, moves].astype(np.float64) - before[:, moves])
    return MotionSums(
        int((holds & _quiet(steps.action[:, moves])).sum()),
        int((holds & same).sum()),
        int((steps.next_to & (steps.action == before).all(axis=1)).sum()),
        count(_transitions(steps, space)),
        *_compared(steps),
    )


def _quiet(motion: NDArray[np.floating]) -> NDArray[np.bool_]:
    return np.linalg.norm(motion.astype(np.float64), axis=1) < STILL if motion.shape[1] else np.zeros(len(motion), np.bool_)


def _transitions(steps: Steps, space: ActionSpace) -> I64:
    """How often the gripper is told to open or to close in each episode, int64[episodes]; none without a gripper.

    What lies in the middle, as it does where only changes are commanded, goes on with what was said last.
    """
    if space.gripper is None:
        return np.empty(0, np.int64)
    dim = space.dims[space.gripper]
    opened, closed = dim.open or 0.0, dim.closed or 0.0
    part = (steps.action[:, space.gripper].astype(np.float64) - closed) / (opened - closed) - 0.5
    said = np.where(np.abs(part) > SURE, np.sign(part), 0)
    last = np.maximum.accumulate(np.where(said != 0, np.arange(len(said)), -1))
    first = np.repeat(steps.starts, np.diff(steps.starts, append=len(steps)))
    carried = np.where(last >= first, said[np.maximum(last, 0)], 0)
    changes = steps.follows & (carried * np.roll(carried, 1) < 0)
    return np.add.reduceat(changes.astype(np.int64), steps.starts)


def _compared(steps: Steps) -> tuple[tuple[Together, ...], Together, tuple[int, ...]]:
    """Every dimension of the commands with every dimension of the states; nothing where there are no states."""
    if steps.state is None:
        return (), Together(), ()
    state, change = steps.state.astype(np.float64), np.diff(steps.state.astype(np.float64), axis=0)
    rows = np.flatnonzero(steps.next_to[1:])
    with np.errstate(invalid="ignore"):
        wraps = (np.abs(change[rows]) > HALF_TURN).sum(axis=0)
    kept = compared(steps.action.shape[1], state.shape[1])
    lags = tuple(_lagged(steps, change[:, :kept], lag) for lag in LAGS)
    return lags, crossed(steps.action[rows], state[rows + 1, :kept]), tuple(map(int, wraps))


def compared(dims: int, states: int) -> int:
    """How many of so many state dimensions, the first ones, are compared with actions of so many dimensions."""
    return min(states, MOST_PAIRS // dims)


def _lagged(steps: Steps, change: F64, lag: int) -> Together:
    """a[t] with s[t+lag+1] - s[t+lag], where all of that is one run of steps without a gap."""
    t = np.arange(max(0, -lag), min(len(steps), len(change) - lag))
    run = steps.stretch
    t = t[(run[t + lag] == run[t]) & (run[t + lag + 1] == run[t])]
    return crossed(steps.action[t], change[t + lag])
