"""A prepared store: its metadata, and its rows by number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from rt2data.errors import DataError, RtError
from rt2data.io import location
from rt2data.look.inspect.examples import ActionValue, ChunkAction, Examples, FilmStrip, Seen, counted, dimensions
from rt2data.look.inspect.recognize import Inspected
from rt2data.look.report.contact_sheet import Tile
from rt2data.order import I64
from rt2data.prepare.as_rows import as_rows
from rt2data.prepare.store import Store
from rt2data.read.action_space import ActionSpace, load_space
from rt2data.records import Images, Kind, Rows


def recognize_store(path: Path) -> Inspected | None:
    """A prepared store, if there are a source.json and a list of files."""
    here = path.parent if path.name == "source.json" else path
    return InspectedStore(here) if location.is_file(here / "source.json") and location.is_file(here / "files.parquet") else None


@dataclass(frozen=True)
class InspectedStore(Inspected):
    """The prepared store of one source."""

    kind = "store"

    def facts(self) -> dict[str, Any]:
        store = Store(self.path)
        found: dict[str, Any] = msgspec.to_builtins(store.info)
        for name, split in store.info.splits.items():
            found["splits"][name]["images_per_row"] = split.images / split.rows if split.rows else 0.0
        found["slots"] = [str(slot) for slot in store.info.slots]
        return found | {"changed_files": store.changed_files()[:20]}

    def tiles(self, count: int) -> list[Tile]:
        """The first rows of each split, which are in random order."""
        store = Store(self.path)
        each = -(-count // max(len(store.info.splits), 1))
        return [tile for split in store.info.splits for tile in _tiles(store, split, each)][:count]

    def examples(self) -> StoreExamples:
        """Rows of all splits, in stored order."""
        return StoreExamples(Store(self.path))


def _tiles(store: Store, split: str, count: int) -> Iterator[Tile]:
    numbers = np.arange(min(count, store.info.splits[split].rows), dtype=np.int64)
    if not len(numbers):
        return
    table = store.take(split, numbers)
    rows = as_rows(table, store.info, np.zeros_like(numbers))
    for i in range(len(rows)):
        first, stop = rows.images.starts[i : i + 2].tolist()
        content = _read(store, rows.images, first) if stop > first else b""
        more = max(stop - first - 1, 0)
        yield Tile(content, store.info.name, rows.kind, rows.text[i], target_text(rows, i), split, more)


def _read(store: Store, images: Images, at: int) -> bytes:
    """The bytes at an image's place as recorded during preparation. Raises OSError."""
    return location.read_range(store.stamps[images.file[at]].path, int(images.offset[at]), int(images.length[at]))


def _chunk(rows: Rows) -> list[ChunkAction]:
    """The actions of a single row's chunk; empty if there is only one."""
    if rows.chunks is None or rows.chunks.actions.shape[1] == 1:
        return []
    return [ChunkAction(*each) for each in zip(rows.chunks.actions[0].tolist(), rows.chunks.is_pad[0].tolist(), strict=True)]


def target_text(rows: Rows, i: int) -> str:
    """The answers, the last turn of a conversation, or the action in numbers."""
    if rows.action is not None:
        return " ".join(f"{value:.3g}" for value in rows.action[i].tolist())
    turns = rows.turns[i]
    return turns[-1].text if turns else counted(rows.answers[i] or ())


@dataclass(frozen=True)
class StoreExamples(Examples):
    """The rows of a store."""

    store: Store

    @property
    def total(self) -> int:
        return sum(split.rows for split in self.store.info.splits.values())

    @property
    def sources(self) -> Mapping[str, Kind]:
        return {self.store.info.name: self.store.info.kind}

    def at(self, number: int, whole: bool = True) -> Seen:
        split, row = self.locate(number)
        table = self.store.take(split, np.array([row], np.int64))
        info = self.store.info
        rows = as_rows(table, info, np.zeros(1, np.int64), info.horizon)
        robot = rows.chunks is not None
        images, fault = self._images(rows.images) if whole else ([], "")
        if robot and not len(rows.images):
            fault = "it has no image"
        return Seen(
            number=number,
            key=rows.keys[0],
            kind=rows.kind,
            source=rows.source,
            split=split,
            group=rows.groups[0],
            prompt=rows.text[0],
            target=target_text(rows, 0),
            images=images,
            absent=self._absent(rows.images),
            fault=fault,
            camera=rows.images.camera[0] if robot and len(rows.images) else info.camera,
            step=int(rows.steps[0]) if robot else None,
            steps=table["steps"][0].as_py() if robot else None,
            answers=rows.answers[0] or (),
            terminate=bool(rows.terminate[0]) if robot else None,
            action=() if rows.action is None else self.decoded(split, rows.action[0].tolist()),
            chunk=_chunk(rows),
            messages=[(turn.role, turn.text) for turn in rows.turns[0] or ()],
            notes=[(note.name, note.text) for note in (rows.notes or [()])[0] or ()],
            original=(rows.originals or [""])[0] or "",
            regions=rows.regions[0] if rows.regions else (),
        )

    def locate(self, number: int) -> tuple[str, int]:
        """The split of an example, and the number of its row there. Raises IndexError."""
        for name, split in self.store.info.splits.items():
            if 0 <= number < split.rows:
                return name, number
            number -= split.rows
        raise IndexError(number)

    def _images(self, images: Images) -> tuple[list[tuple[str, bytes]], str]:
        """The unchanged images of one row, with their names; and why any other is not shown."""
        found, faults = [], []
        for at in range(len(images)):
            try:
                content = _read(self.store, images, at)
            except OSError as error:
                faults.append(f"its file cannot be read: {error.strerror}")
                continue
            if xxhash.xxh3_64_intdigest(content) == int(images.xxh3[at]):
                found.append((self._name(images, at), content))
            else:
                faults.append("its file changed since the source was prepared")
        return found, next(iter(faults), "")

    def _name(self, images: Images, at: int) -> str:
        """The name of an image of one row."""
        slots, robot = self.store.info.slots, self.store.info.has_actions
        if robot:
            return str(slots[images.slot[at]]) if len(slots) > 1 else images.camera[at]
        return f"image_{at}" if len(images) > 1 else "image"

    def _absent(self, images: Images) -> list[str]:
        """Slots of the store without an image."""
        slots, there = self.store.info.slots, set(images.slot.tolist())
        return [str(slot) for number, slot in enumerate(slots) if number not in there] if len(slots) > 1 else []

    def decoded(self, split: str, values: list[float]) -> list[ActionValue]:
        """An action with names, units and bounds of each dimension."""
        names = [(dim.name, dim.unit) for dim in self._space.dims] if self._space else []
        return dimensions(names, values, self._bounds(split, len(values)))

    @cached_property
    def _space(self) -> ActionSpace | None:
        """The action space, if it still exists."""
        try:
            return load_space(self.store.info.settings["action_space"]).sized(self.store.info.action_dim)
        except (RtError, KeyError):
            return None

    @cached_property
    def _statistics(self) -> dict[str, Any]:
        return read_statistics(self.store)

    def _bounds(self, split: str, size: int) -> list[tuple[float, float]]:
        """Bounds from the action space, or the quantiles of the split if it has none."""
        found = self._statistics.get(split, {}).get("action") or {"q01": [0.0] * size, "q99": [0.0] * size}
        spans = [dim.span for dim in self._space.dims] if self._space else [None] * size
        return [span or ends for span, ends in zip(spans, zip(found["q01"], found["q99"], strict=True), strict=True)]

    def film(self, seen: Seen) -> FilmStrip | None:
        """All rows of its episode (or of its image), by step."""
        return self.film_of(seen.split, seen.group, seen.key)

    def film_of(self, split: str, group: str, key: str) -> FilmStrip | None:
        """The same for any row, by key; None if it is not in this store."""
        if split not in self.store.info.splits:
            return None
        rows = self._rows_of(split, group)
        if not len(rows):
            return None
        table = self.store.take(split, rows)
        order = np.lexsort((rows, table["step"].to_numpy()))
        keys = [table["key"][int(i)].as_py() for i in order]
        first = self._first(split)
        return FilmStrip(self, [first + int(rows[i]) for i in order], keys.index(key)) if key in keys else None

    def _first(self, split: str) -> int:
        names = list(self.store.info.splits)
        return sum(self.store.info.splits[name].rows for name in names[: names.index(split)])

    def _rows_of(self, split: str, group: str) -> I64:
        """Numbers of the rows of one group, int64[n]; scans one column."""
        mine = pc.equal(self.store.column(split, "group"), pa.scalar(group))
        return np.flatnonzero(mine.to_numpy()).astype(np.int64)


def read_statistics(store: Store) -> dict[str, Any]:
    """stats.json: the statistics of `action` and `state` of each split, or None. Raises DataError."""
    try:
        found: dict[str, Any] = msgspec.json.decode(location.read_bytes(store.path / "stats.json"))
    except (OSError, msgspec.MsgspecError) as error:
        raise DataError(f"statistics that cannot be read: {error}", str(store.path), "prepare the source again") from None
    return found
