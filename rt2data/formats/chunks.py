"""Files written a few megabytes at a time, hashed on the way: one part is filled in memory while the last is hashed and written.

The file may have been opened for direct I/O (O_DIRECT): then chunks start at whole blocks and go from our memory to the disk. The
system's cache, which would copy each byte once more and need as much memory as the output has bytes, is left to the readers.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from concurrent.futures import Future, ThreadPoolExecutor
from io import FileIO

from rt2data.io.digest import Digest, Digester

CHUNK = 8 << 20
BLOCK = 4096
"""What direct I/O aligns to."""


def aligned(size: int) -> memoryview:
    """Memory that starts at a page, as direct I/O wants it."""
    return memoryview(mmap.mmap(-1, -(-size // BLOCK) * BLOCK))


class ChunkWriter:
    """Hands out memory to fill, part after part; a part is valid until the next is asked for."""

    def __init__(self, file: FileIO, chunk: int = CHUNK) -> None:
        self._file, self._seen = file, Digester()
        self._filling, self._resting = aligned(chunk), aligned(chunk)
        self._used = self._written = 0
        self._threads = ThreadPoolExecutor(2)  # hashing continues while the disk is busy
        self._under_way: list[Future[None]] = []

    @property
    def size(self) -> int:
        """Bytes handed out so far."""
        return self._written + self._used

    def room(self, size: int) -> memoryview:
        """The next `size` bytes of the file, writable, holding anything."""
        if self._used + size > len(self._filling):
            self._turn(size)
        start, self._used = self._used, self._used + size
        return self._filling[start : self._used]

    def _turn(self, size: int) -> None:
        """Let the whole blocks be written, continue with the rest at the start of the other buffer."""
        self._wait()
        whole = self._used // BLOCK * BLOCK
        rest = self._used - whole
        full, self._filling = self._filling, self._resting
        if rest + size > len(self._filling):
            self._filling = aligned(rest + size)
        self._filling[:rest] = full[whole : self._used]
        self._resting, self._used, self._written = full, rest, self._written + whole
        self._under_way = [self._threads.submit(work, full[:whole]) for work in (self._write, self._seen.update)]

    def _write(self, part: memoryview) -> None:
        while part:
            part = part[self._file.write(part) :]

    def _wait(self) -> None:
        """Raises OSError where the chunk before could not be written."""
        for each in self._under_way:
            each.result()

    def close(self) -> Digest:
        """Of all that was written."""
        self._wait()
        whole = self._used // BLOCK * BLOCK
        self._seen.update(self._filling[: self._used])
        self._write(self._filling[:whole])
        _leave_direct(self._file)
        self._write(self._filling[whole : self._used])
        self._threads.shutdown()
        return self._seen.digest()


def _leave_direct(file: FileIO) -> None:
    """The end of a file is seldom a whole block."""
    direct = getattr(os, "O_DIRECT", 0)
    if direct:
        flags = fcntl.fcntl(file, fcntl.F_GETFL)
        fcntl.fcntl(file, fcntl.F_SETFL, flags & ~direct)
