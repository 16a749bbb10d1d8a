"""Picture files by the number at the end of their names: COCO_val2014_000000000042.jpg and 000000000042.jpg are both picture 42.

Files are found by listing folders, and rows name pictures by number. So no path is ever made from what a data file says.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from rt2data.errors import UsageError
from rt2data.images import ImageFault
from rt2data.records import Image, Place

_DEPTH = 2  # levels of folders below each of those that are named
_NAME = re.compile(r"[^\udc80-\udcff]*?(\d{1,18})\.(?:jpe?g|png|webp|gif)", re.IGNORECASE | re.ASCII)


def find_pictures(folders: Sequence[str]) -> dict[int, str]:
    """Number -> path; of two files with a number, the first by path. Raises UsageError where a folder or every file is missing."""
    found: dict[int, str] = {}
    for path, number in sorted(listed for folder in folders for listed in _listed(folder)):
        found.setdefault(number, path)
    if not found:
        raise UsageError("there are no pictures named by a number", ", ".join(folders), "set `image_dirs`")
    return found


def _listed(folder: str) -> Iterator[tuple[str, int]]:
    if not Path(folder).is_dir():
        raise UsageError("there is no such folder of pictures", folder, "set `image_dirs`")
    yield from _files(folder, _DEPTH)


def _files(folder: str, depth: int) -> Iterator[tuple[str, int]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            named = _NAME.fullmatch(entry.name)
            if named and entry.is_file():
                yield entry.path, int(named[1])
            elif depth and entry.is_dir():
                yield from _files(entry.path, depth - 1)


class Pictures:
    """The pictures of some folders, by number. Rows about one picture follow each other, so the last one read is kept."""

    def __init__(self, folders: Sequence[str], max_bytes: int) -> None:
        self._paths = find_pictures(folders)
        self._max_bytes = max_bytes
        self._last: tuple[int, Image] | None = None

    def image(self, number: int) -> Image:
        """A picture and where it lies. Raises ImageFault: missing_image, unreadable_image, too_large_file."""
        if self._last is None or self._last[0] != number:
            self._last = number, self._open(number)
        return self._last[1]

    def size(self, number: int) -> int:
        """Bytes of a picture's file, 0 where there is none."""
        try:
            return Path(self._paths[number]).stat().st_size
        except (KeyError, OSError):
            return 0

    def _open(self, number: int) -> Image:
        if number not in self._paths:
            raise ImageFault("missing_image", f"picture {number}")
        path = self._paths[number]
        content = self._read(path)
        return Image("image", content, Place(path, 0, len(content)))

    def _read(self, path: str) -> bytes:
        try:
            with Path(path).open("rb") as file:
                content = file.read(self._max_bytes + 1)
        except FileNotFoundError:
            raise ImageFault("missing_image", path) from None
        except OSError as error:
            raise ImageFault("unreadable_image", f"{path}: {error.strerror}") from None
        if len(content) > self._max_bytes:
            raise ImageFault("too_large_file", f"{path}: more than {self._max_bytes} bytes")
        return content
