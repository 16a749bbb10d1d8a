"""Numbered files that are read by range: opened on first use, with a limit on open files."""

from __future__ import annotations

import errno
import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import xxhash
from numpy.typing import NDArray

from rt2data.errors import DataError, SourceChangedError
from rt2data.io.location.base import Range
from rt2data.io.location.bodies import remote_body
from rt2data.io.location.local import stat_of
from rt2data.io.location.paths import REMOTE
from rt2data.io.stamps import Stamp, require_unchanged

if TYPE_CHECKING:
    from rt2data.io.location.ahead import Ahead
    from rt2data.io.location.object_file import ObjectFile


_REMOTE = tuple(f"{scheme}://" for scheme in REMOTE)
_OBJECTS = 16
"""Number of objects of which a part is cached in memory."""


class RangeFiles:
    """Files by number. Pickled without its descriptors: each process opens its own."""

    def __init__(self, paths: Sequence[str], limit: int, sequential: bool = False) -> None:
        """`sequential`: each file is read from its start to its end, so the system reads further ahead."""
        self._paths, self._limit, self._sequential = paths, limit, sequential
        self._open: OrderedDict[int, int] = OrderedDict()  # least recently used first
        self._remote = any(path.startswith(_REMOTE) for path in paths)
        self._objects: OrderedDict[int, ObjectFile] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": OrderedDict(), "_objects": OrderedDict()}

    def __del__(self, close: Callable[[int], None] = os.close) -> None:  # `os` may be unloaded before this object at exit
        for descriptor in self._open.values():
            close(descriptor)

    @property
    def is_far(self) -> bool:
        """Whether any file is remote."""
        return self._remote

    def __contains__(self, file: int) -> bool:
        """Whether the file is open."""
        return file in self._open or file in self._objects

    def read(self, file: int, start: int, length: int) -> bytes:
        """Bytes of a file; fewer if it ends earlier. Raises OSError."""
        if self._is_remote(file):
            return self._object(file).pread(length, start)
        return os.pread(self._descriptor(file), length, start)

    def _is_remote(self, file: int) -> bool:
        return self._remote and self._paths[file].startswith(_REMOTE)

    def _object(self, file: int) -> ObjectFile:
        if file not in self._objects:
            self._objects[file] = remote_body(self._paths[file]).opened(self._paths[file])
            if len(self._objects) > _OBJECTS:
                self._objects.popitem(last=False)
        self._objects.move_to_end(file)
        return self._objects[file]

    def _descriptor(self, file: int) -> int:
        found = self._open.get(file)
        if found is not None:
            self._open.move_to_end(file)
            return found
        found = self._open[file] = self._opened(file)
        if len(self._open) > self._limit:
            self._close_one()
        return found

    def _opened(self, file: int) -> int:
        try:
            descriptor = os.open(self._paths[file], os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno != errno.EMFILE or not self._open:
                raise
            self._close_one()
            return self._opened(file)
        if self._sequential:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        return descriptor

    def _close_one(self) -> None:
        os.close(self._open.popitem(last=False)[1])


class Places(Protocol):
    """Where n images are: file number, first byte, length in bytes; int[n] each."""

    @property
    def file(self) -> NDArray[np.int32]: ...
    @property
    def offset(self) -> NDArray[np.int64]: ...
    @property
    def length(self) -> NDArray[np.int32]: ...


class JoinedPlaces(NamedTuple):
    """Concatenated places: see `Places`."""

    file: NDArray[np.int32]
    offset: NDArray[np.int64]
    length: NDArray[np.int32]


def joined_places(parts: Sequence[Places]) -> JoinedPlaces:
    """All places, concatenated."""
    return JoinedPlaces(*(np.concatenate([getattr(part, name) for part in parts]) for name in JoinedPlaces._fields))


class OpenFiles(RangeFiles):
    """Files of one source. Each must still have its stamp from when the source was prepared."""

    def __init__(self, source: str, stamps: Sequence[Stamp], limit: int = 256) -> None:
        super().__init__([stamp.path for stamp in stamps], limit)
        self._source, self._stamps = source, stamps
        self._ahead: Ahead | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_ahead": None}

    def will_need(self, places: Places) -> None:
        """Prefetch many images concurrently, before they are read one by one in this order."""
        if self._remote:
            self._fetch_ahead(places)
            return
        for file, offset, length in zip(places.file.tolist(), places.offset.tolist(), places.length.tolist(), strict=True):
            if len(self._open) < self._limit or file in self._open:
                os.posix_fadvise(self._descriptor(file), offset, length, os.POSIX_FADV_WILLNEED)

    def read_into(self, into: memoryview, file: int, offset: int, digest: int, key: str) -> None:
        """Read exactly len(into) bytes at `offset`. `digest` is their xxh3-64, `key` names their row.

        Raises SourceChangedError if the bytes differ from those prepared, DataError if they cannot be read.
        """
        try:
            got = self._fetch(into, file, offset) if self._is_remote(file) else os.preadv(self._descriptor(file), [into], offset)
        except FileNotFoundError:
            raise self._gone(self._paths[file]) from None
        except OSError as error:
            raise self._unreadable(error, f"{self._paths[file]} byte {offset}", "check the disk") from error
        if got != len(into) or xxhash.xxh3_64_intdigest(into) != digest:
            require_unchanged(self._source, [f"{self._paths[file]} byte {offset} (row {key})"])

    def _opened(self, file: int) -> int:
        path = self._paths[file]
        try:
            descriptor = super()._opened(file)
        except FileNotFoundError:
            raise self._gone(path) from None
        except OSError as error:
            raise self._unreadable(error, path, "check its permissions") from error
        if Stamp.of(path, stat_of(os.fstat(descriptor))) != self._stamps[file]:
            os.close(descriptor)
            require_unchanged(self._source, [path])
        return descriptor

    def _fetch_ahead(self, places: Places) -> None:
        wanted = zip(places.file.tolist(), places.offset.tolist(), places.length.tolist(), strict=True)
        self._announced().want(self._range(*each) for each in wanted if self._is_remote(each[0]))

    def _fetch(self, into: memoryview, file: int, offset: int) -> int:
        try:
            found = self._announced().take(self._range(file, offset, len(into)))
        except SourceChangedError:
            require_unchanged(self._source, [self._paths[file]])
            raise
        # numpy copies without the GIL, so that the threads that hash and write the file continue
        np.frombuffer(into, np.uint8)[: len(found)] = np.frombuffer(found, np.uint8)
        return len(found)

    def _range(self, file: int, offset: int, length: int) -> Range:
        return Range(self._paths[file], offset, length, self._stamps[file].version)

    def _announced(self) -> Ahead:
        if self._ahead is None:
            from rt2data.io.location.ahead import Ahead

            self._ahead = Ahead()
        return self._ahead

    def _gone(self, path: str) -> SourceChangedError:
        return SourceChangedError(f"a file of source {self._source} is gone", path, "put it back and run again")

    def _unreadable(self, error: OSError, where: str, do: str) -> DataError:
        return DataError(f"source {self._source} cannot be read: {error.strerror}", where, do)
