"""Arrow IPC as a table: a stream, as Hugging Face's `save_to_disk` writes it, or a file. Local files are memory-mapped, never
copied.

Both are a sequence of messages: a schema, dictionaries, record batches. An IPC file adds a magic number before them and an index
after them; the index is redundant.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import BinaryIO, NamedTuple

import pyarrow as pa

from rt2data.errors import DataError
from rt2data.io import location
from rt2data.io.stamps import Stamp
from rt2data.read import units
from rt2data.read.corpus.arrow_rows import PlaceOf, present, rows_of, sound
from rt2data.read.corpus.table import Part, RawRow, Table
from rt2data.records import Place

_FILE = b"ARROW1"
_MARK = b"\xff\xff\xff\xff"  # before the length of a message
_SCHEMA, _DICTIONARY, _BATCH = 1, 2, 3
_MAX_HEADER = 1 << 26


class _Message(NamedTuple):
    kind: int
    start: int
    stop: int
    first: int  # rows in earlier batches
    rows: int


@dataclass(frozen=True)
class ArrowRows(Table):
    """An Arrow file. Its row 12, counted from 0 over the whole file, is row `12`. Raises DataError if it is truncated or
    damaged.
    """

    def parts(self) -> list[Part]:
        """Record batches, joined up to UNIT_BYTES; numbered from 0."""
        found: list[Part] = []
        for number, batch in enumerate(self._batches):
            size = batch.stop - batch.start
            if found and found[-1].bytes + size <= units.UNIT_BYTES:
                found[-1] = Part(found[-1].start, number + 1, found[-1].bytes + size)
            else:
                found.append(Part(number, number + 1, size))
        return found

    def rows(self, start: int, stop: int) -> Iterator[RawRow]:
        """Rows of the record batches [start, stop)."""
        for batch in self._batches[start:stop]:
            yield from self._rows(batch)

    def first(self) -> RawRow | None:
        """The first row, of the first batch that has any."""
        return next((row for batch in self._batches if batch.rows for row in self._rows(batch)), None)

    def count(self) -> int:
        """The row count, from the headers of the batches."""
        return sum(batch.rows for batch in self._batches)

    @property
    def _messages(self) -> Sequence[_Message]:
        return _messages(self.path, Stamp.of(self.path))

    @property
    def _batches(self) -> list[_Message]:
        return [message for message in self._messages if message.kind == _BATCH]

    def _rows(self, message: _Message) -> Iterator[RawRow]:
        with sound(f"{self.path}: byte {message.start}", "a damaged record batch"):
            batch, place_of = self._read(message)
            batch = batch.select(present(self.columns, batch.schema.names, self.path))
            batch.validate(full=True)
            for number, values in enumerate(rows_of(batch, place_of), message.first):
                yield RawRow(str(number), f"{self.path}: row {number}", values)

    def _read(self, message: _Message) -> tuple[pa.RecordBatch, PlaceOf]:
        """A batch, and where its bytes are. If there are dictionaries, they and the batch are read as one stream."""
        before = [each for each in _heads(self.path, Stamp.of(self.path)) if each.start < message.start]
        head = [_bytes(self.path, each) for each in before]
        body = _bytes(self.path, message)
        if len(before) > 1:
            stream = pa.ipc.open_stream(pa.py_buffer(b"".join(map(bytes, (*head, body)))))
            return stream.read_next_batch(), lambda _: None
        buffer = pa.py_buffer(body)
        batch = pa.ipc.read_record_batch(pa.ipc.read_message(buffer), pa.ipc.read_schema(pa.py_buffer(head[0])))
        return batch, lambda found: self._place(found, buffer, message.start)

    def _place(self, found: pa.Buffer, message: pa.Buffer, start: int) -> Place | None:
        """The place of bytes that the file holds unchanged; None otherwise, since a batch may be compressed."""
        inside = found.address - message.address
        return Place(self.path, start + inside, found.size) if 0 <= inside <= message.size - found.size else None


def _bytes(path: str, message: _Message) -> memoryview:
    if location.is_remote(path):
        return memoryview(location.read_range(path, message.start, message.stop - message.start))
    return location.mapped(path)[message.start : message.stop]


@lru_cache(maxsize=64)
def _messages(path: str, stamp: Stamp) -> tuple[_Message, ...]:
    """All messages of a file, from their headers."""
    with location.open_file(path) as file:
        start = 8 if file.read(8).startswith(_FILE) else 0
        found = tuple(_scanned(file, path, start, stamp.size))
        _require_end(file, path, stamp.size, indexed=bool(start))
    if not found or found[0].kind != _SCHEMA:
        raise _damaged(path, start, "it does not begin with a schema")
    if odd := next((each for each in found[1:] if each.kind not in (_DICTIONARY, _BATCH)), None):
        raise _damaged(path, odd.start, "a message that is neither a dictionary nor a record batch")
    if found[-1].kind == _DICTIONARY:  # a record batch whose kind is damaged would be lost silently
        raise _damaged(path, found[-1].start, "no record batch follows a dictionary")
    return found


@lru_cache(maxsize=64)
def _heads(path: str, stamp: Stamp) -> tuple[_Message, ...]:
    """The schema and the dictionaries."""
    return tuple(message for message in _messages(path, stamp) if message.kind != _BATCH)


def _require_end(file: BinaryIO, path: str, size: int, indexed: bool) -> None:
    """Raises DataError if anything but an index follows the end marker just read, such as an appended file."""
    end = index = file.tell()
    if indexed:
        file.seek(max(end, size - 4 - len(_FILE)))
        tail = file.read()
        if tail[4:] != _FILE:
            raise _damaged(path, size, "the index at its end is missing")
        index += int.from_bytes(tail[:4], "little") + len(tail)
    if index != size:
        raise _damaged(path, end, "bytes behind the mark of its end; two files put together are not one")


def _scanned(file: BinaryIO, path: str, at: int, size: int) -> Iterator[_Message]:
    """All messages up to the end marker."""
    rows = 0
    while True:
        file.seek(at)
        prefix = file.read(8)
        if len(prefix) < 8 or prefix[:4] != _MARK:
            raise _damaged(path, at, "the mark of its end is missing" if len(prefix) < 8 else "no message begins here")
        length = int.from_bytes(prefix[4:], "little")
        if not length:
            return
        header = file.read(length) if length <= _MAX_HEADER else b""
        try:
            kind, body, count = _parsed(header)
        except struct.error:
            raise _damaged(path, at, "a header that cannot be read") from None
        stop = at + 8 + length + body
        if body < 0 or count < 0 or stop > size:
            raise _damaged(path, at, f"a message that ends at byte {stop}, of {size}")
        yield _Message(kind, at, stop, rows, count)
        at, rows = stop, rows + (count if kind == _BATCH else 0)


def _parsed(header: bytes) -> tuple[int, int, int]:
    """Kind, body size in bytes, and rows of a message, from its flatbuffer. Raises struct.error."""
    (root,) = struct.unpack_from("<I", header)
    kind, body, inner = (_field(header, root, number) for number in (1, 3, 2))
    (kind_value,) = struct.unpack_from("<B", header, kind) if kind else (0,)
    (size,) = struct.unpack_from("<q", header, body) if body else (0,)
    if kind_value != _BATCH or not inner:
        return kind_value, size, 0
    (offset,) = struct.unpack_from("<I", header, inner)
    rows = _field(header, inner + offset, 0)
    return kind_value, size, struct.unpack_from("<q", header, rows)[0] if rows else 0


def _field(buffer: bytes, table: int, number: int) -> int:
    """The position of a field in a flatbuffer table; 0 if it is absent. Raises struct.error."""
    (back,) = struct.unpack_from("<i", buffer, table)
    vtable = table - back
    if vtable < 0:
        raise struct.error("a table outside of the message")
    (size,) = struct.unpack_from("<H", buffer, vtable)
    slot = 4 + 2 * number
    (offset,) = struct.unpack_from("<H", buffer, vtable + slot) if slot < size else (0,)
    return table + offset if offset else 0


def _damaged(path: str, at: int, what: str) -> DataError:
    return DataError(f"a damaged Arrow file: {what}", f"{path}: byte {at}", "fetch it again, or save it again with datasets")
