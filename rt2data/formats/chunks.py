"""Files written a few megabytes at a time and hashed on the way: one part is filled in memory while others are hashed and written.

The file may be open for direct I/O (O_DIRECT): then chunks start at block boundaries and go from our memory straight to the disk.
The system's cache, which would copy each byte once more and need as much memory as the output has bytes, is left to readers.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from io import FileIO
from typing import NamedTuple

from rt2data.io.digest import Digest, Digester

CHUNK = 4 << 20
CHUNKS = 5
"""Most chunks in flight: parts arrive unevenly if images are fetched."""
BLOCK = 4096
"""Alignment for direct I/O, in bytes."""


def aligned(size: int) -> memoryview:
    """Page-aligned memory, as direct I/O requires."""
    return memoryview(mmap.mmap(-1, -(-size // BLOCK) * BLOCK))


class _Chunk(NamedTuple):
    """A full buffer being hashed and written."""

    buffer: memoryview
    works: list[Future[None]]

    def done(self) -> memoryview:
        """The buffer, free for reuse. Raises OSError."""
        for each in self.works:
            each.result()
        return self.buffer


class ChunkWriter:
    """Hands out memory to fill, part after part; a part is valid until the next is requested."""

    def __init__(self, file: FileIO, chunk: int = CHUNK) -> None:
        self._file, self._seen, self._chunk = file, Digester(), chunk
        self._filling = aligned(chunk)
        self._used = self._written = 0
        self._threads = ThreadPoolExecutor(1), ThreadPoolExecutor(1)  # each in order; hashing continues while the disk is busy
        self._under_way: deque[_Chunk] = deque()

    @property
    def size(self) -> int:
        """Bytes handed out so far."""
        return self._written + self._used

    def room(self, size: int) -> memoryview:
        """The next `size` bytes of the file, writable, with arbitrary content."""
        if self._used + size > len(self._filling):
            self._turn(size)
        start, self._used = self._used, self._used + size
        return self._filling[start : self._used]

    def _turn(self, size: int) -> None:
        """Start writing the whole blocks, and continue with the rest at the start of another buffer."""
        whole = self._used // BLOCK * BLOCK
        rest = self._used - whole
        full, self._filling = self._filling, self._empty(rest + size)
        self._filling[:rest] = full[whole : self._used]
        self._used, self._written = rest, self._written + whole
        works = zip(self._threads, (self._write, self._seen.update), strict=True)
        self._under_way.append(_Chunk(full, [thread.submit(work, full[:whole]) for thread, work in works]))

    def _empty(self, size: int) -> memoryview:
        """A buffer of at least `size` bytes: that of the oldest chunk, if enough are in flight."""
        made = self._under_way.popleft().done() if len(self._under_way) == CHUNKS else aligned(self._chunk)
        return made if len(made) >= size else aligned(size)

    def _write(self, part: memoryview) -> None:
        while part:
            part = part[self._file.write(part) :]

    def _wait(self) -> None:
        """Raises OSError if an earlier chunk could not be written."""
        while self._under_way:
            self._under_way.popleft().done()

    def close(self) -> Digest:
        """Write the rest; return size and hashes of the whole file."""
        self._wait()
        whole = self._used // BLOCK * BLOCK
        self._seen.update(self._filling[: self._used])
        self._write(self._filling[:whole])
        _leave_direct(self._file)
        self._write(self._filling[whole : self._used])
        for thread in self._threads:
            thread.shutdown()
        return self._seen.digest()


def _leave_direct(file: FileIO) -> None:
    """Leave direct I/O, as the end of a file is seldom a whole block."""
    direct = getattr(os, "O_DIRECT", 0)
    if direct:
        flags = fcntl.fcntl(file, fcntl.F_GETFL)
        fcntl.fcntl(file, fcntl.F_SETFL, flags & ~direct)
