"""The rules of `conversions`, applied to the columns of one whole episode, in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rt2data.errors import UsageError
from rt2data.read.conversions import (
    AbsoluteFromDelta,
    Binarize,
    Clip,
    Conversion,
    DeltaFromAbsolute,
    DeltaFromState,
    Invert,
    Negate,
    OfDims,
    Offset,
    OfMotion,
    RelativeToAbsolute,
    Resample,
    Rotate,
    Rule,
    Scale,
    Select,
    Side,
    Skip,
    Threshold,
    positions,
)
from rt2data.records import F32, Fact, Reject, Step
from rt2data.standardize.reasons import BAD_TIMES, FIRST_STEP, LAST_STEP, SKIPPED, Reason, rejects
from rt2data.standardize.resample import FASTER, Times, are_times, nearest_steps, rate_of
from rt2data.standardize.rotations import composed, rewritten

WRAPPED = "conversions.wrapped_angles"
"""Fact: turns of more than half a circle, replaced by the shorter way round."""
JUMPS = "conversions.angle_jumps"
"""Fact: turns of more than half a circle, left unchanged."""
BETWEEN = "conversions.between_values"
"""Fact: gripper values between open and closed, replaced by one of them."""
ABSENT_STEPS = "conversions.absent_steps"
"""Fact: steps of a lower rate without a nearby step in the log: windows in time end there."""
CLIPPED = "conversions.clipped_values"
"""Fact: values clipped to a bound."""
ASSUMED_OPEN = "conversions.assumed_open"
"""Fact: episodes whose gripper never changes, taken to be open."""


@dataclass(frozen=True)
class Names:
    """Names of the dimensions, valid once values have as many as the action space, or the recipe's `state_names`."""

    action: Sequence[str] = ()
    state: Sequence[str] = ()

    def of(self, side: Side, values: F32) -> Sequence[str]:
        """Names of the dimensions of values [n, D]; none while their number is not D."""
        names = self.action if side == "action" else self.state
        return names if len(names) == values.shape[1] else ()


NO_NAMES = Names()


@dataclass(frozen=True)
class Columns:
    """What the rules work on: n steps out of T recorded ones."""

    action: F32  # [n, D]
    state: F32 | None  # [n, S]
    starts: NDArray[np.intp]  # n: the recorded step at which each begins
    reasons: tuple[Reason | None, ...]  # T: why a recorded step was dropped
    times: Times
    numbers: NDArray[np.intp] | None = None  # n, rising: new step numbers; None if the recorded ones are kept
    facts: tuple[Fact, ...] = ()

    def put(self, side: Side, values: F32) -> Columns:
        """These columns with the action or state replaced."""
        return replace(self, action=values) if side == "action" else replace(self, state=values)

    def counting(self, name: str, count: int) -> Columns:
        """These columns with one more fact, if the count is not 0."""
        return replace(self, facts=(*self.facts, Fact(name, count))) if count else self

    def lost(self, reason: Reason) -> Columns:
        """These columns with every step dropped."""
        none = np.zeros(len(self.starts), bool)
        left = {int(start) for start in self.starts}
        reasons = tuple(reason if at in left else old for at, old in enumerate(self.reasons))
        return replace(self, action=self.action[none], state=None, starts=self.starts[none], reasons=reasons)

    def without(self, at: int, reason: Reason) -> Columns:
        """These columns with step `at` dropped."""
        number = int(self.starts[at])
        return replace(
            self,
            action=np.delete(self.action, at, axis=0),
            state=None if self.state is None else np.delete(self.state, at, axis=0),
            starts=np.delete(self.starts, at),
            numbers=None if self.numbers is None else np.delete(self.numbers, at),
            reasons=tuple(reason if i == number else old for i, old in enumerate(self.reasons)),
        )


def convert(
    episode: Sequence[Step], rules: Sequence[Conversion], names: Names = NO_NAMES, hz: float | None = None
) -> tuple[list[Step], list[Fact | Reject]]:
    """The steps of an episode after all rules, and facts and rejects. All steps must have the same sizes.

    `hz` is the number of steps per second, if the log says so. Raises UsageError if a rule names a dimension, or needs a state or
    times, that do not exist.
    """
    columns = _columns(episode, hz)
    for rule in rules:
        columns = _carried_out(rule, columns, names, episode[0].episode)
    return list(_steps(episode, columns)), [*rejects(episode, columns.reasons), *columns.facts]


def defines_last(rules: Sequence[Conversion]) -> bool:
    """Whether every remaining step has an action of its own, as the last step was dropped."""
    return any(isinstance(rule, DeltaFromState) for rule in rules)


def _columns(episode: Sequence[Step], hz: float | None) -> Columns:
    states = [step.state for step in episode if step.state is not None]
    return Columns(
        action=np.stack([step.action for step in episode]),
        state=np.stack(states) if states else None,
        starts=np.arange(len(episode)),
        reasons=(None,) * len(episode),
        times=Times.of(episode, hz),
    )


def _carried_out(rule: Conversion, columns: Columns, names: Names, where: str) -> Columns:
    if not len(columns.starts):
        return columns
    if isinstance(rule, OfDims):
        return _of_dims(rule, columns, names, where)
    if isinstance(rule, Skip):
        return _skipped(rule, columns, names)
    if isinstance(rule, Resample):
        return _resampled(rule, columns, names, where)
    return MOTIONS[type(rule)](_Motion(rule, columns, names, where))


def _steps(episode: Sequence[Step], columns: Columns) -> Iterator[Step]:
    """Each remaining step, with the end marks of dropped steps that follow it."""
    edges = [*columns.starts.tolist(), len(episode)]
    numbers = None if columns.numbers is None else (columns.numbers - columns.numbers[:1]).tolist()
    for at, (start, stop) in enumerate(pairwise(edges)):
        last = episode[stop - 1]
        place = {} if numbers is None else {"step": numbers[at], "steps": numbers[-1] + 1}
        yield replace(
            episode[start],
            action=columns.action[at],
            state=None if columns.state is None else columns.state[at],
            is_first=at == 0,
            is_last=last.is_last,
            is_terminal=last.is_terminal,
            success=last.success,
            reward=_reward(episode[start:stop]),
            **place,
        )


def _reward(steps: Sequence[Step]) -> float | None:
    """The largest, so that a sparse reward is not lost."""
    rewards = [step.reward for step in steps if step.reward is not None]
    return max(rewards, default=None) if len(rewards) == len(steps) else None


# Some dimensions of the action or the state


def _of_dims(rule: OfDims, columns: Columns, names: Names, where: str) -> Columns:
    values = columns.action if rule.of == "action" else _state(columns, rule, where)
    known = names.of(rule.of, values)
    if isinstance(rule, Rotate):
        return columns.put(rule.of, _rotated(rule, values, rule.places(values.shape[1], known)))
    places = positions(rule.dims, values.shape[1], known)
    if isinstance(rule, Select):
        return columns.put(rule.of, values[:, places])
    found = values.copy()
    found[:, places], counted = ELEMENTWISE[type(rule)](rule, values[:, places])
    return columns.put(rule.of, found).counting(*counted)


def _state(columns: Columns, rule: Rule, where: str) -> F32:
    if columns.state is None:
        what = f"the conversion {rule.rule} needs a state, and there is none"
        raise UsageError(what, f"episode {where}", "name it as `state`")
    return columns.state


Counted = tuple[str, int]
NOTHING: Counted = ("", 0)
Elementwise = Callable[[Any, F32], tuple[F32, Counted]]
"""Maps a rule and the values [T, n] of its dimensions to new values, and a fact to count."""


def _clipped(rule: Clip, values: F32) -> tuple[F32, Counted]:
    found: F32 = np.clip(values, np.float32(rule.low), np.float32(rule.high))
    return found, (CLIPPED, int((found != values).sum() - np.isnan(values).sum()))


def _thresholded(rule: Threshold, values: F32) -> tuple[F32, Counted]:
    return _finite_or(values, np.where(values > rule.at, rule.above, rule.below)), NOTHING


def _binarized(rule: Binarize, values: F32) -> tuple[F32, Counted]:
    """[T, n] as open (1) or closed (0): a value between takes the next decided one, or at the end the last value as it is."""
    is_open = values > rule.open
    between = ~(is_open | (values < rule.closed))
    at = np.arange(len(values))[:, None]
    following = np.minimum.accumulate(np.where(between, len(values) - 1, at)[::-1], axis=0)[::-1]
    found = np.take_along_axis(np.where(between, values, is_open), following, axis=0)
    return _finite_or(values, found), (BETWEEN, int(between.sum()))


def _absolute_gripper(rule: RelativeToAbsolute, values: F32) -> tuple[F32, Counted]:
    """Turns changes [T, n] into states [T, n], 1 open and 0 closed."""
    change = np.where(values < -rule.dead, 1, np.where(values > rule.dead, -1, 0))
    moves = (change != 0).any(axis=0)
    before = np.where(moves, -change[(change != 0).argmax(axis=0), np.arange(change.shape[1])], 1)
    held = np.concatenate([before[None], change])
    latest = np.maximum.accumulate(np.where(held != 0, np.arange(len(held))[:, None], 0), axis=0)
    found = np.take_along_axis(held, latest, axis=0)[1:]
    return _finite_or(values, found / 2 + 0.5), (ASSUMED_OPEN, int((~moves).sum()))


def _finite_or(values: F32, found: NDArray[Any]) -> F32:
    """What was found, but NaN where the log has NaN: a fault must not become a number."""
    return np.where(np.isnan(values), values, found).astype(np.float32)


ELEMENTWISE: dict[type[OfDims], Elementwise] = {
    Scale: lambda rule, values: (values * np.float32(rule.by), NOTHING),
    Offset: lambda rule, values: (values + np.float32(rule.by), NOTHING),
    Clip: _clipped,
    Negate: lambda rule, values: (-values, NOTHING),
    Invert: lambda rule, values: (1 - values, NOTHING),
    Threshold: _thresholded,
    Binarize: _binarized,
    RelativeToAbsolute: _absolute_gripper,
}


# Rotations


def _rotated(rule: Rotate, values: F32, places: Sequence[int]) -> F32:
    """[T, W] with the rotation at `places` rewritten and placed where its first number was."""
    first = min(places)
    before = [at for at in range(first) if at not in places]
    behind = [at for at in range(first, values.shape[1]) if at not in places]
    found = rewritten(values[:, places], rule.source, rule.target)
    return np.concatenate([values[:, before], found, values[:, behind]], axis=1)


# Between action and state, and in time


@dataclass(frozen=True)
class _Motion:
    """A rule between action and state, with its dimensions resolved."""

    rule: Any  # one of `MOTIONS`
    columns: Columns
    names: Names
    where: str

    @cached_property
    def places(self) -> list[int]:
        return self._positions(self.rule.dims)

    @cached_property
    def state(self) -> F32:
        """[n, k]: the state's numbers for the k dimensions."""
        state = _state(self.columns, self.rule, self.where)
        if self.rule.state is None:
            found = positions(self.places, state.shape[1])
        else:
            found = positions(self.rule.state, state.shape[1], self.names.of("state", state))
        if len(found) != len(self.places):
            what = f"the conversion {self.rule.rule} is for {len(self.places)} dimensions, and for {len(found)} of the state"
            raise UsageError(what, f"episode {self.where}")
        return state[:, found]

    @cached_property
    def turns(self) -> NDArray[np.bool_]:
        """bool[k]: which dimensions are angles."""
        return np.isin(self.places, self._positions(self.rule.angles or ()))

    @property
    def target(self) -> F32:
        """[n, k]: the action's numbers for the k dimensions."""
        return self.columns.action[:, self.places]

    def delta(self, delta: F32) -> Columns:
        """The columns with these changes [n, k] as action: angles over half a circle are counted, and wrapped if the rule asks."""
        far = self.turns & (np.abs(delta) > np.pi)
        if self.rule.wrap:
            delta = np.where(far, wrapped(delta), delta)
        return self.put(delta).counting(WRAPPED if self.rule.wrap else JUMPS, int(far.sum()))

    def put(self, values: F32) -> Columns:
        """The columns with these values [n, k] in the action."""
        action = self.columns.action.copy()
        action[:, self.places] = values
        return replace(self.columns, action=action)

    def _positions(self, dims: Sequence[int | str]) -> list[int]:
        action = self.columns.action
        return positions(dims, action.shape[1], self.names.of("action", action))


def wrapped(angles: F32) -> F32:
    """The equivalent angles between -pi (included) and pi."""
    return np.asarray((angles.astype(np.float64) + np.pi) % (2 * np.pi) - np.pi, np.float32)


def _delta_from_state(motion: _Motion) -> Columns:
    moved = np.diff(motion.state, axis=0, append=motion.state[-1:])
    return motion.delta(moved).without(len(moved) - 1, LAST_STEP)


def _delta_from_absolute(motion: _Motion) -> Columns:
    if motion.rule.against == "state":
        return motion.delta(motion.target - motion.state)
    return motion.delta(np.diff(motion.target, axis=0, prepend=motion.target[:1])).without(0, FIRST_STEP)


def _absolute_from_delta(motion: _Motion) -> Columns:
    if motion.rule.against == "state":
        found = motion.state + motion.target
    else:
        found = motion.state[:1] + np.cumsum(motion.target, axis=0, dtype=np.float64)
    far = motion.turns & (np.abs(found) > np.pi) & motion.rule.wrap
    return motion.put(np.where(far, wrapped(found), found).astype(np.float32)).counting(WRAPPED, int(far.sum()))


MOTIONS: dict[type[OfMotion], Callable[[_Motion], Columns]] = {
    DeltaFromState: _delta_from_state,
    DeltaFromAbsolute: _delta_from_absolute,
    AbsoluteFromDelta: _absolute_from_delta,
}


def _skipped(rule: Skip, columns: Columns, names: Names) -> Columns:
    """Every k-th step, with the last action of its window and the sums of its changes."""
    count = len(columns.starts)
    starts = np.arange(0, count, rule.every)
    numbers = np.arange(count) if columns.numbers is None else columns.numbers
    return _joined(columns, starts, numbers[starts] // rule.every, _actions_between(rule, columns, starts, names))


def _resampled(rule: Resample, columns: Columns, names: Names, where: str) -> Columns:
    """The steps at a lower rate. An episode with invalid times is lost.

    Raises UsageError if the log has no times, or a lower rate.
    """
    times = columns.times.seconds(rule.from_hz)
    if times is None:
        what = "the conversion resample needs the times of the steps, and there are none"
        raise UsageError(what, f"episode {where}", "give the log's rate as `from_hz`")
    seconds = times[columns.starts]
    if not are_times(seconds, rule.hz):
        return columns.lost(BAD_TIMES)
    rate = rate_of(seconds)
    if rate is not None and rate * FASTER < rule.hz:
        what = f"the conversion resample asks for {rule.hz:g} steps a second, and the log has {rate:.3g}: none are made up"
        raise UsageError(what, f"episode {where}", "ask for fewer")
    starts, numbers = nearest_steps(seconds, rule.hz)
    action = _actions_between(rule, columns, starts, names)
    known = names.of("action", columns.action)
    for turns in rule.rotations:
        places = turns.places(action.shape[1], known)
        action[:, places] = composed(columns.action[:, places], starts, turns.written, turns.frame)
    absent = int(numbers[-1]) + 1 - len(numbers)
    return _joined(columns, starts, numbers, action).counting(ABSENT_STEPS, absent)


def _actions_between(rule: Skip | Resample, columns: Columns, starts: NDArray[np.intp], names: Names) -> F32:
    """[len(starts), D]: the last action from each start to the next, and the sums of changes."""
    count, width = columns.action.shape
    action: F32 = columns.action[np.append(starts[1:], count) - 1]
    summed = positions(rule.sum or (), width, names.of("action", columns.action))
    action[:, summed] = np.add.reduceat(columns.action[:, summed], starts, axis=0)
    return action


def _joined(columns: Columns, starts: NDArray[np.intp], numbers: NDArray[np.intp], action: F32) -> Columns:
    """The columns of these steps, with new numbers and actions; the steps between are dropped."""
    lost = set(columns.starts.tolist()) - set(columns.starts[starts].tolist())
    return replace(
        columns,
        action=action,
        numbers=numbers,
        state=None if columns.state is None else columns.state[starts],
        starts=columns.starts[starts],
        reasons=tuple(SKIPPED if at in lost else old for at, old in enumerate(columns.reasons)),
    )
