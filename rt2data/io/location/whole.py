"""Local files that are whole or absent."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any

from rt2data.errors import OutputError


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Name what stops us from writing: full disk, read-only file system, no permission. Raises OutputError."""
    try:
        yield
    except OSError as error:
        if error.errno in _ADVICE:
            raise OutputError(f"cannot write: {error.strerror}", str(path), _ADVICE[error.errno]) from error
        raise


_ADVICE = {
    errno.ENOSPC: "free some space and run the same command again: a build resumes",
    errno.EDQUOT: "your quota is used up: free some space and run the same command again",
    errno.EROFS: "the file system is read-only: choose another place",
    errno.EACCES: "no permission: choose another place",
    errno.EPERM: "not permitted: choose another place",
    errno.ENOTDIR: "a part of the path is a file: choose another place",
    errno.EEXIST: "a part of the path is a file: choose another place",
    errno.ENOENT: "its folder is gone: run the same command again",
    errno.ENAMETOOLONG: "the path is too long: choose another place",
    errno.ELOOP: "the path has a loop of symbolic links: choose another place",
    errno.EFBIG: "the file system allows no file of this size: use smaller shards",
    errno.EIO: "the disk reports an error",
    errno.EMFILE: "raise the limit of open files: ulimit -n",
}


class OutputFile(FileIO):
    """A file whose errors name it; an error in reading something else meanwhile keeps its own name."""

    def __init__(self, descriptor: int, path: Path) -> None:
        super().__init__(descriptor, "wb")
        self.path = path

    def write(self, content: Any) -> int:
        """Write a part, or all. Raises OutputError."""
        with output_errors(self.path):
            return super().write(content)

    def finish(self) -> None:
        """Force it to disk. Raises OutputError."""
        with output_errors(self.path):
            os.fsync(self.fileno())
            self.close()


@contextmanager
def whole_file(path: Path, direct: bool = False) -> Iterator[FileIO]:
    """Write a file that has its name only when it is complete and on disk; nothing is left on failure.

    `direct` opens it for direct I/O where the file system can: only whole, aligned blocks may then be written.
    """
    with _replacing(path) as temporary:
        with output_errors(path):
            descriptor = _open_new(temporary, direct)
        with OutputFile(descriptor, path) as file:
            yield file
            file.finish()


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary name that becomes `path` at the end, or is removed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    try:
        yield temporary
        with output_errors(path):
            temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _open_new(path: Path, direct: bool) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    if direct and os.environ.get("RT2DATA_DIRECT_IO", "1") != "0":
        with suppress(OSError, AttributeError):  # not every file system can, not every system has it
            return os.open(path, flags | os.O_DIRECT, 0o666)
    path.unlink(missing_ok=True)  # some file systems make the file before they refuse
    return os.open(path, flags, 0o666)


def write_all(file: FileIO, content: Any) -> None:
    """Write all of it: a file may take less than it is given."""
    view = memoryview(content)
    while view:
        view = view[file.write(view) :]


def produce_whole(path: Path, produce: Callable[[Path], None]) -> None:
    """Let a library write `path` under a temporary name; it has its name only when it is complete and on disk."""
    with _replacing(path) as temporary, output_errors(path):
        produce(temporary)
        sync(temporary)


def duplicate(path: Path, new: Path) -> None:
    """A hard link, or a copy where the file system has none. Raises OutputError, FileNotFoundError."""
    path.stat()
    with _replacing(new) as temporary, output_errors(new):
        try:
            temporary.hardlink_to(path)
        except OSError:  # another disk, or one without links, or a file of somebody else
            shutil.copyfile(path, temporary)
            sync(temporary)


def require_creatable(path: Path) -> None:
    """Make a file of a temporary name in the same folder and remove it. Raises OutputError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with output_errors(path):
        os.close(_open_new(temporary, direct=False))
        temporary.unlink()


def sync(path: Path) -> None:
    """Force a file, or a folder's list of names, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
