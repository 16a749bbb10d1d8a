"""Files written a few megabytes at a time, hashed on the way: shards are laid out in memory, so each byte is copied once."""

from __future__ import annotations

from typing import BinaryIO

import xxhash

CHUNK = 4 << 20


class ChunkWriter:
    """Hands out rooms to fill, one after another; a room is valid until the next is asked for."""

    def __init__(self, file: BinaryIO, chunk: int = CHUNK) -> None:
        self._file, self._hash = file, xxhash.xxh3_128()
        self._buffer = memoryview(bytearray(chunk))
        self._used = self._written = 0

    @property
    def size(self) -> int:
        """Bytes handed out so far."""
        return self._written + self._used

    def room(self, size: int) -> memoryview:
        """The next `size` bytes of the file, writable, holding anything."""
        if self._used + size > len(self._buffer):
            self._flush()
            if size > len(self._buffer):
                self._buffer = memoryview(bytearray(size))
        start, self._used = self._used, self._used + size
        return self._buffer[start : self._used]

    def _flush(self) -> None:
        rest = self._buffer[: self._used]
        self._hash.update(rest)
        while rest:
            rest = rest[self._file.write(rest) :]
        self._written, self._used = self._written + self._used, 0

    def close(self) -> tuple[int, str]:
        """Size and xxh3-128 of all that was written."""
        self._flush()
        return self._written, self._hash.hexdigest()
