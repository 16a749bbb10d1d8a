"""What every output format is, and the table of formats. A new format is one file beside this one and one line in `FORMATS`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from io import FileIO
from pathlib import Path
from typing import ClassVar

FORMATS: dict[str, str] = {
    "webdataset": "rt2data.formats.webdataset:WebDataset",
}


@dataclass(frozen=True, slots=True)
class Member:
    """One example read back from a shard: its key, its record's bytes, and where its picture lies in the shard."""

    key: str
    extension: str
    image: memoryview
    record: memoryview


class ShardWriter(ABC):
    """Lays examples into one shard."""

    @abstractmethod
    def place(self, key: str, extension: str, image_bytes: int, record: bytes) -> memoryview:
        """Add an example; gives the room, exactly `image_bytes` long, that its picture is to be read into before the next call."""

    @abstractmethod
    def close(self) -> tuple[int, str]:
        """Finish the shard: its size in bytes and its xxh3-128."""


class Format(ABC):
    """An output format: encode beside decode."""

    extension: ClassVar[str]

    @abstractmethod
    def open(self, file: FileIO) -> ShardWriter:
        """A writer of one shard into an open file."""

    @abstractmethod
    def read(self, path: Path) -> Iterator[Member]:
        """The examples of one shard in order. Raises DataError naming file and byte where it is cut or malformed."""

    @abstractmethod
    def example_bytes(self, image_bytes: int, record_bytes: int) -> int:
        """How much of a shard one example takes."""

    def shard_name(self, index: int) -> str:
        """File name of a shard."""
        return f"shard-{index:06d}.{self.extension}"


def make_format(name: str) -> Format:
    """The format of this name."""
    module, cls = FORMATS[name].split(":")
    found: Format = getattr(import_module(module), cls)()
    return found
