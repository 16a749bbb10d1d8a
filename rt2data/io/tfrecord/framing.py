"""TFRecord framing, encoding and decoding. A file is a sequence of frames, all numbers little-endian:

    u64 length | u32 masked crc32c(length) | payload | u32 masked crc32c(payload)

Source of the format: tensorflow/core/lib/io/record_writer.h; the mask is that of leveldb's log format.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Literal, NamedTuple

import google_crc32c

from rt2data.errors import DataError
from rt2data.io import location
from rt2data.io.location.base import ByPosition

HEADER = 12
FOOTER = 4
FRAME = HEADER + FOOTER
MAX_PAYLOAD = 2**31 - 1
"""Maximum payload: protobuf messages, and so Examples, cannot be longer."""

_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")


class RecordSpan(NamedTuple):
    """One frame of a file: where it begins and how long its payload is, in bytes."""

    offset: int
    length: int

    @property
    def stop(self) -> int:
        """Where the next frame begins."""
        return self.offset + FRAME + self.length


class FrameFault(NamedTuple):
    """A part of a file without a trustworthy record. `skipped` bytes from `offset` on were not read."""

    reason: Literal["bad_crc", "bad_length"]
    offset: int
    skipped: int


@dataclass(frozen=True, slots=True)
class FrameIndex:
    """The records of a file, from their headers.

    `broken` is the offset of the first header whose own checksum is wrong: only `size` is known from there on.
    """

    spans: list[RecordSpan]
    size: int
    broken: int | None = None


def mask(crc: int) -> int:
    """A crc32c rotated and shifted, so that checksums of data that contains checksums stay useful."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def masked_crc(data: bytes) -> int:
    """The checksum of a frame."""
    return mask(google_crc32c.value(data))


def frame(payload: bytes) -> bytes:
    """One record as stored in a file."""
    return b"".join((frame_header(len(payload)), payload, _CRC.pack(masked_crc(payload))))


def frame_header(length: int) -> bytes:
    """The 12 bytes before a payload of this length."""
    packed = _LENGTH.pack(length)
    return packed + _CRC.pack(masked_crc(packed))


def payload_length(header: bytes | memoryview) -> int | None:
    """The payload length in a 12-byte header, or None if its checksum is wrong."""
    length = bytes(header[:8])
    if masked_crc(length) != _CRC.unpack_from(header, 8)[0]:
        return None
    found: int = _LENGTH.unpack(length)[0]
    return found


def scan(path: str) -> FrameIndex:
    """Find every record by its header, without reading payloads.

    Raises DataError if the file ends inside a header or a payload.
    """
    with opened(path) as file:
        size = file.size
        spans: list[RecordSpan] = []
        at = 0
        while at < size:
            length = length_at(file, path, at, size)
            if length is None:
                return FrameIndex(spans, size, broken=at)
            spans.append(RecordSpan(at, length))
            at += FRAME + length
        return FrameIndex(spans, size)


@contextmanager
def opened(path: str) -> Iterator[ByPosition]:
    """A file to read by position. Raises DataError if it does not exist."""
    with ExitStack() as stack:
        try:
            file = stack.enter_context(location.opened(path))
        except OSError as error:
            raise DataError(f"cannot read the file: {error.strerror}", path) from error
        yield file


def length_at(file: ByPosition, path: str, at: int, size: int) -> int | None:
    """Length of the record at byte `at`, None if its header is corrupt. Raises DataError if the file ends too early."""
    header = file.pread(HEADER, at)
    if len(header) < HEADER:
        raise cut(path, at, "inside the header of a record")
    length = payload_length(header)
    if length is not None and (length > MAX_PAYLOAD or at + FRAME + length > size):
        raise cut(path, at, f"inside a record of {length} bytes")
    return length


def cut(path: str, at: int, place: str) -> DataError:
    return DataError(f"the file is cut {place}", f"{path}, byte {at}", "fetch it again from where it came")
