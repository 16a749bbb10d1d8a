"""Image files below the folders of a corpus, and the number in each file's name.

Files are found by listing, so no path is built from the content of a data file. The number of an image is the only integer in its
name: COCO_val2014_000000000042.jpg, 000000000042.jpg and 42_0054c913.jpg are all image 42. A name without a separate integer has
the number at its end (img42.jpg). A name with several (000000000042_640.jpg) has no number unless the recipe's `name` says which
one counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from rt2data.errors import UsageError
from rt2data.images.ready import ImageFault
from rt2data.io import location
from rt2data.io.location import HeadsAhead, heads_ahead, is_remote
from rt2data.records import Image, Place

_IMAGE = re.compile(r".*\.(?:jpe?g|png|webp|gif|bmp)", re.IGNORECASE | re.DOTALL)
_WORD = re.compile(r"[^\W_]+")
_NUMBER = re.compile(r"[0-9]{1,18}")
_LAST = re.compile(r"(?<![0-9])[0-9]{1,18}$")
_FIELD = re.compile(r"\{id(?::(?:d|0([1-9]|1[0-8])d))?\}")
_UNDECODABLE = re.compile(r"[\ud800-\udfff]")


def is_ignored(name: str) -> bool:
    """Whether a file or folder is ignored: hidden ones, resource forks of macOS, names that are not Unicode."""
    return name.startswith(".") or name == "__MACOSX" or _UNDECODABLE.search(name) is not None


def is_image(name: str) -> bool:
    """Whether a file name has an image suffix."""
    return _IMAGE.fullmatch(name) is not None


def numbers_of(name: str) -> tuple[int, ...]:
    """The numbers that an image with this name may have: one, none, or several if ambiguous."""
    stem = name.rpartition(".")[0]
    whole = [int(word) for word in _WORD.findall(stem) if _NUMBER.fullmatch(word)]
    if whole:
        return tuple(dict.fromkeys(whole))
    last = _LAST.search(stem)
    return (int(last[0]),) if last else ()


@dataclass(frozen=True)
class NamePattern:
    """A recipe's `name`, such as COCO_train2014_{id:012d}.jpg: matched against the end of a path, in whole components."""

    text: str

    def number(self, inside: str) -> int | None:
        """The number of the image at a path below an image folder; None if it does not match."""
        found = _compiled(self.text).fullmatch(inside)
        return int(found[1]) if found and self._spelled(int(found[1])) == found[1] else None

    def _spelled(self, number: int) -> str:
        field = _FIELD.search(self.text)
        return f"{number:0{field[1]}d}" if field and field[1] else str(number)


@lru_cache(maxsize=16)
def _compiled(text: str) -> re.Pattern[str]:
    before, after = (re.escape(part) for part in _split(text))
    return re.compile(rf"(?:.*/)?{before}([0-9]{{1,18}}){after}", re.DOTALL)


def _split(text: str) -> tuple[str, str]:
    field = _FIELD.search(text)
    assert field is not None
    return text[: field.start()], text[field.end() :]


def checked_pattern(text: str) -> str:
    """The text, checked to be a NamePattern. Raises ValueError if it is not."""
    if len(_FIELD.findall(text)) != 1 or set("{}") & set("".join(_split(text))):
        raise ValueError("must have one {id} or {id:012d} (any width from 1 to 18), and no other braces")
    parts = text.split("/")
    if "\\" in text or "\0" in text or any(part in ("", ".", "..") for part in parts):
        raise ValueError("must be a name, or a path below image_dirs, with / between its parts")
    if not is_image(parts[-1]):
        raise ValueError("must end in .jpg, .jpeg, .png, .webp, .gif or .bmp")
    return text


def suggested_pattern(name: str, number: int) -> str:
    """A pattern that gives an image of this name this number."""
    spelled = next(word for word in re.findall(r"[0-9]+", name) if int(word) == number)
    field = f"{{id:0{len(spelled)}d}}" if spelled.startswith("0") and len(spelled) > 1 else "{id}"
    return name.replace(spelled, field, 1)


# Folders

DEPTH = 8
"""Levels of folders searched below each named folder."""


class ImageFile(NamedTuple):
    """An image file. Files are ordered by these fields."""

    folder: int  # position of its folder in `image_dirs`
    inside: str  # path relative to that folder, with /
    path: str

    @property
    def name(self) -> str:
        return self.inside.rpartition("/")[2]


def list_images(folders: Sequence[str], pattern: NamePattern | None = None) -> list[ImageFile]:
    """All image files, or those whose name matches a pattern, in order. A folder below two of `folders` belongs to the first.

    Raises UsageError if a folder is missing, or there are no files.
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
    """(path below the named folder, path). Each folder is visited once, because links may form a cycle."""
    here = location.identity(folder)
    if here in seen:
        return
    seen.add(here)
    folders = []
    for entry in location.children(folder):
        if is_ignored(entry.name):
            continue
        if is_image(entry.name) and entry.is_file():
            yield inside + entry.name, entry.path
        elif depth and entry.is_dir():
            folders.append((entry.name, entry.path))
    for name, path in sorted(folders):
        yield from _below(path, f"{inside}{name}/", depth - 1, seen)


class ImageReader:
    """Reads image files. Rows about one image are adjacent, so the last one read is cached."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._last: tuple[str, Image] | None = None
        self._ahead: HeadsAhead | None = None

    def expect(self, paths: Iterable[str]) -> None:
        """Announce images that will be read in this order, though maybe not all: those in an object store are prefetched."""
        remote = [path for path in paths if is_remote(path)]
        if remote:
            self._ahead = heads_ahead(remote, self._max_bytes + 1)

    def read(self, path: str) -> Image:
        """An image and its place. Raises ImageFault: missing_image, unreadable_image, too_large_file."""
        if self._last is None or self._last[0] != path:
            content = self._content(path)
            self._last = path, Image("image", content, Place(path, 0, len(content)))
        return self._last[1]

    def _head(self, path: str) -> bytes:
        length = self._max_bytes + 1
        return self._ahead.read(path) if self._ahead and is_remote(path) else location.read_head(path, length)

    def _content(self, path: str) -> bytes:
        try:
            content = self._head(path)
        except FileNotFoundError:
            raise ImageFault("missing_image", path) from None
        except OSError as error:
            raise ImageFault("unreadable_image", f"{path}: {error.strerror}") from None
        if len(content) > self._max_bytes:
            raise ImageFault("too_large_file", f"{path}: more than {self._max_bytes} bytes")
        return content
