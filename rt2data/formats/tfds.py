"""A TFDS directory with one example per record: TFRecord shards of tf.train.Example, and the JSON with which TFDS opens them.

Images stay encoded, at the end of their Example, so that they are read straight into place. Feature order is free in protobuf, so
any reader accepts it. Unless every example has exactly one image, each place has its own feature; an empty place holds one black
pixel, as TFDS decodes every image, and `image_mask` marks it as empty.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import FileIO
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from rt2data.errors import DataError
from rt2data.formats.base import Dataset, Format, ImageSize, Member, MemberImage, Reading, ShardWriter, SideWriter, Sizes
from rt2data.formats.chunks import ChunkWriter
from rt2data.formats.flat import filled, no_null, shape_of, unfilled
from rt2data.io import location
from rt2data.io.digest import Digest
from rt2data.io.tfrecord.directory import FEATURES, INFO, TEMPLATE, Shard, encode_info, shard_name
from rt2data.io.tfrecord.example import (
    Feature,
    ListKind,
    Parts,
    Room,
    decode_example,
    encode_feature,
    encode_text,
    encode_with_room,
)
from rt2data.io.tfrecord.features import Leaf, encode_features
from rt2data.io.tfrecord.framing import FOOTER, FRAME, HEADER, frame_header, masked_crc, payload_length
from rt2data.render.fields import FIELDS, MORE_FIELDS, ExampleRecord, Field, Type, fields_of
from rt2data.render.record import encode_record

NAME, VERSION = "mixture", "1.0.0"
IMAGE, IMAGE_FORMAT = "image", "image_format"
_LIST_OF: dict[str, ListKind] = {"string": "bytes", "float32": "float"}
"""The list type in tf.train.Feature by field type; all other types are integers."""
_CRC, _DOUBLE = struct.Struct("<I"), struct.Struct("<d")


EMPTY = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x02\x00\x00\x00\x90wS\xde"
    b"\x00\x00\x00\x0cIDATx\xdac```\x00\x00\x00\x04\x00\x01\xc8\xea\xeb\xf9\x00\x00\x00\x00IEND\xaeB`\x82"
)
"""A PNG of one black pixel."""


def image_names(sizes: Sizes) -> list[tuple[str, str]]:
    """The features of each place: its image, and the image's format."""
    if sizes.images is None:
        return [(IMAGE, IMAGE_FORMAT)]
    return [(f"{IMAGE}_{slot}", f"{IMAGE}_{slot}_format") for slot in range(sizes.images)]


# Encode


def encode_columns(columns: Mapping[str, Any], images: Sequence[ImageSize], sizes: Sizes) -> Parts:
    """An Example with room for its images, which come last."""
    entries: list[bytes | tuple[str, Room]] = [
        entry for field in fields_of(sizes.more) for entry in _entries(field, columns[field.name])
    ]
    there = {slot: (extension, size) for slot, extension, size in images}
    rooms = list[tuple[str, Room]]()
    for slot, (name, format_name) in enumerate(image_names(sizes)):
        extension, size = there.get(slot, ("", 0))
        entries.append(encode_text(format_name, extension))
        if extension:
            rooms.append((name, Room([size])))
        else:
            entries.append(encode_feature(name, [EMPTY]))
    return encode_with_room([*entries, *rooms])


def write_columns(parts: Parts, block: memoryview) -> list[memoryview]:
    """Write an Example without its images; return the memory for each image, in order."""
    return [place for places in parts.write(block).values() for place in places]


def _entries(field: Field, value: Any) -> Iterator[bytes]:
    if field.parts:
        for part, kind in field.parts:
            values = [each[part].encode() if kind == "string" else each[part] for each in value]
            yield encode_feature(f"{field.name}/{part}", values, _LIST_OF.get(kind, "int64"))
    elif field.type == "float64":
        yield encode_feature(field.name, [_DOUBLE.pack(value)], "bytes")
    elif field.type == "string":
        yield (
            encode_text(field.name, value)
            if field.shape == "one"
            else encode_feature(field.name, [t.encode() for t in value], "bytes")
        )
    else:
        many = (value,) if field.shape == "one" else tuple(chain.from_iterable(value)) if field.shape == "chunk" else value
        yield encode_feature(field.name, many, _LIST_OF.get(field.type, "int64"))


class TfrecordWriter(ShardWriter):
    """One TFRecord file. A record's checksum is set once its images are there: before the next record, or at the end."""

    def __init__(self, file: FileIO, sizes: Sizes) -> None:
        self._out, self._sizes = ChunkWriter(file), sizes
        self._last: memoryview | None = None

    def encode(self, records: Iterable[ExampleRecord]) -> list[dict[str, Any]]:
        """Columns without nulls."""
        return [filled(record, self._sizes) for record in records]

    def add(self, key: str, images: Sequence[ImageSize], record: dict[str, Any]) -> list[memoryview]:
        """Write length, its checksum and the Example; leave room for images and the final checksum."""
        self._finish()
        parts = encode_columns(record, images, self._sizes)
        self._last = block = self._out.room(FRAME + parts.size)
        block[:HEADER] = frame_header(parts.size)
        return write_columns(parts, block[HEADER:-FOOTER])

    def _finish(self) -> None:
        if self._last is not None:
            self._last[-FOOTER:] = _CRC.pack(masked_crc(bytes(self._last[HEADER:-FOOTER])))

    def close(self) -> Digest:
        """Set the last checksum; the format has no end mark."""
        self._finish()
        return self._out.close()


# Decode


def decode_payload(payload: memoryview) -> Member:
    """The example in a record. Raises ValueError if it was not written by us."""
    columns = decode_columns(payload)
    images, formats = columns.pop(IMAGES), columns.pop(FORMATS)
    found = tuple(
        MemberImage(slot, extension, image)
        for slot, (image, extension) in enumerate(zip(images, formats, strict=True))
        if extension
    )
    return Member(columns["key"], found, memoryview(encode_record(unfilled(columns))))


IMAGES, FORMATS = "images", "image_formats"


def decode_columns(payload: memoryview) -> dict[str, Any]:
    """The columns of a record, including its images and their formats. Raises ValueError if it was not written by us."""
    try:
        features = decode_example(payload)
        columns = {field.name: _values(field, features) for field in (*FIELDS, *_more(features))}
        columns["actions"] = _as_chunk(columns["actions"], len(columns["action_is_pad"]))
        slots = sum(name.startswith(f"{IMAGE}_") and name.endswith("_format") for name in features) - (IMAGE_FORMAT in features)
        names = image_names(Sizes(images=None if IMAGE in features else slots))
        spans = [(features[name].spans()[0], features[form].spans()[0]) for name, form in names]
    except (KeyError, IndexError, TypeError, struct.error) as error:
        raise ValueError(f"no example of ours: {error!r}") from None
    images = [payload[start:stop] for (start, stop), _ in spans]
    return columns | {IMAGES: images, FORMATS: [str(payload[start:stop], "utf-8") for _, (start, stop) in spans]}


def _as_chunk(flat: Sequence[float], horizon: int) -> list[Sequence[float]]:
    if not horizon or len(flat) % horizon:
        raise ValueError(f"{len(flat)} numbers for {horizon} actions")
    width = len(flat) // horizon
    return [flat[at * width : at * width + width] for at in range(horizon)]


def _more(features: Mapping[str, Feature]) -> list[Field]:
    """The optional fields that are present."""
    return [field for field in MORE_FIELDS if _names(field)[0] in features]


def _names(field: Field) -> list[str]:
    return [f"{field.name}/{part}" for part, _ in field.parts] or [field.name]


def _values(field: Field, features: Mapping[str, Feature]) -> Any:
    if field.parts:
        names = [part for part, _ in field.parts]
        parts = [_list(kind, features[f"{field.name}/{part}"]) for part, kind in field.parts]
        return [dict(zip(names, each, strict=True)) for each in zip(*parts, strict=True)]
    found = _list(field.type, features[field.name])
    return found[0] if field.shape == "one" else found


def _list(kind: Type, feature: Feature) -> list[Any]:
    if kind == "string":
        return _texts(feature)
    if kind == "float64":
        (start, stop), *_ = feature.spans()
        return [_DOUBLE.unpack(feature.payload[start:stop])[0]]
    found: list[Any] = feature.floats().tolist() if kind == "float32" else feature.int64s().tolist()
    return [*map(bool, found)] if kind == "bool" else found


def _texts(feature: Feature) -> list[str]:
    return [str(feature.payload[start:stop], "utf-8") for start, stop in feature.spans()]


class Tfds(Format):
    """`mixture-train.tfrecord-00000-of-00004`, `dataset_info.json`, `features.json`."""

    extension: ClassVar[str] = "tfrecord"
    media_type: ClassVar[str] = "application/octet-stream"
    has_null: ClassVar[bool] = False

    def open(self, file: FileIO, sizes: Sizes) -> TfrecordWriter:
        """A writer of one TFRecord file."""
        return TfrecordWriter(file, sizes)

    def example_bytes(self, images: Sequence[int], record_bytes: int) -> int:
        """A frame and all bodies: feature names take about as much as names in JSON, and numbers less."""
        return FRAME + sum(images) + record_bytes

    def shard_name(self, index: int, total: int, split: str) -> str:
        """Named as in TFDS."""
        return shard_name(TEMPLATE, NAME, split_name(split), index, total)

    def sidecars(self, beside: SideWriter, dataset: Dataset) -> None:
        """The two JSON files of a version directory."""
        shards = [Shard(shard.name, shard.examples, shard.bytes) for shard in dataset.shards]
        mixed = ", ".join(dataset.sources)
        about = f"A co-training mixture of {mixed}. {no_null(dataset.sizes)}"
        beside.write(INFO, _json(encode_info(NAME, VERSION, {split_name(dataset.split): shards}, about)))
        beside.write(FEATURES, _json(encode_features(leaves(dataset.sizes))))

    def reading(self, out: Path, dataset: Dataset) -> Reading:
        """With the tensorflow-datasets package."""
        call = f"tfds.builder_from_directory({str(out)!r}).as_dataset(split={split_name(dataset.split)!r})"
        return Reading("import tensorflow_datasets as tfds", call, _USE if dataset.sizes.images is None else _USE_SLOTS)

    def read(self, path: Path) -> Iterator[Member]:
        """Examples, record by record. A file cut between two records is still valid: only the number of records shows it."""
        whole = location.mapped(path)
        if not whole:
            raise DataError("an empty shard", str(path), "build it again")
        at = 0
        while at < len(whole):
            stop = _record_end(path, whole, at)
            yield _member(path, whole[at + HEADER : stop - FOOTER], at)
            at = stop


def _record_end(path: Path, whole: memoryview, at: int) -> int:
    """Where the record at byte `at` ends, after verifying its checksums."""
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


def leaves(sizes: Sizes) -> list[Leaf]:
    """The dataset's features in TFDS terms."""
    images = [
        leaf
        for name, form in image_names(sizes)
        for leaf in (Leaf(name, "image", "uint8", (None, None, 3), ""), Leaf(form, "text", "string"))
    ]
    return images + [leaf for field in fields_of(sizes.more) for leaf in _leaves(field, sizes)]


def _leaves(field: Field, sizes: Sizes) -> Iterator[Leaf]:
    if field.parts:
        yield from (Leaf(f"{field.name}/{part}", "tensor", kind, (None,)) for part, kind in field.parts)
    elif field.shape == "one":
        yield _leaf(field)
    else:
        yield Leaf(field.name, "tensor", field.type, shape_of(field, sizes) or (None,))


def _leaf(field: Field) -> Leaf:
    """A single value. Double-precision numbers are stored as bytes, as tf.train.Example has no such type."""
    if field.type == "float64":
        return Leaf(field.name, "tensor", field.type, (), "bytes")
    return Leaf(field.name, "text" if field.type == "string" else "scalar", field.type)


def split_name(split: str) -> str:
    """A split name that TFDS and Hugging Face allow."""
    return split.replace("-", "_")


def _json(tree: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(tree, order="deterministic"), indent=2) + b"\n"


_USE = """\
image = example["image"]                                # uint8[height, width, 3]
ids, mask = example["input_ids"], example["loss_mask"]  # prompt, target, actions, ...: by the names of the record
"""
_USE_SLOTS = """\
image = example["image_0"]                              # uint8[height, width, 3]; image_1, ...: where image_mask is true
ids, mask = example["input_ids"], example["loss_mask"]  # prompt, target, actions, ...: by the names of the record
"""
