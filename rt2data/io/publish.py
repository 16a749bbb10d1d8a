"""A file is whole or absent; an output appears only when it is complete."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any

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
    errno.ENOSPC: "free some space and run the same command again; a build goes on where it stopped",
    errno.EDQUOT: "your quota is used up: free some space and run the same command again",
    errno.EROFS: "the file system is read-only: choose another place",
    errno.EACCES: "no permission: choose another place",
    errno.EPERM: "not permitted: choose another place",
    errno.ENOTDIR: "a part of the path is a file: choose another place",
    errno.EEXIST: "a part of the path is a file: choose another place",
    errno.ENOENT: "its folder went away: run the same command again",
    errno.ENAMETOOLONG: "the path is too long: choose another place",
    errno.ELOOP: "the path leads in a circle: choose another place",
    errno.EFBIG: "the file system allows no file of this size: use smaller shards",
    errno.EIO: "the disk reports an error",
    errno.EMFILE: "raise the limit of open files: ulimit -n",
}


class OutputFile(FileIO):
    """A file that says so where it cannot be written; whatever its writer reads meanwhile fails in its own name."""

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
    """Write a file that appears under its name only when it is complete and on disk; on failure nothing is left.

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
    """A temporary name that becomes `path` at the end, or goes away."""
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


def write_whole(path: Path, content: bytes) -> None:
    """`whole_file` for content that is at hand."""
    with whole_file(path) as file:
        write_all(file, content)


def produce_whole(path: Path, produce: Callable[[Path], None]) -> None:
    """Let a library write `path` under a temporary name; it appears when complete and on disk."""
    with _replacing(path) as temporary, output_errors(path):
        produce(temporary)
        sync(temporary)


def require_writable(path: Path, *inputs: Path, mark: bytes = b"", force: bool = False) -> None:
    """Asked before long work, not after it: can a file be written here, and does it destroy nothing?

    It must be none of the inputs, nor inside of one; and a file that is there must be empty or hold `mark`, which stands in the
    first `MARKED` bytes of every file of this kind that rt2data writes. `force` lets any file go, no mark means that none may.
    Raises OutputError where it cannot be written, UsageError where it must not.
    """
    whole = path.resolve()
    if not whole.parent.is_dir():
        raise UsageError("there is no such folder", str(path.parent), "make it first")
    if whole.is_dir():
        raise UsageError("a folder is there", str(path), "give the name of a file")
    if whole.exists() and not whole.is_file():
        raise UsageError("a device or a pipe is there", str(path), "give the name of a file")
    if whole.exists() and not force and not _is_ours(whole, mark):
        what = "a file is there that rt2data did not write" if mark else "a file is there already"
        raise UsageError(what, str(path), "choose another name, or replace it with --force")
    for each in inputs:
        if each.resolve() in (whole, *whole.parents):
            raise UsageError("a file would be written over what is looked at, or into it", str(path), "choose another place")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with output_errors(path):
        os.close(_open_new(temporary, direct=False))
        temporary.unlink()


MARKED = 4096
"""Bytes at the start of a file that its mark stands in."""


def _is_ours(path: Path, mark: bytes) -> bool:
    """Whether a file may be written over without a word. Raises OutputError where it cannot be looked at."""
    with output_errors(path), path.open("rb") as file:
        head = file.read(MARKED)
    return not head or (mark != b"" and mark in head)


def sync(path: Path) -> None:
    """Force a file, or a folder's list of names, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def exclusively(lock: Path, what: str, wait_s: float = 0) -> Iterator[None]:
    """Hold a lock that dies with this process. Raises LockedError when somebody else holds it for longer than `wait_s`.

    Its file goes away at the end, while it is still held: whoever opened it before then locks a file without a name, which
    filelock notices (no links are left), and tries again with the file that has the name by then.
    """
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
        with suppress(OSError):
            lock.unlink(missing_ok=True)
        held.release()


def remove_temporaries(folder: Path) -> None:
    """Throw away what a killed run left half written. Only for a folder this process holds the lock of."""
    for path in folder.rglob(".*.tmp"):
        path.unlink(missing_ok=True)


def is_complete(folder: Path) -> bool:
    """Whether a complete output of ours lies here: the manifest is written last."""
    return (folder / "manifest.json").is_file()


def refuse_foreign(folder: Path) -> None:
    """An output folder may be absent, empty or ours. Raises UsageError, and OutputError where a file is in the way."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise OutputError("the output is not a folder", str(folder), "choose another place")
    if folder.exists() and any(folder.iterdir()) and not is_complete(folder):
        raise UsageError("the output folder holds something else", str(folder), "choose an empty or new folder")


def publish_folder(finished: Path, out: Path) -> None:
    """Give a finished folder its name. An older complete output of ours makes way; a reader sees the old one or the new one."""
    with output_errors(out):
        for folder in (*finished.rglob("*/"), finished):
            sync(folder)
        if not (is_complete(out) and _exchange(finished, out)):
            _move_in(finished, out)
        sync(out.parent)
    for rest in (finished, old_output(out)):
        shutil.rmtree(rest, ignore_errors=True)


def _move_in(finished: Path, out: Path) -> None:
    """Where two names cannot be exchanged at once, the old output steps aside for a moment."""
    if is_complete(out):
        shutil.rmtree(old_output(out), ignore_errors=True)
        out.rename(old_output(out))
    elif out.exists():
        out.rmdir()
    finished.rename(out)


def old_output(out: Path) -> Path:
    """Where an output that makes way waits until the new one is there."""
    return out.with_name(f".{out.name}.old")


def put_back(out: Path) -> None:
    """What a run that was killed while publishing moved aside comes back."""
    if not out.exists() and is_complete(old_output(out)):
        with output_errors(out):
            old_output(out).rename(out)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two names at once: renameat2(2), RENAME_EXCHANGE. False where the system or the file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError):
        return False
    return bool(renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0)


_HERE, _EXCHANGE = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
