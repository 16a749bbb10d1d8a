"""Reads and writes the metadata of a TFDS version directory: dataset_info.json, features.json, and shard names.

Source: tensorflow_datasets/core/{dataset_info,splits,naming}.py, 4.9. File names follow the name in dataset_info.json, so the
directory itself may have any name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from rt2data.errors import DataError, UsageError
from rt2data.io import location
from rt2data.io.location import path_of
from rt2data.io.stamps import NO_FILE, Stamp
from rt2data.io.tfrecord.features import Leaf, decode_features

INFO, FEATURES = "dataset_info.json", "features.json"
TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"

_MAX_JSON = 64 << 20
_LEVELS = 3
"""Maximum levels below a given path at which a version directory may be: name/config/version."""
_DO = "name the directory of a TFDS version, such as my_robot/1.0.0"


class NoVersionError(UsageError):
    """There is no dataset_info.json at or below the path."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One file, and how many records it should have."""

    path: str
    records: int
    bytes: int = 0


@dataclass(frozen=True)
class Directory:
    """The content of the two JSON files of a version directory."""

    path: str
    name: str
    version: str
    splits: Mapping[str, tuple[Shard, ...]]
    leaves: tuple[Leaf, ...]

    @property
    def json_paths(self) -> list[str]:
        """The two JSON files."""
        return [str(Path(self.path) / name) for name in (INFO, FEATURES)]

    def number(self, split: str, path: str) -> int:
        """The number of a file among the shards of a split. Raises KeyError for any other file."""
        return self._numbers[split, path]

    def declared(self, split: str, path: str) -> tuple[int, ...]:
        """The number of a file among the shards of a split, and how many records it should have; empty for any other file."""
        number = self._numbers.get((split, path))
        return () if number is None else (number, self.splits[split][number].records)

    @cached_property
    def _numbers(self) -> dict[tuple[str, str], int]:
        return {(name, shard.path): number for name, shards in self.splits.items() for number, shard in enumerate(shards)}


# Decode


def open_directory(path: str) -> Directory:
    """The version directory at `path`, or the only one below it; parsed once per process, unless its files change.

    Raises UsageError if there is none, more than one, or the file format is unsupported; DataError if its JSON is damaged.
    """
    root = find_version(path)
    return _parsed(root, _stamp(root / INFO), _stamp(root / FEATURES))


def _stamp(path: Path) -> Stamp:
    """A stamp that changes when the file changes."""
    try:
        return Stamp.of(str(path))
    except FileNotFoundError:
        return NO_FILE


@lru_cache(maxsize=8)
def _parsed(root: Path, *stamps: Stamp) -> Directory:
    info = _read_json(root / INFO)
    if not isinstance(info, dict) or not isinstance(info.get("name"), str):
        raise DataError("not a TFDS dataset_info: it has no name", str(root / INFO))
    stored = info.get("fileFormat") or "tfrecord"
    if stored != "tfrecord":
        raise UsageError(
            f"the records are stored as {stored}; only tfrecord is read", str(root), "prepare it with file_format='tfrecord'"
        )
    if not location.is_file(root / FEATURES):
        raise UsageError(f"there is no {FEATURES}", str(root), "TFDS before 4.0 wrote none; prepare the dataset again")
    leaves = decode_features(_read_json(root / FEATURES), str(root / FEATURES))
    return Directory(str(root), info["name"], str(info.get("version", "")), _splits(info, root), leaves)


def find_version(path: str) -> Path:
    """The directory with a dataset_info.json: `path` itself or the only one at most three levels below. Raises UsageError."""
    root = location.absolute(path_of(path).expanduser())
    if not location.exists(root):
        raise UsageError("there is no such directory", str(root))
    if not location.is_folder(root):
        raise NoVersionError("a file, not the directory of a TFDS version", str(root), _DO)
    found = [root] if location.is_file(root / INFO) else sorted(_below(root, _LEVELS))
    if not found:
        raise NoVersionError(f"no {INFO} here or up to {_LEVELS} levels below", str(root), _DO)
    if len(found) > 1:
        names = ", ".join(str(one.relative_to(root)) for one in found[:8])
        raise UsageError(f"{len(found)} TFDS versions are below: {names}", str(root), "name one of them")
    return found[0]


def _below(root: Path, levels: int) -> list[Path]:
    """Version directories below `root`. Excludes those still being written, whose names contain `incomplete`."""
    found = []
    for child in location.children(root):
        folder = root / child.name
        if child.name.startswith(".") or "incomplete" in child.name or not location.is_folder(folder):
            continue
        if location.is_file(folder / INFO):
            found.append(folder)
        elif levels > 1:
            found += _below(folder, levels - 1)
    return found


def _read_json(path: Path) -> Any:
    """Read a JSON file. Raises DataError if it is not JSON, or larger than 64 MB."""
    try:
        if location.stat(path).size > _MAX_JSON:
            raise DataError(f"larger than {_MAX_JSON >> 20} MB", str(path))
        return json.loads(location.read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON: {error}", str(path)) from error


def _splits(info: Mapping[str, Any], root: Path) -> dict[str, tuple[Shard, ...]]:
    """The shards of every split, by name."""
    try:
        return {split["name"]: _shards(info["name"], split, root) for split in info.get("splits", ())}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"a split that cannot be understood: {error}", str(root / INFO)) from error


def _shards(dataset: str, split: Mapping[str, Any], root: Path) -> tuple[Shard, ...]:
    lengths = [int(length) for length in split.get("shardLengths", ())]
    template = split.get("filepathTemplate") or TEMPLATE
    paths = (root / shard_name(template, dataset, split["name"], number, len(lengths)) for number in range(len(lengths)))
    return tuple(Shard(str(path), length) for path, length in zip(paths, lengths, strict=True))


def shard_name(template: str, dataset: str, split: str, number: int, shards: int) -> str:
    """File name of one shard, relative to its directory. Raises ValueError for a template with unknown fields, or that leads out of
    the directory.
    """
    digits = max(5, len(str(shards)))
    values = {"DATASET": dataset, "SPLIT": split, "FILEFORMAT": "tfrecord"}
    values |= {"SHARD_INDEX": f"{number:0{digits}}", "NUM_SHARDS": f"{shards:0{digits}}"}
    values["SHARD_X_OF_Y"] = f"{values['SHARD_INDEX']}-of-{values['NUM_SHARDS']}"
    try:
        name = re.sub(r"\{(\w+)\}", lambda found: values[found[1]], template)
    except KeyError as error:
        raise ValueError(f"unknown part {error} in the file name template {template!r}") from None
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError(f"the file name template {template!r} points out of the directory")
    return name


# Encode


def encode_info(name: str, version: str, splits: Mapping[str, Sequence[Shard]], description: str = "") -> dict[str, Any]:
    """The content of a dataset_info.json that lets TFDS load the directory. `splits` gives the shards of each split in order."""
    return {
        "name": name,
        "version": version,
        "description": description,
        "fileFormat": "tfrecord",
        "splits": [
            {
                "name": split,
                "shardLengths": [str(shard.records) for shard in shards],
                "numBytes": str(sum(shard.bytes for shard in shards)),
                "filepathTemplate": TEMPLATE,
            }
            for split, shards in splits.items()
        ],
    }


def write_metadata(path: Path, info: Mapping[str, Any], features: Any) -> None:
    """Write both JSON files of a version directory."""
    for name, tree in ((INFO, info), (FEATURES, features)):
        location.write_whole(path / name, (json.dumps(tree, indent=2, sort_keys=True) + "\n").encode())


def tfds_name(source: str) -> str:
    """The name in a form valid for TFDS: lower-case letters, digits and _."""
    return source.lower().replace("-", "_")
