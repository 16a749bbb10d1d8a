"""Step three, between units and files of rows: the rows of many units in one file, cut where the files of rows are cut.

Taking each file of rows from each unit's fragment costs units x files reads. With many units, the rows of neighbouring units are
merged into runs first: a run has one record batch per file of rows, so a file of rows takes one batch from each run, and each
fragment is read once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rt2data.io import location
from rt2data.io.location import path_of, produce_whole
from rt2data.io.tables import arrow_file
from rt2data.order import I64, U64, WINDOW
from rt2data.prepare.row_table import concat_rows
from rt2data.prepare.staged import staged_files
from rt2data.prepare.store import read_whole
from rt2data.prepare.unit import UnitSummary

ROWS_PER_FILE = 4 * WINDOW
RUN_ROWS = 2 * ROWS_PER_FILE
"""Rows per run, unless its first unit has more: about twice the memory of a file of rows."""
DIRECT = 64
"""Up to this many units, files of rows are built straight from the units' fragments."""

Files = dict[str, int]
"""Number of files of rows of each split."""


@dataclass(frozen=True, slots=True)
class RunOrder:
    """Work order: merge the rows of the units first..stop-1."""

    name: str
    folder: str
    number: int
    first: int
    stop: int
    rows: int
    files: tuple[tuple[str, int], ...]  # number of files of rows, by split

    @property
    def label(self) -> str:
        return f"merge {self.name} units {self.first} to {self.stop - 1}"


class RunSummary(msgspec.Struct, frozen=True):
    """A finished run."""

    name: str
    number: int
    rows: int


def are_merged(units: int) -> bool:
    """Whether the rows of this many units are merged into runs."""
    return units > DIRECT


def rows_files(rows: Mapping[str, int]) -> Files:
    """Number of files of rows of each split, from its number of rows; sorted by split name."""
    return {split: -(-count // ROWS_PER_FILE) for split, count in sorted(rows.items())}


def hash_edges(files: int) -> list[int]:
    """First hash of each file of rows, and the end of the last: equal ranges of all 2**64."""
    return [i * 2**64 // files for i in range(files + 1)]


def run_orders(name: str, folder: Path, units: Sequence[UnitSummary], files: Files) -> list[RunOrder]:
    """Groups of neighbouring units with at most `RUN_ROWS` rows each; none if the units are few."""
    if not are_merged(len(units)):
        return []
    rows = [sum(unit.rows.values()) for unit in sorted(units, key=lambda unit: unit.unit)]
    edges = pairwise([*_starts(rows), len(rows)])
    each = tuple(files.items())
    return [RunOrder(name, str(folder), i, a, b, sum(rows[a:b]), each) for i, (a, b) in enumerate(edges)]


def _starts(rows: Sequence[int]) -> list[int]:
    """The first unit of each run, from the number of rows per unit."""
    starts, taken = [0], 0
    for unit, count in enumerate(rows):
        if taken and taken + count > RUN_ROWS:
            starts.append(unit)
            taken = 0
        taken += count
    return starts


def write_run(order: RunOrder) -> RunSummary:
    """Write one run, whole or not at all. Idempotent. Raises OutputError."""
    folder = path_of(order.folder)
    path = folder / run_name(order.number)
    if not location.is_file(path):
        fragments = [read_whole(path) for path in map(staged_files(folder).fragment, range(order.first, order.stop))]
        table = concat_rows(fragments).unify_dictionaries().combine_chunks()
        produce_whole(path, lambda path: _write_batches(path, table, order))
    return RunSummary(order.name, order.number, order.rows)


def run_name(number: int) -> str:
    """File name of a run."""
    return f"run-{number:05d}.arrow"


def _write_batches(path: Path, table: pa.Table, order: RunOrder) -> None:
    hashes = table["order"].to_numpy()
    with pa.ipc.new_file(str(path), table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as file:
        for split, files in order.files:
            mine = np.flatnonzero(pc.equal(table["split"], split).to_numpy())
            for places in _parted(hashes, mine, files):
                columns = [column.combine_chunks() for column in table.take(pa.array(places)).columns]
                file.write_batch(pa.RecordBatch.from_arrays(columns, schema=table.schema))


def _parted(hashes: U64, places: I64, files: int) -> list[I64]:
    """These row indices sorted by hash and split at the edges of the files."""
    ordered = places[np.argsort(hashes[places], kind="stable")]
    edges = np.array(hash_edges(files)[1:-1], np.uint64)
    return np.split(ordered, np.searchsorted(hashes[ordered], edges))


def read_run(path: Path, batch: int) -> pa.Table:
    """The rows that a run has for one file of rows; batches are numbered across all splits."""
    with arrow_file(path) as file:
        return pa.Table.from_batches([file.get_batch(batch)])
