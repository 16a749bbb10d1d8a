"""Local files that are written atomically."""

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
    """Convert errors that prevent writing: full disk, read-only file system, no permission. Raises OutputError."""
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
    """A file whose write errors name it; errors from reading other files meanwhile are unchanged."""

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
    """Write a file that gets its name only when it is complete and on disk; nothing is left on failure.

    `direct` opens it for direct I/O if supported: then only whole, aligned blocks may be written.
    """
    with _replacing(path) as temporary:
        with output_errors(path):
            descriptor = _open_new(temporary, direct)
        with OutputFile(descriptor, path) as file:
            yield file
            file.finish()


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A temporary file that is renamed to `path` at the end, or removed on failure."""
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
        with suppress(OSError, AttributeError):  # not supported by every file system or platform
            return os.open(path, flags | os.O_DIRECT, 0o666)
    path.unlink(missing_ok=True)  # some file systems create the file before failing
    return os.open(path, flags, 0o666)


def write_all(file: FileIO, content: Any) -> None:
    """Write all content: a single write may be partial."""
    view = memoryview(content)
    while view:
        view = view[file.write(view) :]


def produce_whole(path: Path, produce: Callable[[Path], None]) -> None:
    """Let a library write a file under a temporary name; it is renamed to `path` only when complete and on disk."""
    with _replacing(path) as temporary, output_errors(path):
        produce(temporary)
        sync(temporary)


def duplicate(path: Path, new: Path) -> None:
    """Create a hard link, or a copy if the file system does not support links. Raises OutputError, FileNotFoundError."""
    path.stat()
    with _replacing(new) as temporary, output_errors(new):
        try:
            temporary.hardlink_to(path)
        except OSError:  # another disk, or without links, or another user's file
            shutil.copyfile(path, temporary)
            sync(temporary)


def require_creatable(path: Path) -> None:
    """Check that files can be created here: create and remove a temporary file. Raises OutputError."""
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
