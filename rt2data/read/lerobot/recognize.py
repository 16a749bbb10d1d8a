"""Recognizes LeRobot datasets, and parts of them, from names and metadata alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rt2data.errors import RtError
from rt2data.io import location
from rt2data.read.features import parse_part
from rt2data.read.known_formats import Recognized
from rt2data.read.lerobot.columns import columns_of
from rt2data.read.lerobot.dataset import open_dataset
from rt2data.read.lerobot.info import INFO, read_info
from rt2data.read.log import Column
from rt2data.read.source import Suggestion

_V1 = "meta_data/info.json"
_PARTS = ("meta", "data", "videos")
_V1_DO = "convert it with LeRobot's own converter to v2.0 or later, and name the new folder"


def recognize_lerobot(path: Path) -> Suggestion | None:
    """The dataset at a path, or that contains the path. Raises DataError if its metadata is damaged."""
    root = _root(path)
    if root is None:
        return None
    dataset = open_dataset(str(root))
    columns = columns_of(dataset)
    modality = _modality(root, columns)
    ranges = {what: [*parts.values()] for what, parts in modality.items() if not _is_whole(parts, columns)}
    action = {} if _has_action(columns) else {"action": _actions(columns)}
    settings: dict[str, Any] = {"path": str(root), **action, **ranges}
    facts = {"modality": modality} if modality else {}
    return Suggestion({key: value for key, value in settings.items() if value}, root.name, facts)


def lerobot_hint(path: Path) -> Recognized | None:
    """What part of a LeRobot dataset a path is, and what to name instead; also recognizes v1 datasets. Raises OSError."""
    if root := _root(path) or _root_above(path):
        part = "" if path in (root, root / INFO) else f", of which {path.name} is a part"
        return Recognized(f"a LeRobot {_version(root)} dataset{part}", f"name {root} as a source of kind lerobot")
    for root in (path, path.parent, path.parent.parent):
        if location.is_file(root / _V1):
            return Recognized(f"a LeRobot v1 dataset: {_episodes_of_v1(root)}", _V1_DO)
    return None


def _root(path: Path) -> Path | None:
    """The dataset folder, if the path is one, or one of its folders or info.json."""
    if path.name == Path(INFO).name:
        path = path.parent
    roots = (path, path.parent) if path.name in _PARTS else (path,)
    return next((root for root in roots if location.is_file(root / INFO)), None)


def _root_above(path: Path) -> Path | None:
    """The dataset folder that contains a deeply nested file or folder."""
    parents = [*path.parents][:5]
    below = [path.name, *(parent.name for parent in parents)]
    return next((root for at, root in enumerate(parents) if below[at] in _PARTS and location.is_file(root / INFO)), None)


def _version(root: Path) -> str:
    try:
        version = read_info(str(root)).version
    except RtError:
        version = ""
    return version if 0 < len(version) < 16 else "(unknown version)"


def _episodes_of_v1(root: Path) -> str:
    """The number of episodes, according to the header of the episode table, or the videos."""
    try:
        with location.open_file(root / "meta_data/episode_data_index.safetensors") as file:
            size = int.from_bytes(file.read(8), "little")
            count = json.loads(file.read(min(size, 1 << 16)))["from"]["shape"][0]
    except (OSError, ValueError, LookupError, TypeError):
        return "of an unknown number of episodes"
    return f"{count} episodes"


# Suggestions


def _has_action(columns: list[Column]) -> bool:
    return any(column.path in ("action", "actions") and column.holds == "numbers" for column in columns)


def _actions(columns: list[Column]) -> list[str]:
    """Columns that are parts of an action, in file order."""
    return [column.path for column in columns if column.holds == "numbers" and column.path.startswith(("action.", "actions."))]


def _modality(root: Path, columns: list[Column]) -> dict[str, dict[str, str]]:
    """Named ranges of action and state from GR00T's meta/modality.json: name -> feature path."""
    try:
        found = json.loads(location.read_bytes(root / "meta/modality.json"))
    except (OSError, ValueError, RecursionError):
        return {}
    usual, widths = {"action": "action", "state": "observation.state"}, {column.path: column.width for column in columns}
    groups = {what: dict(_ranges(found.get(what), usual[what], widths)) for what in usual} if isinstance(found, dict) else {}
    return {what: ranges for what, ranges in groups.items() if ranges}


def _ranges(group: Any, usual: str, widths: dict[str, int | None]) -> Iterator[tuple[str, str]]:
    for name, value in group.items() if isinstance(group, dict) else ():
        start, stop = (value.get("start"), value.get("end")) if isinstance(value, dict) else (None, None)
        path = value.get("original_key") or usual if isinstance(value, dict) else ""
        if isinstance(start, int) and isinstance(stop, int) and 0 <= start < stop <= (widths.get(path) or 0):
            yield str(name), f"{path}[{start}:{stop}]"


def _is_whole(ranges: dict[str, str], columns: list[Column]) -> bool:
    """Whether the ranges together cover one whole feature, in order."""
    parts = [parse_part(path) for path in ranges.values()]
    width = next((column.width for column in columns if column.path == parts[0].path), None) or 0
    numbers = [number for part in parts for number in range(part.start, part.stop or 0)]
    return {part.path for part in parts} == {parts[0].path} and numbers == list(range(width))
