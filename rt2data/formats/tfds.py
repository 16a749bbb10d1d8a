"""A TFDS directory with an example to a record: TFRecord shards of tf.train.Example, and the JSON that TFDS opens them by.

Pictures stay encoded, and lie at the end of their Example, so that they are read to where they belong. The order of features is
free, so any protobuf reader takes it.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Mapping
from io import FileIO
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from rt2data.errors import DataError
from rt2data.formats.base import Dataset, Format, Member, Reading, ShardWriter, SideWriter
from rt2data.formats.chunks import ChunkWriter
from rt2data.formats.flat import COLUMNS, Column, filled, no_null, unfilled
from rt2data.io.digest import Digest
from rt2data.io.tfrecord.directory import FEATURES, INFO, TEMPLATE, Shard, encode_info, shard_name
from rt2data.io.tfrecord.example import Feature, ListKind, Room, decode_example, encode_feature, encode_text, encode_with_room
from rt2data.io.tfrecord.features import Leaf, encode_features
from rt2data.io.tfrecord.framing import FOOTER, FRAME, HEADER, frame_header, masked_crc, payload_length

NAME, VERSION = "mixture", "1.0.0"
IMAGE, IMAGE_FORMAT = "image", "image_format"
_LIST_OF: dict[str, ListKind] = {"string": "bytes", "float32": "float"}
"""The list of a tf.train.Feature for a column's type; all others are integers."""
_CRC = struct.Struct("<I")


# Encode


def encode_head(columns: Mapping[str, Any], image_bytes: int, extension: str) -> bytes:
    """An Example up to its picture, whose `image_bytes` follow and end it."""
    entries = [_column_entry(column, columns[column.name]) for column in COLUMNS]
    entries.append(encode_text(IMAGE_FORMAT, extension))
    parts = encode_with_room([b"".join(entries), (IMAGE, Room([image_bytes]))]).parts
    return b"".join(part for part in parts if isinstance(part, bytes))


def _column_entry(column: Column, value: Any) -> bytes:
    kind = _LIST_OF.get(column.type, "int64")
    if kind != "bytes":
        return encode_feature(column.name, (value,) if column.shape == "one" else value, kind)
    if column.shape == "one":
        return encode_text(column.name, value)
    return encode_feature(column.name, [text.encode() for text in value])


class TfrecordWriter(ShardWriter):
    """One TFRecord file. A record's checksum is set when its picture is there: before the next record, or at the end."""

    def __init__(self, file: FileIO, action_dim: int) -> None:
        self._out, self._action_dim = ChunkWriter(file), action_dim
        self._last: memoryview | None = None

    def place(self, key: str, extension: str, image_bytes: int, record: bytes) -> memoryview:
        """Length, its checksum, the Example, room for the checksum of that."""
        self._finish()
        head = encode_head(filled(record, self._action_dim), image_bytes, extension)
        self._last = room = self._out.room(FRAME + len(head) + image_bytes)
        room[:HEADER] = frame_header(len(head) + image_bytes)
        room[HEADER : HEADER + len(head)] = head
        return room[HEADER + len(head) : -FOOTER]

    def _finish(self) -> None:
        if self._last is not None:
            self._last[-FOOTER:] = _CRC.pack(masked_crc(bytes(self._last[HEADER:-FOOTER])))

    def close(self) -> Digest:
        """The last checksum; the format has no end mark."""
        self._finish()
        return self._out.close()


# Decode


def decode_payload(payload: memoryview) -> Member:
    """The example in a record. Raises ValueError where it is none of ours."""
    columns = decode_columns(payload)
    image, extension = columns.pop(IMAGE), columns.pop(IMAGE_FORMAT)
    return Member(columns["key"], extension, image, memoryview(unfilled(columns)))


def decode_columns(payload: memoryview) -> dict[str, Any]:
    """The columns of a record, its picture among them. Raises ValueError where it is no record of ours."""
    try:
        features = decode_example(payload)
        columns = {column.name: _values(column, features[column.name]) for column in COLUMNS}
        (start, stop), (begin, end) = features[IMAGE].spans()[0], features[IMAGE_FORMAT].spans()[0]
    except (KeyError, IndexError) as error:
        raise ValueError(f"no example of ours: {error!r}") from None
    return columns | {IMAGE: payload[start:stop], IMAGE_FORMAT: str(payload[begin:end], "utf-8")}


def _values(column: Column, feature: Feature) -> Any:
    if column.type == "string":
        found: list[Any] = [str(feature.payload[start:stop], "utf-8") for start, stop in feature.spans()]
    elif column.type == "float32":
        found = feature.floats().tolist()
    else:
        found = [bool(n) for n in feature.int64s()] if column.type == "bool" else feature.int64s().tolist()
    return found[0] if column.shape == "one" else found


class Tfds(Format):
    """`mixture-train.tfrecord-00000-of-00004`, `dataset_info.json`, `features.json`."""

    extension: ClassVar[str] = "tfrecord"
    media_type: ClassVar[str] = "application/octet-stream"
    has_null: ClassVar[bool] = False

    def open(self, file: FileIO, action_dim: int) -> TfrecordWriter:
        """A writer of one TFRecord file."""
        return TfrecordWriter(file, action_dim)

    def example_bytes(self, image_bytes: int, record_bytes: int) -> int:
        """A frame and two bodies: names of features take about as much as names of JSON, and numbers less."""
        return FRAME + image_bytes + record_bytes

    def shard_name(self, index: int, total: int, split: str) -> str:
        """As TFDS names its shards."""
        return shard_name(TEMPLATE, NAME, split_name(split), index, total)

    def sidecars(self, beside: SideWriter, dataset: Dataset) -> None:
        """The two JSON files of a version directory."""
        shards = [Shard(shard.name, shard.examples, shard.bytes) for shard in dataset.shards]
        mixed = ", ".join(dataset.sources)
        about = f"A co-training mixture of {mixed}. {no_null(dataset.action_dim)}"
        beside.write(INFO, _json(encode_info(NAME, VERSION, {split_name(dataset.split): shards}, about)))
        beside.write(FEATURES, _json(encode_features(leaves(dataset.action_dim))))

    def reading(self, out: Path, dataset: Dataset) -> Reading:
        """With the tensorflow-datasets package."""
        call = f"tfds.builder_from_directory({str(out)!r}).as_dataset(split={split_name(dataset.split)!r})"
        return Reading("import tensorflow_datasets as tfds", call, _USE)

    def read(self, path: Path) -> Iterator[Member]:
        """Examples by records. A file that ends between two records is whole to its format: only their number tells."""
        if not path.stat().st_size:
            raise DataError("an empty shard", str(path), "build it again")
        with path.open("rb") as file:
            whole = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        at = 0
        while at < len(whole):
            stop = _record_end(path, whole, at)
            yield _member(path, whole[at + HEADER : stop - FOOTER], at)
            at = stop


def _record_end(path: Path, whole: memoryview, at: int) -> int:
    """Where the record at byte `at` ends, its checksums checked."""
    header = whole[at : at + HEADER]
    length = payload_length(header) if len(header) == HEADER else None
    if length is None or at + FRAME + length > len(whole):
        raise DataError("a cut or damaged record", f"{path} byte {at}", "build it again")
    stop = at + FRAME + length
    if masked_crc(bytes(whole[at + HEADER : stop - FOOTER])) != _CRC.unpack(whole[stop - FOOTER : stop])[0]:
        raise DataError("a record whose checksum is wrong", f"{path} byte {at}", "build it again")
    return stop


def _member(path: Path, payload: memoryview, at: int) -> Member:
    try:
        return decode_payload(payload)
    except ValueError as error:
        raise DataError(f"not an example record: {error}", f"{path} byte {at}", "build it again") from None


# Metadata


def leaves(action_dim: int) -> list[Leaf]:
    """The features of the dataset, as TFDS knows them."""
    picture = [Leaf(IMAGE, "image", "uint8", (None, None, 3), ""), Leaf(IMAGE_FORMAT, "text", "string")]
    return picture + [_leaf(column, action_dim) for column in COLUMNS]


def _leaf(column: Column, action_dim: int) -> Leaf:
    if column.shape == "one":
        return Leaf(column.name, "text" if column.type == "string" else "scalar", column.type)
    return Leaf(column.name, "tensor", column.type, (action_dim if column.shape == "vector" and action_dim else None,))


def split_name(split: str) -> str:
    """A split as TFDS and Hugging Face can name it."""
    return split.replace("-", "_")


def _json(tree: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(tree, order="deterministic"), indent=2) + b"\n"


_USE = """\
picture = example["image"]                              # uint8[height, width, 3]
ids, mask = example["input_ids"], example["loss_mask"]  # prompt, target, action, ...: by the names of the record
"""
