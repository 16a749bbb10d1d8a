"""Parquet as Hugging Face's datasets expect it: images decoded by `load_dataset`, one column per field of the record.

Null in the record is null here: lists of actions have no fixed size, as pyarrow cannot read nulls in fixed-size lists. Unless every
example has exactly one image, `images` is the list of those present, in order of their places.

Images are not compressed again, everything else is. Row groups are small, so that a reader needs little memory; pages have
checksums. The bytes depend on the pyarrow release: another may lay out the same rows differently.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from io import FileIO
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from rt2data.errors import DataError
from rt2data.formats.base import (
    Dataset,
    Format,
    ImageSize,
    Member,
    MemberImage,
    Reading,
    ShardWriter,
    SideWriter,
    Sizes,
    image_name,
    slot_and_extension,
)
from rt2data.formats.chunks import ChunkWriter, aligned
from rt2data.formats.flat import flatten, unflatten
from rt2data.io.digest import Digest
from rt2data.io.tables import parquet_file
from rt2data.render.fields import MORE_FIELDS, ExampleRecord, Field, Shape, fields_of
from rt2data.render.record import encode_record

GROUP_BYTES, GROUP_ROWS = 16 << 20, 1000
"""Most image bytes, and most rows, in a row group."""
IMAGE, IMAGES = "image", "images"
_WITH_STATISTICS = ["key", "kind", "source", "split", "group", "step", "epoch", "terminate"]
_TYPES = {
    "string": pa.string(),
    "int64": pa.int64(),
    "int32": pa.int32(),
    "uint8": pa.uint8(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
}


_PICTURE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


@cache
def schema(single: bool, more: tuple[str, ...] = ()) -> pa.Schema:
    """The columns, with the metadata that tells datasets which are images. `single`: every example has exactly one image."""
    fields = [pa.field(IMAGE, _PICTURE) if single else pa.field(IMAGES, pa.list_(pa.field("element", _PICTURE)))]
    fields += [pa.field(field.name, _type(field), field.nullable) for field in fields_of(more)]
    features: dict[str, Any] = {IMAGE: {"_type": "Image"}} if single else {IMAGES: _sequence({"_type": "Image"})}
    features |= {field.name: _feature(field) for field in fields_of(more)}
    return pa.schema(fields, {"huggingface": msgspec.json.encode({"info": {"features": features}})})


def _type(field: Field) -> pa.DataType:
    one = pa.struct({part: _TYPES[kind] for part, kind in field.parts}) if field.parts else _TYPES[field.type]
    for _ in range(_DEPTH[field.shape]):
        one = pa.list_(pa.field("element", one))
    return one


_DEPTH: dict[Shape, int] = {"one": 0, "list": 1, "vector": 1, "pads": 1, "messages": 1, "notes": 1, "regions": 1, "chunk": 2}
"""Levels of list nesting."""


def _feature(field: Field) -> Any:
    if field.parts:
        return [{part: {"dtype": kind, "_type": "Value"} for part, kind in field.parts}]
    one: dict[str, Any] = {"dtype": field.type, "_type": "Value"}
    for _ in range(_DEPTH[field.shape]):
        one = _sequence(one)
    return one


def _sequence(one: dict[str, Any]) -> dict[str, Any]:
    return {"feature": one, "_type": "Sequence"}


def _leaf_paths(single: bool, more: tuple[str, ...]) -> list[str]:
    """Paths of all columns except image bytes, as named in the file."""
    found = [f"{IMAGE}.path" if single else f"{IMAGES}.list.element.path"]
    for field in fields_of(more):
        inner = field.name + ".list.element" * _DEPTH[field.shape]
        found += [f"{inner}.{part}" for part, _ in field.parts] or [inner]
    return found


class _Sink:
    """The file object for pyarrow: writes into the memory of a ChunkWriter, part after part."""

    closed = False

    def __init__(self, out: ChunkWriter) -> None:
        self._out = out

    def write(self, content: Any) -> int:
        view = memoryview(content).cast("B")
        self._out.room(len(view))[:] = view
        return len(view)

    def tell(self) -> int:
        return self._out.size

    def flush(self) -> None: ...

    def close(self) -> None: ...


class ParquetShard(ShardWriter):
    """One Parquet file, written one row group at a time; images are read straight into the row group's memory."""

    def __init__(self, file: FileIO, sizes: Sizes) -> None:
        self._out, self._single, self._more = ChunkWriter(file), sizes.images is None, sizes.more
        self._images, self._used = aligned(GROUP_BYTES), 0
        self._rows: list[dict[str, Any]] = []
        self._places: list[tuple[int, str]] = []  # end offset and path of each image
        self._starts = [0]  # index of each row's first image, and the total
        leaves = _leaf_paths(self._single, self._more)
        self._writer = pq.ParquetWriter(
            pa.PythonFile(_Sink(self._out), mode="w"),
            schema(self._single, self._more),
            compression={f"{IMAGE if self._single else f'{IMAGES}.list.element'}.bytes": "none"} | dict.fromkeys(leaves, "zstd"),
            use_dictionary=leaves,
            write_statistics=_WITH_STATISTICS,
            write_page_checksum=True,
        )

    def encode(self, records: Iterable[ExampleRecord]) -> list[dict[str, Any]]:
        """Columns."""
        return [*map(flatten, records)]

    def add(self, key: str, images: Sequence[ImageSize], record: dict[str, Any]) -> list[memoryview]:
        """Add a row; its images get the next part of the row group's memory."""
        size = sum(length for _, _, length in images)
        if self._rows and (self._used + size > GROUP_BYTES or len(self._rows) == GROUP_ROWS):
            self._flush()
        if size > len(self._images):
            self._images = aligned(size)
        self._rows.append(record)
        bodies = list[memoryview]()
        for slot, extension, length in images:
            start, self._used = self._used, self._used + length
            self._places.append((self._used, f"{key}.{image_name(slot, extension, self._single)}"))
            bodies.append(self._images[start : self._used])
        self._starts.append(len(self._places))
        return bodies

    def _flush(self) -> None:
        """Write the row group."""
        columns = [pa.array([row[field.name] for row in self._rows], _type(field)) for field in fields_of(self._more)]
        self._writer.write_table(pa.Table.from_arrays([self._image_column(), *columns], schema=schema(self._single, self._more)))
        self._rows, self._places, self._starts, self._used = [], [], [0], 0

    def _image_column(self) -> pa.Array:
        ends, paths = [end for end, _ in self._places], [path for _, path in self._places]
        offsets = pa.array([0, *ends], pa.int32()).buffers()[1]
        contents = pa.Array.from_buffers(pa.binary(), len(ends), [None, offsets, pa.py_buffer(self._images)])
        images = pa.StructArray.from_arrays([contents, pa.array(paths, pa.string())], ["bytes", "path"])
        if self._single:
            return images
        return pa.ListArray.from_arrays(pa.array(self._starts, pa.int32()), images, schema(False).field(IMAGES).type)

    def close(self) -> Digest:
        """Write the last row group and the footer."""
        if self._rows:
            self._flush()
        self._writer.close()
        return self._out.close()


class Parquet(Format):
    """`train-00000-of-00004.parquet`: `load_dataset` finds split and columns automatically."""

    extension: ClassVar[str] = "parquet"
    media_type: ClassVar[str] = "application/vnd.apache.parquet"

    def open(self, file: FileIO, sizes: Sizes) -> ParquetShard:
        """A writer of one Parquet file."""
        return ParquetShard(file, sizes)

    def example_bytes(self, images: Sequence[int], record_bytes: int) -> int:
        """The images, and a record compressed to about a third."""
        return sum(images) + record_bytes // 3

    def shard_name(self, index: int, total: int, split: str) -> str:
        """Named as in datasets."""
        digits = max(5, len(str(total)))
        return f"{split.replace('-', '_')}-{index:0{digits}}-of-{total:0{digits}}.{self.extension}"

    def sidecars(self, beside: SideWriter, dataset: Dataset) -> None:
        """Nothing: the files are self-describing."""

    def reading(self, out: Path, dataset: Dataset) -> Reading:
        """With the datasets package."""
        split = dataset.split.replace("-", "_")
        call = f"datasets.load_dataset('parquet', data_files={str(out / f'{split}-*.parquet')!r}, split='train')"
        return Reading("import datasets", call, _USE if dataset.sizes.images is None else _USE_SLOTS)

    def read(self, path: Path) -> Iterator[Member]:
        """Examples by row group. Checks page checksums and the schema."""
        try:
            yield from _read(path)
        except (pa.ArrowException, OSError, ValueError, KeyError, OverflowError) as error:
            if isinstance(error, FileNotFoundError | DataError):
                raise
            raise DataError(f"not a whole shard: {error}", str(path), "build it again") from None


def _read(path: Path) -> Iterator[Member]:
    with parquet_file(path, page_checksum_verification=True) as file:
        single = IMAGE in file.schema_arrow.names
        more = tuple(field.name for field in MORE_FIELDS if field.name in file.schema_arrow.names)
        if not file.schema_arrow.equals(schema(single, more), check_metadata=True):
            raise ValueError("its columns are others than ours")
        rows = 0
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            rows += len(table)
            yield from _members(table, single, more)
        if rows != file.metadata.num_rows:
            raise ValueError(f"{rows} rows, its footer says {file.metadata.num_rows}")


def _members(table: pa.Table, single: bool, more: tuple[str, ...]) -> Iterator[Member]:
    column = table[IMAGE if single else IMAGES].combine_chunks()
    starts = range(len(table) + 1) if single else column.offsets.to_pylist()
    images = column if single else column.values
    contents, paths = images.field("bytes"), images.field("path").to_pylist()
    columns = {field.name: table[field.name].to_pylist() for field in fields_of(more)}
    for at, (start, stop) in enumerate(pairwise(starts)):
        record = unflatten({name: values[at] for name, values in columns.items()})
        found = tuple(
            MemberImage(*slot_and_extension(paths[number]), memoryview(contents[number].as_buffer()).cast("B"))
            for number in range(start, stop)
        )
        yield Member(record.key, found, memoryview(encode_record(record)))


_USE = """\
image = example["image"]                                # a PIL image; cast_column("image", Image(decode=False)) for bytes
ids, mask = example["input_ids"], example["loss_mask"]  # prompt, target, actions (None for web), ...
"""
_USE_SLOTS = """\
images = example["images"]                              # PIL images, of the places where image_mask is true
ids, mask = example["input_ids"], example["loss_mask"]  # prompt, target, actions (None for web), ...
"""
