"""The base of output formats, and their table. A new format is one file next to this one and one line in `FORMATS`."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from io import FileIO
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

from rt2data.errors import DataError
from rt2data.io.digest import Digest
from rt2data.render.fields import ExampleRecord

FORMATS: dict[str, str] = {
    "webdataset": "rt2data.formats.webdataset:WebDataset",
    "tfds": "rt2data.formats.tfds:Tfds",
    "parquet": "rt2data.formats.parquet:Parquet",
    "arrayrecord": "rt2data.formats.arrayrecord:ArrayRecord",
    "mds": "rt2data.formats.mds:Mds",
}

LARGEST = {"mds": 2 << 30}
"""Largest shard size that may be requested: half of a format's limit, as shards may come out larger or smaller."""
BLENDED = ("webdataset", "mds")
"""Formats whose readers mix several datasets by weight: each is a `BlendFormat`."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Sizes common to all examples of an output."""

    action_dim: int = 0  # all actions are padded to this; 0 if there are none
    horizon: int = 1  # actions per chunk
    images: int | None = None  # image places per example; None: every example has exactly one image
    more: tuple[str, ...] = ()  # fields that only some outputs have, in the order of the record


ImageSize = tuple[int, str, int]
"""One image to be added to an example: its place in the example, from 0; jpg or png; its size in bytes."""


class MemberImage(NamedTuple):
    """One image of an example read from a shard."""

    slot: int
    extension: str
    data: memoryview


@lru_cache(maxsize=1024)
def image_name(slot: int, extension: str, single: bool) -> str:
    """The part of an image's name after the key and a dot."""
    return extension if single else f"image_{slot}.{extension}"


_IMAGE_NAME = re.compile(r"[^.]+\.(?:image_(0|[1-9][0-9]{0,3})\.)?(jpg|png)")


def slot_and_extension(name: str) -> tuple[int, str]:
    """Slot and extension of an image name that starts with its key. Raises ValueError for any other name."""
    found = _IMAGE_NAME.fullmatch(name)
    if found is None:
        raise ValueError(f"{name!r} is no name of an image")
    return int(found[1] or 0), found[2]


@dataclass(frozen=True, slots=True)
class Member:
    """One example read from a shard: its key, its images by slot, and its record as JSON bytes."""

    key: str
    images: tuple[MemberImage, ...]
    record: memoryview

    @property
    def image(self) -> memoryview:
        """The bytes of the first image; empty if there is no image."""
        return self.images[0].data if self.images else memoryview(b"")


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """One finished shard of an output."""

    name: str  # path relative to the dataset's folder
    index: int  # its number in the dataset
    examples: int
    bytes: int
    xxh3_128: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a format's readers need to know about an output, or about one part of it."""

    split: str
    fingerprint: str
    sizes: Sizes
    sources: tuple[str, ...]
    shards: tuple[ShardEntry, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """Python code that reads an output, to show to its users."""

    imports: str
    call: str  # evaluates to all examples
    use: str  # body of a loop over them with the variable `example`

    def __str__(self) -> str:
        body = "\n".join("    " + line for line in self.use.splitlines())
        return f"{self.imports}\n\nfor example in {self.call}:\n{body}\n"


@dataclass(frozen=True, slots=True)
class Blended:
    """One of several datasets that are read as one."""

    out: Path
    dataset: Dataset
    weight: int  # relative to the others


class SideWriter(Protocol):
    """Writes files next to the shards of an output, each whole or absent. A name may contain folders, separated by `/`."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file whose content is in memory. Raises OutputError."""

    def produce(self, name: str, produce: Callable[[Path], None]) -> None:
        """Write a file through a library that takes its path. Raises OutputError."""

    def notes(self, index: int) -> bytes:
        """The notes left by the writer of a shard."""


class ShardWriter(ABC):
    """Writes examples into one shard."""

    @abstractmethod
    def encode(self, records: Iterable[ExampleRecord]) -> list[Any]:
        """Each record in the form that `add` takes. Encoding many together is faster than encoding between image reads."""

    @abstractmethod
    def add(self, key: str, images: Sequence[ImageSize], record: Any) -> list[memoryview]:
        """Add an example whose record is encoded.

        Returns memory of exactly the images' sizes; the images must be read into it before the next call.
        """

    @abstractmethod
    def close(self) -> Digest:
        """Finish the shard; return its size in bytes and its hashes."""

    def notes(self) -> bytes:
        """What the format's sidecars need to know about this shard, to avoid reading it again; kept until the output is sealed."""
        return b""


class Format(ABC):
    """An output format, with encoding and decoding side by side."""

    extension: ClassVar[str]
    media_type: ClassVar[str]
    has_null: ClassVar[bool] = True  # else a column's fill value replaces null: see `flat`

    @abstractmethod
    def open(self, file: FileIO, sizes: Sizes) -> ShardWriter:
        """A writer of one shard into an open file. All records of the output have these sizes."""

    @abstractmethod
    def read(self, path: Path) -> Iterator[Member]:
        """The examples of one shard in order. Raises DataError naming file and byte if it is cut or malformed."""

    @abstractmethod
    def example_bytes(self, images: Sequence[int], record_bytes: int) -> int:
        """Approximate bytes that one example takes in a shard, from the sizes of its images and of its record as JSON."""

    def shard_name(self, index: int, total: int, split: str) -> str:
        """File name of one of `total` shards, drawn from `split`."""
        return f"shard-{index:06d}.{self.extension}"

    @abstractmethod
    def sidecars(self, beside: SideWriter, dataset: Dataset) -> None:
        """Write the extra files that readers of this format need. Called before the manifest is written."""

    @abstractmethod
    def reading(self, out: Path, dataset: Dataset) -> Reading:
        """How to read the output in Python."""


class BlendFormat(Format):
    """A format of `BLENDED`."""

    @abstractmethod
    def blend(self, parts: Sequence[Blended], examples: int) -> Reading:
        """How to read several datasets as one in Python, mixed by weight, `examples` long."""

    @abstractmethod
    def blend_files(self, parts: Sequence[Blended]) -> dict[str, bytes]:
        """Files next to the folders of several datasets that let readers find them and their weights."""


def members_of(form: Format, path: Path) -> Iterator[Member]:
    """The examples of one shard, as from `Format.read`. Raises DataError also if it is missing or cannot be read."""
    try:
        yield from form.read(path)
    except OSError as error:
        what = "a shard is missing" if isinstance(error, FileNotFoundError) else f"a shard cannot be read: {error.strerror}"
        raise DataError(what, str(path), "build it again, or bring the whole folder here") from error


def one_a_line(elements: Iterable[str]) -> str:
    """The inside of a Python list, one element per line."""
    return "".join(f"\n    {element}," for element in elements) + "\n"


def make_format(name: str) -> Format:
    """The format with this name."""
    module, cls = FORMATS[name].split(":")
    found: Format = getattr(import_module(module), cls)()
    return found
