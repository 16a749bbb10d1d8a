"""Why steps are dropped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from rt2data.read.text import clean_text
from rt2data.records import Reject, Step


@dataclass(frozen=True)
class Reason:
    """Why a step is dropped, whether that is a fault of the data, and whether its words are the cause."""

    word: str
    fault: bool = False
    words: bool = False


FIRST_STEP = Reason("first_step")
LAST_STEP = Reason("last_step")
SKIPPED = Reason("skipped_step")
NOOP = Reason("noop")
IDLE = Reason("idle")
OUTSIDE_KEEP_RANGES = Reason("outside_keep_ranges")
NO_KEEP_RANGES = Reason("no_keep_ranges")
STEP_FILTERS = (FIRST_STEP, LAST_STEP, NOOP, IDLE, OUTSIDE_KEEP_RANGES, NO_KEEP_RANGES)
"""Filters that drop steps of episodes and tasks that other filters chose: none is meant to empty a task."""
BAD_TIMES = Reason("bad_times", fault=True)
NAN_ACTION = Reason("nan_action", fault=True)
INSTRUCTION_FILTER = Reason("instruction_filter", words=True)
TOO_LONG_TEXT = Reason("too_long_text", fault=True, words=True)
BLANK = Reason("blank_instruction", words=True)
BLANK_FAULT = Reason("blank_instruction", fault=True, words=True)


def rejects(episode: Sequence[Step], reasons: Sequence[Reason | None]) -> Iterator[Reject]:
    """One Reject for each run of steps dropped for the same reason."""
    for reason, run in groupby(zip(episode, reasons, strict=True), key=lambda pair: pair[1]):
        if reason is not None:
            steps = [step for step, _ in run]
            detail = f"{len(steps[0].instruction)} characters" if reason is TOO_LONG_TEXT else ""
            yield Reject(reason.word, _where(steps, len(episode)), detail, reason.fault, len(steps), tasks_of(steps))


def tasks_of(steps: Sequence[Step]) -> tuple[tuple[str, int], ...]:
    """How many of the steps have each instruction, cleaned as in rows."""
    return tuple((clean_text(text), count) for text, count in Counter(step.instruction for step in steps).items())


def _where(run: Sequence[Step], steps: int) -> str:
    if len(run) == steps > 1:
        return f"episode {run[0].episode}"
    return where(run[0]) if len(run) == 1 else f"episode {run[0].episode} steps {run[0].step} to {run[-1].step}"


def where(step: Step) -> str:
    """How to find a step again."""
    return f"episode {step.episode} step {step.step}"
