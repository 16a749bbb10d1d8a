"""Step three, continued: gather the rows of all units in keyed order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rt2data.errors import DataError
from rt2data.io.location import path_of, produce_whole
from rt2data.io.tables import parquet_file
from rt2data.prepare.as_rows import images
from rt2data.prepare.grow import Growth, added, growth, rows_digest
from rt2data.prepare.outcomes import judge_ends, marks_against
from rt2data.prepare.row_table import ROWS, concat_rows
from rt2data.prepare.runs import Files, RunOrder, RunSummary, are_merged, hash_edges, read_run, rows_files, run_name, run_orders
from rt2data.prepare.staged import staged_files
from rt2data.prepare.store import Store, readable, rows_file, write_rows
from rt2data.prepare.unit import UnitSummary
from rt2data.records import NO_MARKS, Compact, End

ORDER = ROWS.get_field_index("order")


@dataclass(frozen=True, slots=True)
class GatherOrder:
    """Work order: write one file of rows: the rows of a split whose hash is in [low, high)."""

    name: str
    folder: str
    split: str
    number: int
    low: int
    high: int
    parts: Sequence[int]  # numbers of units, or of runs of units
    batch: int | None = None  # number within a run; None if rows are taken from the units' fragments
    against: End = NO_MARKS  # marks that contradict success, determined over all units
    base: str = ""  # the store that this one extends, if only new rows are written

    @property
    def label(self) -> str:
        return f"gather {self.name} {self.split} rows {self.number}"


class RowsSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What one file of rows holds."""

    name: str
    split: str
    number: int
    rows: int
    image_bytes: int
    fewest: int  # images used by a mixture, in one row
    most: int
    text_bytes: int
    formats: dict[str, int]
    digest: str
    base: str = ""  # the store that this one extends


def merge_orders(name: str, folder: Path, units: Sequence[UnitSummary], compact: Compact = "never") -> list[RunOrder]:
    """One work order per run; none if there is little to merge, or the store extends an earlier one."""
    if not are_merged(len(units)) or growth(name, folder, units, compact):
        return []
    return run_orders(name, folder, units, parts_of(units))


def gather_orders(
    name: str, folder: Path, units: Sequence[UnitSummary], runs: Sequence[RunSummary] = (), compact: Compact = "never"
) -> list[GatherOrder]:
    """One work order per file of rows: equal hash ranges, as many as the rows need; or files of new rows only.

    Raises DataError if the recipe asks for successes and the source marks none.
    """
    against = marks_against(name, added(unit.facts for unit in units))
    if grows := growth(name, folder, units, compact):
        return _orders_to_grow(name, folder, grows, against)
    parts = range(len(runs) or len(units))
    orders = list[GatherOrder]()
    for split, files in parts_of(units).items():
        for number, (low, high) in enumerate(pairwise(hash_edges(files))):
            batch = len(orders) if runs else None
            orders.append(GatherOrder(name, str(folder), split, number, low, high, parts, batch, against))
    return orders


def _orders_to_grow(name: str, folder: Path, grows: Growth, against: End) -> list[GatherOrder]:
    """One work order per split with new rows; the file may be empty."""
    base, (parts, low, high) = Store(grows.base), (grows.new, 0, 2**64) if grows.new else ((0,), 1, 1)
    return [
        GatherOrder(name, str(folder), split, base.places(split).files, low, high, parts, None, against, str(base.path))
        for split in grows.splits
    ]


def parts_of(units: Iterable[UnitSummary]) -> Files:
    """How many files of rows each split has when all its rows are gathered."""
    return rows_files(added(unit.rows for unit in units))


def gather_rows(order: GatherOrder) -> RowsSummary:
    """Write one file of rows in keyed order. Raises DataError if two rows have the same key."""
    folder = path_of(order.folder)
    table = judge_ends(staged_files(folder).numbered(concat_rows(_slices(order)), order.base), order.against)
    table = table.sort_by([("order", "ascending"), ("key", "ascending")])
    _refuse_duplicates(order, table)
    produce_whole(rows_file(folder, order.split, order.number), lambda path: write_rows(path, table))
    taken = images(table, ())
    counts = np.diff(taken.starts)
    return RowsSummary(
        name=order.name,
        split=order.split,
        number=order.number,
        rows=table.num_rows,
        image_bytes=int(taken.length.sum(dtype=np.int64)),
        fewest=int(counts.min(initial=np.iinfo(np.int32).max)),
        most=int(counts.max(initial=0)),
        text_bytes=pc.sum(pc.binary_length(table["text"])).as_py() or 0,
        formats=dict(sorted(Counter(taken.format).items())),
        digest=rows_digest(table),
        base=order.base,
    )


def _slices(order: GatherOrder) -> Iterator[pa.Table]:
    """The rows that each run, or else each unit, has for one file of rows."""
    folder = path_of(order.folder)
    for part in order.parts:
        if order.batch is None:
            yield _of_fragment(staged_files(folder).fragment(part), order)
        else:
            yield read_run(folder / run_name(part), order.batch)


def _of_fragment(path: Path, order: GatherOrder) -> pa.Table:
    """Rows of a fragment; reads only row groups that can hold some of them, as a fragment is in keyed order."""
    low, high = pa.scalar(order.low, pa.uint64()), pa.scalar(order.high - 1, pa.uint64())
    wanted = (pc.field("order") >= low) & (pc.field("order") <= high) & (pc.field("split") == order.split)
    with readable(path), parquet_file(path, page_checksum_verification=True) as file:
        return file.read_row_groups(_row_groups(file.metadata, order), use_threads=False).filter(wanted)


def _row_groups(fragment: pq.FileMetaData, order: GatherOrder) -> list[int]:
    """Row groups whose hash range overlaps that of the order."""
    ranges = [fragment.row_group(i).column(ORDER).statistics for i in range(fragment.num_row_groups)]
    return [
        i
        for i, found in enumerate(ranges)
        if found is None or not found.has_min_max or (found.min < order.high and found.max >= order.low)  # if empty, no statistics
    ]


def _refuse_duplicates(order: GatherOrder, table: pa.Table) -> None:
    keys = table["key"].combine_chunks()
    same = pc.equal(keys.slice(1), keys.slice(0, max(len(keys) - 1, 0)))
    if pc.any(same).as_py():
        key = keys[pc.index(same, True).as_py()].as_py()
        raise DataError(f"two rows of source {order.name} have one key", f"key {key}, split {order.split}", "remove one of them")
