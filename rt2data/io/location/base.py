"""What a place that holds files can do. Each kind of place has one body: the local file system, object stores, web servers, hubs.

All bodies raise the built-in errors: FileNotFoundError, PermissionError, and OSError for the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from io import FileIO, RawIOBase
from pathlib import Path
from typing import NamedTuple, Protocol


class Stat(NamedTuple):
    """A file at one time. Its version changes when its content does."""

    size: int  # bytes
    version: str  # locally the times of the last change of its content and of its inode, in nanoseconds; else its ETag, or a hash


class Range(NamedTuple):
    """Bytes of a file, of one version where that is given."""

    name: str
    start: int
    length: int
    version: str = ""


class Entry(Protocol):
    """A file or a folder that a folder holds. Locally an `os.DirEntry`: its kind costs no further call."""

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
        """In bytes."""

    def pread(self, length: int, at: int) -> bytes:
        """Bytes from `at` on; fewer where the file ends before. Raises OSError."""

    def preadv(self, into: memoryview, at: int) -> int:
        """Fill `into`, or as much of it as the file has from `at` on; how many bytes. Raises OSError."""


class Location(Protocol):
    """A place that holds files, opened once in each process. Never sent to another process: names are."""

    def stat(self, name: str) -> Stat:
        """Raises FileNotFoundError."""

    def stats(self, names: Sequence[str]) -> list[Stat | None]:
        """Of many files, with as few requests as possible; None for one that is not there. Raises OSError."""

    def exists(self, name: str) -> bool:
        """Whether there is anything of that name."""

    def identity(self, name: str) -> str:
        """Equal for two names of one folder or file, such as links to it. Raises OSError."""

    def is_file(self, name: str) -> bool:
        """Whether there is a file of that name."""

    def is_folder(self, name: str) -> bool:
        """Whether there is a folder of that name."""

    def children(self, folder: str) -> Iterator[Entry]:
        """What a folder holds, in no order. Raises OSError."""

    def files_below(self, folder: str) -> Iterator[tuple[str, Stat]]:
        """All files in a folder and below it, in no order; none where there is no such folder."""

    def opened(self, name: str) -> AbstractContextManager[ByPosition]:
        """A file that is read by position, closed at the end. Raises OSError."""

    def open_unbuffered(self, name: str) -> RawIOBase:
        """A seekable file without a buffer, opened for reading. Raises OSError."""

    def mapped(self, name: str) -> memoryview:
        """All bytes of a file, read-only, in memory as they are used. Raises OSError."""

    def read(self, wanted: Sequence[Range]) -> list[bytes]:
        """The bytes of many ranges, in their order; fewer where a file ends before.

        Raises OSError, and SourceChangedError where a file has another version than the one wanted.
        """

    def read_range(self, wanted: Range) -> bytes | memoryview:
        """The bytes of one range, in the thread that calls. Raises what `read` raises."""

    def whole_file(self, name: str, direct: bool = False) -> AbstractContextManager[FileIO]:
        """A file to write, that has its name only when it is complete; nothing is left on failure. Raises OutputError.

        `direct` opens it for direct I/O where that is possible: only whole, aligned blocks may then be written.
        """

    def produce_whole(self, name: str, produce: Callable[[Path], None]) -> None:
        """The same, written by a library that needs a local path. Raises OutputError."""

    def duplicate(self, name: str, new: str) -> None:
        """Give the content of a file, which nobody changes in place, a second name here. Raises OutputError, FileNotFoundError."""

    def delete(self, name: str) -> None:
        """Remove a file, if it is there. Raises OSError."""

    def remove_folder(self, folder: str) -> None:
        """Remove it with all it holds. Raises OSError."""

    def local_copy_or_path(self, name: str) -> AbstractContextManager[Path]:
        """A local path for libraries that need one. Locally the file itself; elsewhere a copy that is removed at the end."""

    def absolute(self, name: str) -> Path:
        """The full name of what a relative one stands for."""
