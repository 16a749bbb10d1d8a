"""Replay buffers in zarr, as in Diffusion Policy and UMI: one array per feature with the steps of all episodes.

data/action, data/state, data/img ...   one entry for each step
meta/episode_ends                       the number of the step after the last one of each episode
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh3_64_hexdigest

from rt2data.errors import RtError, UsageError
from rt2data.io import location
from rt2data.io.location.base import Stat
from rt2data.read import units
from rt2data.read.known_formats import Recognized
from rt2data.read.log import Column, LogLayout, LogSource, Usual, not_read
from rt2data.read.recorded import Episode
from rt2data.read.sample import InvalidSetting
from rt2data.read.source import Suggestion
from rt2data.read.zarr.arrays import Array, array_at
from rt2data.read.zarr.buffer import (
    DATA,
    ENDS,
    META,
    Buffer,
    arrays_of,
    begin,
    check_lengths,
    columns_of,
    episode_count,
    numbers_of,
    paths_of,
    read_ends,
    steps_behind,
)
from rt2data.read.zarr.facts import ABSENT
from rt2data.read.zarr.reading import Values, chunk_places
from rt2data.read.zarr.store import Store, is_store, open_store
from rt2data.records import Fact, Reject, SourceRecord, Unit

_DEEP = 4
_SPLIT = "train"
_WORDS = ("language_instruction", "instruction", "language", "task", "prompt", "text")


class Zarr(LogSource):
    """Robot episodes in a zarr store: a folder, or a .zarr.zip, which is read without extraction."""

    looks_for: ClassVar[str] = "a zarr store with data and meta/episode_ends: a folder, or a .zarr.zip"
    package: ClassVar[tuple[str, str]] = ("zarr", "zarr")
    usual: ClassVar[Usual] = Usual(
        action=((f"{DATA}/action",), (f"{DATA}/actions",)),
        state=((f"{DATA}/state",), (f"{DATA}/robot_state",), (f"{DATA}/agent_pos",), (f"{DATA}/robot_eef_pose",)),
        instruction=tuple(f"{group}/{name}" if group else name for group in (DATA, META, "") for name in _WORDS),
        success=(f"{DATA}/success", f"{META}/success", f"{META}/episode_success"),
        reward=(f"{DATA}/reward", f"{DATA}/rewards"),
    )

    kind: Literal["zarr"] = "zarr"

    @classmethod
    def recognize(cls, path: Path) -> Suggestion | None:
        """A store at a path, or the only one in a folder."""
        found = _store_near(path)
        if found is None:
            return None
        return Suggestion({"path": str(found)}, found.name.removesuffix(".zip").removesuffix(".zarr"))

    @classmethod
    def hint(cls, path: Path) -> Recognized | None:
        """Stores, folders of stores, and paths inside a store."""
        if (found := _store_near(path)) is not None:
            return Recognized(
                "a zarr store" if found == path else "a folder of zarr stores", f"name {found} as a source of kind zarr"
            )
        if is_store(path):
            whole = next((parent for parent in path.parents[:_DEEP] if is_store(parent) and _is_buffer(parent)), None)
            if whole:
                return Recognized("a part of a zarr store", f"name {whole} as a source of kind zarr")
            return Recognized(f"a zarr store without {ENDS}", "rt2data reads replay buffers, whose steps are in data")
        if location.is_folder(path) and any(entry.name.endswith((".zarr", ".zarr.zip")) for entry in location.children(path)):
            return Recognized("a folder of zarr stores", "name one of them as a source of kind zarr")
        return None

    def columns(self) -> list[Column]:
        """The arrays in `data`, with an entry per step; arrays in `meta` and attributes, with one per episode."""
        store = self._store()
        return [*columns_of(store, episode_count(store))]

    def layout(self) -> LogLayout:
        """What to read. Also raises UsageError if a required array has an unsupported codec."""
        found = super().layout()
        for array, problem in self._refused(found):
            raise UsageError(f"the array {array.path} cannot be read: {problem}", self.path, _advice(array))
        return found

    def invalid_settings(self) -> Iterator[InvalidSetting]:
        """The same."""
        wrong = list(super().invalid_settings())
        yield from wrong
        if not wrong:
            for array, problem in self._refused(super().layout()):
                yield InvalidSetting(("path",), f"the array {array.path} cannot be read: {problem}", _advice(array))

    def _refused(self, layout: LogLayout) -> Iterator[tuple[Array, str]]:
        store = self._store()
        for path in paths_of(layout):
            array = array_at(store, path)
            if array is not None and array.unreadable:
                yield array, array.unreadable
            elif path.startswith(f"{META}/") and array is not None and path in numbers_of(layout):
                yield array, "it has an entry for each episode, not for each step"

    def files(self) -> list[str]:
        """All files of the store, or the archive."""
        return self._store().files()

    def parts(self, known: Mapping[str, Sequence[Unit]]) -> list[Unit]:
        """Ranges of episodes. Raises DataError if episode_ends and the arrays are inconsistent."""
        store, layout = self._store(), self.layout()
        arrays = arrays_of(store, layout)
        ends = read_ends(store, Values(store))
        check_lengths(store, arrays, ends)
        each = sum(array.bytes for array in arrays.values())
        return [Unit(0, store.mark, _SPLIT, start, stop, bytes=steps * each) for start, stop, steps in _ranges(ends, each)]

    def bases(self, parts: Sequence[Unit]) -> list[Any]:
        """The features that are read, the episode ends, and the chunks with their steps."""
        store, layout = self._store(), self.layout()
        buffer, stats = Buffer(store, layout), store.stats()
        about = repr([layout, [(path, array.shape[1:], array.codecs) for path, array in buffer.arrays.items()]])
        chunks = {path: chunk_places(array, stats) for path, array in buffer.arrays.items()}
        return [[about, _digest(buffer, part, chunks, stats), *self.kept(part.split, _names(part))] for part in parts]

    def episode_names(self) -> Iterator[tuple[str, str]]:
        """Numbered names, counted from the shape of `meta/episode_ends`."""
        return ((_SPLIT, _name(number)) for number in range(episode_count(self._store())))

    def episodes(self, part: Unit, layout: LogLayout) -> Iterator[Episode | SourceRecord]:
        """The episodes of a range, and a Reject for steps after the last episode."""
        store = self._store()
        buffer = Buffer(store, layout)
        for number in range(part.start, min(part.stop, len(buffer.ends))):
            where = f"{self.path}, steps {begin(buffer.ends, number)} to {buffer.ends[number]}"
            yield Episode(_name(number), part.split, where, partial(buffer.read, number))
        if behind := steps_behind(buffer.arrays, buffer.ends, part):
            yield Reject("unfinished_episode", self.path, f"{behind} steps stand behind the end of the last episode", count=behind)
        if absent := len(buffer.values.absent):
            yield Fact(ABSENT, absent)

    def _store(self) -> Store:
        found = open_store(self.path)
        if found is None:
            do = "name the folder that holds .zgroup or zarr.json"
            raise not_read(self.path, "a zarr store", "not a zarr store", do)
        return found


def _name(number: int) -> str:
    return f"episode-{number:06d}"


def _names(part: Unit) -> list[str]:
    return [_name(number) for number in range(part.start, part.stop)]


def _store_near(path: Path) -> Path | None:
    """The replay buffer at a path, or the only one in a folder. Raises OSError."""
    if is_store(path):
        return path if _is_buffer(path) else None
    if not location.is_folder(path):
        return None
    inside = [path / entry.name for entry in location.children(path) if entry.name.endswith((".zarr", ".zarr.zip"))]
    return inside[0] if len(inside) == 1 and is_store(inside[0]) and _is_buffer(inside[0]) else None


def _is_buffer(path: Path) -> bool:
    try:
        store = open_store(str(path))
        return store is not None and array_at(store, ENDS) is not None
    except RtError:
        return False


def _digest(buffer: Buffer, part: Unit, chunks: Mapping[str, dict[int, list[str]]], stats: Mapping[str, Stat]) -> str:
    """A hash of the stored chunks of a part's episodes, independent of the path."""
    keys = [key for path, places in chunks.items() for place in buffer.places(path, part) for key in places.get(place, ())]
    said = buffer.words[part.start : part.stop] if buffer.words else []
    ends = buffer.ends[part.start : part.stop].tolist()
    held = [said, ends, steps_behind(buffer.arrays, buffer.ends, part), [[key, *stats[key]] for key in keys]]
    return xxh3_64_hexdigest(repr(held).encode())


def _ranges(ends: NDArray[np.int64], each: int) -> Iterator[tuple[int, int, int]]:
    """Ranges of episodes of about a unit's size: start, stop, and number of steps."""
    first = 0
    for number in range(len(ends)):
        steps = int(ends[number]) - begin(ends, first)
        if steps * each >= units.UNIT_BYTES or number == len(ends) - 1:
            yield first, number + 1, steps
            first = number + 1


def _advice(array: Array) -> str:
    others = "name the cameras to read in `camera_features`" if array.is_images else "name another feature"
    return f"{others}, or write the array anew with Blosc or Zstandard"
