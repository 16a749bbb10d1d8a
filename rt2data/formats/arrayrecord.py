"""ArrayRecord: random access to whole examples, as grain reads it. Each record is the tf.train.Example that `tfds` writes.

Google's array_record writes the container (`pip install 'rt2data[arrayrecord]'`): one record per group, not compressed, so that one
example is one read. The same records give the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from io import FileIO
from pathlib import Path
from typing import Any, ClassVar

from rt2data.errors import DataError, OutputError, UsageError
from rt2data.formats.base import Dataset, Format, ImageSize, Member, Reading, ShardWriter, SideWriter, Sizes
from rt2data.formats.flat import filled
from rt2data.formats.tfds import decode_columns, decode_payload, encode_columns, write_columns
from rt2data.io import location
from rt2data.io.digest import Digest, digest_file
from rt2data.render.fields import ExampleRecord

OPTIONS = "group_size:1,uncompressed"
AT_ONCE = 64
"""Records read together."""


def decode(record: bytes) -> dict[str, Any]:
    """The columns of one record, and its encoded images as `images`, None for an empty place; a single one also as `image`.

    Raises ValueError if the record is not an example written by us.
    """
    columns = decode_columns(memoryview(record))
    images = [bytes(image) if form else None for image, form in zip(columns["images"], columns.pop("image_formats"), strict=True)]
    return columns | {"images": images} | ({"image": images[0]} if len(images) == 1 else {})


def _library() -> Any:
    try:
        return import_module("array_record.python.array_record_module")
    except ImportError:
        raise UsageError("array_record is not installed", "shards.format", "pip install 'rt2data[arrayrecord]'") from None


class ArrayRecordShard(ShardWriter):
    """One ArrayRecord file. The library opens files by name, so it gets the name of our open file."""

    def __init__(self, file: FileIO, sizes: Sizes) -> None:
        self._sizes = sizes
        self._name = f"/dev/fd/{file.fileno()}"
        self._last: bytearray | None = None
        with self._writing():
            self._writer = _library().ArrayRecordWriter(self._name, OPTIONS)

    def encode(self, records: Iterable[ExampleRecord]) -> list[dict[str, Any]]:
        """Columns without nulls."""
        return [filled(record, self._sizes) for record in records]

    def add(self, key: str, images: Sequence[ImageSize], record: dict[str, Any]) -> list[memoryview]:
        """The Example, with its images last."""
        self._flush()
        parts = encode_columns(record, images, self._sizes)
        self._last = bytearray(parts.size)
        return write_columns(parts, memoryview(self._last))

    def _flush(self) -> None:
        if self._last is not None:
            with self._writing():
                self._writer.write(bytes(self._last))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn library errors, which describe the problem only in words, into OutputError."""
        try:
            yield
        except (RuntimeError, ValueError) as error:
            raise OutputError(f"cannot write: {error}", self._name, "free some space and run the same command again") from error

    def close(self) -> Digest:
        """Write the last record and the index; the library wrote the bytes, so they are read again for hashing."""
        self._flush()
        with self._writing():
            self._writer.close()
        return digest_file(Path(self._name))


class ArrayRecord(Format):
    """`shard-000000.array_record`. Raises UsageError if array_record is not installed."""

    extension: ClassVar[str] = "array_record"
    media_type: ClassVar[str] = "application/octet-stream"
    has_null: ClassVar[bool] = False

    def __init__(self) -> None:
        _library()

    def open(self, file: FileIO, sizes: Sizes) -> ArrayRecordShard:
        """A writer of one ArrayRecord file."""
        return ArrayRecordShard(file, sizes)

    def example_bytes(self, images: Sequence[int], record_bytes: int) -> int:
        """The Example and the headers of its chunk."""
        return sum(images) + record_bytes + 100

    def sidecars(self, beside: SideWriter, dataset: Dataset) -> None:
        """Nothing: readers find the files by name."""

    def reading(self, out: Path, dataset: Dataset) -> Reading:
        """With the grain package, in any order."""
        names = f"sorted(glob.glob({str(out / f'*.{self.extension}')!r}))"
        call = f"map(decode, grain.sources.ArrayRecordDataSource({names}))"
        return Reading("import glob, grain\nfrom rt2data.formats.arrayrecord import decode", call, _USE)

    def read(self, path: Path) -> Iterator[Member]:
        """Examples in order. The library verifies its own checksums."""
        try:
            yield from _read(path)
        except (RuntimeError, ValueError, IndexError) as error:
            raise DataError(f"not a whole shard: {error}", str(path), "build it again") from None


def _read(path: Path) -> Iterator[Member]:
    location.stat(path)
    with location.local_copy_or_path(path) as local:
        yield from _read_local(local)


def _read_local(path: Path) -> Iterator[Member]:
    reader = _library().ArrayRecordReader(str(path), "readahead_buffer_size:0")
    if not reader.ok():
        reader.close()  # raises an error with the reason
        raise ValueError("its index cannot be read")
    count = reader.num_records()
    for start in range(0, count, AT_ONCE):
        for record in reader.read(start, min(start + AT_ONCE, count)):
            yield decode_payload(memoryview(record))


_USE = """\
images = example["images"]                              # encoded, as they were
ids, mask = example["input_ids"], example["loss_mask"]  # prompt, target, actions, ...: by the names of the record
"""
