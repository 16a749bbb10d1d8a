"""The prepared store of one source: small rows in keyed random order that point to image bytes where they already are."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rt2data.errors import DataError, UsageError
from rt2data.io import location
from rt2data.io.stamps import Stamp, changed
from rt2data.io.tables import parquet_file, read_parquet
from rt2data.order import I64, WINDOW
from rt2data.prepare.as_rows import as_rows
from rt2data.prepare.filtered import TASKS, TASKS_PARQUET, Filtered, drops
from rt2data.prepare.row_places import RowPlaces, added_file, by_file, read_places
from rt2data.prepare.row_table import BOXES, POINTS, ROWS, TAKEN, vectors
from rt2data.prepare.statistics import DimStats, summarize_parts
from rt2data.read.text import one_line
from rt2data.records import Kind, Reject, Rows, Slot

STORE_VERSION = 5
"""Increase this when rows change in meaning or order: older stores are then prepared again."""


FILES_PARQUET = "files.parquet"
FILES = pa.schema([("path", pa.string()), ("size", pa.int64()), ("version", pa.string())])
REJECTS = pa.schema(
    [("reason", pa.string()), ("where", pa.string()), ("detail", pa.string()), ("fault", pa.bool_()), ("count", pa.int64())]
)


class Lost(msgspec.Struct, frozen=True):
    """How much was dropped for one reason."""

    reason: str
    count: int
    fault: bool


class SplitInfo(msgspec.Struct, frozen=True):
    """What one split of a prepared source holds."""

    rows: int
    groups: int  # number of episodes or images
    image_bytes: int  # of all images that a mixture uses
    text_bytes: int
    files: tuple[int, ...]  # rows in each part of the order; a part is a file of rows, unless the split has grown
    formats: dict[str, int]  # images that a mixture uses, by format
    fewest: int = 1  # images that a mixture uses, in one row
    most: int = 1

    @property
    def images(self) -> int:
        """Number of images that a mixture uses, over all rows."""
        return sum(self.formats.values())


class StoreInfo(msgspec.Struct, frozen=True, kw_only=True):
    """source.json: provenance and counts; written last, so its presence means that the store is complete."""

    version: int
    tool_version: str
    name: str
    kind: Kind
    source: str  # kind of raw format
    settings: dict[str, Any]
    digest: str  # of all rows in order: the same content gives the same digest anywhere
    camera: str
    cameras: tuple[str, ...]
    action_dim: int
    state_dim: int
    splits: dict[str, SplitInfo]
    rejects: tuple[Lost, ...]
    conversions: dict[str, int]  # images that had to be converted, by rule
    bytes_read: int
    facts: dict[str, int] = msgspec.field(default_factory=dict)  # counts from reading and standardizing, by name
    slots: tuple[Slot, ...] = ()  # of a robot source: places of an example's images
    horizon: int = 1  # actions per chunk
    compacted: bool = False  # images are in the store's own blobs, in row order
    grown: tuple[str, ...] = ()  # splits with rows added later: see `row_places`

    @property
    def has_actions(self) -> bool:
        """Whether it is a robot source."""
        return self.kind == "robot"

    @property
    def has_regions(self) -> bool:
        """Whether any row has boxes or points."""
        return bool(self.facts.get(BOXES) or self.facts.get(POINTS))


_decode_info = msgspec.json.Decoder(StoreInfo).decode  # made at import: threads making a type's first decoder at once crash


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raises DataError if a part of a store is damaged, or was removed meanwhile."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        what = f"a prepared store is damaged: {one_line(str(error))}"
        raise DataError(what, str(path), "remove its folder and build again") from error


def write_stamps(path: Path, stamps: Sequence[Stamp]) -> None:
    """Write files.parquet: the files that hold the images; rows refer to them by index."""
    columns = {name: [getattr(s, name) for s in stamps] for name in FILES.names}
    pq.write_table(pa.table(columns, schema=FILES), path, write_page_checksum=True)


def read_stamps(path: Path) -> list[Stamp]:
    """The stamps in files.parquet, in order. Raises DataError if it cannot be read."""
    return [Stamp(**row) for row in stamps_table(path).to_pylist()]


def stamps_table(path: Path) -> pa.Table:
    """files.parquet as a table. Raises DataError."""
    with readable(path):
        return read_parquet(path, schema=FILES, page_checksum_verification=True)


def rows_file(folder: Path, split: str, number: int) -> Path:
    """The path of one file of rows."""
    return folder / f"rows-{split}-{number:05d}.parquet"


def write_rows(path: Path, table: pa.Table) -> None:
    """Write a file of rows that are in keyed order."""
    pq.write_table(table, path, row_group_size=WINDOW, compression="zstd", write_statistics=False, write_page_checksum=True)


class Known(Protocol):
    """What a plan needs to know about a source: exact from a prepared store, approximate from an estimate."""

    @property
    def path(self) -> Path:
        """The store's folder, which may not exist yet."""

    @property
    def info(self) -> StoreInfo:
        """Counts and provenance."""

    def rows(self, split: str, numbers: I64, epochs: I64, horizon: int = 1) -> Rows:
        """The rows with these numbers, for the renderer, with chunks of `horizon` actions."""

    def action_stats(self, split: str) -> DimStats | None:
        """Action statistics of a split; None if there are no actions."""

    def all_action_stats(self) -> DimStats | None:
        """Action statistics of all splits together."""

    def filtered(self) -> Filtered:
        """What filters dropped, by reason and by task."""


@dataclass
class Store:
    """A complete prepared store, for reading."""

    path: Path
    cached_groups: int = 4  # a shard reads a window of this many rows, which spans two or three row groups
    _groups: OrderedDict[tuple[str, int, int], pa.Table] = field(default_factory=OrderedDict)
    _places: dict[str, RowPlaces] = field(default_factory=dict)

    @cached_property
    def info(self) -> StoreInfo:
        """Raises UsageError if there is no complete store of this version."""
        try:
            found = _decode_info(location.read_bytes(self.path / "source.json"))
        except (FileNotFoundError, msgspec.MsgspecError) as error:
            raise UsageError("not a complete prepared store", str(self.path), "build again: it will be prepared") from error
        if found.version != STORE_VERSION:
            raise UsageError(f"a prepared store of version {found.version}, not {STORE_VERSION}", str(self.path), "build again")
        return found

    @cached_property
    def stamps(self) -> list[Stamp]:
        return read_stamps(self.path / FILES_PARQUET)

    def changed_files(self) -> list[str]:
        """Source files that have changed since the store was prepared."""
        return changed(self.stamps)

    def take(self, split: str, rows: I64) -> pa.Table:
        """The rows with these numbers, in this order, without columns only for gathering. Reads only their row groups."""
        file, inside = self.places(split).find(rows)
        group = inside // WINDOW
        parts, places = [], []
        for number, chunk in sorted(set(zip(file.tolist(), group.tolist(), strict=True))):
            here = np.flatnonzero((file == number) & (group == chunk))
            parts.append(self._group(split, number, chunk).take(pa.array(inside[here] - chunk * WINDOW)))
            places.append(here)
        back = np.argsort(np.concatenate(places))
        return pa.concat_tables(parts).take(pa.array(back)).combine_chunks()

    def rows(self, split: str, numbers: I64, epochs: I64, horizon: int = 1) -> Rows:
        """The rows with these numbers, for the renderer, with chunks of `horizon` actions."""
        return as_rows(self.take(split, numbers), self.info, epochs, horizon)

    def action_stats(self, split: str) -> DimStats | None:
        """Action statistics of a split; None if there are no actions."""
        found = msgspec.json.decode(location.read_bytes(self.path / "stats.json"))[split]["action"]
        return None if found is None else DimStats.from_json(found)

    def all_action_stats(self) -> DimStats | None:
        """Action statistics of all splits together. Reads the actions of all rows, unless there is one split."""
        splits, dim = sorted(self.info.splits), self.info.action_dim
        if len(splits) == 1 or not dim:
            return self.action_stats(splits[0])

        def parts() -> Iterator[NDArray[np.float32]]:
            for split in splits:
                yield from (found for part in self.parts(split, "action") if (found := vectors(part, dim)) is not None)

        return summarize_parts(parts)

    def filtered(self) -> Filtered:
        """What filters dropped, by reason and by task. Raises DataError if that cannot be read."""
        with readable(self.path):
            rejects = read_parquet(self.path / "rejects.parquet", schema=REJECTS)
            counted = location.is_file(self.path / TASKS_PARQUET)
            tasks = read_parquet(self.path / TASKS_PARQUET, schema=TASKS) if counted else None
        return Filtered(drops(rejects), tasks)

    def chunk_stats(self, split: str, horizon: int) -> DimStats:
        """Statistics of all actions in all chunks of a split, padding included: what a trainer sees that masks nothing."""
        dim = self.info.action_dim

        def parts() -> Iterator[NDArray[np.float32]]:
            for part in self.parts(split, "chunk"):
                found = vectors(part, dim)
                if found is not None:
                    yield np.ascontiguousarray(found.reshape(len(part), -1, dim)[:, :horizon]).reshape(-1, dim)

        return summarize_parts(parts)

    def _group(self, split: str, number: int, chunk: int) -> pa.Table:
        """A row group, from a small cache."""
        place = (split, number, chunk)
        if place not in self._groups:
            path = rows_file(self.path, split, number)
            with readable(path), parquet_file(path, page_checksum_verification=True) as file:
                self._groups[place] = file.read_row_group(chunk, columns=TAKEN, use_threads=False).combine_chunks()
            while len(self._groups) > self.cached_groups + len(self.places(split).added):
                self._groups.popitem(last=False)
        self._groups.move_to_end(place)
        return self._groups[place]

    def places(self, split: str) -> RowPlaces:
        """Where the rows of a split are. Raises DataError."""
        if split not in self._places:
            path = added_file(self.path, split)
            with readable(path):
                grown = split in self.info.grown
                self._places[split] = read_places(path) if grown else RowPlaces.of_order(self.info.splits[split].files)
        return self._places[split]

    def hold_places(self, split: str, places: RowPlaces) -> None:
        """Set where the rows of a split are, before the store itself records it."""
        self._places[split] = places

    def row_files(self, split: str) -> list[Path]:
        """The files of rows of a split; not in keyed order if it has grown."""
        return [rows_file(self.path, split, number) for number in range(self.places(split).files)]

    def read(self, split: str, part: int, names: Sequence[str]) -> pa.Table:
        """Some columns of one part of a split (see `info.splits[split].files`), in keyed order. Raises DataError."""
        if split not in self.info.grown:
            return read_columns(rows_file(self.path, split, part), names)
        files = self.info.splits[split].files
        first = sum(files[:part])
        return self.read_numbers(split, first, first + files[part], names)

    def read_numbers(self, split: str, first: int, stop: int, names: Sequence[str]) -> pa.Table:
        """Some columns of the rows first..stop-1. Reads only their row groups. Raises DataError."""
        file, at = self.places(split).find(np.arange(first, stop))
        parts = by_file(file)
        tables = [read_some(rows_file(self.path, split, number), at[mine], names) for number, mine in parts]
        if not tables:
            return read_some(rows_file(self.path, split, 0), file, names)
        back = np.argsort(np.concatenate([mine for _, mine in parts]))
        return pa.concat_tables(tables).take(pa.array(back))

    def column(self, split: str, name: str) -> pa.ChunkedArray:
        """One whole column of a split."""
        return pa.chunked_array([chunk for part in self.parts(split, name) for chunk in part.chunks], ROWS.field(name).type)

    def parts(self, split: str, name: str) -> Iterator[pa.ChunkedArray]:
        """One column of a split, part by part."""
        for number in range(len(self.info.splits[split].files)):
            yield self.read(split, number, [name]).column(name)


def read_columns(path: Path, names: Sequence[str] | None) -> pa.Table:
    """Some columns of a file of rows, in file order. Raises DataError if it cannot be read."""
    with readable(path):
        columns = None if names is None else list(names)
        return read_parquet(path, columns=columns, use_threads=False, page_checksum_verification=True)


def read_some(path: Path, rows: I64, names: Sequence[str]) -> pa.Table:
    """Some columns of some rows, given in ascending order. Reads only their row groups. Raises DataError."""
    first = int(rows[0]) // WINDOW if len(rows) else 0
    last = int(rows[-1]) // WINDOW if len(rows) else -1
    with readable(path), parquet_file(path, page_checksum_verification=True) as file:
        table = file.read_row_groups(list(range(first, last + 1)), columns=list(names), use_threads=False)
    return table.take(pa.array(rows - first * WINDOW))


def read_whole(path: Path) -> pa.Table:
    """All columns of a file of rows."""
    return read_columns(path, None)


def count_lost(rejects: Iterable[Reject]) -> tuple[Lost, ...]:
    """What was dropped, by reason."""
    lost: Counter[tuple[str, bool]] = Counter()
    for reject in rejects:
        lost[reject.reason, reject.fault] += reject.count
    return tuple(Lost(reason, count, fault) for (reason, fault), count in sorted(lost.items()))


def rejects_table(rejects: Sequence[Reject]) -> pa.Table:
    """Rejects as a table."""
    rows = [{name: getattr(reject, name) for name in REJECTS.names} for reject in rejects]
    return pa.Table.from_pylist(rows, schema=REJECTS)
