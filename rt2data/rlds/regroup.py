"""Rows of one file of the store, put into the order in which they are written: each shard then takes one run of each file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rt2data.errors import InternalError
from rt2data.io.publish import produce_whole
from rt2data.order import I64
from rt2data.prepare.store import Store, rows_file
from rt2data.rlds.index import SplitIndex
from rt2data.rlds.plan import ShardPlan

COLUMNS = ["key", "group", "step", "steps", "text", "answers", "pick", "action", "state", "terminate", "images"]
"""What an episode needs of its rows."""


@dataclass(frozen=True)
class RegroupOrder:
    """Work order: lay one file of rows down by place. `places` and `pieces` int64[rows of the file]."""

    folder: str
    store: str
    dataset: str
    split: str
    number: int
    places: I64
    pieces: I64

    @property
    def label(self) -> str:
        return f"regroup {self.dataset} {self.split} rows {self.number}"


def part_path(folder: Path, dataset: str, split: str, number: int) -> Path:
    """Where a regrouped file of rows lies while the output is written."""
    return folder / "parts" / f"{dataset}-{split}-{number:05d}.arrow"


def regroup(order: RegroupOrder) -> int:
    """Write one file of rows by place, uncompressed, so that a run of it is read without the rest. Idempotent; gives its rows."""
    target = part_path(Path(order.folder), order.dataset, order.split, order.number)
    if not target.is_file():
        table = pq.read_table(rows_file(Path(order.store), order.split, order.number), columns=COLUMNS, use_threads=False)
        by_place = np.argsort(order.places)
        table = table.append_column("place", pa.array(order.places)).append_column("piece", pa.array(order.pieces))
        sorted_rows = table.take(pa.array(by_place)).combine_chunks()
        produce_whole(target, lambda path: _write(sorted_rows, path))
    return len(order.places)


def _write(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def split_orders(folder: Path, store: Store, dataset: str, split: str, index: SplitIndex) -> list[RegroupOrder]:
    """A work order for each file of rows of a split."""
    ends = np.cumsum(store.info.splits[split].files).tolist()
    parts = zip(np.split(index.places, ends[:-1]), np.split(index.pieces, ends[:-1]), strict=True)
    return [RegroupOrder(str(folder), str(store.path), dataset, split, number, *part) for number, part in enumerate(parts)]


def regrouped(folder: Path, dataset: str, split: str, files: int, shard: ShardPlan) -> pa.Table:
    """The rows of one shard in their order: the run that each file has of them. Raises InternalError where one is missing."""
    runs = [_run(part_path(folder, dataset, split, number), shard) for number in range(files)]
    table = pa.concat_tables(runs).combine_chunks()
    table = table.take(pa.array(np.argsort(table["place"].to_numpy())))
    if not np.array_equal(table["place"].to_numpy(), np.arange(shard.first, shard.first + shard.rows)):
        raise InternalError("regrouped rows do not make this shard whole", f"{dataset} {split}, rows from {shard.first}")
    return table.combine_chunks()


def _run(path: Path, shard: ShardPlan) -> pa.Table:
    with pa.memory_map(str(path)) as file:
        table = pa.ipc.open_file(file).read_all()
        first, stop = np.searchsorted(table["place"].to_numpy(), [shard.first, shard.first + shard.rows])
        run = table.slice(first, stop - first)
        return run.take(pa.array(np.arange(len(run))))  # of its own memory: the file is closed
