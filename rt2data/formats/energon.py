"""What NVIDIA's Megatron-Energon keeps beside tar shards, written while they are: its loader needs no `energon prepare`.

    shard-000000.tar.idx     where each sample begins, and where the last one ends: u64 little-endian
    .nv-meta/.info.json      samples of each shard          .nv-meta/split.yaml    shards of each split
    .nv-meta/dataset.yaml    what becomes of a sample       .nv-meta/index.sqlite  samples by key, and their parts
    .nv-meta/index.uuid      changes with the content

Source: Megatron-Energon 7.4, flavors/webdataset/{itar,indexing,structs,metadata}.py. All bytes follow from the examples, those of
the database for one release of SQLite.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from rt2data.errors import OutputError
from rt2data.formats.base import Dataset, SideWriter
from rt2data.io.tar import BLOCK, padded
from rt2data.order import I64

META, METADATASET = ".nv-meta", "metadataset.yaml"
VERSION = "7.4.1"
"""The release whose layout this is."""


class Sample(NamedTuple):
    """What the writer of a shard notes of an example."""

    key: str
    extension: str
    image_bytes: int
    record_bytes: int


def write_energon(beside: SideWriter, dataset: Dataset) -> None:
    """All of it. Raises OutputError."""
    names = [shard.name for shard in dataset.shards]
    for shard in dataset.shards:
        beside.write(f"{shard.name}.idx", starts(read_notes(beside.notes(shard.index))).astype("<u8").tobytes())
    beside.write(f"{META}/.info.json", _info({shard.name: shard.examples for shard in dataset.shards}))
    beside.write(f"{META}/split.yaml", _split(dataset.split, names))
    beside.write(f"{META}/dataset.yaml", _DATASET)
    beside.write(f"{META}/index.uuid", str(uuid.uuid5(_NAMESPACE, dataset.fingerprint)).encode())
    beside.produce(f"{META}/index.sqlite", lambda path: _write_index(path, beside, len(names)))


def metadataset(split: str, parts: Sequence[tuple[int, str]]) -> bytes:
    """Datasets (weight, path) read as one, each in its weight's proportion."""
    head = ("__module__: megatron.energon", "__class__: MetadatasetV2", "splits:", f"  {split}:", "    blend:")
    blend = (line for weight, path in parts for line in (f"    - weight: {weight}", f"      path: ./{path}"))
    return ("\n".join((*head, *blend)) + "\n").encode()


def encode_notes(samples: list[Sample]) -> bytes:
    """The notes of a shard."""
    return msgspec.msgpack.encode(samples)


def read_notes(notes: bytes) -> list[Sample]:
    """Inverse of `encode_notes`."""
    return msgspec.msgpack.decode(notes, type=list[Sample])


def starts(samples: list[Sample]) -> I64:
    """Where each sample begins in its tar, and where the last ends, int64[n + 1]: each part is a header and a padded body."""
    sizes = np.array([(s.image_bytes, s.record_bytes) for s in samples], np.int64).reshape(-1, 2)
    taken = (BLOCK + -(-sizes // BLOCK) * BLOCK).sum(1)
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(taken)])


_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "rt2data")

_DATASET = b"""\
# Pictures with questions and answers: https://nvidia.github.io/Megatron-Energon. For ids, masks and actions of the record instead:
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
    try:
        with closing(sqlite3.connect(path)) as database:
            database.executescript(_TABLES)
            for shard in range(shards):
                samples = read_notes(beside.notes(shard))
                database.executemany("INSERT INTO samples VALUES (?, ?, ?, ?, ?)", _sample_rows(shard, samples))
                database.executemany("INSERT INTO sample_parts VALUES (?, ?, ?, ?, ?)", _part_rows(shard, samples))
            database.commit()
            database.executescript(_INDEXES)
    except sqlite3.OperationalError as error:
        raise OutputError(f"cannot write: {error}", str(path), "free some space and run the same command again") from error


def _sample_rows(shard: int, samples: list[Sample]) -> Iterator[tuple[int, str, int, int, int]]:
    at = starts(samples).tolist()
    for number, sample in enumerate(samples):
        yield shard, sample.key, number, at[number], at[number + 1] - at[number]


def _part_rows(shard: int, samples: list[Sample]) -> Iterator[tuple[int, int, str, int, int]]:
    for number, (sample, at) in enumerate(zip(samples, starts(samples).tolist(), strict=False)):
        picture = at + BLOCK
        yield shard, number, sample.extension, picture, sample.image_bytes
        yield shard, number, "json", picture + padded(sample.image_bytes) + BLOCK, sample.record_bytes
