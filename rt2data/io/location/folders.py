"""Folders: outputs, stores and staging folders are made, renamed and removed as a whole.

In an object store a folder is what the names of objects begin with: it need not be made, and cannot be renamed.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from rt2data.io import location
from rt2data.io.location.bodies import remote_body
from rt2data.io.location.paths import is_remote
from rt2data.io.location.whole import output_errors


def make_folder(folder: Path, output: Path | None = None) -> None:
    """Make it, and those above it, unless it is there. Raises OutputError, which names the `output` that it is made for."""
    if not is_remote(folder):
        with output_errors(output or folder):
            folder.mkdir(parents=True, exist_ok=True)


def remove_folder(folder: Path) -> None:
    """Remove it with all it holds. Raises OSError."""
    location.remove_folder(folder)


def discard_folder(folder: Path) -> None:
    """Remove what can be removed of a folder that nobody needs any more, if it is there."""
    if is_remote(folder):
        with suppress(OSError):
            location.remove_folder(folder)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def exchange(one: Path, other: Path) -> bool:
    """Exchange two names at once: renameat2(2), RENAME_EXCHANGE. False where the system or the file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError):
        return False
    return bool(renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0)


_HERE, _EXCHANGE = -100, 2  # AT_FDCWD, RENAME_EXCHANGE


def disk_of(folder: Path) -> int:
    """The number of the disk of a folder, which need not exist yet. Raises OSError."""
    return _existing(folder).stat().st_dev


def free_bytes(folder: Path) -> int:
    """Free space on the disk of a folder, which need not exist yet; an object store has no end. Raises OSError."""
    if is_remote(folder):
        return _ENDLESS
    return shutil.disk_usage(_existing(folder)).free


_ENDLESS = 1 << 62


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that exists."""
    return next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())


def rename(old: Path, new: Path) -> None:
    """Give a file or a folder another name on the same disk, that of a file or an empty folder too. Raises OSError."""
    old.replace(new)


def is_link(path: Path) -> bool:
    """Whether this is a symbolic link."""
    return path.is_symlink()


def bytes_and_time(folder: Path) -> tuple[int, float]:
    """Bytes of all files in a folder and below it, and when the last was written, in s since 1970; links are not followed.

    A file with more names than one counts for its share, so that several folders together have the bytes that are on the disk.
    Files may vanish meanwhile. Raises OSError where the folder cannot be listed.
    """
    if is_remote(folder):
        return remote_body(folder).bytes_and_time(str(folder))
    size, changed = 0, 0.0
    for entry in _entries_below(folder):
        try:
            found = entry.stat(follow_symlinks=False)
        except FileNotFoundError:
            continue
        size, changed = size + found.st_size // found.st_nlink, max(changed, found.st_mtime)
    return size, changed or folder.stat().st_mtime


def _entries_below(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _entries_below(Path(entry.path))
            else:
                yield entry


def remove_empty_folder(folder: Path) -> None:
    """Raises OSError where it holds anything."""
    if not is_remote(folder):
        folder.rmdir()


def real_path(path: Path) -> Path:
    """The absolute path with all links followed. Raises OSError or RuntimeError where they have a loop."""
    return path if is_remote(path) else path.resolve()


@contextmanager
def temporary_folder(prefix: str, near: Path | None = None) -> Iterator[Path]:
    """A new folder in `near`, or where temporary files go, removed at the end. Raises OutputError where it cannot be made."""
    if near is not None and is_remote(near):
        folder = near / f"{prefix}{os.urandom(4).hex()}"
        try:
            yield folder
        finally:
            discard_folder(folder)
        return
    with output_errors(near or Path(gettempdir())):
        made = TemporaryDirectory(prefix=prefix, dir=near)
    with made as name:
        yield Path(name)
