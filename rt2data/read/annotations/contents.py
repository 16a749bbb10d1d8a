"""The contents of annotation files: where each episode's annotations are, and the notes of its steps."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from rt2data.errors import DataError
from rt2data.io import location
from rt2data.io.json_members import json_members
from rt2data.io.json_stream import JsonFault
from rt2data.read.annotations.settings import ECoT, Joined, Pool, StepTable
from rt2data.read.annotations.tables import Record, decoder, rows_between, table_rows
from rt2data.read.text import clean_text, is_blank, one_line

Keys = tuple[str, ...]
"""The key of an episode: a file and a number in it, or one name."""
ECOT = (
    ("task",),
    ("plan",),
    ("bboxes",),
    ("subtask_reason",),
    ("subtask",),
    ("move_reason", "movement_reason"),
    ("move", "movement"),
    ("gripper",),
)
"""ECoT's notes, in the order of its answers, with the names its files use for each; the first is ours."""
LOOKAHEAD = 5
"""Number of gripper positions, starting with this step's."""
LARGEST = 1 << 27
"""Maximum bytes of one episode's annotations."""
MOST_STEPS = 1 << 20
"""Maximum steps annotated per episode: each takes memory, however few bytes describe it."""
_DIGITS = 18


class Entry(NamedTuple):
    """A place in the files: file number, first byte or row, and end (exclusive)."""

    file: int
    start: int
    stop: int


def entries(joined: Joined) -> Iterator[tuple[Keys, Entry]]:
    """Where each episode's annotations are, streamed; several entries per episode if its rows are not adjacent. Raises
    DataError.
    """
    for number, path in enumerate(joined.files):
        if isinstance(joined, StepTable):
            yield from _runs(joined, number, path)
        else:
            depth = 1 if isinstance(joined, Pool) else 2
            yield from ((keys, Entry(number, start, stop)) for keys, start, stop in json_members(path, depth))


def _runs(table: StepTable, number: int, path: str) -> Iterator[tuple[Keys, Entry]]:
    """Runs of adjacent rows of the same episode."""
    keys, start, stop = Keys(), 0, 0
    for first, last, row in table_rows(path):
        if (now := _keys(table, path, row)) != keys:
            if keys:
                yield keys, Entry(number, start, stop)
            keys, start = now, first
        stop = last
    if keys:
        yield keys, Entry(number, start, stop)


def _keys(table: StepTable, path: str, row: Record) -> Keys:
    return tuple(_name(row, column, path) for column in (table.file, table.episode) if column)


def _name(row: Record, column: str, path: str) -> str:
    value = row.get(column)
    if value is None or isinstance(value, float | bool | list | dict):
        there = ", ".join(row)
        raise DataError(f"a row of annotations has no `{column}`", path, f"name the column of the episode: there is {there}")
    return str(value)


# Notes


@dataclass
class EpisodeNotes:
    """The notes of one episode while they are collected: texts by name, by step."""

    steps: dict[int, dict[str, str]] = field(default_factory=dict)
    disputed: set[tuple[int, str]] = field(default_factory=set)  # steps and names with two different texts: neither is used
    length: int | None = None  # number of steps, according to the annotations
    unusable: bool = False  # something in it has the wrong type

    def add(self, step: int, notes: Iterable[tuple[str, str]]) -> None:
        """Add the notes of one step."""
        known = self.steps.setdefault(step, {})
        for name, text in notes:
            if known.setdefault(name, text) != text:
                self.disputed.add((step, name))

    def settle(self) -> None:
        """Drop disputed notes, and steps without notes."""
        for step, name in self.disputed:
            del self.steps[step][name]
        self.steps = {step: notes for step, notes in self.steps.items() if notes}


def read_notes(joined: ECoT | StepTable, places: Sequence[Entry]) -> EpisodeNotes:
    """The notes of an episode, by the log's own step numbers. Raises DataError if the file is damaged."""
    found = EpisodeNotes()
    for file, start, stop in places:
        path = joined.files[file]
        if isinstance(joined, ECoT):
            _add_ecot(found, joined, _decoded_episode(path, start, stop))
        else:
            _add_rows(found, joined, path, rows_between(path, start, stop))
    found.settle()
    return found


class _Metadata(msgspec.Struct):
    n_steps: Any = None


class _Episode(msgspec.Struct):
    metadata: _Metadata | None = None
    features: dict[str, Any] | None = None
    reasoning: dict[str, dict[str, Any]] | None = None


def _decoded_episode(path: str, start: int, stop: int) -> _Episode | None:
    """ECoT's notes of an episode; None if something has the wrong type. Raises DataError if not JSON or if a key is repeated."""
    if stop - start > MOST_STEPS:
        return None
    found = decoder(path)(location.read_range(path, start, stop - start), start)
    if isinstance(found, JsonFault):
        if found.reason in {"bad_row", "bad_number"}:
            return None
        raise _not_json(path, start, found.detail)
    try:
        return msgspec.convert(found, _Episode)
    except msgspec.ValidationError:
        return None


def _not_json(path: str, start: int, why: str) -> DataError:
    return DataError(f"not valid JSON: {one_line(why, 120)}", f"{path}: byte {start}", "repair the file")


def _add_ecot(found: EpisodeNotes, ecot: ECoT, episode: _Episode | None) -> None:
    if episode is None:
        found.unusable = True
        return
    length = episode.metadata.n_steps if episode.metadata else None
    found.length = length if isinstance(length, int) else None
    features = episode.features or {}
    for key, reasoning in (episode.reasoning or {}).items():
        if not (key.isascii() and key.isdigit() and len(key) <= _DIGITS):
            found.unusable = True
            continue
        said = reasoning | _seen(features, int(key) - ecot.first_step)
        found.add(int(key) - ecot.first_step, _notes(_in_order(said)))


def _seen(features: Mapping[str, Any], step: int) -> dict[str, Any]:
    """The features of a step: object boxes, and present and future gripper positions."""
    boxes, grip = features.get("bboxes"), features.get("gripper_position")
    found: dict[str, Any] = {}
    if isinstance(boxes, list) and 0 <= step < len(boxes) and (named := _boxes(boxes[step])):
        found["bboxes"] = named
    if isinstance(grip, list) and 0 <= step < len(grip):
        found["gripper"] = [each for at in range(step, step + LOOKAHEAD) for each in _pair(grip[min(at, len(grip) - 1)])]
    return found


def _boxes(boxes: Any) -> str:
    """Boxes given as [score, name, box], written `name [x0, y0, x1, y1]`."""
    named = [box for box in boxes if isinstance(box, list) and len(box) == 3] if isinstance(boxes, list) else []
    return ", ".join(f"{name} {_text(box)}" for _, name, box in named)


def _pair(position: Any) -> list[Any]:
    return position if isinstance(position, list) else []


def _in_order(said: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """ECoT's own notes first, in its order, then any others."""
    known = {other for names in ECOT for other in names}
    for names in ECOT:
        yield from ((names[0], said[name]) for name in names if name in said)
    yield from ((name, value) for name, value in said.items() if name not in known)


def _add_rows(found: EpisodeNotes, table: StepTable, path: str, rows: Sequence[Record]) -> None:
    for row in rows:
        notes = list(_notes(_columns(table, row, path)))
        for step in _steps(table, row, path):
            found.add(step - table.first_step, notes)
        if len(found.steps) > MOST_STEPS:
            raise DataError(f"annotations of more than {MOST_STEPS:,} steps of one episode", path, "repair the file")


def _columns(table: StepTable, row: Record, path: str) -> Iterator[tuple[str, Any]]:
    if table.notes is None:
        return ((name, value) for name, value in row.items() if name not in table.places and isinstance(value, str))
    for name in table.notes:
        if name not in row and path.endswith((".csv", ".tsv", ".parquet")):
            raise DataError(f"annotations have no column `{name}`", path, f"there is {', '.join(row)}")
    return ((name, row.get(name)) for name in table.notes)


def _steps(table: StepTable, row: Record, path: str) -> range:
    """The steps that a row annotates."""
    step = _number(row.get(table.step))
    if step is not None:
        return range(step, step + 1)
    start, stop = _number(row.get(table.start)), _number(row.get(table.stop))
    if start is None or stop is None or not start <= stop:
        columns = f"`{table.step}`, nor `{table.start}` and `{table.stop}`"
        raise DataError(f"a row of annotations has no number in {columns}", path, f"there is {one_line(str(row), 160)}")
    if stop - start > MOST_STEPS:
        raise DataError(f"a stretch of {stop - start:,} steps", path, "repair the file")
    return range(start, stop)


def _number(value: Any) -> int | None:
    if isinstance(value, str):
        return int(value) if value.strip().isdecimal() and len(value.strip()) <= _DIGITS else None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _notes(said: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, str]]:
    """Names and texts, without empty ones."""
    for name, value in said:
        text = _text(value)
        if text and not is_blank(text):
            yield name, text


def _text(value: Any) -> str:
    """A value as text; anything but text is written as JSON."""
    if value is None:
        return ""
    return clean_text((value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).strip())


# Pools


def read_pool(pool: Pool, places: Sequence[Entry]) -> tuple[str, ...]:
    """The distinct instructions of a pool; empty if it is not a list of texts."""
    found: list[str] = []
    for file, start, stop in places:
        found += [clean_text(text.strip()) for text in _decoded_texts(pool.files[file], start, stop)]
    return tuple(dict.fromkeys(text for text in found if not is_blank(text)))


def _decoded_texts(path: str, start: int, stop: int) -> list[str]:
    """A list of texts; empty if it is anything else. Raises DataError if it is not JSON."""
    if stop - start > MOST_STEPS:
        return []
    try:
        return msgspec.json.decode(location.read_range(path, start, stop - start), type=list[str])
    except msgspec.ValidationError:
        return []
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _not_json(path, start, str(error)) from None
