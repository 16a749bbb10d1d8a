"""Finds the image file a question refers to. All candidates are kept until one is left: nothing is chosen silently."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple, Protocol

import xxhash

from rt2data.errors import DataError, SourceChangedError
from rt2data.io import location
from rt2data.io.digest import sized_hash
from rt2data.io.words import plural
from rt2data.read.join.files import ImageFile, NamePattern, numbers_of, suggested_pattern

Conflict = Literal["refuse", "first"]


class ImageKey(NamedTuple):
    """How a question identifies its image."""

    number: int  # image_id; -1 if there is none
    name: str = ""  # a file name or path; empty if there is none

    def __str__(self) -> str:
        return f"image {self.name or self.number}"


class Found(NamedTuple):
    """The image found, or why there is none."""

    path: str  # empty if there is none
    how: str  # number, pattern, name, base_name; or a reject reason
    settled: str = ""  # if several files matched: same_bytes, or first_folder if the recipe's order decided
    detail: str = ""

    def facts(self) -> Iterator[str]:
        """The facts to count."""
        yield f"join.image_by_{self.how}" if self.path else f"join.{self.how}"
        if self.settled:
            yield f"join.{self.settled}"


def group_of(image: ImageKey) -> str:
    """The group that keeps all questions about one image in one split: its number, or a hash of its name."""
    numbers = (image.number,) if image.number >= 0 else numbers_of(image.name.rpartition("/")[2])
    return str(numbers[0]) if len(numbers) == 1 else f"n{xxhash.xxh3_64_hexdigest(image.name.encode())}"


@dataclass(frozen=True)
class Candidates:
    """All listed files, looked up by the name or number in a question."""

    files: Sequence[ImageFile]
    pattern: NamePattern | None = None

    def of(self, key: ImageKey) -> tuple[str, list[ImageFile]]:
        """How the files were found, and all matches: by the name given, else by number."""
        named = self._named(key.name) if key.name else ("", [])
        if named[1]:
            return named
        return "pattern" if self.pattern else "number", self._numbered.get(key.number, [])

    def unclear(self, number: int) -> ImageFile | None:
        """A file that may have this number, as one of several in its name."""
        return self._unclear.get(number)

    def _named(self, name: str) -> tuple[str, list[ImageFile]]:
        """Find files by path, if one ends with the given path; otherwise by base name."""
        parts = parts_of(name)
        files = self._by_name.get(parts[-1] if parts else "", [])
        tail = "/".join(parts)
        exact = [file for file in files if f"/{file.inside}".endswith(f"/{tail}")]
        return ("name", exact) if exact else ("base_name", files)

    @cached_property
    def _by_name(self) -> dict[str, list[ImageFile]]:
        found = defaultdict(list)
        for file in self.files:
            found[file.name].append(file)
        return found

    @cached_property
    def _numbered(self) -> dict[int, list[ImageFile]]:
        found = defaultdict(list)
        for file in self.files:
            numbers = self._numbers(file)
            if len(numbers) == 1:
                found[numbers[0]].append(file)
        return found

    @cached_property
    def _unclear(self) -> dict[int, ImageFile]:
        found: dict[int, ImageFile] = {}
        for file in self.files:
            numbers = self._numbers(file)
            for number in numbers if len(numbers) > 1 else ():
                found.setdefault(number, file)
        return found

    def _numbers(self, file: ImageFile) -> tuple[int, ...]:
        if self.pattern is None:
            return numbers_of(file.name)
        number = self.pattern.number(file.inside)
        return () if number is None else (number,)


class Listed(Protocol):
    """Lookup of files by what a row says about them."""

    def of(self, key: ImageKey) -> tuple[str, list[ImageFile]]:
        """How the files were found, and all matches."""

    def unclear(self, number: int) -> ImageFile | None:
        """A file that may have this number, as one of several in its name."""


def parts_of(name: str) -> list[str]:
    """The components of a path as written in a data file."""
    return [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]


def choose_images(keys: Iterable[ImageKey], candidates: Candidates, conflict: Conflict) -> list[Found]:
    """The image of each key, in order. Bytes are compared only if a key has several candidates.

    Raises DataError if several different images remain for a key, or only names with several numbers match.
    """
    chosen: list[Found] = []
    clashes: list[tuple[ImageKey, Sequence[ImageFile]]] = []
    unclear: ImageKey | None = None
    for key in keys:
        found = choose_image(key, candidates, conflict)
        if not isinstance(found, Found):
            clashes.append((key, found))
            continue
        chosen.append(found)
        unclear = unclear or (key if found.how == "unclear_image_name" else None)
    if clashes:
        raise _clash(clashes, conflict)
    if unclear is not None and not any(found.path for found in chosen):
        raise _all_unclear(unclear, candidates)
    return chosen


def choose_image(key: ImageKey, candidates: Listed, conflict: Conflict) -> Found | Sequence[ImageFile]:
    """The image of one key, or two that differ. Bytes are compared only if a key has several candidates."""
    how, files = candidates.of(key)
    if not files:
        return _missing(key, candidates)
    if len(files) == 1:
        return Found(files[0].path, how)
    other = _different(files)
    if other is None:
        return Found(files[0].path, how, "same_bytes")
    if conflict == "refuse":
        return files[0], other
    first = [file for file in files if file.folder == files[0].folder]
    other = _different(first)
    return Found(files[0].path, how, "first_folder") if other is None else (files[0], other)


def _missing(key: ImageKey, candidates: Listed) -> Found:
    file = candidates.unclear(key.number)
    if file is None:
        return Found("", "missing_image", "", str(key))
    advice = f"{file.path} has several numbers: set `name` to {suggested_pattern(file.name, key.number)}"
    return Found("", "unclear_image_name", "", f"{key}: {advice}")


def _different(files: Sequence[ImageFile]) -> ImageFile | None:
    """The first file whose bytes differ from those of the first file; sizes are compared before bytes."""
    try:
        size = location.stat(files[0].path).size
        for file in files[1:]:
            if location.stat(file.path).size != size:
                return file
        first = sized_hash(files[0].path)
        return next((file for file in files[1:] if sized_hash(file.path) != first), None)
    except FileNotFoundError as error:
        raise SourceChangedError("an image is gone", str(error.filename), "run the build again") from None


def _clash(clashes: Sequence[tuple[ImageKey, Sequence[ImageFile]]], conflict: Conflict) -> DataError:
    key, (one, other) = clashes[0]
    name = suggested_pattern(one.name, key.number) if not key.name and key.number in numbers_of(one.name) else ""
    advice = [f'set `name` (such as "{name}")' if name else "", "narrow `image_dirs`"]
    if conflict == "refuse" and one.folder != other.folder:
        advice.append("set `image_conflict: first` to take the first of `image_dirs`")
    count = f"{plural(len(clashes), 'image')} that questions name"
    return DataError(
        f"{count} can be several files that differ, such as {key}", f"{one.path}, {other.path}", ", or ".join(filter(None, advice))
    )


def _all_unclear(key: ImageKey, candidates: Candidates) -> DataError:
    file = candidates.unclear(key.number)
    assert file is not None
    name = suggested_pattern(file.name, key.number)
    return DataError(f"names of images have several numbers, and none has one alone: {key}", file.path, f'set `name` to "{name}"')
