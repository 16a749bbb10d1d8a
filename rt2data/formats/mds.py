"""MDS, as MosaicML's streaming package reads it: `shard.00000.mds` and `index.json`, one column per field of the record.

    u32 n | u32 offsets[n + 1] | config, JSON with sorted keys | n samples
    a sample: u32 sizes of the columns without a fixed size | bodies of all columns, sorted by name

Offsets come first and count from the start of the file: so a shard is held in memory until complete, as in MDS's own writer, and
stays below 4 GiB. Images keep their bytes under the encoding `jpeg`, which opens any image type. Unless every example has exactly
one image, each place has its own column; an empty place holds one black pixel, and `image_mask` marks it as empty. No column is a
pickle.

Source: streaming 0.13, base/format/mds/{writer,reader,encodings}.py
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from io import FileIO
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np

from rt2data.errors import DataError, UsageError
from rt2data.formats.base import (
    Blended,
    BlendFormat,
    Dataset,
    ImageSize,
    Member,
    MemberImage,
    Reading,
    ShardWriter,
    SideWriter,
    Sizes,
    one_a_line,
)
from rt2data.formats.chunks import CHUNK, ChunkWriter, aligned
from rt2data.formats.flat import filled, shape_of, unfilled
from rt2data.formats.tfds import EMPTY, IMAGE, image_names
from rt2data.io import location
from rt2data.io.digest import Digest
from rt2data.order import I64
from rt2data.render.fields import MORE_FIELDS, ExampleRecord, Field, fields_of
from rt2data.render.record import encode_record

HASH = "xxh3_128"
LARGEST = 2**32 - 1
"""Largest shard that its offsets can address, in bytes."""
U32 = struct.Struct("<I")
_INT = struct.Struct("<q")


# Columns


@dataclass(frozen=True)
class MdsField:
    """One column: its MDS encoding, and conversion to and from bytes."""

    name: str
    encoding: str
    size: int | None  # bytes, if the same for all values
    encode: Callable[[Any], bytes]
    decode: Callable[[memoryview], Any]


@dataclass(frozen=True)
class Fields:
    """All columns of a shard, by name."""

    fields: tuple[MdsField, ...]
    names: tuple[tuple[str, str], ...]  # for each image place: column of the image, column of its format

    @cached_property
    def config(self) -> bytes:
        """The header's JSON description of the columns."""
        return msgspec.json.encode(self.described, order="deterministic")

    @property
    def described(self) -> dict[str, Any]:
        """The columns as described in shards and index."""
        found: dict[str, Any] = {"version": 2, "format": "mds", "compression": None, "hashes": [HASH], "size_limit": None}
        for name in ("name", "encoding", "size"):
            found[f"column_{name}s"] = [getattr(field, name) for field in self.fields]
        return found

    @cached_property
    def sizes(self) -> struct.Struct:
        """The struct of sizes at the start of a sample."""
        return struct.Struct(f"<{sum(field.size is None for field in self.fields)}I")

    def encode(self, columns: dict[str, Any], images: Sequence[ImageSize]) -> list[bytes | int]:
        """A sample in parts: bytes, or for each present image its number of bytes.

        Raises struct.error if a column exceeds 4 GiB.
        """
        bodies: dict[str, bytes | int] = dict.fromkeys((name for name, _ in self.names), EMPTY)
        values = columns | dict.fromkeys((form for _, form in self.names), "")
        for slot, extension, size in images:
            name, form = self.names[slot]
            bodies[name], values[form] = size, extension
        bodies |= {field.name: field.encode(values[field.name]) for field in self.fields if field.name not in bodies}
        lengths = {name: body if isinstance(body, int) else len(body) for name, body in bodies.items()}
        sizes = self.sizes.pack(*(lengths[field.name] for field in self.fields if field.size is None))
        return [sizes, *(bodies[field.name] for field in self.fields)]

    def decode(self, sample: memoryview) -> Member:
        """Inverse of `encode`. Raises ValueError if it is not a sample written by us."""
        if len(sample) < self.sizes.size:
            raise ValueError("a sample that ends in its sizes")
        lengths, at, found = iter(self.sizes.unpack(sample[: self.sizes.size])), self.sizes.size, dict[str, Any]()
        for field in self.fields:
            start, at = at, at + (next(lengths) if field.size is None else field.size)
            found[field.name] = field.decode(sample[start:at])
        if at != len(sample):
            raise ValueError("a sample whose columns do not fill it")
        parts = [(slot, found.pop(form), found.pop(name)) for slot, (name, form) in enumerate(self.names)]
        images = tuple(MemberImage(*part) for part in parts if part[1])
        return Member(found["key"], images, memoryview(encode_record(unfilled(found))))


@lru_cache(maxsize=4)
def make_fields(sizes: Sizes) -> Fields:
    """The columns of records with these sizes."""
    names = image_names(sizes)
    images = [each for name, form in names for each in (MdsField(name, "jpeg", None, bytes, lambda body: body), _text(form))]
    fields = sorted([*images, *(_field(field, sizes) for field in fields_of(sizes.more))], key=lambda field: field.name)
    return Fields(tuple(fields), tuple(names))


def _field(field: Field, sizes: Sizes) -> MdsField:
    if field.parts:
        return MdsField(field.name, "json", None, msgspec.json.encode, _structs)
    if field.shape != "one":
        return _texts(field.name) if field.type == "string" else _array(field, sizes)
    if field.type == "bool":
        return MdsField(field.name, "uint8", 1, lambda value: bytes([value]), lambda body: _flags(body.tolist())[0])
    if field.type == "string":
        return _text(field.name)
    if field.type in ("float32", "float64"):
        packed = struct.Struct("<f" if field.type == "float32" else "<d")
        return MdsField(field.name, field.type, packed.size, packed.pack, lambda body: packed.unpack(body)[0])
    return MdsField(field.name, "int", 8, _INT.pack, lambda body: _INT.unpack(body)[0])


def _text(name: str) -> MdsField:
    return MdsField(name, "str", None, str.encode, lambda body: str(body, "utf-8"))


def _texts(name: str) -> MdsField:
    return MdsField(name, "json", None, msgspec.json.encode, lambda body: msgspec.json.decode(body, type=list[str]))


def _structs(body: memoryview) -> list[dict[str, Any]]:
    return msgspec.json.decode(body, type=list[dict[str, Any]])


def _array(field: Field, sizes: Sizes) -> MdsField:
    """A fixed shape is part of the encoding's name; a list has its length before its numbers."""
    dtype = np.dtype("uint8" if field.type == "bool" else field.type).newbyteorder("<")
    mean = _flags if field.type == "bool" else list
    shape = shape_of(field, sizes)
    if shape:
        size = math.prod(shape) * dtype.itemsize
        encoding = f"ndarray:{dtype.name}:{','.join(map(str, shape))}"
        return MdsField(
            field.name,
            encoding,
            size,
            lambda value: np.array(value, dtype).tobytes(),
            lambda body: mean(_numbers(body, dtype, shape)),
        )
    return MdsField(
        field.name,
        f"ndarray:{dtype.name}",
        None,
        lambda value: _length(np.shape(value)) + np.array(value, dtype).tobytes(),
        lambda body: mean(_counted(body, dtype, 2 if field.shape == "chunk" else 1)),
    )


def _length(shape: tuple[int, ...]) -> bytes:
    """Encoded axes: their number times four plus the log2 of the bytes per length, then the lengths."""
    largest = max(shape)
    power = (largest >= 1 << 8) + (largest >= 1 << 16)
    return bytes([len(shape) << 2 | power]) + b"".join(count.to_bytes(1 << power, "little") for count in shape)


def _counted(body: memoryview, dtype: np.dtype[Any], axes: int) -> list[Any]:
    width = 1 << (body[0] & 3) if body else 0
    head = 1 + axes * width
    shape = tuple(int.from_bytes(body[1 + at * width : 1 + (at + 1) * width], "little") for at in range(axes))
    if not body or math.prod(shape) * dtype.itemsize != len(body) - head or bytes(body[:head]) != _length(shape):
        raise ValueError("an array of another shape than ours")
    return _numbers(body[head:], dtype, shape)


def _numbers(body: memoryview, dtype: np.dtype[Any], shape: tuple[int, ...]) -> list[Any]:
    found: list[Any] = np.frombuffer(bytes(body), dtype).reshape(shape).tolist()
    return found


def _flags(values: list[int]) -> list[bool]:
    if not set(values) <= {0, 1}:
        raise ValueError("a flag that is neither 0 nor 1")
    return [bool(value) for value in values]


# Encode


class MdsShard(ShardWriter):
    """One shard: samples stay in memory, in blocks of a few megabytes, until their offsets can be written before them."""

    def __init__(self, file: FileIO, sizes: Sizes) -> None:
        self._file, self._asked, self._fields = file, sizes, make_fields(sizes)
        self._sizes: list[int] = []
        self._parts: list[memoryview] = []
        self._spare, self._total = memoryview(b""), 0

    def encode(self, records: Iterable[ExampleRecord]) -> list[dict[str, Any]]:
        """Columns without nulls."""
        return [filled(record, self._asked) for record in records]

    def add(self, key: str, images: Sequence[ImageSize], record: dict[str, Any]) -> list[memoryview]:
        """Add sizes and columns; return memory for the images. Raises UsageError beyond 4 GiB."""
        parts = self._fields.encode(record, images)
        block = self._room(sum(part if isinstance(part, int) else len(part) for part in parts))
        bodies, at = list[memoryview](), 0
        for part in parts:
            start, at = at, at + (part if isinstance(part, int) else len(part))
            if isinstance(part, int):
                bodies.append(block[start:at])
            else:
                block[start:at] = part
        return bodies

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
        """Write everything, from the number of samples on."""
        out = ChunkWriter(self._file)
        first = _head_bytes(len(self._sizes), self._fields)
        offsets = np.cumsum([first, *self._sizes]).astype("<u4").tobytes()
        head = U32.pack(len(self._sizes)) + offsets + self._fields.config
        for part in (memoryview(head), *self._parts):
            out.room(len(part))[:] = part
        return out.close()


def _head_bytes(samples: int, fields: Fields) -> int:
    """Offset of the first of `samples` samples."""
    return U32.size * (samples + 2) + len(fields.config)


class Mds(BlendFormat):
    """`shard.00000.mds`, `index.json`."""

    extension: ClassVar[str] = "mds"
    media_type: ClassVar[str] = "application/octet-stream"
    has_null: ClassVar[bool] = False

    def open(self, file: FileIO, sizes: Sizes) -> MdsShard:
        """A writer of one MDS shard."""
        return MdsShard(file, sizes)

    def example_bytes(self, images: Sequence[int], record_bytes: int) -> int:
        """Column sizes take about as much as field names in JSON, and numbers less."""
        return sum(images) + record_bytes

    def shard_name(self, index: int, total: int, split: str) -> str:
        """Named as MDS does."""
        return f"shard.{index:0{max(5, len(str(total)))}}.{self.extension}"

    def sidecars(self, beside: SideWriter, dataset: Dataset) -> None:
        """The index that StreamingDataset opens, with hashes for its `validate_hash`."""
        fields, shards = make_fields(dataset.sizes), []
        for shard in dataset.shards:
            raw = {"basename": shard.name, "bytes": shard.bytes, "hashes": {HASH: shard.xxh3_128}}
            shards.append(fields.described | {"raw_data": raw, "samples": shard.examples, "zip_data": None})
        beside.write("index.json", msgspec.json.encode({"version": 2, "shards": shards}, order="deterministic"))

    def reading(self, out: Path, dataset: Dataset) -> Reading:
        """With the streaming package, in the order of the shards."""
        return Reading("import streaming", f"streaming.StreamingDataset(local={str(out)!r}, batch_size=1)", _USE)

    def blend(self, parts: Sequence[Blended], examples: int) -> Reading:
        """One stream per dataset."""
        streams = one_a_line(f"streaming.Stream(local={str(part.out)!r}, proportion={part.weight})" for part in parts)
        call = f"streaming.StreamingDataset(streams=[{streams}], epoch_size={examples}, batch_size=1, shuffle=True)"
        return Reading("import streaming", call, _USE)

    def blend_files(self, parts: Sequence[Blended]) -> dict[str, bytes]:
        """None: streams are named in Python."""
        return {}

    def read(self, path: Path) -> Iterator[Member]:
        """Examples in order. Checks offsets, sizes and columns, and that they fill the file."""
        whole = location.mapped(path)
        if not whole:
            raise DataError("an empty shard", str(path), "build it again")
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
        fields = make_fields(_sizes_of(config))
    except (ValueError, struct.error, msgspec.MsgspecError) as error:
        raise DataError(f"not a whole shard: {error}", f"{path} byte 0", "build it again") from None
    if config != fields.config or offsets[-1] != len(whole) or (np.diff(offsets) < fields.sizes.size).any():
        raise DataError("offsets or columns that are not ours, or a cut end", f"{path} byte 0", "build it again")
    return fields, offsets


def _sizes_of(config: bytes) -> Sizes:
    """The sizes the columns were made for. Raises ValueError if they cannot be ours."""
    found = msgspec.json.decode(config, type=_Config)
    encodings = dict(zip(found.column_names, found.column_encodings, strict=False))
    shape = [int(size) for size in encodings.get("actions", "").split(":")[2:3] for size in size.split(",")]
    horizon, dim = shape if len(shape) == 2 else (1, 0)
    places = sum(name.startswith(f"{IMAGE}_") and name.endswith("_format") for name in encodings)
    more = tuple(field.name for field in MORE_FIELDS if field.name in encodings)
    return Sizes(min(dim, 1 << 16), min(horizon, 1 << 16), None if IMAGE in encodings else places, more)


class _Config(msgspec.Struct):
    """The parts of a config from which the sizes of examples follow."""

    column_names: list[str]
    column_encodings: list[str]


_USE = """\
image = example["image"]                                # a PIL image, not decoded yet; else image_0, image_1, ...
ids, mask = example["input_ids"], example["loss_mask"]  # prompt, target, actions, ...: by the names of the record
"""
