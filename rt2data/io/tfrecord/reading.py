"""Reads the records of a TFRecord file, plain or gzip-compressed: with checksums verified, in bounded memory, and continuing after
damage.

After a damaged header, reading resumes at the next position where a header and its payload both match their checksums. A gzipped
file (TFRecordOptions("GZIP")) is recognized by its first bytes, because TFDS does not declare it. It is read from the start,
nothing inside it can be referenced by offset, and there is no search after a fault: gzip has its own checksum.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from rt2data.errors import DataError
from rt2data.io import location
from rt2data.io.location.base import ByPosition
from rt2data.io.tfrecord.framing import (
    FOOTER,
    FRAME,
    HEADER,
    MAX_PAYLOAD,
    FrameFault,
    FrameIndex,
    RecordSpan,
    cut,
    length_at,
    mask,
    masked_crc,
    opened,
    payload_length,
)

_PIECE = 1 << 19


def read_records(path: str, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, memoryview] | FrameFault]:
    """Read the records whose frames begin in bytes [start, stop), checking both checksums of each.

    Yields (offset of the payload in the file, payload). A payload that does not match its checksum yields a FrameFault, and reading
    continues with the next record; a header that does not match yields a FrameFault that ends where the next complete, matching
    record begins. A view stays valid while it is referenced: its buffer is reused only when no view of it is left. Raises DataError
    if the file ends inside a record.
    """
    buffers = Buffers()
    with opened(path) as file:
        size = file.size
        at, stop = start, size if stop is None else min(stop, size)
        while at < stop:
            length = length_at(file, path, at, size)
            if length is None:
                found = next_record(file, at + 1, stop, size)
                yield FrameFault("bad_length", at, found - at)
                at = found
                continue
            payload = _payload(file, path, at, length, buffers)
            yield FrameFault("bad_crc", at, FRAME + length) if payload is None else (at + HEADER, payload)
            del payload  # so that its buffer can be reused
            at += FRAME + length


def _payload(file: ByPosition, path: str, at: int, length: int, buffers: Buffers) -> memoryview | None:
    """Payload of the record at byte `at`, None if its checksum is wrong.

    Reads in pieces that are checksummed while still in the CPU cache.
    """
    body = buffers.take(length + FOOTER)
    crc = done = 0
    while done < len(body):
        got = file.preadv(body[done : done + _PIECE], at + HEADER + done)
        if not got:
            raise cut(path, at, f"inside a record of {length} bytes")
        crc = google_crc32c.extend(crc, np.frombuffer(body, np.uint8, max(min(got, length - done), 0), done))
        done += got
    return body[:length].toreadonly() if mask(crc) == int.from_bytes(body[length:], "little") else None


class Buffers:
    """Two buffers, used in turn once no view of them is left."""

    def __init__(self) -> None:
        self._buffers: list[bytearray] = []

    def take(self, size: int) -> memoryview:
        """A view of `size` bytes with arbitrary contents."""
        for buffer in self._buffers:
            if len(buffer) >= size and _unused(buffer):
                return memoryview(buffer)[:size]
        fresh = bytearray(size + size // 4)  # records of a file have similar sizes
        self._buffers = [*self._buffers[-1:], fresh]
        return memoryview(fresh)[:size]


def _unused(buffer: bytearray) -> bool:
    """Whether no view of a buffer is left: a bytearray with views refuses to change its length."""
    try:
        buffer.append(buffer.pop())
    except BufferError:
        return False
    return True


# Search after a damaged header

_WINDOW = 1 << 20
_TRIES = 64
"""Maximum headers that match although their payload does not: more are not a coincidence, and the search ends."""


def next_record(file: ByPosition, start: int, stop: int, size: int) -> int:
    """Offset of the first complete, matching record at or after `start`, or `stop` if there is none before it.

    `size` is the file's. Memory is bounded by the search window, whatever the headers say. Empty records are skipped, since a run
    of zeros would match as such.
    """
    tries = 0
    for base in range(start, stop, _WINDOW):
        window = file.pread(min(_WINDOW, stop - base) + HEADER - 1, base)
        for at in (base + int(place) for place in _headers(window)):
            if _payload_matches(file, at, size):
                return at
            tries += 1
            if tries == _TRIES:
                return stop
    return stop


def _headers(window: bytes) -> NDArray[np.intp]:
    """Positions in the window where 12 bytes form a header: a length of 1 to MAX_PAYLOAD that matches its checksum."""
    if len(window) < HEADER:
        return np.zeros(0, np.intp)
    raw = np.frombuffer(window, np.uint8)
    zero = raw == 0
    one, two, three, four, *high = (zero[k : len(raw) - HEADER + 1 + k] for k in range(8))
    places = np.flatnonzero(high[0] & high[1] & high[2] & high[3] & ~(one & two & three & four))
    found = np.lib.stride_tricks.sliding_window_view(raw, HEADER)[places]
    announced = np.ascontiguousarray(found[:, 8:12]).view("<u4")[:, 0]
    right: NDArray[np.intp] = places[_masked_crcs(found[:, :8]) == announced]
    return right


def _payload_matches(file: ByPosition, at: int, size: int) -> bool:
    """Whether the payload of the record at byte `at` matches its checksum, read piece by piece."""
    length = payload_length(file.pread(HEADER, at))
    if length is None or at + FRAME + length > size:
        return False
    crc, place, left = 0, at + HEADER, length
    while left:
        piece = file.pread(min(_WINDOW, left), place)
        if not piece:
            return False
        crc, place, left = google_crc32c.extend(crc, piece), place + len(piece), left - len(piece)
    return mask(crc).to_bytes(FOOTER, "little") == file.pread(FOOTER, place)


def _crc_table() -> NDArray[np.uint32]:
    """crc32c of each byte value: Castagnoli's polynomial, bits reversed (RFC 3720, appendix B.4)."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> np.uint32(1)) ^ (table & np.uint32(1)) * np.uint32(0x82F63B78)
    return table


_TABLE = _crc_table()


def _masked_crcs(words: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Masked crc32c of each row of bytes [n, k] -> [n]."""
    crc = np.full(len(words), 0xFFFFFFFF, np.uint32)
    for column in words.T:
        crc = _TABLE[(crc ^ column) & np.uint32(0xFF)] ^ (crc >> np.uint32(8))
    crc = ~crc
    return ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(0xA282EAD8)


# Files compressed with gzip

_MAGIC = b"\x1f\x8b\x08"


def is_gzipped(path: str) -> bool:
    """Whether the file begins like gzip and not like a valid record."""
    start = location.read_head(path, HEADER)
    return start.startswith(_MAGIC) and (len(start) < HEADER or payload_length(start) is None)


def scan_gzipped(path: str) -> FrameIndex:
    """Every record of the file, by its offset in the uncompressed bytes. Raises DataError if the file is damaged."""
    spans = [RecordSpan(at, length) for at, length, _, _ in _frames(path)]
    return FrameIndex(spans, spans[-1].stop if spans else 0)


def read_gzipped(path: str) -> Iterator[tuple[int, memoryview] | FrameFault]:
    """The records, as in `read_records`; offsets refer to the uncompressed bytes. Raises DataError."""
    for at, length, payload, intact in _frames(path):
        yield (at + HEADER, memoryview(payload)) if intact else FrameFault("bad_crc", at, FRAME + length)


def _frames(path: str) -> Iterator[tuple[int, int, bytes, bool]]:
    """Offset, length, payload, and whether the payload matches its checksum."""
    at = 0
    try:
        with location.open_file(path) as file, gzip.open(file) as stream:
            while header := stream.read(HEADER):
                length, payload, footer = _frame(stream, header, path, at)
                yield at, length, payload, masked_crc(payload).to_bytes(FOOTER, "little") == footer
                at += FRAME + length
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise cut(path, at, f"or damaged as a gzip file: {error}") from error


def _frame(stream: BinaryIO | gzip.GzipFile, header: bytes, path: str, at: int) -> tuple[int, bytes, bytes]:
    length = payload_length(header) if len(header) == HEADER else None
    if length is None or length > MAX_PAYLOAD:
        raise DataError("the header of a record is damaged", f"{path}, uncompressed byte {at}", "fetch it again from where it came")
    payload, footer = stream.read(length), stream.read(FOOTER)
    if len(footer) < FOOTER:
        raise cut(path, at, f"inside a record of {length} bytes")
    return length, payload, footer
