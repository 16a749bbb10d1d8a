"""MDS, as MosaicML's streaming package reads it: `shard.00000.mds` and `index.json`, a column for each value of the record.

    u32 n | u32 offsets[n + 1] | config, JSON with sorted keys | n samples
    a sample: u32 sizes of the columns that have no fixed one | bodies of all columns, which are sorted by name

Offsets come first and count from the start of the file: so a shard lies in memory until it is whole, as in MDS's own writer, and
ends before 4 GiB. Pictures are kept as they are under the encoding `jpeg`, which opens any kind. No column is a pickle.

Source: streaming 0.13, base/format/mds/{writer,reader,encodings}.py
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from io import FileIO
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np

from rt2data.errors import DataError, UsageError
from rt2data.formats.base import Blended, BlendFormat, Dataset, Member, Reading, ShardWriter, SideWriter, one_a_line
from rt2data.formats.chunks import CHUNK, ChunkWriter, aligned
from rt2data.formats.flat import COLUMNS, Column, filled, unfilled
from rt2data.io.digest import Digest
from rt2data.order import I64

IMAGE, IMAGE_FORMAT = "image", "image_format"
HASH = "xxh3_128"
LARGEST = 2**32 - 1
"""Bytes of a shard that its offsets can reach."""
U32 = struct.Struct("<I")
_INT = struct.Struct("<q")


# Columns


@dataclass(frozen=True)
class Field:
    """One column: what MDS calls its encoding, and its bytes."""

    name: str
    encoding: str
    size: int | None  # bytes, where all values have as many
    encode: Callable[[Any], bytes]
    decode: Callable[[memoryview], Any]


@dataclass(frozen=True)
class Fields:
    """All columns of a shard, by name."""

    fields: tuple[Field, ...]

    @cached_property
    def config(self) -> bytes:
        """What a shard says of itself."""
        return msgspec.json.encode(self.described, order="deterministic")

    @property
    def described(self) -> dict[str, Any]:
        """The columns as shards and index describe them."""
        found: dict[str, Any] = {"version": 2, "format": "mds", "compression": None, "hashes": [HASH], "size_limit": None}
        for name in ("name", "encoding", "size"):
            found[f"column_{name}s"] = [getattr(field, name) for field in self.fields]
        return found

    @cached_property
    def sizes(self) -> struct.Struct:
        """The sizes that a sample begins with."""
        return struct.Struct(f"<{sum(field.size is None for field in self.fields)}I")

    def encode(self, columns: dict[str, Any], image_bytes: int) -> tuple[bytes, bytes]:
        """A sample up to its picture and from there on. Raises struct.error where a column has more than 4 GiB."""
        bodies = {field.name: field.encode(columns[field.name]) for field in self.fields if field.name != IMAGE}
        lengths = {name: len(body) for name, body in bodies.items()} | {IMAGE: image_bytes}
        sizes = self.sizes.pack(*(lengths[field.name] for field in self.fields if field.size is None))
        before, behind = ([body for name, body in bodies.items() if (name > IMAGE) is late] for late in (False, True))
        return sizes + b"".join(before), b"".join(behind)

    def decode(self, sample: memoryview) -> Member:
        """Inverse of `encode`. Raises ValueError where it is no sample of ours."""
        if len(sample) < self.sizes.size:
            raise ValueError("a sample that ends in its sizes")
        lengths, at, found = iter(self.sizes.unpack(sample[: self.sizes.size])), self.sizes.size, dict[str, Any]()
        for field in self.fields:
            start, at = at, at + (next(lengths) if field.size is None else field.size)
            found[field.name] = field.decode(sample[start:at])
        if at != len(sample):
            raise ValueError("a sample whose columns do not fill it")
        image, extension = found.pop(IMAGE), found.pop(IMAGE_FORMAT)
        return Member(found["key"], extension, image, memoryview(unfilled(found)))


@lru_cache(maxsize=4)
def make_fields(action_dim: int) -> Fields:
    """The columns of records whose actions are padded to `action_dim`."""
    picture = Field(IMAGE, "jpeg", None, bytes, lambda body: body)
    return Fields(tuple(sorted([picture, _text(IMAGE_FORMAT), *(_field(c, action_dim) for c in COLUMNS)], key=lambda f: f.name)))


def _field(column: Column, action_dim: int) -> Field:
    if column.shape != "one":
        return _texts(column.name) if column.type == "string" else _array(column, action_dim)
    if column.type == "bool":
        return Field(column.name, "uint8", 1, lambda value: bytes([value]), lambda body: _flags(body.tolist())[0])
    if column.type == "string":
        return _text(column.name)
    return Field(column.name, "int", 8, _INT.pack, lambda body: _INT.unpack(body)[0])


def _text(name: str) -> Field:
    return Field(name, "str", None, str.encode, lambda body: str(body, "utf-8"))


def _texts(name: str) -> Field:
    return Field(name, "json", None, msgspec.json.encode, lambda body: msgspec.json.decode(body, type=list[str]))


def _array(column: Column, action_dim: int) -> Field:
    """A vector has its length in the encoding's name, a list in front of its numbers."""
    dtype = np.dtype("uint8" if column.type == "bool" else column.type).newbyteorder("<")
    mean = _flags if column.type == "bool" else list
    if column.shape == "vector" and action_dim:
        size = action_dim * dtype.itemsize
        encoding = f"ndarray:{dtype.name}:{action_dim}"
        return Field(column.name, encoding, size, lambda v: np.array(v, dtype).tobytes(), lambda body: mean(_numbers(body, dtype)))
    return Field(
        column.name,
        f"ndarray:{dtype.name}",
        None,
        lambda value: _length(len(value)) + np.array(value, dtype).tobytes(),
        lambda body: mean(_counted(body, dtype)),
    )


def _length(count: int) -> bytes:
    """One axis: its number and the width of its length (four times the one plus the logarithm of the other), and its length."""
    power = (count >= 1 << 8) + (count >= 1 << 16)
    return bytes([1 << 2 | power]) + count.to_bytes(1 << power, "little")


def _counted(body: memoryview, dtype: np.dtype[Any]) -> list[Any]:
    head = 1 + (1 << (body[0] & 3)) if body else 0
    numbers = _numbers(body[head:], dtype)
    if bytes(body[:head]) != _length(len(numbers)):
        raise ValueError("an array of another shape than ours")
    return numbers


def _numbers(body: memoryview, dtype: np.dtype[Any]) -> list[Any]:
    found: list[Any] = np.frombuffer(bytes(body), dtype).tolist()
    return found


def _flags(values: list[int]) -> list[bool]:
    if not set(values) <= {0, 1}:
        raise ValueError("a flag that is neither 0 nor 1")
    return [bool(value) for value in values]


# Encode


class MdsShard(ShardWriter):
    """One shard: samples in memory, a few megabytes to a part, until their offsets can be written before them."""

    def __init__(self, file: FileIO, action_dim: int) -> None:
        self._file, self._action_dim, self._fields = file, action_dim, make_fields(action_dim)
        self._sizes: list[int] = []
        self._parts: list[memoryview] = []
        self._spare, self._total = memoryview(b""), 0

    def place(self, key: str, extension: str, image_bytes: int, record: bytes) -> memoryview:
        """Sizes, the columns before the picture, its room, the columns behind it. Raises UsageError beyond 4 GiB."""
        columns = filled(record, self._action_dim) | {IMAGE_FORMAT: extension}
        before, behind = self._fields.encode(columns, image_bytes)
        room = self._room(len(before) + image_bytes + len(behind))
        end = len(before) + image_bytes
        room[: len(before)], room[end:] = before, behind
        return room[len(before) : end]

    def _room(self, size: int) -> memoryview:
        self._sizes.append(size)
        self._total += size
        if self._total + _head_bytes(len(self._sizes), self._fields) > LARGEST:
            raise UsageError("an mds shard would pass 4 GiB", "shards.bytes", "ask for smaller shards")
        if size > len(self._spare):
            self._spare = aligned(max(CHUNK, size))
        room, self._spare = self._spare[:size], self._spare[size:]
        self._parts.append(room)
        return room

    def close(self) -> Digest:
        """Everything, from the number of samples on."""
        out = ChunkWriter(self._file)
        first = _head_bytes(len(self._sizes), self._fields)
        offsets = np.cumsum([first, *self._sizes]).astype("<u4").tobytes()
        head = U32.pack(len(self._sizes)) + offsets + self._fields.config
        for part in (memoryview(head), *self._parts):
            out.room(len(part))[:] = part
        return out.close()


def _head_bytes(samples: int, fields: Fields) -> int:
    """Where the first of so many samples begins."""
    return U32.size * (samples + 2) + len(fields.config)


class Mds(BlendFormat):
    """`shard.00000.mds`, `index.json`."""

    extension: ClassVar[str] = "mds"
    media_type: ClassVar[str] = "application/octet-stream"
    has_null: ClassVar[bool] = False

    def open(self, file: FileIO, action_dim: int) -> MdsShard:
        """A writer of one MDS shard."""
        return MdsShard(file, action_dim)

    def example_bytes(self, image_bytes: int, record_bytes: int) -> int:
        """Sizes of columns take about as much as their names in JSON, and numbers less."""
        return image_bytes + record_bytes

    def shard_name(self, index: int, total: int, split: str) -> str:
        """As MDS names its shards."""
        return f"shard.{index:0{max(5, len(str(total)))}}.{self.extension}"

    def sidecars(self, beside: SideWriter, dataset: Dataset) -> None:
        """The index that StreamingDataset opens, with the hashes that its `validate_hash` can check."""
        fields, shards = make_fields(dataset.action_dim), []
        for shard in dataset.shards:
            raw = {"basename": shard.name, "bytes": shard.bytes, "hashes": {HASH: shard.xxh3_128}}
            shards.append(fields.described | {"raw_data": raw, "samples": shard.examples, "zip_data": None})
        beside.write("index.json", msgspec.json.encode({"version": 2, "shards": shards}, order="deterministic"))

    def reading(self, out: Path, dataset: Dataset) -> Reading:
        """With the streaming package, in the order of the shards."""
        return Reading("import streaming", f"streaming.StreamingDataset(local={str(out)!r}, batch_size=1)", _USE)

    def blend(self, parts: Sequence[Blended], examples: int) -> Reading:
        """A stream for each dataset."""
        streams = one_a_line(f"streaming.Stream(local={str(part.out)!r}, proportion={part.weight})" for part in parts)
        call = f"streaming.StreamingDataset(streams=[{streams}], epoch_size={examples}, batch_size=1, shuffle=True)"
        return Reading("import streaming", call, _USE)

    def blend_files(self, parts: Sequence[Blended]) -> dict[str, bytes]:
        """None: streams are named in Python."""
        return {}

    def read(self, path: Path) -> Iterator[Member]:
        """Examples in order. Offsets, sizes and columns are checked, and that they fill the file."""
        with path.open("rb") as file:
            if not path.stat().st_size:
                raise DataError("an empty shard", str(path), "build it again")
            whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        fields, offsets = _frame(path, whole)
        for start, stop in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
            try:
                yield fields.decode(whole[start:stop])
            except (ValueError, IndexError, struct.error) as error:
                raise DataError(f"not an example: {error}", f"{path} byte {start}", "build it again") from None


def _frame(path: Path, whole: memoryview) -> tuple[Fields, I64]:
    """Columns and offsets int64[n + 1], which rise from the end of the config to the end of the file."""
    try:
        count = U32.unpack(whole[: U32.size])[0]
        table = U32.size * (count + 2)
        offsets = np.frombuffer(whole[U32.size : table], "<u4", count + 1).astype(np.int64)
        config = bytes(whole[table : int(offsets[0])])
        fields = make_fields(_action_dim(config))
    except (ValueError, struct.error, msgspec.MsgspecError) as error:
        raise DataError(f"not a whole shard: {error}", f"{path} byte 0", "build it again") from None
    if config != fields.config or offsets[-1] != len(whole) or (np.diff(offsets) < fields.sizes.size).any():
        raise DataError("offsets or columns that are not ours, or a cut end", f"{path} byte 0", "build it again")
    return fields, offsets


def _action_dim(config: bytes) -> int:
    """What the columns were made for. Raises ValueError where they cannot be ours."""
    found = msgspec.json.decode(config, type=_Config)
    size = dict(zip(found.column_names, found.column_sizes, strict=False)).get("action") or 0
    return min(max(size // 4, 0), 1 << 16)


class _Config(msgspec.Struct):
    """As much of a config as says how long actions are."""

    column_names: list[str]
    column_sizes: list[int | None]


_USE = """\
picture = example["image"]                              # a PIL image, not decoded yet
ids, mask = example["input_ids"], example["loss_mask"]  # prompt, target, action, ...: by the names of the record
"""
