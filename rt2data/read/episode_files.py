"""The files of episodes that are stored as folders. Files are found by listing, so that no name in a log can lead out of its
folder.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from xxhash import xxh3_64_hexdigest

from rt2data.errors import DataError
from rt2data.images.ready import ImageFault
from rt2data.io import location
from rt2data.io.location import is_remote
from rt2data.io.location.base import Entry, Stat
from rt2data.read.join.files import ImageReader, is_ignored
from rt2data.records import Content, Deferred, Image, Place

_LEVELS = 8
_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")


class Listing(NamedTuple):
    """The files of one episode, by path relative to its folder. Links are excluded."""

    folder: str
    files: Mapping[str, Stat]

    def path(self, name: str) -> str:
        """The full path of a file."""
        return f"{self.folder}/{name}"

    @property
    def paths(self) -> list[str]:
        """The full paths of all files."""
        return [self.path(name) for name in self.files]

    @property
    def bytes(self) -> int:
        """The total size of all files."""
        return sum(stat.size for stat in self.files.values())

    @property
    def digest(self) -> str:
        """A hash that changes when a file changes."""
        return xxh3_64_hexdigest(repr(sorted(self.files.items())).encode("utf-8", "surrogateescape"))


def list_files(folder: str, wanted: Callable[[str], bool]) -> Listing:
    """The files in and below a folder whose relative path is `wanted`."""
    return Listing(folder, {name: stat for name, stat in _below(folder).items() if wanted(name)})


def _below(folder: str) -> dict[str, Stat]:
    start = len(folder) + 1
    if is_remote(folder):
        return {path[start:]: stat for path, stat in location.files_below(folder)}
    paths = list(_paths_below(folder, _LEVELS))
    return {path[start:]: stat for path, stat in zip(paths, location.stats(paths), strict=True) if stat is not None}


def _paths_below(folder: str, levels: int) -> Iterator[str]:
    """Files in and below a folder, skipping links."""
    for entry in location.children(folder):
        if entry.is_file(follow_symlinks=False):
            yield entry.path
        elif levels and entry.is_dir(follow_symlinks=False):
            yield from _paths_below(entry.path, levels - 1)


def folders_in(folder: str) -> list[str]:
    """The folders in a folder, ordered by the numbers in their names; hidden ones are skipped.

    Raises DataError for a link, whose target may be anywhere.
    """
    found = [entry.name for entry in location.children(folder) if not is_ignored(entry.name) and _is_folder(entry)]
    return [f"{folder.rstrip('/')}/{name}" for name in sorted(found, key=by_numbers)]


def _is_folder(entry: Entry) -> bool:
    if entry.is_dir(follow_symlinks=False):
        return True
    if entry.is_file(follow_symlinks=False):
        return False
    raise DataError("a log of folders holds a link", entry.path, "copy or move what it leads to in its place")


def by_numbers(name: str) -> tuple[list[str | int], str]:
    """A sort key that puts episode_10 after episode_9."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)], name


def episode_name(folder: str) -> str:
    """The name of an episode: its folder's name or, if that is not a valid episode name, its valid characters and a hash."""
    if _NAME.fullmatch(folder):
        return folder
    plain = re.sub(r"[^A-Za-z0-9_-]+", "_", folder)[:31]
    return f"{plain}-{short_hash(folder)}"


def short_hash(text: str) -> str:
    """A hash of eight digits."""
    return xxh3_64_hexdigest(text.encode("utf-8", "surrogateescape"))[:8]


class ImageFile(Deferred):
    """An image file, read on demand."""

    __slots__ = ("_fault", "_path", "_reader")

    def __init__(self, reader: ImageReader, path: str, fault: str = "") -> None:
        self._reader, self._path, self._fault = reader, path, fault

    def read(self) -> Content:
        if self._fault:
            raise ImageFault(self._fault, self._path)
        return self._reader.read(self._path).content()


class ImagesByName(Sequence[tuple[Image, ...]]):
    """The images of each step, by the file names given for the step; a camera without one is left out."""

    def __init__(self, listing: Listing, names: Mapping[str, list[str]], reader: ImageReader) -> None:
        self._listing, self._names, self._reader = listing, names, reader
        self._total = max(map(len, names.values()), default=0)

    def __len__(self) -> int:
        return self._total

    def __getitem__(self, step: Any) -> Any:
        return tuple(self._image(camera, names[step]) for camera, names in self._names.items() if names[step])

    def _image(self, camera: str, name: str) -> Image:
        inside = plain_name(name)
        if inside is None:
            return Image(camera, ImageFile(self._reader, f"{name!r} leads out of {self._listing.folder}", "unsafe_path"))
        path = f"{self._listing.folder}/{inside}"
        found = self._listing.files.get(inside)
        if found is None:
            return Image(
                camera, ImageFile(self._reader, f"{path}: there is no such image file (links are not followed)", "missing_image")
            )
        return Image(camera, ImageFile(self._reader, path), Place(path, 0, found.size))

    def expect(self) -> None:
        """Announce that the images will be read in step order."""
        inside = (plain_name(names[step]) for step in range(self._total) for names in self._names.values())
        self._reader.expect(f"{self._listing.folder}/{name}" for name in inside if name in self._listing.files)


def plain_name(name: str) -> str | None:
    """The relative path of a file below a folder; None for a name that could lead out of the folder."""
    parts = PurePosixPath(name).parts
    unsafe = not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name or ":" in name
    return None if unsafe else "/".join(parts)
