"""Parquet as Hugging Face's datasets lay it out: pictures decoded by `load_dataset`, a column for each value of the record.

What the record has as null is null here: lists of actions have no fixed size, for pyarrow cannot read null among lists that have.

Pictures are not compressed again, all else is. Row groups are small, so that a reader needs little memory; pages carry checksums.
The bytes are those of one release of pyarrow: another may lay out the same rows otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from io import FileIO
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from rt2data.errors import DataError
from rt2data.formats.base import Dataset, Format, Member, Reading, ShardWriter, SideWriter
from rt2data.formats.chunks import ChunkWriter, aligned
from rt2data.formats.flat import COLUMNS, Column, flatten, unflatten
from rt2data.io.digest import Digest

GROUP_BYTES, GROUP_ROWS = 16 << 20, 1000
"""Row groups end before they hold more picture bytes, or more rows."""
IMAGE = "image"
_WITH_STATISTICS = ["key", "kind", "source", "split", "group", "step", "epoch", "terminate"]
_TYPES = {
    "string": pa.string(),
    "int64": pa.int64(),
    "int32": pa.int32(),
    "uint8": pa.uint8(),
    "float32": pa.float32(),
    "bool": pa.bool_(),
}


@cache
def schema() -> pa.Schema:
    """The columns, with what datasets reads to know that `image` is a picture."""
    fields = [pa.field(IMAGE, pa.struct({"bytes": pa.binary(), "path": pa.string()}))]
    fields += [pa.field(column.name, _type(column), column.nullable) for column in COLUMNS]
    features = {IMAGE: {"_type": "Image"}} | {column.name: _feature(column) for column in COLUMNS}
    return pa.schema(fields, {"huggingface": msgspec.json.encode({"info": {"features": features}})})


def _type(column: Column) -> pa.DataType:
    one = _TYPES[column.type]
    return one if column.shape == "one" else pa.list_(pa.field("element", one))


def _feature(column: Column) -> dict[str, Any]:
    one = {"dtype": column.type, "_type": "Value"}
    return one if column.shape == "one" else {"feature": one, "_type": "Sequence"}


def _leaf_paths() -> list[str]:
    """Paths of all columns but the pictures, as the file names them."""
    return [f"{IMAGE}.path"] + [c.name if c.shape == "one" else f"{c.name}.list.element" for c in COLUMNS]


class _Sink:
    """What pyarrow writes to: the rooms of a ChunkWriter, one after another."""

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
    """One Parquet file, a row group at a time; pictures are read into the memory that the row group is made of."""

    def __init__(self, file: FileIO) -> None:
        self._out = ChunkWriter(file)
        self._pictures, self._used = aligned(GROUP_BYTES), 0
        self._rows: list[dict[str, Any]] = []
        self._places: list[tuple[int, str]] = []  # where each picture ends, its path
        self._writer = pq.ParquetWriter(
            pa.PythonFile(_Sink(self._out), mode="w"),
            schema(),
            compression={f"{IMAGE}.bytes": "none"} | dict.fromkeys(_leaf_paths(), "zstd"),
            use_dictionary=_leaf_paths(),
            write_statistics=_WITH_STATISTICS,
            write_page_checksum=True,
        )

    def place(self, key: str, extension: str, image_bytes: int, record: bytes) -> memoryview:
        """A row; its picture's room is the next of the row group's memory."""
        row = flatten(record)
        if self._rows and (self._used + image_bytes > GROUP_BYTES or len(self._rows) == GROUP_ROWS):
            self._flush()
        if image_bytes > len(self._pictures):
            self._pictures = aligned(image_bytes)
        start, self._used = self._used, self._used + image_bytes
        self._rows.append(row)
        self._places.append((self._used, f"{key}.{extension}"))
        return self._pictures[start : self._used]

    def _flush(self) -> None:
        """Write the row group."""
        columns = [pa.array([row[c.name] for row in self._rows], _type(c)) for c in COLUMNS]
        self._writer.write_table(pa.Table.from_arrays([self._images(), *columns], schema=schema()))
        self._rows, self._places, self._used = [], [], 0

    def _images(self) -> pa.Array:
        ends, paths = zip(*self._places, strict=True)
        offsets = pa.array([0, *ends], pa.int32()).buffers()[1]
        pictures = pa.Array.from_buffers(pa.binary(), len(ends), [None, offsets, pa.py_buffer(self._pictures)])
        return pa.StructArray.from_arrays([pictures, pa.array(paths)], ["bytes", "path"])

    def close(self) -> Digest:
        """The last row group and the footer."""
        if self._rows:
            self._flush()
        self._writer.close()
        return self._out.close()


class Parquet(Format):
    """`train-00000-of-00004.parquet`: `load_dataset` finds split and columns by itself."""

    extension: ClassVar[str] = "parquet"
    media_type: ClassVar[str] = "application/vnd.apache.parquet"

    def open(self, file: FileIO, action_dim: int) -> ParquetShard:
        """A writer of one Parquet file."""
        return ParquetShard(file)

    def example_bytes(self, image_bytes: int, record_bytes: int) -> int:
        """The picture, and a record compressed to about a third."""
        return image_bytes + record_bytes // 3

    def shard_name(self, index: int, total: int, split: str) -> str:
        """As datasets names its files."""
        digits = max(5, len(str(total)))
        return f"{split.replace('-', '_')}-{index:0{digits}}-of-{total:0{digits}}.{self.extension}"

    def sidecars(self, beside: SideWriter, dataset: Dataset) -> None:
        """None: the files say all."""

    def reading(self, out: Path, dataset: Dataset) -> Reading:
        """With the datasets package."""
        split = dataset.split.replace("-", "_")
        call = f"datasets.load_dataset('parquet', data_files={str(out / f'{split}-*.parquet')!r}, split='train')"
        return Reading("import datasets", call, _USE)

    def read(self, path: Path) -> Iterator[Member]:
        """Examples by row groups. The checksums of pages are checked, and the schema is ours."""
        try:
            yield from _read(path)
        except (pa.ArrowException, OSError, ValueError, KeyError, OverflowError) as error:
            if isinstance(error, FileNotFoundError | DataError):
                raise
            raise DataError(f"not a whole shard: {error}", str(path), "build it again") from None


def _read(path: Path) -> Iterator[Member]:
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        if not file.schema_arrow.equals(schema(), check_metadata=True):
            raise ValueError("its columns are others than ours")
        rows = 0
        for group in range(file.num_row_groups):
            table = file.read_row_group(group)
            rows += len(table)
            yield from _members(table)
        if rows != file.metadata.num_rows:
            raise ValueError(f"{rows} rows, its footer says {file.metadata.num_rows}")


def _members(table: pa.Table) -> Iterator[Member]:
    image = table[IMAGE].combine_chunks()
    pictures, paths = image.field("bytes"), image.field("path").to_pylist()
    columns = {column.name: table[column.name].to_pylist() for column in COLUMNS}
    for at, path in enumerate(paths):
        key, _, extension = path.rpartition(".")
        record = unflatten({name: values[at] for name, values in columns.items()})
        yield Member(key, extension, memoryview(pictures[at].as_buffer()).cast("B"), memoryview(record))


_USE = """\
picture = example["image"]                              # a PIL image; cast_column("image", Image(decode=False)) for bytes
ids, mask = example["input_ids"], example["loss_mask"]  # prompt, target, action (None for web), ...
"""
