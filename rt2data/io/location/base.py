"""The interface of a location of files. It has one implementation per kind: the local file system, object stores, web servers,
hubs.

All implementations raise the built-in errors: FileNotFoundError, PermissionError, and OSError for the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from io import FileIO, RawIOBase
from pathlib import Path
from typing import NamedTuple, Protocol


class Stat(NamedTuple):
    """A file's state at one time. The version changes when the content does."""

    size: int  # bytes
    version: str  # local files: mtime and ctime in nanoseconds; others: the ETag, or a hash


class Range(NamedTuple):
    """Bytes of a file, of a given version if set."""

    name: str
    start: int
    length: int
    version: str = ""


class Entry(Protocol):
    """A file or folder inside a folder. Locally an `os.DirEntry`, which knows its kind without another call."""

    @property
    def name(self) -> str: ...
    @property
    def path(self) -> str: ...
    def is_file(self, *, follow_symlinks: bool = True) -> bool: ...
    def is_dir(self, *, follow_symlinks: bool = True) -> bool: ...


class ByPosition(Protocol):
    """A file that is read by position."""

    @property
    def size(self) -> int:
        """The size in bytes."""

    def pread(self, length: int, at: int) -> bytes:
        """Bytes from `at` on; fewer if the file ends earlier. Raises OSError."""

    def preadv(self, into: memoryview, at: int) -> int:
        """Fill `into` with bytes from `at` on, as far as the file goes; returns the number of bytes. Raises OSError."""


class Location(Protocol):
    """A location of files, opened once per process. Locations are never sent to other processes, only names are."""

    def stat(self, name: str) -> Stat:
        """Raises FileNotFoundError."""

    def stats(self, names: Sequence[str]) -> list[Stat | None]:
        """The stats of many files, with as few requests as possible; None for a missing one. Raises OSError."""

    def exists(self, name: str) -> bool:
        """Whether anything with this name exists."""

    def identity(self, name: str) -> str:
        """An identity that is equal for two names of the same folder or file, such as links to it. Raises OSError."""

    def is_file(self, name: str) -> bool:
        """Whether a file with this name exists."""

    def is_folder(self, name: str) -> bool:
        """Whether a folder with this name exists."""

    def children(self, folder: str) -> Iterator[Entry]:
        """The entries of a folder, in no particular order. Raises OSError."""

    def files_below(self, folder: str) -> Iterator[tuple[str, Stat]]:
        """All files in and below a folder, in no particular order; none if the folder does not exist."""

    def opened(self, name: str) -> AbstractContextManager[ByPosition]:
        """A file to read by position, closed at the end. Raises OSError."""

    def open_unbuffered(self, name: str) -> RawIOBase:
        """A seekable file without a buffer, opened for reading. Raises OSError."""

    def mapped(self, name: str) -> memoryview:
        """All bytes of a file, read-only, loaded as they are used. Raises OSError."""

    def read(self, wanted: Sequence[Range]) -> list[bytes]:
        """The bytes of many ranges, in order; fewer if a file ends earlier.

        Raises OSError, and SourceChangedError if a file's version differs from the requested one.
        """

    def read_range(self, wanted: Range) -> bytes | memoryview:
        """The bytes of one range, read in the calling thread. Raises the same errors as `read`."""

    def whole_file(self, name: str, direct: bool = False) -> AbstractContextManager[FileIO]:
        """A file to write, which gets its name only when complete; nothing is left on failure. Raises OutputError.

        `direct` opens it for direct I/O if possible: then only whole, aligned blocks may be written.
        """

    def produce_whole(self, name: str, produce: Callable[[Path], None]) -> None:
        """The same, for a library that needs a local path. Raises OutputError."""

    def duplicate(self, name: str, new: str) -> None:
        """Give a file, which must never be changed in place, a second name here. Raises OutputError, FileNotFoundError."""

    def delete(self, name: str) -> None:
        """Remove a file, if it exists. Raises OSError."""

    def remove_folder(self, folder: str) -> None:
        """Remove a folder and its contents. Raises OSError."""

    def local_copy_or_path(self, name: str) -> AbstractContextManager[Path]:
        """A local path for libraries that need one: the file itself if local, else a copy that is removed at the end."""

    def absolute(self, name: str) -> Path:
        """The absolute form of a relative name."""
