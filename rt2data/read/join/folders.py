"""Image files below some folders. Files are found by listing, so no path is ever made from what a data file says."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rt2data.errors import UsageError
from rt2data.images.ready import ImageFault
from rt2data.io import location
from rt2data.read.join.names import NamePattern, is_image, is_passed_over
from rt2data.records import Image, Place

DEPTH = 8
"""Levels of folders below each of those that are named."""


class ImageFile(NamedTuple):
    """An image file; in the order of these fields the first of several comes first."""

    folder: int  # position of its folder in `image_dirs`
    inside: str  # its path below that folder, with /
    path: str

    @property
    def name(self) -> str:
        return self.inside.rpartition("/")[2]


def list_images(folders: Sequence[str], pattern: NamePattern | None = None) -> list[ImageFile]:
    """All image files, or those that a pattern gives a number, in order. A folder below two of `folders` belongs to the first.

    Raises UsageError where a folder or every file is missing.
    """
    found, seen = [], set[str]()
    for number, folder in enumerate(folders):
        if not location.is_folder(folder):
            raise UsageError("there is no such folder of images", folder, "set `image_dirs`")
        found += [ImageFile(number, inside, path) for inside, path in _below(folder, "", DEPTH, seen)]
    if not found:
        raise UsageError("there are no images", ", ".join(folders), "set `image_dirs`")
    named = [file for file in found if pattern is None or pattern.number(file.inside) is not None]
    if pattern is not None and not named:
        raise UsageError(f"no image is named like {pattern.text}, but such as {found[0].inside}", ", ".join(folders), "set `name`")
    return sorted(named)


def _below(folder: str, inside: str, depth: int, seen: set[str]) -> Iterator[tuple[str, str]]:
    """(path below the named folder, path). Each folder once, whatever links lead to it: a link may lead in a circle."""
    here = location.identity(folder)
    if here in seen:
        return
    seen.add(here)
    folders = []
    for entry in location.children(folder):
        if is_passed_over(entry.name):
            continue
        if is_image(entry.name) and entry.is_file():
            yield inside + entry.name, entry.path
        elif depth and entry.is_dir():
            folders.append((entry.name, entry.path))
    for name, path in sorted(folders):
        yield from _below(path, f"{inside}{name}/", depth - 1, seen)


class ImageReader:
    """Reads image files. Rows about one image follow each other, so the last one read is kept."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._last: tuple[str, Image] | None = None

    def read(self, path: str) -> Image:
        """An image and where it lies. Raises ImageFault: missing_image, unreadable_image, too_large_file."""
        if self._last is None or self._last[0] != path:
            content = self._content(path)
            self._last = path, Image("image", content, Place(path, 0, len(content)))
        return self._last[1]

    def _content(self, path: str) -> bytes:
        try:
            content = location.read_head(path, self._max_bytes + 1)
        except FileNotFoundError:
            raise ImageFault("missing_image", path) from None
        except OSError as error:
            raise ImageFault("unreadable_image", f"{path}: {error.strerror}") from None
        if len(content) > self._max_bytes:
            raise ImageFault("too_large_file", f"{path}: more than {self._max_bytes} bytes")
        return content
