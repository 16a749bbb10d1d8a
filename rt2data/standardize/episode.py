"""The rules for the episodes of a robot source: which steps are kept, and where the task ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from rt2data.errors import DataError
from rt2data.read.action_space import ActionSpace, load_space, to_polarity
from rt2data.read.annotations.facts import BARE, NOTED, fact
from rt2data.read.annotations.settings import NOTES, POOL
from rt2data.read.conversions import Resample
from rt2data.read.source import RobotSource
from rt2data.read.text import clean_text
from rt2data.records import F32, NO_MARKS, End, Fact, Reject, Row, Step
from rt2data.standardize.conversions import Names, convert, defines_last
from rt2data.standardize.end_marks import DROPPED, OPPOSITES, REQUIRED, cut_at_first, fact_name, marks_of
from rt2data.standardize.filters import Called, Choice, called, moving
from rt2data.standardize.reasons import FIRST_STEP, IDLE, LAST_STEP, NAN_ACTION, NOOP, Reason, rejects, tasks_of, where
from rt2data.standardize.words import WordRules, count_placeholders

Found = Row | Fact | Reject


@dataclass(frozen=True)
class EpisodeStandard:
    """Rules for the episodes of a robot source: dimensions, words, finite values, gripper sign, first and last steps, filters."""

    source: RobotSource

    @cached_property
    def space(self) -> ActionSpace:
        return load_space(self.source.action_space)

    @cached_property
    def grippers(self) -> list[int]:
        return [*self.space.grippers]

    @cached_property
    def ends(self) -> int | None:
        return self.space.terminate

    @cached_property
    def names(self) -> Names:
        return Names(self.space.names, self.source.state_names or ())

    @cached_property
    def recorded_hz(self) -> float | None:
        """The log's rate, read only if a rule needs it, because that opens the log."""
        return self.source.recorded_hz if any(isinstance(rule, Resample) for rule in self.source.conversions) else None

    @cached_property
    def words(self) -> WordRules:
        return WordRules(self.source)

    @cached_property
    def choice(self) -> Choice:
        return Choice(self.source.filters)

    def rows(self, record: list[Step]) -> Iterator[Found]:
        """Rows of one recorded episode in order, its rejects, and facts. The list's entries may be overwritten."""
        episodes = cut_at_first(record)
        if len(episodes) > 1:
            yield Fact("episodes.cut_at_is_first", len(episodes) - 1)
        offset = 0
        for episode in episodes:
            yield from self._episode(episode, called(episode, record[0].episode, offset))
            offset += len(episode)

    def _episode(self, episode: list[Step], name: Called) -> Iterator[Found]:
        yield from self.choice.listed(name)
        refusal = self._refusal(episode, name)
        if refusal is not None:
            yield refusal
            return
        yield from self.choice.matched(name)
        if self.source.conversions:
            episode, told = convert(episode, self.source.conversions, self.names, self.recorded_hz)
            yield from told
            if not episode:
                return
        self._check_dimensions(episode[0])
        reasons = self._reasons(episode, name)
        yield from rejects(episode, reasons)
        kept = [number for number, reason in enumerate(reasons) if reason is None]
        if not kept:
            return
        yield from self._facts(episode, kept)
        end = self._end(kept[-1], reasons)
        marks = self._marks(episode)
        for number in kept:
            yield self._row(episode, number, end, marks)
            episode[number] = episode[-1]  # frees the memory of finished steps

    def _refusal(self, episode: list[Step], name: Called) -> Reject | None:
        """Why the whole episode is dropped, or None."""
        filters, first = self.source.filters, episode[0]
        place, count = f"episode {first.episode}", len(episode)
        if reason := self.choice.refusal(name):
            return Reject(reason, place, name.origin, fault=False, count=count, tasks=tasks_of(episode))
        if first.steps < filters.min_steps:
            return Reject("too_short", place, f"{first.steps} steps", fault=False, count=count, tasks=tasks_of(episode))
        if filters.max_steps is not None and first.steps > filters.max_steps:
            return Reject("too_long", place, f"{first.steps} steps", fault=False, count=count, tasks=tasks_of(episode))
        if ragged := _ragged(episode):
            return Reject("ragged_episode", place, ragged, count=count)
        return None

    def _check_dimensions(self, step: Step) -> None:
        size = self.space.size
        if size is not None and step.action.shape != (size,):
            raise DataError(
                f"action has {step.action.size} dimensions, action space {self.space.name} has {size}",
                where(step),
                "name the action space this source has",
            )

    # Steps

    def _reasons(self, episode: list[Step], name: Called) -> list[Reason | None]:
        """For each step, why it is dropped, or None."""
        stop = len(episode) - self._steps_to_drop_at_end(episode)
        words, finite = self.words.reasons(episode), _finite(episode)
        ranges, idle = self.choice.reasons(name, len(episode)), self._idle(episode)
        reasons: list[Reason | None] = []
        before: Step | None = None
        for number, step in enumerate(episode):
            edge = FIRST_STEP if number < self.source.filters.drop_first else LAST_STEP if number >= stop else None
            reason = edge or words[number] or ranges[number] or self._motion_reason(step, finite[number], before) or idle[number]
            reasons.append(reason)
            before = step if reason is None else before
        if self.source.bad_step == "episode" and NAN_ACTION in reasons:
            return [NAN_ACTION if reason in (None, NOOP, IDLE) else reason for reason in reasons]
        return reasons

    def _motion_reason(self, step: Step, finite: bool, before: Step | None) -> Reason | None:
        if not finite:
            return NAN_ACTION
        return NOOP if self._is_noop(step, before) else None

    def _steps_to_drop_at_end(self, episode: list[Step]) -> int:
        rule = self.source.filters.drop_last
        if rule != "auto":
            return rule
        if defines_last(self.source.conversions):
            return 0
        return int(_last_is_undefined(episode) and not self._ends_task(episode[-1].action))

    def _is_noop(self, step: Step, before: Step | None) -> bool:
        limit = self.source.filters.noop
        if limit is None or self._ends_task(step.action):
            return False
        still = float(np.linalg.norm(np.delete(step.action, self._fixed))) < limit
        return still and (before is None or np.array_equal(step.action[self.grippers], before.action[self.grippers]))

    def _idle(self, episode: list[Step]) -> list[Reason | None]:
        """For each step, IDLE if the robot hardly moves there, else None."""
        rule = self.source.filters.idle
        if rule is None:
            return [None] * len(episode)
        kept = moving(np.delete(np.stack([step.action for step in episode]), self._fixed, axis=1), rule)
        return [None if keep or self._ends_task(step.action) else IDLE for keep, step in zip(kept.tolist(), episode, strict=True)]

    @cached_property
    def _fixed(self) -> list[int]:
        """The dimensions that are not motion."""
        return [*self.grippers, *([] if self.ends is None else [self.ends])]

    # Ends

    def _ends_task(self, action: F32) -> bool:
        """Whether an action says, in a dimension of its own, that the task ends."""
        return self.ends is not None and bool(self.space.ended(action[None])[0])

    def _end(self, last: int, reasons: Sequence[Reason | None]) -> int | None:
        """The step at which the task ends: the last one kept, unless steps with other words follow it."""
        return None if any(reason is not None and reason.words for reason in reasons[last + 1 :]) else last

    def _marks(self, episode: list[Step]) -> End:
        """The marks that the recipe allows to decide, if any."""
        wanted = self.source.filters.success
        if not wanted and (self.ends is not None or self.source.terminate not in ("auto", "success")):
            return NO_MARKS
        return marks_of(episode) | (End.WANTED if wanted else NO_MARKS)

    def _claims_end(self, episode: list[Step], number: int, end: int | None) -> bool:
        """Whether the task ends at a step: as the action says if it has a dimension for it, else as the recipe says."""
        if self.ends is not None:
            return self._ends_task(episode[number].action)
        rule = self.source.terminate
        return number == end and rule != "never" and (rule != "is_terminal" or episode[-1].is_terminal)

    def _facts(self, episode: list[Step], kept: Sequence[int]) -> Iterator[Fact]:
        yield from count_placeholders(episode[number].instruction for number in kept)
        yield from self._annotated([episode[number] for number in kept])
        if any(after - before > 1 for before, after in pairwise(kept)):
            yield Fact("episodes.with_gaps")
        if self.source.filters.success or self.source.terminate == "success":
            yield Fact(REQUIRED)
        if self.ends is None or self.source.filters.success:
            marks = marks_of(episode)
            yield from (Fact(fact_name(mark)) for mark in (*OPPOSITES, *OPPOSITES.values()) if mark in marks)
        elif (said := {number for number, step in enumerate(episode) if self._ends_task(step.action)}) and not said & {*kept}:
            yield Fact(DROPPED)

    def _annotated(self, kept: Sequence[Step]) -> Iterator[Fact]:
        """How many steps have annotations or pools joined to the source, and how many do not."""
        for name, has in ((NOTES, [bool(step.notes) for step in kept]), (POOL, [bool(step.pool) for step in kept])):
            if name in self.source.joined:
                yield from (Fact(fact(name, NOTED), has.count(True)), Fact(fact(name, BARE), has.count(False)))

    # Rows

    def _row(self, episode: list[Step], number: int, end: int | None, marks: End) -> Row:
        step = episode[number]
        return Row(
            key=f"{step.episode}-{step.step:06d}",
            group=step.episode,
            split=step.split,
            text=clean_text(step.instruction),
            images=step.images,
            step=step.step,
            steps=step.steps,
            action=self._action(step),
            state=step.state,
            terminate=self._claims_end(episode, number, end),
            marks=marks,
            timestamp=step.timestamp,
            notes=step.notes,
            pool=step.pool,
        )

    def _action(self, step: Step) -> F32:
        opened = self.source.gripper_open
        if not self.grippers or opened is None:
            return step.action
        action = step.action.copy()
        for grip in self.grippers:
            action[grip] = to_polarity(action[grip], opened, self.space.dims[grip])
        return action


def _ragged(episode: list[Step]) -> str:
    """What differs between the steps of an episode that should have one size; empty if nothing does."""
    for name, sizes in (
        ("actions", {step.action.shape for step in episode}),
        ("states", {None if step.state is None else step.state.shape for step in episode}),
    ):
        if len(sizes) > 1:
            return f"{name} of different sizes: {', '.join(sorted(str(size) for size in sizes))}"
    return ""


def _finite(episode: list[Step]) -> list[bool]:
    """For each step, whether all numbers of its action and state are finite."""
    actions, states = [step.action for step in episode], [step.state for step in episode if step.state is not None]
    found = _rows_finite(actions)
    if states:
        found &= _rows_finite(states)
    rows: list[bool] = found.tolist()
    return rows


def _rows_finite(vectors: Sequence[F32]) -> NDArray[np.bool_]:
    """Whether all numbers of each vector are finite; all have one size. Joined end to end, as `np.stack` makes an array of each."""
    finite = np.isfinite(np.concatenate(vectors)).reshape(len(vectors), vectors[0].size)
    return np.asarray(finite.all(axis=1))


def _last_is_undefined(episode: list[Step]) -> bool:
    """Whether the last action is zero, repeated or NaN: RLDS leaves it undefined, though most conversions do not."""
    if len(episode) < 2:
        return False
    action = episode[-1].action
    return not action.any() or not np.isfinite(action).all() or np.array_equal(action, episode[-2].action)
