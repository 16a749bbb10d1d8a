"""An object as a file to read by position. Sequential reads are prefetched in increasingly large parts."""

from __future__ import annotations

import errno
import io
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from rt2data.io.location.base import Range, Stat

FIRST, LARGEST = 1 << 16, 8 << 20
"""Bytes of a part: at first and after a seek; and at most."""
NEAR = 1 << 16
"""Gaps up to this size are read too."""


class ObjectFile(io.RawIOBase):
    """A read-only file. All data are of the version at the time of opening. Raises OSError, SourceChangedError."""

    def __init__(
        self,
        name: str,
        stat: Stat,
        fetch: Callable[[Range], memoryview],
        in_thread: Callable[..., Future[memoryview]],
    ) -> None:
        super().__init__()
        self.name, self.size = name, stat.size
        self._version, self._fetch, self._in_thread = stat.version, fetch, in_thread
        self._at = 0  # position of the next `readinto`
        self._start, self._part = 0, memoryview(b"")
        self._length = FIRST
        self._ahead: Future[memoryview] | None = None  # the next part

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        got = self.preadv(memoryview(buffer).cast("B"), self._at)
        self._at += got
        return got

    def readall(self) -> bytes:
        rest = self.pread(self.size - self._at, self._at)
        self._at += len(rest)
        return rest

    def pread(self, length: int, at: int) -> bytes:
        """Bytes from `at` on; fewer if the object ends earlier."""
        found = bytearray(max(0, min(length, self.size - at)))
        self.preadv(memoryview(found), at)
        return bytes(found)

    def preadv(self, into: memoryview, at: int) -> int:
        """Fill `into` with bytes from `at` on; returns the number of bytes."""
        done, wanted = 0, max(0, min(len(into), self.size - at))
        if wanted > LARGEST:
            return self._in_parts(into, at, wanted)
        while done < wanted:
            found = self._from(at + done, wanted - done)
            into[done : done + len(found)] = found
            done += len(found)
        return done

    def _in_parts(self, into: memoryview, at: int, wanted: int) -> int:
        """Read a large range, in parts that are fetched concurrently."""
        starts = range(0, wanted, LARGEST)
        parts = [self._in_thread(self._fetch, self._range(at + k, min(LARGEST, wanted - k))) for k in starts]
        for start, part in zip(starts, parts, strict=True):
            found, stop = part.result(), min(start + LARGEST, wanted)
            if len(found) != stop - start:
                raise OSError(errno.EIO, "the store gave a part of what was asked for", self.name)
            into[start:stop] = found
        return wanted

    def _from(self, at: int, wanted: int) -> memoryview:
        """Some bytes from `at` on, at most `wanted`."""
        stop = self._start + len(self._part)
        if not self._start <= at < stop:
            self._turn_to(at, wanted, follows=stop <= at <= stop + NEAR)
        inside = at - self._start
        return self._part[inside : inside + wanted]

    def _turn_to(self, at: int, wanted: int, follows: bool) -> None:
        """Fetch the part that contains `at` and, if reading sequentially, start fetching the next."""
        self._length = min(2 * self._length, LARGEST) if follows else FIRST
        stop, ahead = self._start + len(self._part), self._ahead
        self._ahead = None
        if follows and ahead is not None:
            self._start, self._part = stop, ahead.result()
            if not self._start <= at < self._start + len(self._part):
                self._start, self._part = at, self._fetched(at, max(wanted, self._length))
        else:
            self._start, self._part = at, self._fetched(at, max(wanted, self._length))
        stop = self._start + len(self._part)
        if follows and stop < self.size:
            self._ahead = self._in_thread(self._fetch, self._range(stop, self._length))

    def _fetched(self, at: int, length: int) -> memoryview:
        found = self._in_thread(self._fetch, self._range(at, length)).result()
        if not found:
            raise OSError(errno.EIO, "the store gave nothing of an object", self.name)
        return found

    def _range(self, at: int, length: int) -> Range:
        return Range(self.name, at, min(length, self.size - at), self._version)
