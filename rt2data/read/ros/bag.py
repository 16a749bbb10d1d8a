"""ROS 1 bags, version 2.0: records with a header of named fields and data; messages in chunks, followed by an index.

As with MCAP, the file is read from its start, so that a bag without an index (its recorder crashed) is read as far as possible.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from rt2data.errors import DataError
from rt2data.io.inflate import LARGEST, InflateError, inflate
from rt2data.read.ros.container import FETCH, PLAIN, Blocks, Lost, Message, Ref, Topic, merged

MAGIC = b"#ROSBAG V"
_VERSION = b"#ROSBAG V2.0\n"
_MESSAGE, _BAG, _CHUNK, _CHUNK_INFO, _CONNECTION = 2, 3, 5, 6, 7
_HEADER = 1 << 16
"""Maximum bytes of a header."""


class _Record(NamedTuple):
    head: Mapping[bytes, bytes]
    start: int
    at: int  # of the data
    length: int  # of the data

    @property
    def op(self) -> int:
        return self.head.get(b"op", b"\0")[0]

    @property
    def end(self) -> int:
        return self.at + self.length


class Bag(Blocks):
    """One ROS 1 bag."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._topics: dict[int, Topic] = {}  # by connection number
        self._held: dict[int, Mapping[int, int]] = {}  # by chunk start: message count per connection
        self._indexed: bool | None = None

    def check(self) -> None:
        if self.read(0, len(_VERSION)) != _VERSION:
            raise DataError("it does not begin as a ROS 1 bag of version 2.0 (for an older one run rosbag fix)", self.path, FETCH)
        if not self._index() and not any(record.op in (_CHUNK, _MESSAGE) for record in self._records(len(_VERSION))):
            raise DataError("it ends before its first chunk is complete", self.path, FETCH)

    def find_topics(self) -> Mapping[str, Topic]:
        self.check()
        indexed = self._read_index()
        if not indexed:
            for _ in self.messages(()):
                pass
        counts = {number: sum(held.get(number, 0) for held in self._held.values()) for number in self._topics}
        return merged(
            topic._replace(messages=counts[number] if indexed else None) for number, topic in sorted(self._topics.items())
        )

    def messages(self, topics: Collection[str], by_index: bool = False) -> Iterator[Message | Lost]:
        passing, start, index = by_index and self._read_index(), len(_VERSION), self._index()
        end = start
        for record in self._records(start):
            if index and record.start >= index:
                return
            end = record.end
            if not (passing and self._holds_none(record, topics)):
                yield from self._of_record(record, topics)
        if not index or end < index:
            yield Lost("truncated_log", end, "it ends in the middle, without an index", self.size - end)

    def _holds_none(self, record: _Record, topics: Collection[str]) -> bool:
        held = self._held.get(record.start)
        return held is not None and not any(self._topics[n].name in topics for n in held if n in self._topics)

    def _of_record(self, record: _Record, topics: Collection[str]) -> Iterator[Message | Lost]:
        try:
            if record.op == _CHUNK:
                yield from self._of_chunk(record, topics)
            elif record.op in (_CONNECTION, _MESSAGE):
                yield from self._inside(record, memoryview(self.data(Ref(PLAIN, record.at, record.length))), None, topics)
        except InflateError as error:
            yield Lost("damaged_chunk", record.start, str(error), record.length)
        except (LookupError, ValueError, struct.error) as error:
            yield Lost("malformed_record", record.start, f"{type(error).__name__} {error}", record.length)

    def _of_chunk(self, chunk: _Record, topics: Collection[str]) -> Iterator[Message | Lost]:
        content, at = self.block(chunk.start), 0
        while at < len(content):
            record = _parsed(content, at)
            if record.end > len(content):
                raise InflateError("a record is longer than its chunk")
            yield from self._inside(record, content[record.at : record.end], chunk, topics)
            at = record.end

    def _inside(self, record: _Record, data: memoryview, chunk: _Record | None, topics: Collection[str]) -> Iterator[Message]:
        """Handle a record inside or outside a chunk: yield a message, or register the connection of later messages."""
        if record.op == _CONNECTION:
            self._connect(record, data)
        elif record.op == _MESSAGE:
            topic = self._topics[_number(record.head[b"conn"])]
            if topic.name in topics:
                seconds, nanoseconds = struct.unpack("<II", record.head[b"time"])
                time = seconds * 10**9 + nanoseconds
                yield Message(topic.name, time, time, data, _ref(record, chunk))

    def unpack(self, at: int) -> memoryview:
        chunk = self._record(at)
        if chunk is None or chunk.length > LARGEST:
            raise InflateError(f"a chunk of more than {LARGEST:,} bytes is not read")
        codec, size = chunk.head[b"compression"].decode("ascii", "replace"), _number(chunk.head[b"size"])
        return memoryview(inflate(codec, self.read(chunk.at, chunk.length), size))

    def _connect(self, record: _Record, data: memoryview) -> None:
        """Register a connection: its topic, and in its data the type and the definition."""
        found = _fields(data)
        topic, name = record.head[b"topic"].decode(), found[b"type"].decode()
        self._topics[_number(record.head[b"conn"])] = Topic(topic, name, "ros1", found.get(b"message_definition", b""), "ros1msg")

    # Records

    def _records(self, at: int) -> Iterator[_Record]:
        """The complete records."""
        while (record := self._record(at)) is not None and record.end <= self.size:
            yield record
            at = record.end

    def _record(self, at: int) -> _Record | None:
        """The record at a byte; None if there is none, or its header is truncated."""
        length = int.from_bytes(self.read(at, 4), "little")
        if not 0 < length <= _HEADER or at + length + 8 > self.size:
            return None
        try:
            found = _parsed(memoryview(self.read(at, length + 8)), 0)
        except (LookupError, ValueError, struct.error):
            return None
        return found._replace(start=at, at=at + found.at)

    # The index

    def _index(self) -> int:
        """Where the index begins; 0 if the bag was never closed, or is truncated before it."""
        first = self._record(len(_VERSION))
        place = _number(first.head.get(b"index_pos", b"")) if first is not None and first.op == _BAG else 0
        return place if place < self.size else 0

    def _read_index(self) -> bool:
        """Read connections and the contents of chunks; returns whether the index exists and is complete."""
        if self._indexed is None:
            index = self._index()
            try:
                self._indexed = bool(index) and self._take_index(index) == self.size
            except (LookupError, ValueError, struct.error):
                self._indexed = False
        return self._indexed

    def _take_index(self, index: int) -> int:
        """Read the index and return where it ends. Raises LookupError, ValueError, struct.error."""
        end = index
        for record in self._records(index):
            data, end = memoryview(self.read(record.at, record.length)), record.end
            if record.op == _CONNECTION:
                self._connect(record, data)
            elif record.op == _CHUNK_INFO:
                counts = struct.iter_unpack("<II", data[: len(data) // 8 * 8])
                self._held[int.from_bytes(record.head[b"chunk_pos"], "little")] = dict(counts)
        return end


def _ref(record: _Record, chunk: _Record | None) -> Ref:
    if chunk is None:
        return Ref(PLAIN, record.at, record.length)
    if chunk.head[b"compression"] == b"none":
        return Ref(PLAIN, chunk.at + record.at, record.length)
    return Ref(chunk.start, record.at, record.length)


def _parsed(content: memoryview, start: int) -> _Record:
    """The record at a byte of a block. Raises ValueError, struct.error."""
    (length,) = struct.unpack_from("<I", content, start)
    at = start + 4 + length
    head = _fields(content[start + 4 : at])
    (size,) = struct.unpack_from("<I", content, at)
    return _Record(head, start, at + 4, size)


def _fields(content: memoryview) -> dict[bytes, bytes]:
    """The named fields, each stored as a length, a name, `=` and a value. Raises ValueError, struct.error."""
    found, at = dict[bytes, bytes](), 0
    while at < len(content):
        (length,) = struct.unpack_from("<I", content, at)
        field = bytes(content[at + 4 : at + 4 + length])
        at += 4 + length
        name, sign, value = field.partition(b"=")
        if not sign or at > len(content):
            raise ValueError("a field without a name or an end")
        found[name] = value
    return found


def _number(field: bytes) -> int:
    return int.from_bytes(field[:8], "little")
