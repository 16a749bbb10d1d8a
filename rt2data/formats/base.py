"""What every output format is, and the table of formats. A new format is one file beside this one and one line in `FORMATS`."""

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
"""Bytes that may be asked of a shard, where a format's own numbers end: half of that, for shards come out larger or smaller."""
BLENDED = ("webdataset", "mds")
"""Formats whose readers mix several datasets by weight: each is a `BlendFormat`."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes that all examples of an output have."""

    action_dim: int = 0  # actions are padded to it; 0 where there are none
    horizon: int = 1  # actions of a chunk
    images: int | None = None  # places for images in each example; None: every example has exactly one image
    more: tuple[str, ...] = ()  # fields that only some outputs have, in the order of the record


ImageSize = tuple[int, str, int]
"""One image that an example is to have: its place in the example, from 0; jpg or png; its bytes."""


class MemberImage(NamedTuple):
    """One image of an example that is read back."""

    slot: int
    extension: str
    data: memoryview


@lru_cache(maxsize=1024)
def image_name(slot: int, extension: str, single: bool) -> str:
    """What follows the key, and a dot, in the name of an image."""
    return extension if single else f"image_{slot}.{extension}"


_IMAGE_NAME = re.compile(r"[^.]+\.(?:image_(0|[1-9][0-9]{0,3})\.)?(jpg|png)")


def slot_and_extension(name: str) -> tuple[int, str]:
    """Slot and extension of an image of this name, its key before it. Raises ValueError for any other name."""
    found = _IMAGE_NAME.fullmatch(name)
    if found is None:
        raise ValueError(f"{name!r} is no name of an image")
    return int(found[1] or 0), found[2]


@dataclass(frozen=True, slots=True)
class Member:
    """One example read back from a shard: its key, its images by slot, and its record as JSON bytes."""

    key: str
    images: tuple[MemberImage, ...]
    record: memoryview

    @property
    def image(self) -> memoryview:
        """The bytes of the first image; none where there is no image."""
        return self.images[0].data if self.images else memoryview(b"")


@dataclass(frozen=True, slots=True)
class ShardEntry:
    """One finished shard of an output."""

    name: str  # path from the dataset's folder
    index: int  # its number in the dataset
    examples: int
    bytes: int
    xxh3_128: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """What the readers of a format need to know of an output, or of one part of it."""

    split: str
    fingerprint: str
    sizes: Sizes
    sources: tuple[str, ...]
    shards: tuple[ShardEntry, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """How an output is read in Python, for its users."""

    imports: str
    call: str  # gives all examples
    use: str  # the body of a loop over them, whose variable is `example`

    def __str__(self) -> str:
        body = "\n".join("    " + line for line in self.use.splitlines())
        return f"{self.imports}\n\nfor example in {self.call}:\n{body}\n"


@dataclass(frozen=True, slots=True)
class Blended:
    """One of several datasets of a format that are read as one."""

    out: Path
    dataset: Dataset
    weight: int  # against the others


class SideWriter(Protocol):
    """Writes files beside the shards of an output, each whole or absent. A name may have folders in it, parted by `/`."""

    def write(self, name: str, content: bytes) -> None:
        """A file whose content is at hand. Raises OutputError."""

    def produce(self, name: str, produce: Callable[[Path], None]) -> None:
        """A file that a library writes under a name it is given. Raises OutputError."""

    def notes(self, index: int) -> bytes:
        """What the writer of a shard noted."""


class ShardWriter(ABC):
    """Lays examples into one shard."""

    @abstractmethod
    def encode(self, records: Iterable[ExampleRecord]) -> list[Any]:
        """Each record as `add` takes it. Many are encoded together: it is quicker than between reading images."""

    @abstractmethod
    def add(self, key: str, images: Sequence[ImageSize], record: Any) -> list[memoryview]:
        """Add an example whose record is encoded.

        Gives the memory, of exactly their sizes, that its images are to be read into before the next call.
        """

    @abstractmethod
    def close(self) -> Digest:
        """Finish the shard: its size in bytes and its hashes."""

    def notes(self) -> bytes:
        """What the format's sidecars need to know of this shard, so that it is not read again; kept until the output is sealed."""
        return b""


class Format(ABC):
    """An output format: encode beside decode."""

    extension: ClassVar[str]
    media_type: ClassVar[str]
    has_null: ClassVar[bool] = True  # else a column's fill value stands for null: see `flat`

    @abstractmethod
    def open(self, file: FileIO, sizes: Sizes) -> ShardWriter:
        """A writer of one shard into an open file. All records of the output have these sizes."""

    @abstractmethod
    def read(self, path: Path) -> Iterator[Member]:
        """The examples of one shard in order. Raises DataError naming file and byte where it is cut or malformed."""

    @abstractmethod
    def example_bytes(self, images: Sequence[int], record_bytes: int) -> int:
        """How many bytes of a shard one example takes, of the bytes of its images and of its record as JSON."""

    def shard_name(self, index: int, total: int, split: str) -> str:
        """File name of a shard, of `total`, which are drawn from `split`."""
        return f"shard-{index:06d}.{self.extension}"

    @abstractmethod
    def sidecars(self, beside: SideWriter, dataset: Dataset) -> None:
        """Write what readers of this format need beside the shards. Called before the manifest is written."""

    @abstractmethod
    def reading(self, out: Path, dataset: Dataset) -> Reading:
        """How to read the output in Python."""


class BlendFormat(Format):
    """A format of `BLENDED`."""

    @abstractmethod
    def blend(self, parts: Sequence[Blended], examples: int) -> Reading:
        """How several datasets are read as one in Python, by weight, so many examples long."""

    @abstractmethod
    def blend_files(self, parts: Sequence[Blended]) -> dict[str, bytes]:
        """Files beside the folders of several datasets that readers find them by, with the weights."""


def members_of(form: Format, path: Path) -> Iterator[Member]:
    """The examples of one shard, as `Format.read` gives them. Raises DataError also where it is missing or cannot be read."""
    try:
        yield from form.read(path)
    except OSError as error:
        what = "a shard is missing" if isinstance(error, FileNotFoundError) else f"a shard cannot be read: {error.strerror}"
        raise DataError(what, str(path), "build it again, or bring the whole folder here") from error


def one_a_line(elements: Iterable[str]) -> str:
    """What stands between the brackets of a list in Python, for people to read."""
    return "".join(f"\n    {element}," for element in elements) + "\n"


def make_format(name: str) -> Format:
    """The format of this name."""
    module, cls = FORMATS[name].split(":")
    found: Format = getattr(import_module(module), cls)()
    return found
