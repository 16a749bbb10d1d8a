"""Step two: what a source says becomes what rt2data means. Steps and Examples in, Rows and Rejects out; nothing is silently lost"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from rt2data.actions.space import ActionSpace, load_space, to_polarity
from rt2data.errors import DataError
from rt2data.order import key64
from rt2data.records import F32, Example, Fact, Reject, Row, SourceRecord, Step
from rt2data.sources.base import HELD_OUT, RobotSource, Source, WebSource
from rt2data.text.answers import distinct_answers
from rt2data.text.clean import clean_text


def standardize(source: Source, records: Iterable[SourceRecord]) -> Iterator[Row | Fact | Reject]:
    """Rows, facts and rejects of a stream of raw records of one source. Steps of an episode come together."""
    for found in _rows(source, records):
        yield held_out(found, source) if isinstance(found, Row) else found


def _rows(source: Source, records: Iterable[SourceRecord]) -> Iterator[Row | Fact | Reject]:
    if isinstance(source, RobotSource):
        yield from _robot_rows(EpisodeStandard(source), records)
    elif isinstance(source, WebSource):
        for record in records:
            yield from _example(record, source) if isinstance(record, Example) else _passed_on(record)


def _robot_rows(standard: EpisodeStandard, records: Iterable[SourceRecord]) -> Iterator[Row | Fact | Reject]:
    """Rows episode by episode; each is let go at its last step, before the next is read: its pictures may be views that die."""
    episode: list[Step] = []
    for record in records:
        if not isinstance(record, Step):
            yield from _passed_on(record)
            continue
        if episode and episode[-1].episode != record.episode:
            yield from standard.rows(episode)
            episode = []
        episode.append(record)
        if record.step + 1 == record.steps:
            yield from standard.rows(episode)
            episode = []
    if episode:
        yield from standard.rows(episode)


def _passed_on(record: SourceRecord) -> Iterator[Fact | Reject]:
    if not isinstance(record, Fact | Reject):
        raise TypeError(f"{type(record).__name__} from a source of the other side")
    yield record


def held_out(row: Row, source: Source) -> Row:
    """Move a fraction of the groups to split `val`, by hash of the group: stable when data grows, and never tearing a group."""
    if source.holdout and key64("holdout", row.group) < source.holdout * 2**64:
        return replace(row, split=HELD_OUT)
    return row


def _example(example: Example, source: WebSource) -> Iterator[Row | Reject]:
    row = Row(example.key, example.group, example.split, example.question, example.images, answers=example.answers)
    if source.answers != "all":
        yield row
        return
    for pick, _ in enumerate(distinct_answers(example.answers)):
        yield replace(row, key=f"{row.key}-a{pick}", pick=pick)


@dataclass(frozen=True)
class EpisodeStandard:
    """Rules for the episodes of one robot source: dimensions, finite values, gripper sign, first and last steps, filters."""

    source: RobotSource

    @cached_property
    def space(self) -> ActionSpace:
        return load_space(self.source.action_space)

    @cached_property
    def gripper(self) -> int | None:
        return self.space.gripper

    @cached_property
    def ends(self) -> int | None:
        return self.space.terminate

    def rows(self, episode: list[Step]) -> Iterator[Row | Reject]:
        """Rows of one episode in order, and what was left out of it."""
        refusal = self._refusal(episode)
        if refusal is not None:
            yield refusal
            return
        kept: list[Step] = []
        for step, reason in zip(episode, self._reasons(episode), strict=True):
            if reason is None:
                kept.append(step)
            else:
                yield Reject(reason.word, where(step), fault=reason.fault)
        for step in kept:
            yield self._row(step, last_kept=step is kept[-1], recorded_end=episode[-1])

    def _refusal(self, episode: list[Step]) -> Reject | None:
        """Why the whole episode is left out, if it is."""
        filters, first = self.source.filters, episode[0]
        place, count = f"episode {first.episode}", len(episode)
        self._check_dimensions(episode)
        if len(first.instruction.encode()) > self.source.max_text_bytes:
            return Reject("too_long_text", place, f"{len(first.instruction)} characters", count=count)
        if not first.instruction.strip() and self.source.blank_instruction == "reject":
            return Reject("blank_instruction", place, count=count)
        if self.source.bad_step == "episode" and not all(_finite(episode)):
            return Reject("nan_action", place, count=count)
        if first.steps < filters.min_steps:
            return Reject("too_short", place, f"{first.steps} steps", fault=False, count=count)
        if filters.max_steps is not None and first.steps > filters.max_steps:
            return Reject("too_long", place, f"{first.steps} steps", fault=False, count=count)
        if filters.instruction is not None and not re.search(filters.instruction, first.instruction, re.IGNORECASE):
            return Reject("instruction_filter", place, fault=False, count=count)
        return None

    def _check_dimensions(self, episode: list[Step]) -> None:
        size = self.space.size
        for step in episode:
            if size is not None and step.action.shape != (size,):
                raise DataError(
                    f"action has {step.action.size} dimensions, action space {self.space.name} has {size}",
                    where(step),
                    "name the action space this source has",
                )

    def _reasons(self, episode: list[Step]) -> list[Reason | None]:
        """For each step why it is left out, or None."""
        last = self._steps_to_drop_at_end(episode)
        reasons: list[Reason | None] = []
        before: Step | None = None
        for index, (step, finite) in enumerate(zip(episode, _finite(episode), strict=True)):
            reason = self._step_reason(step, finite, before, index, len(episode) - last)
            reasons.append(reason)
            before = step if reason is None else before
        return reasons

    def _step_reason(self, step: Step, finite: bool, before: Step | None, index: int, end: int) -> Reason | None:
        if index < self.source.filters.drop_first:
            return FIRST_STEP
        if index >= end:
            return LAST_STEP
        if not finite:
            return NAN_ACTION
        if self._is_noop(step, before):
            return NOOP
        return None

    def _steps_to_drop_at_end(self, episode: list[Step]) -> int:
        rule = self.source.filters.drop_last
        return int(_last_is_undefined(episode)) if rule == "auto" else rule

    def _is_noop(self, step: Step, before: Step | None) -> bool:
        limit = self.source.filters.noop
        if limit is None:
            return False
        fixed = [i for i in (self.gripper, self.ends) if i is not None]
        still = float(np.linalg.norm(np.delete(step.action, fixed))) < limit
        grip = self.gripper
        return still and (before is None or grip is None or step.action[grip] == before.action[grip])

    def _row(self, step: Step, last_kept: bool, recorded_end: Step) -> Row:
        action = self._action(step)
        return Row(
            key=f"{step.episode}-{step.step:06d}",
            group=step.episode,
            split=step.split,
            text=clean_text(step.instruction),
            images=step.images,
            step=step.step,
            steps=step.steps,
            action=action,
            state=step.state,
            terminate=self._terminates(action, last_kept, recorded_end),
            timestamp=step.timestamp,
        )

    def _terminates(self, action: F32, last_kept: bool, recorded_end: Step) -> bool:
        """Whether the task ends here: as the action says where it has a dimension for it, else as the recipe says."""
        if self.ends is not None:
            return bool(self.space.ended(action[None])[0])
        ends = {"last_step": last_kept, "is_terminal": last_kept and recorded_end.is_terminal, "never": False}
        return ends[self.source.terminate]

    def _action(self, step: Step) -> F32:
        grip, opened = self.gripper, self.source.gripper_open
        if grip is None or opened is None:
            return step.action
        action = step.action.copy()
        action[grip] = to_polarity(action[grip], opened, self.space.dims[grip])
        return action


@dataclass(frozen=True)
class Reason:
    """Why a step is left out, and whether that is a fault of the data."""

    word: str
    fault: bool


FIRST_STEP = Reason("first_step", fault=False)
LAST_STEP = Reason("last_step", fault=False)
NOOP = Reason("noop", fault=False)
NAN_ACTION = Reason("nan_action", fault=True)


def where(step: Step) -> str:
    """How to find a step again."""
    return f"episode {step.episode} step {step.step}"


def _finite(episode: list[Step]) -> list[bool]:
    """For each step whether all numbers of its action and state are."""
    vectors = [step.action if step.state is None else np.concatenate([step.action, step.state]) for step in episode]
    if len({len(vector) for vector in vectors}) > 1:
        return [bool(np.isfinite(vector).all()) for vector in vectors]
    found: list[bool] = np.isfinite(np.stack(vectors)).all(axis=1).tolist()
    return found


def _last_is_undefined(episode: list[Step]) -> bool:
    """RLDS leaves the action of a last step undefined, most conversions do not: zero, repeated or NaN means undefined."""
    if len(episode) < 2:
        return False
    action = episode[-1].action
    return not action.any() or not np.isfinite(action).all() or np.array_equal(action, episode[-2].action)
