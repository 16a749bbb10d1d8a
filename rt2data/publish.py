"""A file is whole or absent; an output appears only when it is complete."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path

from filelock import FileLock, Timeout

from rt2data.errors import LockedError, OutputError, UsageError


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
    errno.ENOSPC: "free some space and run the same command again: it goes on where it stopped",
    errno.EDQUOT: "your quota is used up: free some space and run the same command again",
    errno.EROFS: "the file system is read-only: choose another place",
    errno.EACCES: "no permission: choose another place",
    errno.EPERM: "not permitted: choose another place",
    errno.ENOTDIR: "a part of the path is a file: choose another place",
    errno.EFBIG: "the file system allows no file of this size: use smaller shards",
    errno.EIO: "the disk reports an error",
}


@contextmanager
def whole_file(path: Path, direct: bool = False) -> Iterator[FileIO]:
    """Write a file that appears under its name only when it is complete and on disk; on failure nothing is left.

    `direct` opens it for direct I/O where the file system can: only whole, aligned blocks may then be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    with output_errors(path):
        try:
            with _open_new(temporary, direct) as file:
                yield file
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def _open_new(path: Path, direct: bool) -> FileIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    if direct and os.environ.get("RT2DATA_DIRECT_IO", "1") != "0":
        with suppress(OSError, AttributeError):  # not every file system can, not every system has it
            return FileIO(os.open(path, flags | os.O_DIRECT, 0o666), "wb")
    path.unlink(missing_ok=True)  # some file systems make the file before they refuse
    return FileIO(os.open(path, flags, 0o666), "wb")


def write_whole(path: Path, content: bytes) -> None:
    """`whole_file` for content that is at hand."""
    with whole_file(path) as file:
        view = memoryview(content)
        while view:
            view = view[file.write(view) :]


def produce_whole(path: Path, produce: Callable[[Path], None]) -> None:
    """Let a library write `path` under a temporary name; it appears when complete and on disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
    with output_errors(path):
        try:
            produce(temporary)
            sync(temporary)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise


def sync(path: Path) -> None:
    """Force a file, or a folder's list of names, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def exclusively(lock: Path, what: str, wait_s: float = 0) -> Iterator[None]:
    """Hold a lock that dies with this process. Raises LockedError when somebody else holds it for longer than `wait_s`."""
    with output_errors(lock):
        lock.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(lock)
    try:
        with output_errors(lock):
            held.acquire(timeout=wait_s)
    except Timeout:
        raise LockedError(f"another build is writing {what}", str(lock), "wait for it to finish") from None
    try:
        yield
    finally:
        held.release()


def remove_temporaries(folder: Path) -> None:
    """Throw away what a killed run left half written. Only for a folder this process holds the lock of."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def is_complete(folder: Path) -> bool:
    """Whether a complete output of ours lies here: the manifest is written last."""
    return (folder / "manifest.json").is_file()


def refuse_foreign(folder: Path) -> None:
    """An output folder may be absent, empty or ours. Raises UsageError."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise UsageError("the output is not a folder", str(folder), "choose another place")
    if folder.exists() and any(folder.iterdir()) and not is_complete(folder):
        raise UsageError("the output folder holds something else", str(folder), "choose an empty or new folder")


def publish_folder(finished: Path, out: Path) -> None:
    """Give a finished folder its name. An older complete output of ours makes way; a reader sees the old one or the new one."""
    with output_errors(out):
        sync(finished)
        old = out.with_name(f".{out.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if is_complete(out):
            out.rename(old)
        elif out.exists():
            out.rmdir()
        finished.rename(out)
        sync(out.parent)
        shutil.rmtree(old, ignore_errors=True)
