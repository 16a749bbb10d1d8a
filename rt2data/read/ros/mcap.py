"""MCAP files (mcap.dev/spec): records with an opcode and a length; messages in chunks, followed by an index.

The file is read from its start, chunk by chunk, so that a truncated one is read as far as possible. The index is used only to find
topics and the chunks that hold them. Offsets and record lengths beyond the file size are never trusted.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator, Mapping
from io import BytesIO
from typing import Any, NamedTuple
from zlib import crc32

from rt2data.errors import DataError
from rt2data.io.inflate import LARGEST, InflateError, inflate
from rt2data.read.ros.container import FETCH, PLAIN, Blocks, Lost, Message, Ref, Topic, merged

MAGIC = b"\x89MCAP0\r\n"
_FOOTER, _SCHEMA, _CHANNEL, _MESSAGE, _CHUNK, _CHUNK_INDEX, _STATISTICS, _DATA_END = 2, 3, 4, 5, 6, 8, 11, 15
_HEAD = 9  # opcode and length of a record
_FOOT = _HEAD + 20 + len(MAGIC)
_DESCRIBED = 16 << 20
"""Maximum bytes of a record that is not a chunk, message or attachment."""
_MESSAGE_HEAD = struct.Struct("<HIQQ")  # channel, sequence, log time, publish time
_CHUNK_HEAD = struct.Struct("<QQQII")  # start, end, size, CRC, length of the codec's name


class _Record(NamedTuple):
    op: int
    at: int  # of the content
    length: int


class _Chunk(NamedTuple):
    size: int
    crc: int
    codec: str
    at: int  # of the compressed content
    length: int


class Mcap(Blocks):
    """One MCAP file."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._schemas: dict[int, Any] = {}
        self._channels: dict[int, Topic] = {}
        self._held: dict[int, frozenset[int]] = {}  # by chunk offset: its channels, if the index lists them
        self._counts: Mapping[int, int] | None = None
        self._by_index = False

    def check(self) -> None:
        if self.read(0, len(MAGIC)) != MAGIC:
            raise DataError("it does not begin as an MCAP file", self.path, FETCH)
        if self._footer() is None and not any(record.op in (_CHUNK, _MESSAGE) for record in self._records(len(MAGIC), self.size)):
            raise DataError("it ends before its first chunk is complete", self.path, FETCH)

    def find_topics(self) -> Mapping[str, Topic]:
        self.check()
        self._read_index()
        counts = self._counts
        if counts is None or not counts.keys() <= self._channels.keys():
            for _ in self.messages(()):
                pass
        channels = sorted(self._channels.items())
        return merged(topic._replace(messages=None if counts is None else counts.get(number, 0)) for number, topic in channels)

    def messages(self, topics: Collection[str], by_index: bool = False) -> Iterator[Message | Lost]:
        self._by_index = by_index
        if by_index:
            self._read_index()
        end = len(MAGIC)
        for record in self._records(len(MAGIC), self.size):
            if record.op in (_DATA_END, _FOOTER):
                return
            end = record.at + record.length
            yield from self._of_record(record, topics)
        yield Lost("truncated_log", end, "it ends in the middle, without an index", self.size - end)

    def _of_record(self, record: _Record, topics: Collection[str]) -> Iterator[Message | Lost]:
        try:
            if record.op == _CHUNK:
                yield from self._of_chunk(record, topics)
            elif record.op == _MESSAGE and record.length >= _MESSAGE_HEAD.size:
                yield from self._message(memoryview(self._content(record, LARGEST)), PLAIN, record.at, topics)
            elif record.op in (_SCHEMA, _CHANNEL):
                self._describe(record.op, self._content(record, _DESCRIBED))
        except InflateError as error:
            yield Lost("damaged_chunk", record.at, str(error), record.length)
        except (_malformed(), struct.error, UnicodeDecodeError) as error:
            yield Lost("malformed_record", record.at, f"{type(error).__name__} {error}", record.length)

    # Chunks

    def _of_chunk(self, record: _Record, topics: Collection[str]) -> Iterator[Message | Lost]:
        held = self._held.get(record.at) if self._by_index else None
        if held is not None and not any(self._channels[n].name in topics for n in held if n in self._channels):
            return
        chunk = self._chunk(record)
        content = self.block(record.at)
        packed = chunk.codec not in ("", "none")
        at = 0
        while at + _HEAD <= len(content):
            op, length = content[at], int.from_bytes(content[at + 1 : at + _HEAD], "little")
            start, at = at + _HEAD, at + _HEAD + length
            if at > len(content):
                raise InflateError("a record is longer than its chunk")
            if op == _MESSAGE and length >= _MESSAGE_HEAD.size:
                where = (record.at, start) if packed else (PLAIN, chunk.at + start)
                yield from self._message(content[start:at], *where, topics)
            elif op in (_SCHEMA, _CHANNEL):
                self._describe(op, bytes(content[start:at]))

    def _chunk(self, record: _Record) -> _Chunk:
        """Parse the header of a chunk."""
        head = self.read(record.at, _CHUNK_HEAD.size + 64 + 8)
        _, _, size, crc, name = _CHUNK_HEAD.unpack_from(head)
        at = _CHUNK_HEAD.size + name
        if at + 8 > len(head):
            raise InflateError("the name of its codec is too long")
        length = int.from_bytes(head[at : at + 8], "little")
        if at + 8 + length > record.length:
            raise InflateError("its content is longer than the chunk")
        return _Chunk(size, crc, head[_CHUNK_HEAD.size : at].decode(), record.at + at + 8, length)

    def unpack(self, at: int) -> memoryview:
        length = int.from_bytes(self.read(at - 8, 8), "little")
        chunk = self._chunk(_Record(_CHUNK, at, length))
        if max(chunk.length, chunk.size) > LARGEST:
            raise InflateError(f"a chunk of {max(chunk.length, chunk.size):,} bytes: at most {LARGEST:,} are read")
        content = inflate(chunk.codec, self.read(chunk.at, chunk.length), chunk.size)
        if chunk.crc and crc32(content) != chunk.crc:
            raise InflateError("wrong CRC")
        return memoryview(content)

    def _message(self, content: memoryview, block: int, start: int, topics: Collection[str]) -> Iterator[Message]:
        number, _, logged, published = _MESSAGE_HEAD.unpack_from(content)
        topic = self._channels.get(number)
        if topic is not None and topic.name in topics:
            ref = Ref(block, start + _MESSAGE_HEAD.size, len(content) - _MESSAGE_HEAD.size)
            yield Message(topic.name, logged, published, content[_MESSAGE_HEAD.size :], ref)

    # Records

    def _records(self, at: int, end: int) -> Iterator[_Record]:
        """The complete records up to the footer."""
        while at + _HEAD <= end:
            head = self.read(at, _HEAD)
            record = _Record(head[0], at + _HEAD, int.from_bytes(head[1:], "little"))
            at = record.at + record.length
            if at > end or not record.op:
                return
            yield record
            if record.op == _FOOTER:
                return

    def _content(self, record: _Record, limit: int) -> bytes:
        if record.length > limit:
            raise InflateError(f"a record of {record.length:,} bytes: at most {limit:,} are read")
        return self.read(record.at, record.length)

    def _describe(self, op: int, content: bytes) -> None:
        """Register a schema or a channel."""
        from mcap.data_stream import ReadDataStream
        from mcap.records import Channel, Schema

        stream = ReadDataStream(BytesIO(content))
        if op == _SCHEMA:
            schema = Schema.read(stream)
            self._schemas[schema.id] = schema
            return
        found = Channel.read(stream)
        known = self._schemas.get(found.schema_id)
        named = (known.name, found.message_encoding, known.data, known.encoding) if known else ("", found.message_encoding)
        self._channels[found.id] = Topic(found.topic, *named)

    # The index

    def _footer(self) -> int | None:
        """Where the index begins, 0 if there is none; None if the file has no footer."""
        foot = self.read(self.size - _FOOT, _FOOT) if self.size >= _FOOT + len(MAGIC) else b""
        if not foot.endswith(MAGIC) or foot[0] != _FOOTER:
            return None
        return int.from_bytes(foot[_HEAD : _HEAD + 8], "little")

    def _read_index(self) -> None:
        """Read topics, counts and chunk contents from the index, ignoring damaged parts."""
        start = self._footer()
        if not start or self._counts is not None:
            return
        from mcap.data_stream import ReadDataStream
        from mcap.records import ChunkIndex, Statistics

        try:
            for record in self._records(start, self.size):
                if record.op in (_SCHEMA, _CHANNEL):
                    self._describe(record.op, self._content(record, _DESCRIBED))
                elif record.op == _CHUNK_INDEX:
                    found = ChunkIndex.read(ReadDataStream(BytesIO(self._content(record, _DESCRIBED))))
                    if found.message_index_offsets:
                        self._held[found.chunk_start_offset + _HEAD] = frozenset(found.message_index_offsets)
                elif record.op == _STATISTICS:
                    stream = ReadDataStream(BytesIO(self._content(record, _DESCRIBED)))
                    self._counts = Statistics.read(stream).channel_message_counts
        except (_malformed(), struct.error, UnicodeDecodeError, InflateError):
            self._held, self._counts = {}, None


def _malformed() -> type[Exception]:
    from mcap.exceptions import McapError

    return McapError
