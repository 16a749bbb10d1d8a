"""A store that extends the previous one: it takes over the files of rows unchanged and adds one file of new rows.

Rewriting all rows for every new episode would cost the whole store each time. If too many rows or files were added this way, the
next store is gathered from scratch; so is one that no longer holds everything the previous one held.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from msgspec.structs import replace

from rt2data.errors import DataError, UsageError
from rt2data.io import location
from rt2data.io.tables import parquet_file
from rt2data.order import I64, U64
from rt2data.prepare.outcomes import marks_against
from rt2data.prepare.row_places import RowPlaces, added_file, merged, write_places
from rt2data.prepare.runs import DIRECT, Files, hash_edges
from rt2data.prepare.staged import StagedFiles, staged_files
from rt2data.prepare.store import SplitInfo, Store, read_columns, readable, rows_file
from rt2data.prepare.unit import UnitSummary
from rt2data.records import Compact, End
from rt2data.tally.counts import count_distinct

LAST = "last-store.txt"
"""File in the folder of a source's units that names the last store gathered from them."""
MOST_FILES = 8
"""Most added files per split; each is one more place to look for a row."""
SHARE = 8
"""Added rows are at most one in `SHARE`."""


@dataclass(frozen=True)
class Growth:
    """How a store extends another."""

    base: Path  # the store that is extended
    new: tuple[int, ...]  # the units that `base` lacks
    splits: tuple[str, ...]  # splits that get a file of new rows: at least one


def note_store(files: StagedFiles, store: Path) -> None:
    """Record, for the next store, that this one was gathered from these units. Raises OutputError."""
    location.write_whole(files.home / LAST, store.name.encode())


def growth(name: str, folder: Path, units: Sequence[UnitSummary], compact: Compact) -> Growth | None:
    """How the store staged in `folder` extends the previous one; None if it must be gathered from scratch."""
    files = staged_files(folder)
    base = _last(files, folder.parent)
    if base is None or compact not in ("auto", "never"):
        return None
    there = {stamp.path for stamp in base.stamps}
    new = [unit for unit in units if str(files.blob(unit.unit)) not in there]
    old = [unit for unit in units if str(files.blob(unit.unit)) in there]
    if not there <= set(files.paths.to_pylist()) or len(new) > DIRECT or _judged(name, old) != _judged(name, units):
        return None
    rows = added(unit.rows for unit in new) or dict.fromkeys(list(base.info.splits)[:1], 0)
    if not all(_fits(base, split, count) for split, count in rows.items()) or not _same_columns(base, files, new):
        return None
    return Growth(base.path, tuple(unit.unit for unit in new), tuple(rows))


def _last(files: StagedFiles, root: Path) -> Store | None:
    try:
        store = Store(root / location.read_text(files.home / LAST))
        return store if not store.info.compacted and store.stamps else None
    except (OSError, UsageError, DataError, UnicodeDecodeError):
        return None


def _judged(name: str, units: Sequence[UnitSummary]) -> End:
    return marks_against(name, added(unit.facts for unit in units))


def added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Counts summed by name, sorted by name."""
    return dict(sorted(sum(map(Counter, counts), Counter[str]()).items()))


def _fits(base: Store, split: str, new: int) -> bool:
    """Whether `new` rows may be added to a split: rewriting a small split is cheap."""
    if split not in base.info.splits:
        return False
    places = base.places(split)
    return len(places.added) < MOST_FILES and (sum(places.added) + new) * SHARE <= places.rows + new


def _same_columns(base: Store, files: StagedFiles, new: Sequence[UnitSummary]) -> bool:
    """Whether the new rows have the same columns as the others: some columns exist only when needed."""
    paths = [rows_file(base.path, split, 0) for split in base.info.splits]
    return len({_columns(path) for path in (*paths, *(files.fragment(unit.unit) for unit in new))}) <= 1


def _columns(path: Path) -> frozenset[str]:
    with readable(path), parquet_file(path) as file:
        return frozenset(file.schema_arrow.names)


@dataclass(frozen=True)
class Grown:
    """A staged store with the rows of the previous store and one more file."""

    name: str
    folder: Path
    base: Store

    def take_rows(self, new: Mapping[str, SplitInfo], parts: Files) -> tuple[str, dict[str, SplitInfo]]:
        """Bring the base's files of rows here, and record where all rows are. Idempotent.

        `new` describes the new files; `parts` is the number of parts per split of a store gathered from scratch. Returns the digest
        of all rows, and what each split holds. Raises DataError, OutputError.
        """
        store, splits, digests = Store(self.folder), dict[str, SplitInfo](), list[tuple[str, str]]()
        for split, before in self.base.info.splits.items():
            for number in range(self.base.places(split).files):
                path = rows_file(self.base.path, split, number)
                with readable(path):  # the base may have been pruned meanwhile
                    location.duplicate(path, str(rows_file(self.folder, split, number)))
            places = self._places(split) if split in new else self.base.places(split)
            if places.added:
                write_places(added_file(self.folder, split), places)
            store.hold_places(split, places)
            files = self._parts(split, places, parts[split])
            digests += [(split, rows_digest(part)) for part in _each_part(store, split, files, ["digest"])]
            groups = (group_hashes(part) for part in _each_part(store, split, files, ["group"]))
            scratch = None if location.is_remote(self.folder) else self.folder
            held = _together(before, new[split]) if split in new else before
            splits[split] = replace(held, rows=places.rows, files=files, groups=count_distinct(groups, places.rows, scratch))
        return whole_digest(digests), splits

    def _places(self, split: str) -> RowPlaces:
        """Where all rows of a split are. Raises DataError if two have the same key."""
        before = self.base.places(split)
        new = read_columns(rows_file(self.folder, split, before.files), ["order", "key"])
        ranks, ends = _ranks(self.base, split, new["order"].to_numpy())
        for row in np.flatnonzero(ranks < ends).tolist():
            ranks[row] += self._lower_keys(split, int(ranks[row]), int(ends[row]), new["key"][row].as_py())
        return merged(before, ranks)

    def _lower_keys(self, split: str, first: int, stop: int, key: str) -> int:
        """Of the base's rows first..stop-1, which share a new row's hash, how many have lower keys."""
        keys = self.base.read_numbers(split, first, stop, ["key"])["key"].to_pylist()
        if key in keys:
            raise DataError(f"two rows of source {self.name} have one key", f"key {key}, split {split}", "remove one of them")
        return sum(other < key for other in keys)

    def _parts(self, split: str, places: RowPlaces, count: int) -> tuple[int, ...]:
        """How many rows each part has: parts are equal hash ranges."""
        edges = np.array(hash_edges(count)[1:-1], np.uint64)
        before, _ = _ranks(self.base, split, edges)
        if places.files > self.base.places(split).files:
            new = read_columns(rows_file(self.folder, split, places.files - 1), ["order"])["order"].to_numpy()
            before += np.searchsorted(new, edges)
        return tuple(np.diff([0, *before.tolist(), places.rows]).tolist())


def _ranks(store: Store, split: str, hashes: U64) -> tuple[I64, I64]:
    """For each of the ascending hashes: how many rows of a store have lower hashes, and how many have lower or equal ones."""
    lower, first, done = np.full(len(hashes), store.info.splits[split].rows, np.int64), 0, 0
    ends = lower.copy()
    for column in store.parts(split, "order"):
        here = column.to_numpy()
        stop = int(np.searchsorted(hashes, here[-1], side="right")) if len(here) else done
        lower[done:stop] = first + np.searchsorted(here, hashes[done:stop], side="left")
        ends[done:stop] = first + np.searchsorted(here, hashes[done:stop], side="right")
        done, first = stop, first + len(here)
    return lower, ends


def rows_digest(rows: pa.Table) -> str:
    """The digest of one part of a split."""
    return xxhash.xxh3_128_hexdigest(rows["digest"].to_numpy().tobytes())


def whole_digest(parts: Iterable[tuple[str, str]]) -> str:
    """The digest of a store, from those of the parts of its splits."""
    return xxhash.xxh3_128_hexdigest("".join(map("".join, parts)).encode())


def group_hashes(rows: pa.Table) -> U64:
    """Hashes of the distinct groups of some rows."""
    return np.array([xxhash.xxh3_64_intdigest(name.encode()) for name in pc.unique(rows["group"]).to_pylist()], np.uint64)


def _each_part(store: Store, split: str, files: tuple[int, ...], names: Sequence[str]) -> Iterator[pa.Table]:
    for first, stop in pairwise(accumulate(files, initial=0)):
        yield store.read_numbers(split, first, stop, names)


def _together(before: SplitInfo, new: SplitInfo) -> SplitInfo:
    """Totals of both."""
    return replace(
        before,
        image_bytes=before.image_bytes + new.image_bytes,
        text_bytes=before.text_bytes + new.text_bytes,
        formats=added([before.formats, new.formats]),
        fewest=min(before.fewest, new.fewest),
        most=max(before.most, new.most),
    )
