"""One pass over the messages of a recording: collects the data a recipe needs from each topic in small arrays; images stay in the
file.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from rt2data.images.headers import ImageFault
from rt2data.io.inflate import InflateError
from rt2data.read.recorded import EpisodeFault
from rt2data.read.ros.align import I64
from rt2data.read.ros.container import Container, Lost, Message, Ref, Topic
from rt2data.read.ros.decode import decoder_of
from rt2data.read.ros.fields import JOINT_STATE, Field, joints_at, numbers_at, stamp_of, text_at
from rt2data.read.ros.images import MessageImage, encoded_in, is_raw, offset_in
from rt2data.read.ros.values import Decode, MessageFault, UnreadableError, Value, ros_type
from rt2data.records import Image

ClockName = Literal["auto", "header", "log", "publish"]
_LATEST = 1 << 61
"""Latest supported time in nanoseconds."""


@dataclass
class Times:
    """The times of a topic's messages."""

    topic: Topic
    chosen: array[int] = field(default_factory=lambda: array("q"))  # by the recipe's clock
    logged: array[int] = field(default_factory=lambda: array("q"))
    stamped: array[int] = field(default_factory=lambda: array("b"))  # whether it comes from the header
    late: int = 0  # messages logged after later ones

    def add(self, message: Message, stamp: int | None, clock: ClockName) -> None:
        """Add a message, with the stamp in its header."""
        logged = _clamped(message.log_time)
        recorded = _clamped(message.publish_time) if clock == "publish" else logged
        time = _clamped(stamp) if stamp and clock in ("auto", "header") else recorded
        self.late += bool(self.chosen) and time < self.chosen[-1]
        self.chosen.append(time)
        self.logged.append(logged)
        self.stamped.append(bool(stamp))

    @cached_property
    def order(self) -> I64:
        """Message indices sorted by time; equal times stay in log order."""
        return np.argsort(np.frombuffer(self.chosen, np.int64), kind="stable")

    @cached_property
    def rising(self) -> I64:
        """The times, in order."""
        return np.frombuffer(self.chosen, np.int64)[self.order] if self.chosen else np.empty(0, np.int64)

    @property
    def skews(self) -> I64:
        """Delays of stamped messages: log time minus stamp."""
        late = np.frombuffer(self.logged, np.int64) - np.frombuffer(self.chosen, np.int64) if self.chosen else self.rising
        found: I64 = late[np.frombuffer(self.stamped, np.int8) > 0] if self.chosen else late
        return found


def _clamped(time: int) -> int:
    return max(-_LATEST, min(time, _LATEST))


@dataclass
class Numbers:
    """The numbers at one path of a topic, message by message."""

    source: Field
    joints: tuple[str, ...]  # the order of the numbers; empty except for joint states
    values: array[float] = field(default_factory=lambda: array("d"))
    width: int | None = None

    def of(self, message: Mapping[str, Value]) -> NDArray[np.float64] | None:
        """The numbers of a message; None if it is about other joints. Raises MessageFault, or EpisodeFault if their count
        changes.
        """
        keys = self.source.keys
        found = joints_at(message, keys, self.joints) if self.joints else numbers_at(message, keys)
        if found is not None and self.width not in (None, len(found)):
            raise EpisodeFault("ragged_episode", f"{self.source.path} has {len(found)} numbers, and had {self.width} before")
        return found

    def add(self, numbers: NDArray[np.float64]) -> None:
        """Add the numbers of the next message."""
        self.width = len(numbers)
        self.values.frombytes(numbers.tobytes())

    def matrix(self) -> NDArray[np.float64]:
        """float64[messages, width], in file order."""
        width = self.width or 0
        return np.frombuffer(self.values, np.float64).reshape(-1, width) if width else np.empty((0, width))


@dataclass
class Images:
    """The locations of a topic's images."""

    topic: Topic
    files: Sequence[Container]
    decode: Decode
    file: array[int] = field(default_factory=lambda: array("q"))
    block: array[int] = field(default_factory=lambda: array("q"))
    start: array[int] = field(default_factory=lambda: array("q"))
    length: array[int] = field(default_factory=lambda: array("q"))
    inside: array[int] = field(default_factory=lambda: array("q"))  # offset of the encoded image in the message, or -1
    size: array[int] = field(default_factory=lambda: array("q"))  # of the encoded image

    def add(self, number: int, message: Message, value: Mapping[str, Value]) -> None:
        """Add the image of a message in file `number`."""
        offset, size = self._inside(message, value)
        for column, each in zip(self._columns, (number, *message.ref, offset, size), strict=True):
            column.append(each)

    @property
    def _columns(self) -> tuple[array[int], ...]:
        return self.file, self.block, self.start, self.length, self.inside, self.size

    def _inside(self, message: Message, value: Mapping[str, Value]) -> tuple[int, int]:
        if is_raw(self.topic):
            return -1, 0
        try:
            data = encoded_in(value)
        except ImageFault:
            return -1, 0
        offset = offset_in(message.data, data)
        return (-1, 0) if offset is None else (offset, len(data))

    def image(self, camera: str, number: int) -> Image:
        """The image of a message."""
        file, block, start, length, inside, size = (column[number] for column in self._columns)
        ref, container = Ref(block, start, length), self.files[file]
        place = container.place(ref, inside, size) if inside >= 0 else None
        return Image(camera, MessageImage(container, ref, self.decode, is_raw(self.topic)), place)


@dataclass
class Stream:
    """A topic, and the data to collect from it."""

    topic: Topic
    times: Times
    decode: Decode
    numbers: dict[str, Numbers] = field(default_factory=dict)  # by path
    words: Field | None = None
    texts: list[str] = field(default_factory=list)
    images: Images | None = None

    def add(self, number: int, message: Message, clock: ClockName) -> bool:
        """Collect the wanted data of a message; returns whether there was any. Raises MessageFault, InflateError, EpisodeFault."""
        value = self.decode(message.data)
        numbers = [each.of(value) for each in self.numbers.values()]
        text = text_at(value, self.words.keys) if self.words else ""
        if any(each is None for each in numbers):
            return False
        for column, each in zip(self.numbers.values(), numbers, strict=True):
            column.add(np.asarray(each))
        if self.words:
            self.texts.append(text)
        if self.images:
            self.images.add(number, message, value)
        self.times.add(message, stamp_of(value), clock)
        return True


@dataclass(frozen=True)
class Wanted:
    """What to read from a recording: numbers, texts and images by topic."""

    numbers: Mapping[Field, tuple[str, ...]]  # with the order of joints
    words: Sequence[Field]
    images: Sequence[str]
    clocks: Sequence[str] = ()  # topics of which only the times are used


@dataclass
class Gathered:
    """The result of one pass."""

    streams: dict[str, Stream]
    losses: list[tuple[str, Lost]]  # with the file
    damaged: Counter[tuple[str, str]]  # unreadable messages, by reason and topic
    details: dict[tuple[str, str], str]  # details of the first one
    others: int  # messages about other joints
    bytes: int  # of all files


def gather(files: Sequence[Container], wanted: Wanted, clock: ClockName) -> Gathered:
    """Read all messages of the wanted topics. Raises EpisodeFault if a topic is missing or cannot be read."""
    found = Gathered({}, [], Counter(), {}, 0, sum(file.size for file in files))
    for number, file in enumerate(files):
        topics = file.topics
        streams = {name: _stream(found, topics, name, wanted, files) for name in _names(wanted) if name in topics}
        for message in file.messages(set(streams)):
            if isinstance(message, Lost):
                found.losses.append((file.path, message))
            else:
                _take(found, streams[message.topic], number, message, clock)
    missing = [name for name in _names(wanted) if name not in found.streams]
    if missing:
        raise EpisodeFault("missing_topic", f"it has no {', '.join(missing)}")
    return found


def _take(found: Gathered, stream: Stream, number: int, message: Message, clock: ClockName) -> None:
    try:
        found.others += not stream.add(number, message, clock)
    except (MessageFault, InflateError) as fault:
        why = getattr(fault, "reason", "damaged_message"), message.topic
        found.damaged[why] += 1
        found.details.setdefault(why, str(fault))


def _names(wanted: Wanted) -> list[str]:
    """Distinct topic names."""
    every = [*(each.topic for each in (*wanted.numbers, *wanted.words)), *wanted.images, *wanted.clocks]
    return list(dict.fromkeys(every))


def _stream(found: Gathered, topics: Mapping[str, Topic], name: str, wanted: Wanted, files: Sequence[Container]) -> Stream:
    """The stream of a topic; the same for all files of a recording."""
    if name not in found.streams:
        try:
            decode = decoder_of(topics[name])
        except UnreadableError as error:
            raise EpisodeFault("unreadable_topic", f"{name}: {error}") from None
        topic = topics[name]
        stream = Stream(topic, Times(topic), decode)
        is_joints = ros_type(topic.type) == JOINT_STATE
        fields = {each: joints for each, joints in wanted.numbers.items() if each.topic == name}
        stream.numbers = {each.path: Numbers(each, joints if is_joints else ()) for each, joints in fields.items()}
        stream.words = next((each for each in wanted.words if each.topic == name), None)
        stream.images = Images(topic, files, decode) if name in wanted.images else None
        found.streams[name] = stream
    return found.streams[name]
