"""The common interface of MCAP files, ROS 1 bags and rosbag2 databases: topics, and messages with times."""

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
"""Number of decompressed blocks to keep: images of the same time lie in neighbouring blocks."""
FETCH = "fetch or record it again, or take it out of the folder"
"""Advice for a file of which nothing can be read."""
PLAIN = -1
"""In place of a block: uncompressed data in the file."""


class Topic(NamedTuple):
    """A stream of messages of one type."""

    name: str
    type: str  # package/msg/Name, or the log's own name
    encoding: str  # of the messages: ros1, cdr, json, protobuf, ...
    definition: bytes = b""
    language: str = ""  # of the definition: ros1msg, ros2msg, ros2idl, protobuf, jsonschema, ...
    messages: int | None = None  # how many, if the log says


class Ref(NamedTuple):
    """Where the bytes of a message are: in a compressed block (given by its offset in the file), or uncompressed in the file
    (`PLAIN`).
    """

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
    at: int  # byte offset
    detail: str
    bytes: int


class Container(AbstractContextManager["Container"]):
    """One file, open for reading. After closing, it reopens itself to read single messages."""

    def __init__(self, path: str) -> None:
        self.path, self.size, self.is_open = path, location.stat(path).size, True

    @cached_property
    def topics(self) -> Mapping[str, Topic]:
        """Topics by name, from the file's index if it has one, else by reading the whole file. Raises DataError."""
        return self.find_topics()

    @abstractmethod
    def find_topics(self) -> Mapping[str, Topic]:
        """The same, without the cache."""

    @abstractmethod
    def messages(self, topics: Collection[str], by_index: bool = False) -> Iterator[Message | Lost]:
        """Messages of some topics in file order. The data are valid until the next message.

        `by_index` skips blocks that hold none of them, relying on the file's index; `topics` may shrink during iteration.
        """

    @abstractmethod
    def data(self, ref: Ref) -> memoryview:
        """The bytes of a message. Raises InflateError."""

    @abstractmethod
    def check(self) -> None:
        """Raises DataError if nothing of the file can be read."""

    def place(self, ref: Ref, start: int, length: int) -> Place | None:
        """Where bytes of a message are in the file; None if they are compressed."""
        return Place(self.path, ref.start + start, length) if ref.block == PLAIN else None

    def firsts(self) -> dict[str, Message]:
        """The first message of each topic that has any, with a copy of its data."""
        missing, found = {name for name, topic in self.topics.items() if topic.messages != 0}, dict[str, Message]()
        for each in self.messages(missing, by_index=True):
            if isinstance(each, Message) and each.topic in missing:
                found[each.topic] = each._replace(data=memoryview(bytes(each.data)))
                missing.discard(each.topic)
            if not missing:
                break
        return found


class Blocks(Container):
    """A container of individually compressed blocks."""

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
        """The content of the compressed block at a byte. Raises InflateError."""

    def read(self, at: int, length: int) -> bytes:
        """Bytes of the file; fewer if it ends earlier. Never allocates more than the file size."""
        self.file.seek(at)
        return self.file.read(max(min(length, self.size - at), 0))

    def block(self, at: int) -> memoryview:
        """The same, caching the last few blocks."""
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
    """Topics by name, merging several writers to the same topic."""
    found: dict[str, Topic] = {}
    for topic in topics:
        before = found.get(topic.name)
        if before is not None:
            several = None if before.messages is None or topic.messages is None else before.messages + topic.messages
            topic = topic._replace(messages=several, encoding=topic.encoding if topic[1:5] == before[1:5] else SEVERAL)
        found[topic.name] = topic
    return found
