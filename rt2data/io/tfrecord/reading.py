"""Read the records of a TFRecord file by position: checked, in little memory, and past what is damaged."""

from __future__ import annotations

import os
from collections.abc import Iterator

import google_crc32c
import numpy as np

from rt2data.io.tfrecord.framing import FOOTER, FRAME, HEADER, Fault, cut, length_at, mask, opened
from rt2data.io.tfrecord.resync import next_record

_PIECE = 1 << 19


def read_records(path: str, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, memoryview] | Fault]:
    """Read the records whose frames begin in bytes [start, stop), checking both checksums of each.

    Yields (offset of the payload in the file, payload). A payload that does not match its checksum gives a Fault and
    reading goes on with the next record; a header that does not match gives a Fault that ends where the next whole, matching
    record begins. A view stays good for as long as it is held: its memory is used again only when nobody looks at it.
    Raises DataError where the file ends inside a record.
    """
    shelf = Shelf()
    with opened(path) as fd:
        size = os.fstat(fd).st_size
        at, stop = start, size if stop is None else min(stop, size)
        while at < stop:
            length = length_at(fd, path, at, size)
            if length is None:
                found = next_record(fd, at + 1, stop, size)
                yield Fault("bad_length", at, found - at)
                at = found
                continue
            payload = _payload(fd, path, at, length, shelf)
            yield Fault("bad_crc", at, FRAME + length) if payload is None else (at + HEADER, payload)
            del payload  # so that its buffer can be used again
            at += FRAME + length


def _payload(fd: int, path: str, at: int, length: int, shelf: Shelf) -> memoryview | None:
    """Payload of the record at byte `at`, None where its checksum is wrong.

    Goes by pieces that are summed while the processor's cache still holds them.
    """
    body = shelf.take(length + FOOTER)
    crc = done = 0
    while done < len(body):
        got = os.preadv(fd, [body[done : done + _PIECE]], at + HEADER + done)
        if not got:
            raise cut(path, at, f"inside a record of {length} bytes")
        crc = google_crc32c.extend(crc, np.frombuffer(body, np.uint8, max(min(got, length - done), 0), done))
        done += got
    return body[:length].toreadonly() if mask(crc) == int.from_bytes(body[length:], "little") else None


class Shelf:
    """Two buffers, used in turn once no view of them is left."""

    def __init__(self) -> None:
        self._buffers: list[bytearray] = []

    def take(self, size: int) -> memoryview:
        """A view of `size` bytes whose contents are anything."""
        for buffer in self._buffers:
            if len(buffer) >= size and _unwatched(buffer):
                return memoryview(buffer)[:size]
        fresh = bytearray(size + size // 4)  # records of one file are of much the same size
        self._buffers = [*self._buffers[-1:], fresh]
        return memoryview(fresh)[:size]


def _unwatched(buffer: bytearray) -> bool:
    """A bytearray refuses to change its length while anyone holds a view of it."""
    try:
        buffer.append(buffer.pop())
    except BufferError:
        return False
    return True
