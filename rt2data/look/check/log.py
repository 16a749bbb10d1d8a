"""The episodes of a log with its declarations, and the figures shared by several checks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rt2data.look.check.episode import Episode
from rt2data.look.stats.motion import LAGS, NO_LAG, Correlations, MotionSums, Steps, correlate, sum_motion
from rt2data.look.stats.summary import POSITIONS, says_absolute
from rt2data.read.action_space import ActionSpace
from rt2data.records import Reject
from rt2data.tally.moments import F64, Covariance

Mode = Literal["delta", "absolute", "velocity"]
CLEAR = 0.4
"""Minimum correlation for a dimension to vote. With 117 pairs of steps, as in the smallest log here, one in a thousand reaches 0.28
by chance."""
APART = 0.3
"""Margin by which one correlation must exceed another: displacements of Bridge have .76 to .93 against .0 to .6, positions of ALOHA
.99 against .0 to .2."""
FEW = 50
"""Pairs of steps below which nothing is concluded about motion."""


@dataclass(frozen=True)
class Log:
    """Episodes of one log, all of D action dimensions."""

    episodes: Sequence[Episode]
    space: ActionSpace  # of D dimensions
    name: str = ""
    hz: float | None = None  # as declared
    state_names: tuple[str, ...] | None = None
    rejects: tuple[Reject, ...] = ()  # faults found while reading

    @cached_property
    def mode(self) -> Mode | None:
        """The mode declared by the action space; None if it does not declare one."""
        kinds: dict[str, Mode] = {"delta": "delta", "absolute": "absolute", "velocity": "velocity"}
        said = kinds.get((self.space.control_mode or "").split("_")[0])
        return said or ("absolute" if says_absolute(self.space) else None)

    @cached_property
    def looks(self) -> Mode | None:
        """Displacements or positions, according to how most dimensions move; None if unclear."""
        if self.found is None or not self.paired:
            return None
        level = np.array([abs(self.found.level[i, j]) for i, j in self.paired.items()])
        change = np.array([np.abs(self.found.change[:, i, j]).max() for i, j in self.paired.items()])
        if 2 * ((level > POSITIONS) & (level > change + APART)).sum() > len(level):
            return "absolute"
        return "delta" if 2 * ((change > CLEAR) & (change > level)).sum() > len(level) else None

    @cached_property
    def steps(self) -> Steps:
        """All steps, with episodes concatenated."""
        return _steps(self.episodes, [each.action for each in self.episodes])

    @cached_property
    def sums(self) -> MotionSums:
        """Sums over all steps."""
        return sum_motion(self.steps, self.space)

    @cached_property
    def found(self) -> Correlations | None:
        """Actions with states and their changes; None without states."""
        return correlate(self.sums, self.dims) if len(self.steps) else None

    @cached_property
    def motion(self) -> MotionSums:
        """As `sums`, for actions as displacements: positions are replaced by their changes."""
        if (self.looks or self.mode) != "absolute":
            return self.sums
        longer = [each for each in self.episodes if len(each) > 1]
        moved = [np.diff(each.action, axis=0, prepend=each.action[:1]) for each in longer]
        return sum_motion(_steps(longer, moved), self.space) if longer else self.sums

    @cached_property
    def moved(self) -> Correlations | None:
        """Displacements with the changes of the states."""
        return correlate(self.motion, self.dims) if self.found else None

    @property
    def dims(self) -> int:
        """D."""
        return len(self.space.dims)

    @property
    def states(self) -> int:
        """S; 0 if not every step has as many."""
        return 0 if self.steps.state is None else self.steps.state.shape[1]

    @cached_property
    def arm(self) -> tuple[int, ...]:
        """Dimensions that move the robot: without gripper and terminate."""
        return tuple(i for i in range(self.dims) if i not in (*self.space.grippers, self.space.terminate))

    @cached_property
    def own(self) -> dict[int, int]:
        """Action dimension -> the state dimension it should move: by name, or by position if there are equally many."""
        if self.state_names:
            places = {name: j for j, name in enumerate(self.state_names)}
            return {i: places[name] for i, name in enumerate(self.space.names) if name in places}
        return {i: i for i in range(self.dims)} if self.dims == self.states else {}

    @cached_property
    def paired(self) -> dict[int, int]:
        """Moving dimension -> its own state dimension, else the one it correlates with."""
        if self.found is None:
            return {}
        found = self.own or self.found.pairs(self.states)
        alive = self.steps.action.std(axis=0) > 0
        return {i: j for i, j in found.items() if i in self.arm and alive[i] and j < self.found.level.shape[1]}

    @property
    def pairs_of_steps(self) -> int:
        """The number of pairs of consecutive steps with a state."""
        return 0 if self.found is None else self.found.steps

    def without_motion(self) -> str:
        """Why nothing can be concluded about actions and states; empty if something can."""
        if self.found is None:
            return "the log has no state" if not self.states else "no two consecutive steps"
        if self.pairs_of_steps < FEW:
            return f"only {self.pairs_of_steps} pairs of steps"
        return "" if self.paired else "no action correlates with the state"

    def best_lag(self, i: int, j: int) -> tuple[int, float]:
        """The lag at which a displacement and a change correlate most, and that correlation."""
        assert self.moved is not None
        by_lag = self.moved.change[:, i, j]
        best = max(range(len(LAGS)), key=lambda at: (abs(by_lag[at]), -abs(LAGS[at])))
        return LAGS[best], float(by_lag[best])


def _steps(episodes: Sequence[Episode], actions: Sequence[NDArray[np.float32]]) -> Steps:
    lengths = [len(each) for each in episodes]
    widths = {None if each.state is None else each.state.shape[1] for each in episodes}
    whole = len(widths) == 1 and None not in widths
    return Steps(
        np.repeat(np.arange(len(episodes)), lengths),
        np.concatenate([each.steps for each in episodes]),
        np.concatenate(actions),
        np.concatenate([each.state for each in episodes if each.state is not None]) if whole else None,
        np.concatenate([each.time for each in episodes]),
    )


def slopes(pairs: Covariance, dims: int) -> F64:
    """float64[D, S]: slope of y over x; NaN if x is constant."""
    with np.errstate(divide="ignore", invalid="ignore"):
        found: F64 = np.where(pairs.xx > 0, pairs.xy / pairs.xx, np.nan).reshape(dims, -1)
    return found


def at_no_lag(sums: MotionSums) -> Covariance:
    """Actions with the state changes they cause (lag 0)."""
    return sums.lags[NO_LAG]
