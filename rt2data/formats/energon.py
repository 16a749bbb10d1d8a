"""The files that NVIDIA's Megatron-Energon needs next to tar shards: its loader works without `energon prepare`.

    shard-000000.tar.idx     where each sample begins, and where the last one ends: u64 little-endian
    .nv-meta/.info.json      samples of each shard          .nv-meta/split.yaml    shards of each split
    .nv-meta/dataset.yaml    what becomes of a sample       .nv-meta/index.sqlite  samples by key, and their parts
    .nv-meta/index.uuid      changes with the content      energon_cooker.py      where examples have several images

Source: Megatron-Energon 7.4, flavors/webdataset/{itar,indexing,structs,metadata}.py. All bytes follow from the examples; those of
the database also depend on the release of SQLite.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from itertools import count, repeat
from pathlib import Path

import msgspec
import numpy as np

from rt2data.formats.base import Dataset, SideWriter
from rt2data.io.sqlite import new_database
from rt2data.io.tar import BLOCK, padded
from rt2data.order import I64

META, METADATASET, COOKER = ".nv-meta", "metadataset.yaml", "energon_cooker.py"
VERSION = "7.4.1"
"""The release with this layout."""


class Notes(msgspec.Struct):
    """Notes of a shard's writer on its examples, in order. Stored as columns, as there are many."""

    keys: list[str] = []
    counts: list[int] = []
    """Number of parts of each example."""
    names: list[str] = []
    """Name of each part, without the key."""
    sizes: list[int] = []
    """Size of each part in bytes."""

    def add(self, key: str, parts: Sequence[tuple[str, int]]) -> None:
        """Add one example: name and size of each of its parts."""
        self.keys.append(key)
        self.counts.append(len(parts))
        for name, size in parts:
            self.names.append(name)
            self.sizes.append(size)

    def part_starts(self) -> I64:
        """Offset of each part's header in the tar, and end of the last part, int64[parts + 1]."""
        return np.concatenate([[0], np.cumsum(BLOCK + padded(np.array(self.sizes, np.int64)))])

    def starts(self) -> I64:
        """Offset of each example in the tar, and end of the last, int64[n + 1]."""
        edges = np.concatenate([[0], np.cumsum(self.counts, dtype=np.int64)])
        return np.take(self.part_starts(), edges)


def write_energon(beside: SideWriter, dataset: Dataset) -> None:
    """Write all of these files. Raises OutputError."""
    names = [shard.name for shard in dataset.shards]
    for shard in dataset.shards:
        beside.write(f"{shard.name}.idx", read_notes(beside.notes(shard.index)).starts().astype("<u8").tobytes())
    beside.write(f"{META}/.info.json", _info({shard.name: shard.examples for shard in dataset.shards}))
    beside.write(f"{META}/split.yaml", _split(dataset.split, names))
    several = dataset.sizes.images is not None
    beside.write(f"{META}/dataset.yaml", _CRUDE if several else _DATASET)
    if several:
        beside.write(COOKER, _COOKER)
    beside.write(f"{META}/index.uuid", str(uuid.uuid5(_NAMESPACE, dataset.fingerprint)).encode())
    beside.produce(f"{META}/index.sqlite", lambda path: _write_index(path, beside, len(names)))


def metadataset(split: str, parts: Sequence[tuple[int, str]]) -> bytes:
    """Datasets (weight, path) read as one, mixed in proportion to their weights."""
    head = ("__module__: megatron.energon", "__class__: MetadatasetV2", "splits:", f"  {split}:", "    blend:")
    blend = (line for weight, path in parts for line in (f"    - weight: {weight}", f"      path: ./{path}"))
    return ("\n".join((*head, *blend)) + "\n").encode()


encode_notes = msgspec.msgpack.Encoder().encode
read_notes = msgspec.msgpack.Decoder(Notes).decode


_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "rt2data")

_DATASET = b"""\
# Images with questions and answers: https://nvidia.github.io/Megatron-Energon. For ids, masks and actions of the record instead:
#   __module__: megatron.energon
#   __class__: CrudeWebdataset
sample_type:
  __module__: megatron.energon
  __class__: VQASample
field_map:
  image: jpg,png
  context: json[prompt]
  answers: json[target]
"""

_CRUDE = b"""\
# Samples as they are in the shards: add the cooker of energon_cooker.py to your task encoder's `cookers`.
__module__: megatron.energon
__class__: CrudeWebdataset
subflavors:
  rt2data: record
"""

_COOKER = b'''\
"""Turns samples of this mixture into records with their images: for `cookers` of a Megatron-Energon task encoder."""

import io
import json

from megatron.energon import Cooker, basic_sample_keys, stateless


@stateless
def cook_record(sample: dict) -> dict:
    """The record, and `images`: a PIL image for every place that has one, else None."""
    from PIL import Image

    record = json.loads(sample["json"]) if isinstance(sample["json"], (bytes, str)) else sample["json"]
    images = []
    for place, there in enumerate(record["image_mask"]):
        part = next((sample[name] for name in (f"image_{place}.jpg", f"image_{place}.png") if name in sample), None)
        if there and part is None:
            raise ValueError(f"{record['key']}: image_{place} is missing")
        images.append(Image.open(io.BytesIO(part)) if isinstance(part, bytes) else part)
    return {**basic_sample_keys(sample), **record, "images": images}


COOKER = Cooker(cook_record, has_subflavors={"rt2data": "record"})
'''


def _info(counts: dict[str, int]) -> bytes:
    return msgspec.json.format(msgspec.json.encode({"energon_version": VERSION, "shard_counts": counts}), indent=2) + b"\n"


def _split(split: str, names: list[str]) -> bytes:
    lines = ["exclude: []", "split_parts:", f"  {split}:", *(f"  - {name}" for name in names)]
    return ("\n".join(lines) + "\n").encode()


_TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE samples (
  tar_file_id INTEGER NOT NULL, sample_key TEXT NOT NULL UNIQUE, sample_index INTEGER NOT NULL,
  byte_offset INTEGER, byte_size INTEGER
);
CREATE TABLE sample_parts (
  tar_file_id INTEGER, sample_index INTEGER, part_name TEXT, content_byte_offset INTEGER, content_byte_size INTEGER
);
"""
_INDEXES = """
CREATE INDEX idx_samples_by_tar_and_idx ON samples (tar_file_id, sample_index);
CREATE INDEX idx_sample_parts_seq ON sample_parts (tar_file_id, sample_index, content_byte_offset);
CREATE INDEX idx_sample_parts_full ON sample_parts (
  tar_file_id, sample_index, part_name, content_byte_offset, content_byte_size
);
"""


def _write_index(path: Path, beside: SideWriter, shards: int) -> None:
    with new_database(path) as database:
        database.executescript(_TABLES)
        for shard in range(shards):
            notes = read_notes(beside.notes(shard))
            database.executemany("INSERT INTO samples VALUES (?, ?, ?, ?, ?)", _sample_rows(shard, notes))
            database.executemany("INSERT INTO sample_parts VALUES (?, ?, ?, ?, ?)", _part_rows(shard, notes))
        database.commit()
        database.executescript(_INDEXES)


def _sample_rows(shard: int, notes: Notes) -> Iterable[tuple[int, str, int, int, int]]:
    starts = notes.starts()
    return zip(repeat(shard), notes.keys, count(), starts[:-1].tolist(), np.diff(starts).tolist(), strict=False)


def _part_rows(shard: int, notes: Notes) -> Iterable[tuple[int, int, str, int, int]]:
    examples = np.repeat(np.arange(len(notes.counts)), notes.counts).tolist()
    bodies = (notes.part_starts()[:-1] + BLOCK).tolist()
    return zip(repeat(shard), examples, notes.names, bodies, notes.sizes, strict=False)
