"""What a place that holds files can do. Each kind of place has one body; today there is the local file system.

All bodies raise the built-in errors: FileNotFoundError, PermissionError, and OSError for the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from io import FileIO, RawIOBase
from pathlib import Path
from typing import NamedTuple, Protocol

from rt2data.errors import UsageError


class Stat(NamedTuple):
    """A file at one time. Its version changes when its content does."""

    size: int  # bytes
    version: str  # locally the time of its last change, in nanoseconds


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


class Location(Protocol):
    """A place that holds files, opened once in each process. Never sent to another process: names are."""

    def stat(self, name: str) -> Stat:
        """Raises FileNotFoundError."""

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

    def open_unbuffered(self, name: str) -> RawIOBase:
        """A seekable file without a buffer, opened for reading. Raises OSError."""

    def mapped(self, name: str) -> memoryview:
        """All bytes of a file, read-only, in memory as they are used. Raises OSError."""

    def read(self, wanted: Sequence[Range]) -> list[bytes]:
        """The bytes of many ranges, in their order; fewer where a file ends before.

        Raises OSError, and SourceChangedError where a file has another version than the one wanted.
        """

    def whole_file(self, name: str, direct: bool = False) -> AbstractContextManager[FileIO]:
        """A file to write, that has its name only when it is complete; nothing is left on failure. Raises OutputError.

        `direct` opens it for direct I/O where that is possible: only whole, aligned blocks may then be written.
        """

    def produce_whole(self, name: str, produce: Callable[[Path], None]) -> None:
        """The same, written by a library that needs a local path. Raises OutputError."""

    def delete(self, name: str) -> None:
        """Remove a file, if it is there. Raises OSError."""

    def local_copy_or_path(self, name: str) -> AbstractContextManager[Path]:
        """A local path for libraries that need one. Locally the file itself; elsewhere a copy that is removed at the end."""

    def absolute(self, name: str) -> Path:
        """The full name of what a relative one stands for."""


_ADVICE = {
    "gs": "copy it with `gcloud storage cp -r`, or mount the bucket with gcsfuse, and give a local path",
    "s3": "copy it with `aws s3 cp --recursive`, or mount the bucket with mount-s3, and give a local path",
    "hf": "download it with `hf download`, and give a local path",
    "http": "download it, and give a local path",
    "https": "download it, and give a local path",
    "az": "copy it with azcopy, or mount the container with blobfuse2, and give a local path",
    "abfs": "copy it with azcopy, or mount the container with blobfuse2, and give a local path",
    "abfss": "copy it with azcopy, or mount the container with blobfuse2, and give a local path",
    "hdfs": "copy it with `hdfs dfs -get`, or mount it, and give a local path",
}


def refused(scheme: str, rest: str) -> UsageError:
    """The error for `scheme://rest`."""
    do = _ADVICE.get(scheme, "copy or mount it, and give a local path")
    return UsageError(f"{scheme}:// is not supported: only local files are read and written", f"{scheme}://{rest}", do)
