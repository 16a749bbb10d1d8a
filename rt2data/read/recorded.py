"""One recorded episode as columns over its steps, and its conversion to Steps. Common to all robot logs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rt2data.records import F32, Image, Reject, Step

_NO_TEXT = re.compile("[\ud800-\udfff]")


class EpisodeFault(Exception):  # noqa: N818 (a finding about data, not an error of ours)
    """An episode that cannot be used. `steps` is the number of steps lost with it, if known."""

    def __init__(self, reason: str, detail: str, steps: int = 1) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail, self.steps = reason, detail, steps


@dataclass(frozen=True, slots=True)
class Recorded:
    """The columns of one episode of T steps. Images that cost time or memory are deferred (`records.Deferred`)."""

    action: F32  # [T, D], in the log's units
    images: Sequence[tuple[Image, ...]]  # T: the images of each step, without absent cameras
    instruction: str | Sequence[str] = ""  # of the episode, or of each step
    state: F32 | None = None  # [T, S]
    timestamps: Sequence[float] | None = None  # T, seconds
    success: bool | None = None  # of the episode, if the log marks it
    reward: Sequence[float] | None = None  # T
    is_terminal: bool = False  # whether the log says that the task ends at the last step
    numbers: Sequence[int] | None = None  # T, rising: step numbers in the episode, if steps are missing in between


class Episode(NamedTuple):
    """An episode that can be read."""

    name: str  # unique in the source; at most 40 characters of [A-Za-z0-9_-]
    split: str
    where: str  # to find it again: the file and the place in it
    read: Callable[[], Recorded]  # raises EpisodeFault


def read_episode(episode: Episode) -> Iterator[Step | Reject]:
    """The steps of an episode in order, or a Reject for the episode."""
    try:
        found = episode.read()
        yield from _steps(episode, found)
    except EpisodeFault as fault:
        yield Reject(fault.reason, f"{episode.where}, episode {episode.name}", fault.detail, count=fault.steps)


def _steps(episode: Episode, found: Recorded) -> Iterator[Step]:
    """Raises the same errors as `_check`."""
    words = [found.instruction] * len(found.action) if isinstance(found.instruction, str) else found.instruction
    _check(found, words)
    steps = range(len(found.action)) if found.numbers is None else found.numbers
    total = steps[-1] + 1
    for number in range(len(found.action)):
        is_last = number == len(found.action) - 1
        yield Step(
            episode=episode.name,
            step=steps[number],
            steps=total,
            split=episode.split,
            instruction=words[number],
            action=found.action[number],
            images=found.images[number],
            state=None if found.state is None else found.state[number],
            is_first=number == 0,
            is_last=is_last,
            is_terminal=found.is_terminal and is_last,
            success=found.success if is_last else None,
            reward=None if found.reward is None else float(found.reward[number]),
            timestamp=None if found.timestamps is None else float(found.timestamps[number]),
            origin=episode.where,
        )


def _check(found: Recorded, words: Sequence[str]) -> None:
    """Raises EpisodeFault if columns differ in length or are empty, or the instructions are not text."""
    columns = {
        "actions": found.action,
        "images": found.images,
        "states": found.state,
        "instructions": words,
        "timestamps": found.timestamps,
        "rewards": found.reward,
        "numbers": found.numbers,
    }
    lengths = {name: len(column) for name, column in columns.items() if column is not None}
    total = len(found.action)
    if set(lengths.values()) != {total}:
        raise EpisodeFault("ragged_episode", ", ".join(f"{n} {name}" for name, n in lengths.items()), max(lengths.values()))
    if not total:
        raise EpisodeFault("empty_episode", "it has no steps")
    if any(map(_NO_TEXT.search, set(words))):
        raise EpisodeFault("bad_text", "an instruction holds half a surrogate pair", total)


def described_step(step: Step) -> dict[str, Any]:
    """A readable summary of the step's episode: length, instruction and sizes."""
    return {
        "episode": step.episode,
        "steps": step.steps,
        "instruction": step.instruction,
        "action": len(step.action),
        "state": 0 if step.state is None else len(step.state),
        "cameras": [image.camera for image in step.images],
    }
