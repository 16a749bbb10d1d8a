"""Outputs: they get their final names only when complete, and only one build at a time writes an output."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from rt2data.errors import LockedError, OutputError, UsageError
from rt2data.io import location
from rt2data.io.lease import leased
from rt2data.io.location.folders import discard_folder, exchange, make_folder
from rt2data.io.location.paths import refuse_bucket
from rt2data.io.location.whole import output_errors, require_creatable, sync


def require_writable(path: Path, *inputs: Path, mark: bytes = b"", force: bool = False) -> None:
    """Check before long work that a file can be written here without destroying anything.

    It must not be one of the inputs or inside one, and an existing file must be empty or have `mark` in its first `MARKED` bytes,
    like every file of this kind written by rt2data. `force` allows replacing any file; without a mark no file is replaced. Raises
    OutputError if it cannot be written, UsageError if it must not be.
    """
    location.writable(path)
    refuse_bucket(path)
    if location.is_remote(path):
        _require_replaceable(path, mark, force)
        return
    whole = path.resolve()
    if not whole.parent.is_dir():
        raise UsageError("there is no such folder", str(path.parent), "make it first")
    if whole.is_dir():
        raise UsageError("a folder is there", str(path), "give the name of a file")
    if whole.exists() and not whole.is_file():
        raise UsageError("a device or a pipe is there", str(path), "give the name of a file")
    _require_replaceable(whole, mark, force, path)
    for each in inputs:
        if each.resolve() in (whole, *whole.parents):
            raise UsageError("the file would be written over an input, or into it", str(path), "choose another place")
    require_creatable(path)


def _require_replaceable(path: Path, mark: bytes, force: bool, said: Path | None = None) -> None:
    if not force and location.exists(path) and not _is_ours(path, mark):
        what = "a file is there that rt2data did not write" if mark else "a file is there already"
        raise UsageError(what, str(said or path), "choose another name, or replace it with --force")


MARKED = 4096
"""Number of bytes at the start of a file that contain its mark."""


def _is_ours(path: Path, mark: bytes) -> bool:
    """Whether a file may be replaced without asking. Raises OutputError if it cannot be read."""
    with output_errors(path):
        head = location.read_head(path, MARKED)
    return not head or (mark != b"" and mark in head)


@contextmanager
def exclusively(lock: Path, what: str, wait_s: float = 0) -> Iterator[None]:
    """Hold a lock, which is released when this process ends. Raises LockedError if another process holds it for longer than
    `wait_s`.

    Its file is removed at the end, while the lock is still held. A process that opened it earlier then locks an unlinked file,
    which filelock notices and retries with the file that has the name by then. Before 3.30, filelock also removed the file, after
    us: by then it could be another process's.
    """
    if location.is_remote(lock):
        with leased(lock, what, wait_s):
            yield
        return
    make_folder(lock.parent)
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
    """Remove half-written files of a killed run. Only for a folder whose lock this process holds."""
    if location.is_remote(folder):
        return  # objects are never half written
    for path in folder.rglob(".*.tmp"):
        path.unlink(missing_ok=True)


def is_complete(folder: Path) -> bool:
    """Whether this is a complete output of rt2data (the manifest is written last)."""
    return location.is_file(folder / "manifest.json")


def refuse_foreign(folder: Path) -> None:
    """Raises UsageError unless an output folder is absent, empty or an output of rt2data; OutputError if it is not a folder."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise OutputError("the output is not a folder", str(folder), "choose another place")
    if folder.exists() and any(folder.iterdir()) and not is_complete(folder):
        raise UsageError("the output folder holds something else", str(folder), "choose an empty or new folder")


def publish_folder(finished: Path, out: Path) -> None:
    """Give a finished folder its final name. It replaces an older complete output; a reader sees either the old one or the new
    one.
    """
    with output_errors(out):
        for folder in (*finished.rglob("*/"), finished):
            sync(folder)
        if not (is_complete(out) and exchange(finished, out)):
            _move_in(finished, out)
        sync(out.parent)
    for rest in (finished, old_output(out)):
        discard_folder(rest)


def _move_in(finished: Path, out: Path) -> None:
    """Publish on systems that cannot exchange two names atomically: the old output is renamed first."""
    if is_complete(out):
        discard_folder(old_output(out))
        out.rename(old_output(out))
    elif out.exists():
        out.rmdir()
    finished.rename(out)


def old_output(out: Path) -> Path:
    """The temporary name of a replaced output until the new one is in place."""
    return out.with_name(f".{out.name}.old")


def put_back(out: Path) -> None:
    """Restore the old output if a run was killed between the two renames."""
    if not out.exists() and is_complete(old_output(out)):
        with output_errors(out):
            old_output(out).rename(out)
