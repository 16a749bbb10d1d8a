"""Folders: outputs, stores and staging folders are created, renamed and removed as a whole.

In an object store a folder is just a prefix of object names: it need not be created, and cannot be renamed.
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
    """Create a folder and its parents, if missing. Raises OutputError, which names the `output` it is for."""
    if not is_remote(folder):
        with output_errors(output or folder):
            folder.mkdir(parents=True, exist_ok=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder and its contents. Raises OSError."""
    location.remove_folder(folder)


def discard_folder(folder: Path) -> None:
    """Remove as much as possible of a folder that is no longer needed, if it exists."""
    if is_remote(folder):
        with suppress(OSError):
            location.remove_folder(folder)
    else:
        shutil.rmtree(folder, ignore_errors=True)


def exchange(one: Path, other: Path) -> bool:
    """Exchange two names atomically: renameat2(2), RENAME_EXCHANGE. False if the system or file system cannot."""
    try:
        renameat2 = ctypes.CDLL(None).renameat2
    except (AttributeError, OSError):
        return False
    return bool(renameat2(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0)


_HERE, _EXCHANGE = -100, 2  # AT_FDCWD, RENAME_EXCHANGE


def disk_of(folder: Path) -> int:
    """The device number of a folder, which need not exist yet. Raises OSError."""
    return _existing(folder).stat().st_dev


def free_bytes(folder: Path) -> int:
    """Free space on the disk of a folder, which need not exist yet; unlimited for an object store. Raises OSError."""
    if is_remote(folder):
        return _ENDLESS
    return shutil.disk_usage(_existing(folder)).free


_ENDLESS = 1 << 62


def _existing(folder: Path) -> Path:
    """The folder, or its nearest existing parent."""
    return next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())


def rename(old: Path, new: Path) -> None:
    """Rename a file or folder on the same disk, possibly over a file or an empty folder. Raises OSError."""
    old.replace(new)


def is_link(path: Path) -> bool:
    """Whether this is a symbolic link."""
    return path.is_symlink()


def bytes_and_time(folder: Path) -> tuple[int, float]:
    """Total bytes of all files in and below a folder, and the time of the last write, in s since 1970; links are not followed.

    A file with several hard links counts proportionally, so that the totals of several folders add up to the bytes on disk. Files
    may vanish meanwhile. Raises OSError if the folder cannot be listed.
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
    """Remove an empty folder. Raises OSError if it is not empty."""
    if not is_remote(folder):
        folder.rmdir()


def real_path(path: Path) -> Path:
    """The absolute path with all links followed. Raises OSError or RuntimeError if they form a loop."""
    return path if is_remote(path) else path.resolve()


@contextmanager
def temporary_folder(prefix: str, near: Path | None = None) -> Iterator[Path]:
    """A new folder in `near`, or in the folder for temporary files, removed at the end. Raises OutputError if it cannot be
    created.
    """
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
