"""One recording as one episode: messages, each with its own time, are assigned to the steps of one clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, overload

import numpy as np
from numpy.typing import NDArray

from rt2data.read.features import Part
from rt2data.read.log import LogLayout
from rt2data.read.recorded import EpisodeFault, Recorded
from rt2data.read.ros.align import I64, Clock, clock_of, following, held, median_interval, nearest, ticks_of
from rt2data.read.ros.container import Container, Topic
from rt2data.read.ros.fields import Field, find_field
from rt2data.read.ros.streams import ClockName, Gathered, Stream, Wanted, gather
from rt2data.records import F32, Fact, Image, Reject

Commands = Literal["next", "hold"]
_SECOND = 10**9
_ANOTHER_CLOCK = 10 * _SECOND
"""If stamps differ from log times by more than this, they come from another clock and are not just late."""


@dataclass(frozen=True)
class Rules:
    """A recipe's rules for assigning messages to steps."""

    clock: ClockName
    clock_topic: str | None
    hz: float | None
    tolerance: float | None  # nanoseconds
    commands: Commands
    cameras: Sequence[str]  # cameras that a step must have


@dataclass
class Reading:
    """A recording being read; `notes` is complete once `read` has returned or raised."""

    files: Sequence[Container]
    layout: LogLayout
    joints: Mapping[str, tuple[str, ...]]  # by path: the order of joints
    rules: Rules
    where: str
    notes: list[Fact | Reject] = field(default_factory=list)

    def read(self) -> Recorded:
        """The steps. Raises EpisodeFault."""
        found = gather(self.files, self._wanted(), self.rules.clock)
        clock = self._clock(found)
        self._note_losses(found, len(clock.times))
        self._check_clocks(found)
        self._note_times(found, clock)
        return self._recorded(found, clock)

    # What is wanted

    @cached_property
    def _topics(self) -> dict[str, Topic]:
        return {name: topic for file in self.files for name, topic in file.topics.items()}

    def _field(self, path: str) -> Field:
        """The field at a path. Raises EpisodeFault if there is no such topic."""
        found = find_field(path, self._topics)
        if found is None:
            raise EpisodeFault("missing_topic", f"it has no {path}")
        return found

    def _wanted(self) -> Wanted:
        layout = self.layout
        parts = [*layout.action, *layout.state, *(Part(path) for path in (layout.reward, layout.success) if path)]
        numbers = {self._field(part.path): self.joints.get(part.path, ()) for part in parts}
        words = [self._field(layout.instruction)] if layout.instruction else []
        clocks = [self.rules.clock_topic] if self.rules.clock_topic else []
        return Wanted(numbers, words, list(layout.cameras.values()), clocks)

    # Steps

    def _clock(self, found: Gathered) -> Clock:
        """The steps: the messages of the topic named in the recipe, else of the camera with the fewest images, else of the
        action.
        """
        named, cameras = self.rules.clock_topic, [self.layout.cameras[name] for name in self.rules.cameras]
        candidates = [named] if named else cameras or [self._field(self.layout.action[0].path).topic]
        topic = min(candidates, key=lambda name: (len(found.streams[name].times.chosen), name))
        times = found.streams[topic].times.rising
        if not len(times):
            raise EpisodeFault("empty_episode", f"there is no message of {topic}")
        if self.rules.hz is None:
            return clock_of(times, _SECOND)
        try:
            return ticks_of(times, self.rules.hz)
        except ValueError as error:
            raise EpisodeFault("wild_times", str(error)) from None

    def _recorded(self, found: Gathered, clock: Clock) -> Recorded:
        """The episode from the messages at the steps; a step without an image, an action or a state is dropped."""
        actions = self._commands(found, clock, self.layout.action)
        states = [self._nearest(found, clock, self._field(part.path).topic) for part in self.layout.state]
        images = {name: self._nearest(found, clock, topic) for name, topic in self.layout.cameras.items()}
        needed = {
            "no_image": [images[name] for name in self.rules.cameras],
            "no_action": actions,
            "no_state": states,
        }
        kept = self._kept(needed, len(clock.times))
        if not len(kept):
            raise EpisodeFault("empty_episode", f"none of {len(clock.times):,} steps has image, action and state", len(clock.times))
        self._note_unused(found, actions, kept)
        state = self._matrix(found, self.layout.state, [each[kept] for each in states])
        return Recorded(
            action=self._matrix(found, self.layout.action, [each[kept] for each in actions]),
            images=_Images(found, self.layout.cameras, {name: at[kept] for name, at in images.items()}, len(kept)),
            instruction=self._words(found, clock.times[kept]),
            state=state if self.layout.state else None,
            timestamps=(clock.times[kept] / 1e9).tolist(),
            success=self._success(found),
            reward=self._reward(found, clock, kept),
            numbers=(clock.numbers[kept] - clock.numbers[kept[0]]).tolist(),
        )

    def _kept(self, needed: dict[str, list[I64]], steps: int) -> I64:
        """Indices of the steps that have everything needed; the others are counted by the first thing they lack."""
        kept = np.ones(steps, np.bool_)
        for reason, columns in needed.items():
            there = np.all([each >= 0 for each in columns], axis=0) if columns else np.ones(steps, np.bool_)
            if lost := int(np.count_nonzero(kept & ~there)):
                self.notes.append(Reject(reason, self.where, _WHY[reason], fault=False, count=lost))
            kept &= there
        return np.flatnonzero(kept)

    def _commands(self, found: Gathered, clock: Clock, parts: Sequence[Part]) -> list[I64]:
        """For each part of the action, the message at each step."""
        every = [found.streams[self._field(part.path).topic].times.rising for part in parts]
        if self.rules.commands == "hold":
            return [held(clock.times, times) for times in every]
        return [following(clock.times, times, clock.period) for times in every]

    def _nearest(self, found: Gathered, clock: Clock, topic: str) -> I64:
        times = found.streams[topic].times.rising
        half = max(clock.period, median_interval(times)) / 2
        return nearest(clock.times, times, half if self.rules.tolerance is None else self.rules.tolerance)

    def _matrix(self, found: Gathered, parts: Sequence[Part], at: Sequence[I64]) -> F32:
        """float32[steps, D]: each part's numbers in the messages at `at` (indices in time order), concatenated."""
        columns = [self._column(found, part, each) for part, each in zip(parts, at, strict=True)]
        with np.errstate(over="ignore"):  # overflow becomes Inf, which `standardize` detects
            return (
                np.concatenate(columns, axis=1, dtype=np.float32, casting="same_kind") if columns else np.empty((0, 0), np.float32)
            )

    def _column(self, found: Gathered, part: Part, at: I64) -> NDArray[np.float64]:
        stream = found.streams[self._field(part.path).topic]
        values = stream.numbers[part.path].matrix()[:, part.start : part.stop]
        return values[stream.times.order[at]]

    def _note_unused(self, found: Gathered, actions: Sequence[I64], kept: I64) -> None:
        """Count commands that are not the action of any step, and those used for several steps."""
        every = sum(len(found.streams[self._field(part.path).topic].times.chosen) for part in self.layout.action)
        used = sum(len(np.unique(each[kept])) for each in actions)
        facts = {"ros.unused_commands": every - used, "ros.repeated_commands": len(kept) * len(actions) - used}
        self.notes += [Fact(name, count) for name, count in facts.items() if count]

    # Words, rewards, success

    def _words(self, found: Gathered, at: I64) -> str | list[str]:
        """A single instruction applies to the whole episode; if there are several, each applies until the next."""
        if self.layout.instruction is None:
            return ""
        stream = found.streams[self._field(self.layout.instruction).topic]
        texts = [_clean(stream.texts[number]) for number in stream.times.order.tolist()]
        if len(set(texts)) <= 1:
            return texts[0] if texts else ""
        return [texts[number] if number >= 0 else "" for number in held(at, stream.times.rising).tolist()]

    def _reward(self, found: Gathered, clock: Clock, kept: I64) -> list[float] | None:
        """The reward of each step, which follows its action; NaN if missing."""
        if self.layout.reward is None:
            return None
        stream = found.streams[self._field(self.layout.reward).topic]
        at = following(clock.times, stream.times.rising, clock.period)[kept]
        if not len(stream.times.rising) or (at < 0).all():
            return None
        values = stream.numbers[self.layout.reward].matrix()[stream.times.order, 0]
        rewards: list[float] = np.where(at >= 0, values[at], np.nan).tolist()
        return rewards

    def _success(self, found: Gathered) -> bool | None:
        """Success according to the last message."""
        if self.layout.success is None:
            return None
        stream = found.streams[self._field(self.layout.success).topic]
        values = stream.numbers[self.layout.success].matrix()
        return bool(values[stream.times.order[-1], 0] > 0) if len(values) else None

    # What is worth knowing

    def _note_losses(self, found: Gathered, steps: int) -> None:
        """Note unreadable parts of files, with the number of steps they may have held, and unreadable messages."""
        lost = sum(each.bytes for _, each in found.losses)
        for path, each in found.losses:
            share = each.bytes / max(found.bytes - lost, 1)
            self.notes.append(Reject(each.reason, f"{path}, byte {each.at}", each.detail, count=max(round(share * steps), 1)))
        for why, count in found.damaged.items():
            self.notes.append(Reject(why[0], f"{self.where}, {why[1]}", found.details[why], count=count))
        if not found.losses and not found.damaged:
            self._note_missing(found)

    def _note_missing(self, found: Gathered) -> None:
        """Note messages that a file's index counts but that are missing."""
        counts = [file.topics for file in self.files]
        for name, stream in found.streams.items():
            said = [topics[name].messages for topics in counts if name in topics]
            missing = sum(each or 0 for each in said) - len(stream.times.chosen) - found.others
            if None not in said and missing > 0:
                self.notes.append(Reject("missing_messages", f"{self.where}, {name}", "the index counts more", count=missing))

    def _check_clocks(self, found: Gathered) -> None:
        """Raises EpisodeFault if stamps and log times come from different clocks, and some topics have no stamps."""
        if self.rules.clock != "auto":
            return
        streams = [each for each in found.streams.values() if each.times.chosen and not (each.words and len({*each.texts}) < 2)]
        strange = [each for each in streams if len(each.times.skews) and abs(np.median(each.times.skews)) > _ANOTHER_CLOCK]
        plain = [each for each in streams if not any(each.times.stamped)]
        if strange and plain:
            skew = float(np.median(strange[0].times.skews)) / _SECOND
            what = f"{strange[0].topic.name} is stamped {skew:,.1f} s before it is logged, and {plain[0].topic.name} has no stamps"
            raise EpisodeFault("clocks_differ", f"{what}: set `clock: log`, or `clock: header` if this is right")

    def _note_times(self, found: Gathered, clock: Clock) -> None:
        """Note clock skews and irregular intervals, as additive facts."""
        every = [stream.times for stream in found.streams.values()]
        skews = [each.skews for each in every]
        facts = {
            "ros.steps": len(clock.times),
            "ros.missing_steps": clock.missing,
            "ros.uneven_intervals": clock.uneven,
            "ros.repeated_times": clock.repeated,
            "ros.late_messages": sum(each.late for each in every),
            "ros.stamped_messages": sum(map(len, skews)),
            "ros.skew_us": int(sum(float(np.abs(each).sum()) for each in skews) / 1000),
            "ros.other_joints": found.others,
        }
        self.notes += [Fact(name, count) for name, count in facts.items() if count]


_WHY = {
    "no_image": "no image of a wanted camera is near the step in time",
    "no_action": "no command follows the step, or is held at it",
    "no_state": "no state is near the step in time",
}


def _clean(text: str) -> str:
    """The text unchanged. Raises EpisodeFault if it is not valid UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise EpisodeFault("bad_text", "the instruction is not UTF-8") from None
    return text


class _Images(Sequence[tuple[Image, ...]]):
    """The images of each step, created on demand."""

    def __init__(self, found: Gathered, cameras: Mapping[str, str], at: Mapping[str, I64], steps: int) -> None:
        self._streams = {name: found.streams[topic] for name, topic in cameras.items()}
        self._at, self._steps = at, steps

    def __len__(self) -> int:
        return self._steps

    @overload
    def __getitem__(self, step: int) -> tuple[Image, ...]: ...
    @overload
    def __getitem__(self, step: slice) -> Sequence[tuple[Image, ...]]: ...
    def __getitem__(self, step: int | slice) -> tuple[Image, ...] | Sequence[tuple[Image, ...]]:
        if isinstance(step, slice):
            return [self[number] for number in range(*step.indices(self._steps))]
        found = ((name, stream, int(self._at[name][step])) for name, stream in self._streams.items())
        return tuple(_image(name, stream, number) for name, stream, number in found if number >= 0)


def _image(camera: str, stream: Stream, number: int) -> Image:
    """The image of a message, by its index in time order."""
    if stream.images is None:
        raise AssertionError("a stream of a camera has images")
    return stream.images.image(camera, int(stream.times.order[number]))
