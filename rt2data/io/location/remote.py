"""Files read by requests, from any kind of server: the common part of the remote implementations."""

from __future__ import annotations

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from io import FileIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from rt2data.io.location.base import Range, Stat
from rt2data.io.location.look import seen, unseen
from rt2data.io.location.object_file import ObjectFile
from rt2data.io.location.paths import RemotePath, parted, read_only
from rt2data.io.location.requests import in_thread, note_use, obstore, require_unforked, tried


class RemoteEntry(NamedTuple):
    """A file, or a folder, which is a name prefix that ends in a slash."""

    name: str
    path: str
    folder: bool

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        return not self.folder

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        return self.folder


class Remote(ABC):
    """The files of one bucket, host or repository, opened once per process. Names are full URIs."""

    def __init__(self, scheme: str, place: str) -> None:
        self.root = f"{scheme}://{place}/"
        self._scheme = scheme
        self._opened: Any = None

    @property
    def _store(self) -> Any:
        """The store, opened once per process. Raises UsageError if it cannot be opened."""
        require_unforked(self.root)
        if self._opened is None:
            self._opened = self._open()
            note_use()
        return self._opened

    @abstractmethod
    def _open(self) -> Any:
        """Open an obstore store. Raises UsageError."""

    @abstractmethod
    def _look(self, name: str) -> Stat:
        """Request the stat of a file, in this thread. Raises FileNotFoundError, OSError; DataError if the response is
        incomplete.
        """

    @abstractmethod
    def is_folder(self, name: str) -> bool: ...

    @abstractmethod
    def children(self, folder: str) -> Iterator[RemoteEntry]: ...

    @abstractmethod
    def files_below(self, folder: str) -> Iterator[tuple[str, Stat]]: ...

    @abstractmethod
    def bytes_and_time(self, folder: str) -> tuple[int, float]:
        """Total bytes of all files below, and the time of the last write, in s since 1970. Raises FileNotFoundError if there are
        none.
        """

    def _key(self, name: str) -> str:
        found = parted(name)
        return found[2].strip("/") if found else name

    def _pinned(self, version: str) -> dict[str, Any]:
        """Request options for a specific version."""
        return {"if_match": version} if version else {}

    def _content(self, wanted: Range, answer: Any) -> memoryview:
        """The content of a response. Raises SourceChangedError if it is known to be of a different version."""
        return memoryview(answer.bytes())

    def _call(self, call: Callable[..., Any], name: str, *arguments: Any, **options: Any) -> Any:
        store = self._store
        return in_thread(tried, name, lambda: call(store, *arguments, **options)).result()

    def _head(self, name: str) -> Any:
        """obstore's metadata of a file, requested in this thread."""
        store, key, head = self._store, self._key(name), obstore().head
        return tried(name, lambda: head(store, key))

    def stat(self, name: str) -> Stat:
        found: Stat | None = seen("stat", name, lambda: in_thread(self._look, name).result())
        if found is None:  # it was missing in a bulk query
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return found

    def stats(self, names: Sequence[str]) -> list[Stat | None]:
        found = self._found(unseen("stat", names))
        return [seen("stat", name, lambda name=name: found.get(name)) for name in names]  # type: ignore[misc]

    def _found(self, names: Iterable[str]) -> dict[str, Stat]:
        """The stats of existing files, requested individually and concurrently."""
        asked = [(name, in_thread(self._look, name)) for name in names]
        found = {}
        for name, answer in asked:
            with suppress(FileNotFoundError):
                found[name] = answer.result()
        return found

    def exists(self, name: str) -> bool:
        return self.is_file(name) or self.is_folder(name)

    def identity(self, name: str) -> str:
        return str(RemotePath(name))

    def is_file(self, name: str) -> bool:
        try:
            return bool(self._key(name)) and self.stat(name).size >= 0
        except FileNotFoundError:
            return False

    def opened(self, name: str) -> ObjectFile:
        return ObjectFile(name, self.stat(name), self.read_range, in_thread)

    def open_unbuffered(self, name: str) -> ObjectFile:
        return self.opened(name)

    def mapped(self, name: str) -> memoryview:
        with self.opened(name) as file:
            return memoryview(file.readall())

    def read_now(self, name: str) -> bytes:
        """The content of a small file that others may replace at any time. Raises OSError."""
        return bytes(self.mapped(name))

    def read(self, wanted: Sequence[Range]) -> list[bytes]:
        futures = [in_thread(self.read_range, each) for each in wanted]
        return [bytes(future.result()) for future in futures]

    def read_range(self, wanted: Range) -> memoryview:
        """Bytes of a file, in this thread; fewer if it ends earlier. Raises the same errors as `read`."""
        if wanted.length <= 0:
            return memoryview(b"")
        options = {"range": (wanted.start, wanted.start + wanted.length), **self._pinned(wanted.version)}
        store, key, get = self._store, self._key(wanted.name), obstore().get
        try:
            return tried(wanted.name, lambda: self._content(wanted, get(store, key, options=options)))
        except EOFError:
            return memoryview(b"")

    @contextmanager
    def local_copy_or_path(self, name: str) -> Iterator[Path]:
        with TemporaryDirectory(prefix="rt2data-") as folder:
            local = Path(folder, RemotePath(name).name)
            with self.opened(name) as file, FileIO(local, "wb") as copy:
                while part := file.read(1 << 23):
                    copy.write(part)
            yield local

    def absolute(self, name: str) -> Path:
        return RemotePath(name)


class ReadOnly(Remote):
    """A read-only location. Functions that take output names refuse it earlier (`writable`)."""

    def whole_file(self, name: str, direct: bool = False) -> AbstractContextManager[FileIO]:
        raise read_only(name)

    def produce_whole(self, name: str, produce: Callable[[Path], None]) -> None:
        raise read_only(name)

    def duplicate(self, name: str, new: str) -> None:
        raise read_only(new)

    def delete(self, name: str) -> None:
        raise read_only(name)

    def remove_folder(self, folder: str) -> None:
        raise read_only(folder)
