"""Write a TFDS directory that TFDS itself, and everything built on it, loads: shards, then the two JSON files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rt2data.io import location
from rt2data.io.location.folders import make_folder
from rt2data.io.location.whole import write_all
from rt2data.io.tfrecord.columns import pack
from rt2data.io.tfrecord.directory import TEMPLATE, Shard, encode_info, shard_name, write_metadata
from rt2data.io.tfrecord.example import encode_example
from rt2data.io.tfrecord.features import Leaf, encode_features
from rt2data.io.tfrecord.framing import frame

Episode = Mapping[str, Any]
"""Values by leaf key: n of them for a leaf under `steps`, one for a leaf of the whole episode."""


def encode_episode(leaves: Sequence[Leaf], episode: Episode) -> bytes:
    """One record. Raises KeyError where a leaf has no values, ColumnError where they have another shape."""
    values = {leaf.key: episode[leaf.key] if leaf.per_step else [episode[leaf.key]] for leaf in leaves}
    return encode_example({leaf.key: pack(leaf, values[leaf.key]) for leaf in leaves})


def write_dataset(
    folder: Path, name: str, leaves: Sequence[Leaf], splits: Mapping[str, Sequence[Iterable[Episode]]], version: str = "1.0.0"
) -> Path:
    """Write folder/name/version and return it. `splits` gives the episodes of each shard of each split.

    TFDS takes names of the form [a-z][a-z0-9_]*.
    """
    root = folder / name / version
    make_folder(root)
    written: dict[str, list[Shard]] = {}
    for split, shards in splits.items():
        paths = [root / shard_name(TEMPLATE, name, split, number, len(shards)) for number in range(len(shards))]
        written[split] = [_write_shard(path, leaves, shard) for path, shard in zip(paths, shards, strict=True)]
    write_metadata(root, encode_info(name, version, written), encode_features(leaves))
    return root


def _write_shard(path: Path, leaves: Sequence[Leaf], episodes: Iterable[Episode]) -> Shard:
    records = 0
    with location.whole_file(path) as file:
        for records, episode in enumerate(episodes, start=1):  # noqa: B007 (the last number is how many there were)
            write_all(file, frame(encode_episode(leaves, episode)))
    return Shard(str(path), records, location.stat(path).size)
