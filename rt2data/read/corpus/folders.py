"""Which files of a folder are tables, excluding the extra files of Hugging Face's `save_to_disk` and img2dataset."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path, PurePosixPath
from typing import Any

from rt2data.errors import DataError, UsageError
from rt2data.io import location
from rt2data.io.words import choose

STATE, SPLITS = "state.json", "dataset_dict.json"
_NO_ROWS = frozenset({STATE, SPLITS, "dataset_info.json", "dataset_infos.json"})


def saved_split(folder: Path, names: Collection[str], split: str) -> Path | None:
    """The folder of a split, if several are saved together; otherwise None. Raises UsageError, DataError."""
    if SPLITS not in names:
        return None
    splits = _splits(folder)
    if split not in splits:
        raise UsageError(f"there is no split {split!r} among those saved", str(folder), f"set `split`: {choose(split, splits)}")
    return folder / split


def saved_splits(folder: Path) -> list[str]:
    """The splits saved in a folder, `train` first. Raises DataError."""
    return sorted(_splits(folder), key=lambda name: name != "train") if location.is_file(folder / SPLITS) else []


def is_saved(folder: Path) -> bool:
    """Whether a folder is a saved dataset, or contains several as splits."""
    return any(location.is_file(folder / name) for name in (STATE, SPLITS))


def _splits(folder: Path) -> list[str]:
    splits = _json(folder / SPLITS).get("splits")
    if not isinstance(splits, list) or not splits or not all(isinstance(each, str) for each in splits):
        raise _strange(folder / SPLITS)
    return [_plain(folder / SPLITS, each) for each in splits]


def row_files(folder: Path, names: Collection[str]) -> list[str]:
    """Names of the files that may be tables; in a saved dataset, the files listed in its state. Raises DataError."""
    if STATE in names and any(name.endswith(".arrow") for name in names):
        return _listed(folder / STATE, names)
    known = set(names)
    return [name for name in names if name not in _NO_ROWS and not _is_beside(name, known)]


def _is_beside(name: str, names: set[str]) -> bool:
    """Whether a file describes an img2dataset shard with the same number: 00000.parquet for 00000.tar, 00000_stats.json for
    either.
    """
    path = PurePosixPath(name)
    if path.suffix == ".parquet":
        return f"{path.stem}.tar" in names
    shard = name.removesuffix("_stats.json")
    return shard != name and not names.isdisjoint({f"{shard}.tar", f"{shard}.parquet"})


def _listed(state: Path, names: Collection[str]) -> list[str]:
    files = _json(state).get("_data_files")
    if not isinstance(files, list) or not all(isinstance(each, dict) and isinstance(each.get("filename"), str) for each in files):
        raise _strange(state)
    found = [_plain(state, each["filename"]) for each in files]
    absent = [name for name in found if name not in names]
    if absent:
        raise DataError(f"a file of a saved dataset is missing: {absent[0]}", str(state.parent), "copy the whole folder")
    return found


def _plain(where: Path, name: str) -> str:
    """The name, checked to be in the same folder."""
    if name in ("", ".", "..") or "/" in name or "\\" in name or "\0" in name:
        raise _strange(where)
    return name


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(location.read_head(path, 1 << 24))
    except (ValueError, RecursionError, IsADirectoryError):
        raise _strange(path) from None
    if not isinstance(found, dict):
        raise _strange(path)
    return found


def _strange(path: Path) -> DataError:
    return DataError(f"{path.name} is not as Hugging Face's datasets writes it", str(path), "save the dataset again")
