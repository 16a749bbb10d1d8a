"""What MCAP files, ROS 1 bags and rosbag2 databases have in common: topics, and messages at their times."""

from __future__ import annotations

from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from io import BufferedReader
from typing import NamedTuple, Self

from rt2data.io import location
from rt2data.records import Place

_KEPT = 4
"""Blocks that stay unpacked: cameras of one time lie in neighbouring blocks."""
FETCH = "fetch or record it again, or take it out of the folder"
"""What to do about a file of which nothing can be read."""
PLAIN = -1
"""In place of a block: what lies in the file as it is."""


class Topic(NamedTuple):
    """A stream of messages of one type."""

    name: str
    type: str  # package/msg/Name, or what the log calls it
    encoding: str  # of the messages: ros1, cdr, json, protobuf, ...
    definition: bytes = b""
    language: str = ""  # of the definition: ros1msg, ros2msg, ros2idl, protobuf, jsonschema, ...
    messages: int | None = None  # how many, where the log says it


class Ref(NamedTuple):
    """Where the bytes of a message lie: in a packed block (by its byte in the file), or as they are in the file (`PLAIN`)."""

    block: int
    start: int
    length: int


class Message(NamedTuple):
    """One message as recorded; times in nanoseconds."""

    topic: str
    log_time: int
    publish_time: int
    data: memoryview
    ref: Ref


class Lost(NamedTuple):
    """A part of a file that cannot be read."""

    reason: str
    at: int  # byte
    detail: str
    bytes: int


class Container(AbstractContextManager["Container"]):
    """One file, open for reading. Closed, it opens itself again for single messages."""

    def __init__(self, path: str) -> None:
        self.path, self.size, self.is_open = path, location.stat(path).size, True

    @cached_property
    def topics(self) -> Mapping[str, Topic]:
        """By name, from the index of the file where it has one, else from all of it. Raises DataError."""
        return self.find_topics()

    @abstractmethod
    def find_topics(self) -> Mapping[str, Topic]:
        """The same, found anew."""

    @abstractmethod
    def messages(self, topics: Collection[str], by_index: bool = False) -> Iterator[Message | Lost]:
        """Those of some topics in the order of the file. The data are valid until the next message.

        `by_index` passes over blocks that hold none of them, if the index of the file is right; the set may shrink meanwhile.
        """

    @abstractmethod
    def data(self, ref: Ref) -> memoryview:
        """The bytes of a message. Raises InflateError."""

    @abstractmethod
    def check(self) -> None:
        """Raises DataError where nothing of it can be read."""

    def place(self, ref: Ref, start: int, length: int) -> Place | None:
        """Where bytes of a message are in the file; None where they are packed."""
        return Place(self.path, ref.start + start, length) if ref.block == PLAIN else None

    def firsts(self) -> dict[str, Message]:
        """The first message of each topic that has any, with data of its own."""
        missing, found = {name for name, topic in self.topics.items() if topic.messages != 0}, dict[str, Message]()
        for each in self.messages(missing, by_index=True):
            if isinstance(each, Message) and each.topic in missing:
                found[each.topic] = each._replace(data=memoryview(bytes(each.data)))
                missing.discard(each.topic)
            if not missing:
                break
        return found


class Blocks(Container):
    """A container of blocks that are packed each by itself."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.file: BufferedReader = location.open_file(path)
        self._unpacked: OrderedDict[int, memoryview] = OrderedDict()

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self._unpacked.clear()
        self.is_open = False

    @abstractmethod
    def unpack(self, at: int) -> memoryview:
        """The content of the packed block at a byte. Raises InflateError."""

    def read(self, at: int, length: int) -> bytes:
        """Bytes of the file; fewer where it ends before. Never allocates more than the file has."""
        self.file.seek(at)
        return self.file.read(max(min(length, self.size - at), 0))

    def block(self, at: int) -> memoryview:
        """The same, of the last few blocks without work."""
        if at not in self._unpacked:
            self._unpacked[at] = self.unpack(at)
            while len(self._unpacked) > _KEPT:
                self._unpacked.popitem(last=False)
        self._unpacked.move_to_end(at)
        return self._unpacked[at]

    def data(self, ref: Ref) -> memoryview:
        if not self.is_open:
            with self._again() as again:
                return again.data(ref)
        if ref.block == PLAIN:
            return memoryview(self.read(ref.start, ref.length))
        return self.block(ref.block)[ref.start : ref.start + ref.length]

    def _again(self) -> Self:
        return type(self)(self.path)


SEVERAL = "several"
"""The encoding of a topic whose messages are of several types."""


def merged(topics: Iterable[Topic]) -> dict[str, Topic]:
    """Topics by name, of which several writers may write to one."""
    found: dict[str, Topic] = {}
    for topic in topics:
        before = found.get(topic.name)
        if before is not None:
            several = None if before.messages is None or topic.messages is None else before.messages + topic.messages
            topic = topic._replace(messages=several, encoding=topic.encoding if topic[1:5] == before[1:5] else SEVERAL)
        found[topic.name] = topic
    return found
