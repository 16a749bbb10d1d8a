"""Tar archives of samples, as WebDataset and img2dataset write them: members whose names are equal up to the first dot form a row.

The columns are the keys of a sample's `json`, and each other member by the name after its first dot: `txt`, `jpg`. Images are also
in the column `image`, or `images` if there are several; their bytes stay in the archive.
"""

from __future__ import annotations

import re
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, BinaryIO

from rt2data.io import location
from rt2data.io.json_stream import JsonFault, decoder_of
from rt2data.io.stamps import Stamp
from rt2data.io.tar_walk import Cut, printable, problem_of, walk
from rt2data.read import units
from rt2data.read.corpus.draft import Embedded
from rt2data.read.corpus.table import Part, RawRow, Table
from rt2data.read.join.files import is_ignored, is_image
from rt2data.records import Place

_NAME = re.compile(r"((?:.*/)?[^/.]+)\.([^/]+)", re.DOTALL)
_TEXT = re.compile(r"(?:.*\.)?(?:txt|text|caption|cls)")
_MAX_IMAGES = 256 << 20  # bytes of all images of a sample


@dataclass(frozen=True)
class TarSamples(Table):
    """A tar archive. The sample whose first header is at byte 1536 is row `1536`."""

    def parts(self) -> list[Part]:
        """Ranges of whole samples. A remote archive is one part: splitting it would mean reading it all. Raises DataError if it is
        damaged.
        """
        stamp = Stamp.of(self.path)
        if stamp.size <= units.UNIT_BYTES or location.is_remote(self.path):
            return [Part(0, stamp.size, stamp.size)]
        return list(_parts(self.path, stamp, units.UNIT_BYTES))

    def rows(self, start: int, stop: int) -> Iterator[RawRow]:
        """Samples that begin in [start, stop). Raises DataError if a header is damaged."""
        stamp = Stamp.of(self.path)
        with location.open_file(self.path) as file:
            for sample in _samples(file, self.path, stamp.size, start, self.max_row):
                if isinstance(sample, Cut):
                    yield self._row(sample.at, JsonFault("cut_tar", f"the archive is cut: {sample.detail}"))
                elif sample.start >= stop:
                    return
                else:
                    yield self._row(sample.start, self._values(sample, stamp), sample.key)

    def first(self) -> RawRow | None:
        """The first sample."""
        return next(self.rows(0, location.stat(self.path).size), None)

    def _row(self, at: int, values: dict[str, Any] | JsonFault, key: str = "") -> RawRow:
        return RawRow(str(at), f"{self.path}: byte {at}" + (f", {printable(key)}" if key else ""), values)

    def _values(self, sample: Sample, stamp: Stamp) -> dict[str, Any] | JsonFault:
        """The columns of a sample, or what is wrong with it."""
        if sample.is_part and (places := _torn(self.path, stamp).get(sample.key)):
            return JsonFault("torn_sample", f"its members are not neighbours: they are at bytes {', '.join(map(str, places[:4]))}")
        if sample.fault is not None:
            return sample.fault
        values: dict[str, Any] = {"__key__": sample.key}
        for suffix, content in sample.texts.items():
            found = self._object(content, suffix) if suffix == "json" else _decoded(content, suffix)
            if isinstance(found, JsonFault):
                return found
            values = found | values if suffix == "json" else values | found
        images = sample.images.items()
        return _with_images(values, {name: Embedded(data, Place(self.path, at, len(data))) for name, (at, data) in images})

    def _object(self, content: bytes, name: str) -> dict[str, Any] | JsonFault:
        text = content.removeprefix(b"\xef\xbb\xbf")
        if not text.lstrip().startswith(b"{"):
            return JsonFault("bad_json", f"{name} is not an object")
        return decoder_of(self.path, self.columns)(text, 0)


def _decoded(content: bytes, name: str) -> dict[str, Any] | JsonFault:
    try:
        return {name: content.decode("utf-8-sig")}
    except UnicodeDecodeError:
        return JsonFault("bad_text", f"{name} is not UTF-8")


@dataclass
class Sample:
    """Adjacent members with the same key, by the part of the name after the first dot, in lower case."""

    key: str
    start: int
    names: set[str] = field(default_factory=set)
    texts: dict[str, bytes] = field(default_factory=dict)
    images: dict[str, tuple[int, bytes]] = field(default_factory=dict)  # offset in the archive, and bytes
    fault: JsonFault | None = None
    held: int = 0  # total bytes of images
    said: int = 0  # total bytes of texts

    def add(self, suffix: str, info: tarfile.TarInfo, file: BinaryIO, max_text: int) -> None:
        """Add a member, reading it if it is useful. The first bad member becomes the sample's fault."""
        problem = ("duplicate_member", f"{printable(info.name)} is there twice") if suffix in self.names else problem_of(info)
        self.names.add(suffix)
        if problem is None and is_image(f".{suffix}"):
            problem = self._add_image(suffix, info, file)
        elif problem is None and (suffix == "json" or _TEXT.fullmatch(suffix)):
            problem = self._add_text(suffix, info, file, max_text)
        self.fault = self.fault or (JsonFault(*problem) if problem else None)

    def _add_image(self, suffix: str, info: tarfile.TarInfo, file: BinaryIO) -> tuple[str, str] | None:
        self.held += info.size
        if self.held > _MAX_IMAGES:
            return "too_large_file", f"{info.name}: images of more than {_MAX_IMAGES} bytes"
        file.seek(info.offset_data)
        self.images[suffix] = info.offset_data, file.read(info.size)
        return None

    def _add_text(self, suffix: str, info: tarfile.TarInfo, file: BinaryIO, max_text: int) -> tuple[str, str] | None:
        self.said += info.size
        if self.said > max_text:
            return "too_long_text", f"{info.name}: more than {max_text} bytes"
        file.seek(info.offset_data)
        self.texts[suffix] = file.read(info.size)
        return None

    @property
    def is_part(self) -> bool:
        """Whether something seems to be missing: it has only images, or none."""
        return sum(is_image(f".{name}") for name in self.names) in (0, len(self.names))


def _samples(file: BinaryIO, path: str, size: int, start: int, max_text: int) -> Iterator[Sample | Cut]:
    """All samples from a header on, with their content. If the archive is truncated inside a member, all except that member's
    sample.
    """
    held: Sample | None = None
    for key, suffix, info in _named(walk(file, path, size, start)):
        if held is not None and held.key != key:
            yield held
            held = None
        if isinstance(info, Cut):
            yield info
            return
        held = held or Sample(key, info.offset)
        held.add(suffix, info, file, max_text)
    if held is not None:
        yield held


def _named(members: Iterator[tarfile.TarInfo | Cut]) -> Iterator[tuple[str, str, tarfile.TarInfo | Cut]]:
    """Members of samples, with key and suffix. Folders and names without a dot are skipped."""
    for info in members:
        found = _NAME.fullmatch(info.name)
        if isinstance(info, Cut):
            yield found[1] if found else "", "", info
        elif found is not None and not info.isdir() and not is_ignored(printable(info.name).rpartition("/")[2]):
            yield found[1], found[2].lower(), info


def _starts(path: str, stamp: Stamp) -> Iterator[tuple[str, int]]:
    """Key and first byte of all samples: reads headers, not contents."""
    last = ""
    with location.open_file(path) as file:
        for key, _, info in _named(walk(file, path, stamp.size)):
            if key != last and isinstance(info, tarfile.TarInfo):
                yield key, info.offset
            last = key


@lru_cache(maxsize=64)
def _parts(path: str, stamp: Stamp, size: int) -> tuple[Part, ...]:
    """Parts that begin with a sample and have at least `size` bytes, except the last."""
    cuts = [0]
    for _, start in _starts(path, stamp):
        if start - cuts[-1] >= size:
            cuts.append(start)
    ends = [*cuts[1:], stamp.size]
    return tuple(Part(start, end, end - start) for start, end in zip(cuts, ends, strict=True))


@lru_cache(maxsize=16)
def _torn(path: str, stamp: Stamp) -> dict[str, list[int]]:
    """For samples that are split up: where their pieces begin, by key."""
    places = defaultdict[str, list[int]](list)
    for key, start in _starts(path, stamp):
        places[key].append(start)
    return {key: starts for key, starts in places.items() if len(starts) > 1}


def _with_images(values: dict[str, Any], images: dict[str, Embedded]) -> dict[str, Any]:
    """The values with `image` or `images` set to the sample's own images, in the order of their names."""
    if not images:
        return values
    named = sorted(images, key=_natural)
    rest = {name: value for name, value in values.items() if name not in ("image", "images")}
    every = {"image": images[named[0]]} if len(named) == 1 else {"images": [images[name] for name in named]}
    return rest | images | every


def _natural(name: str) -> list[tuple[int, str]]:
    """A sort key that puts 2.jpg before 10.jpg."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"([0-9]{1,18})", name)]
