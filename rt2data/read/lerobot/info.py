"""A LeRobot dataset's metadata: meta/info.json, and the table of tasks.

In practice much of it is wrong. Invalid values are dropped here; if metadata and files differ, the files are trusted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from rt2data.errors import DataError, UsageError
from rt2data.io import location
from rt2data.io.location import path_of
from rt2data.io.tables import read_parquet

INFO = "meta/info.json"
_RANGE = re.compile(r"\s*(\d{1,18})\s*:\s*(\d{1,18})\s*")
_PLACE = re.compile(r"\{(\w+)(?::0?(\d)d)?\}")


class Feature(NamedTuple):
    """One feature, as info.json declares it."""

    dtype: str
    shape: tuple[int, ...]
    names: tuple[str, ...] = ()
    codec: str = ""  # for a video

    @property
    def width(self) -> int:
        """Numbers of each step."""
        total = 1
        for size in self.shape:
            total *= size
        return total


class Split(NamedTuple):
    """Episodes [start, stop)."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Info:
    """meta/info.json. Missing values, and values of the wrong type, are None or empty."""

    version: str
    robot: str
    fps: float | None
    episodes: int | None
    frames: int | None
    splits: tuple[Split, ...]
    unknown_splits: tuple[str, ...]  # splits that are not ranges of episodes
    features: Mapping[str, Feature]
    data_path: str
    video_path: str
    chunk: int  # v2: episodes per folder

    def split_of(self, episode: int) -> str | None:
        """The split of an episode: the smallest that contains it, since that was carved out of the others."""
        holding = [split for split in self.splits if split.start <= episode < split.stop]
        return min(holding, key=lambda split: split.stop - split.start).name if holding else None


def read_info(root: str) -> Info:
    """Read meta/info.json. Raises UsageError if there is none, DataError if it is not a JSON object."""
    path = path_of(root) / INFO
    if not location.is_file(path):
        raise UsageError(f"not a LeRobot dataset: there is no {INFO}", root, "name the folder that holds `meta` and `data`")
    found = _object(location.read_bytes(path), str(path))
    splits = found.get("splits")
    ranges = list(_splits(splits)) if isinstance(splits, dict) else []
    return Info(
        version=_text(found.get("codebase_version")),
        robot=_text(found.get("robot_type")),
        fps=_positive(found.get("fps")),
        episodes=_count(found.get("total_episodes")),
        frames=_count(found.get("total_frames")),
        splits=tuple(each for each in ranges if isinstance(each, Split)),
        unknown_splits=tuple(each for each in ranges if isinstance(each, str)),
        features=_features(found.get("features")),
        data_path=_text(found.get("data_path")),
        video_path=_text(found.get("video_path")),
        chunk=_count(found.get("chunks_size")) or 1000,
    )


def fill(template: str, **values: int | str) -> str:
    """A path template of info.json, filled in: supports `{name}` and `{name:03d}`, and no other formatting."""

    def value(place: re.Match[str]) -> str:
        found = values.get(place[1], place[0])
        return f"{found:0{place[2]}d}" if place[2] and isinstance(found, int) else str(found)

    return _PLACE.sub(value, template)


def _object(content: bytes, path: str) -> dict[str, Any]:
    """Parse a JSON object. Raises DataError if it is not one."""
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"not JSON: {error}", path, "fetch the file again") from None
    if not isinstance(found, dict):
        raise DataError("not a JSON object", path, "fetch the file again")
    return found


def _text(value: Any) -> str:
    return value if isinstance(value, str) and len(value) <= 512 else ""


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _positive(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and 0 < value < 1e6 else None


def _splits(splits: dict[str, Any]) -> Iterator[Split | str]:
    """The ranges of each split, such as "0:80" or "0:10,20:30"; for anything else, the split's name."""
    for name, value in splits.items():
        found = [_RANGE.fullmatch(each) for each in value.split(",")] if isinstance(value, str) else [None]
        yield from (Split(name, int(each[1]), int(each[2])) if each else name for each in found)


def _features(features: Any) -> dict[str, Feature]:
    if not isinstance(features, dict):
        return {}
    return {name: _feature(value) for name, value in features.items() if isinstance(value, dict)}


def _feature(value: dict[str, Any]) -> Feature:
    shape = value.get("shape")
    sizes = tuple(shape) if isinstance(shape, list) and all(_count(size) is not None for size in shape) else ()
    about = value.get("info") or value.get("video_info")
    codec = _text(about.get("video.codec")) if isinstance(about, dict) else ""
    return Feature(_text(value.get("dtype")), sizes, tuple(_names(value.get("names"))), codec)


def _names(names: Any, depth: int = 0) -> Iterator[str]:
    """Names of dimensions in any nesting: a list, lists in a list or under a key, or keys with positions."""
    if isinstance(names, str):
        yield names
    elif isinstance(names, dict) and names and all(_count(value) is not None for value in names.values()):
        yield from sorted(names, key=names.__getitem__)
    elif isinstance(names, dict | list) and depth < 4:
        for each in names.values() if isinstance(names, dict) else names:
            yield from _names(each, depth + 1)


# Tasks


def read_tasks(root: str) -> dict[int, str]:
    """Task texts by task index; empty if there is no table. Raises DataError if it cannot be read."""
    meta = path_of(root) / "meta"
    if location.is_file(meta / "tasks.parquet"):
        return _tasks_of_table(meta / "tasks.parquet")
    if location.is_file(meta / "tasks.jsonl"):
        return dict(filter(None, map(_task, json_lines(meta / "tasks.jsonl"))))
    return {}


def json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """JSON objects, one per line. Raises DataError for a line that is not one."""
    for number, line in enumerate(location.read_bytes(path).splitlines(), 1):
        if line.strip():
            yield _object(line, f"{path}, line {number}")


def _task(row: dict[str, Any]) -> tuple[int, str] | None:
    index, words = _count(row.get("task_index")), row.get("task")
    return (index, words) if index is not None and isinstance(words, str) else None


def _tasks_of_table(path: Path) -> dict[int, str]:
    """Task texts from a Parquet table: they are a data frame's index (named or not), next to the column of numbers."""
    try:
        table = read_parquet(path)
    except pa.ArrowException as error:
        raise DataError(f"not a whole Parquet file: {error}", str(path), "fetch the file again") from None
    words = next((name for name in table.column_names if _is_text(table.schema.field(name).type)), None)
    if words is None or "task_index" not in table.column_names:
        raise DataError(f"no column of words beside `task_index`: {', '.join(table.column_names)}", str(path))
    pairs = zip(table["task_index"].to_pylist(), table[words].to_pylist(), strict=True)
    return {index: text for index, text in pairs if isinstance(index, int) and isinstance(text, str)}


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
