"""Storage of a zarr store's values: a folder of files, or a zip archive, which is read without extraction."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from rt2data.errors import DataError
from rt2data.io import location
from rt2data.io.location import is_remote, path_of
from rt2data.io.location.base import Stat
from rt2data.io.zipped import Zip, open_zip

MARKS = (".zgroup", "zarr.json")
"""Files at the root of a store, for zarr versions 2 and 3."""

WHOLE = slice(None)


class Store(Protocol):
    """Values by key, such as data/action/.zarray and data/action/0.0."""

    path: str  # for messages
    mark: str  # a file that every part of the store depends on

    def read(self, key: str, part: slice = WHOLE) -> bytes | None:
        """A value, or a slice of it; None if it does not exist. Raises OSError, ZipFault."""

    def folders(self, key: str) -> list[str]:
        """Sorted names of the folders in a folder; "" is the root."""

    def stats(self) -> dict[str, Stat]:
        """The stat of every value, by key. Raises DataError for anything other than files and folders, such as a link."""

    def files(self) -> list[str]:
        """The files of the store."""


class Folder:
    """A store in a folder."""

    def __init__(self, path: str, mark: str) -> None:
        self.path, self.mark = path, f"{path}/{mark}"

    def read(self, key: str, part: slice = WHOLE) -> bytes | None:
        name = f"{self.path}/{key}"
        try:
            if part == WHOLE:
                return location.read_bytes(name)
            start, stop, _ = part.indices(location.stat(name).size)
            return location.read_range(name, start, stop - start)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            return None

    def folders(self, key: str) -> list[str]:
        folder = f"{self.path}/{key}" if key else self.path
        if not location.is_folder(folder):
            return []
        return sorted(entry.name for entry in location.children(folder) if entry.is_dir(follow_symlinks=False))

    def stats(self) -> dict[str, Stat]:
        start = len(self.path) + 1
        if is_remote(self.path):
            return {path[start:]: stat for path, stat in location.files_below(self.path)}
        paths = list(_files_below(self.path))
        return {path[start:]: stat for path, stat in zip(paths, location.stats(paths), strict=True) if stat is not None}

    def files(self) -> list[str]:
        return sorted(f"{self.path}/{key}" for key in self.stats())


class Archive:
    """A store in a zip archive."""

    def __init__(self, path: str, members: Zip) -> None:
        self.path = self.mark = path
        self._members = members

    def read(self, key: str, part: slice = WHOLE) -> bytes | None:
        try:
            return self._members.read(key)[part]
        except KeyError:
            return None

    def folders(self, key: str) -> list[str]:
        return sorted(self._members.folders(key))

    def stats(self) -> dict[str, Stat]:
        whole = location.stat(self.path).version
        return {name: Stat(self._members.size(name), whole) for name in self._members.names()}

    def files(self) -> list[str]:
        return [self.path]


def is_store(path: Path) -> bool:
    """Whether a path is a store, judging by the names in it; for an archive, by its own name. Raises OSError."""
    if location.is_folder(path):
        return any(location.is_file(path / mark) for mark in MARKS)
    return path.name.endswith(".zip") and location.is_file(path) and location.read_head(path, 2) == b"PK" and _holds_one(path)


def open_store(path: str) -> Store | None:
    """The store at a path; None if there is none. Raises OSError, or DataError for a damaged or malicious archive."""
    if location.is_folder(path):
        mark = next((mark for mark in MARKS if location.is_file(path_of(path) / mark)), None)
        return None if mark is None else Folder(path.rstrip("/"), mark)
    if not location.is_file(path) or location.read_head(path, 2) != b"PK":
        return None
    members = open_zip(path)
    return Archive(path, members) if any(mark in members for mark in MARKS) else None


def _holds_one(path: Path) -> bool:
    try:
        return open_store(str(path)) is not None
    except DataError:
        return False


def _files_below(folder: str) -> Iterator[str]:
    """All files in and below a folder. Links are not allowed, since they could lead anywhere."""
    for entry in location.children(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _files_below(entry.path)
        elif entry.is_file(follow_symlinks=False):
            yield entry.path
        else:
            raise DataError("a zarr store holds a link, or what is no file", entry.path, "copy what it leads to in its place")
