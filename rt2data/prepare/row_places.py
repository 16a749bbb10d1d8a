"""Where the rows of a split are: in files that each hold a part of the keyed order, and in files added later.

A store that grew takes over the previous store's files unchanged and adds one with the new rows, which fall anywhere in the order.
`added-<split>.parquet` gives the row number and the place of each added row.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rt2data.io.location import produce_whole
from rt2data.io.tables import read_parquet
from rt2data.order import I64

ADDED = pa.schema([("number", pa.int64()), ("file", pa.int32()), ("at", pa.int32())])
_OWN = b"own"


@dataclass(frozen=True)
class RowPlaces:
    """Rows are numbered in keyed order, over all files."""

    own: tuple[int, ...]  # rows of each file that holds a part of the order
    added: tuple[int, ...]  # rows of each file added later; these files are numbered after the others
    number: I64  # row number of each added row, ascending
    file: NDArray[np.int32]  # file of each added row
    at: NDArray[np.int32]  # its index in that file

    @staticmethod
    def of_order(own: tuple[int, ...]) -> RowPlaces:
        """Places in a split that has not grown, from the rows of its files."""
        none = np.empty(0, np.int32)
        return RowPlaces(own, (), np.empty(0, np.int64), none, none)

    @cached_property
    def _starts(self) -> I64:
        return np.cumsum([0, *self.own])

    @property
    def rows(self) -> int:
        """Number of rows."""
        return sum(self.own) + len(self.number)

    @property
    def files(self) -> int:
        """Number of files."""
        return len(self.own) + len(self.added)

    def find(self, numbers: I64) -> tuple[I64, I64]:
        """The file of each row, and its index in that file."""
        before = np.searchsorted(self.number, numbers)
        inside = numbers - before
        file = np.searchsorted(self._starts[1:], inside, side="right")
        at = inside - self._starts[file]
        if len(self.number):
            near = before.clip(max=len(self.number) - 1)
            later = self.number[near] == numbers
            file[later], at[later] = self.file[near[later]], self.at[near[later]]
        return file, at


def added_file(folder: Path, split: str) -> Path:
    """The file that lists the added rows of a split."""
    return folder / f"added-{split}.parquet"


def write_places(path: Path, places: RowPlaces) -> None:
    """Raises OutputError."""
    columns = [getattr(places, name) for name in ADDED.names]
    about = {_OWN: json.dumps([places.own, places.added]).encode()}
    table = pa.table(columns, schema=ADDED.with_metadata(about))
    produce_whole(path, lambda path: pq.write_table(table, path, compression="zstd", write_page_checksum=True))


def read_places(path: Path) -> RowPlaces:
    """Raises OSError, or an Arrow error, if it cannot be read."""
    table = read_parquet(path, page_checksum_verification=True)
    own, added = json.loads(table.schema.metadata[_OWN])
    return RowPlaces(tuple(own), tuple(added), *(table[name].to_numpy() for name in ADDED.names))


def merged(before: RowPlaces, ranks: I64) -> RowPlaces:
    """Places with one more file of sorted rows; `ranks` is the number of earlier rows before each."""
    numbers = np.concatenate([before.number + np.searchsorted(ranks, before.number, side="right"), ranks + np.arange(len(ranks))])
    file = np.concatenate([before.file, np.full(len(ranks), before.files, np.int32)])
    at = np.concatenate([before.at, np.arange(len(ranks), dtype=np.int32)])
    order = np.argsort(numbers)
    return RowPlaces(before.own, (*before.added, len(ranks)), numbers[order], file[order], at[order])


def by_file(file: I64) -> Sequence[tuple[int, I64]]:
    """Each file that holds some of these rows, and the indices of those rows."""
    return [(int(number), np.flatnonzero(file == number)) for number in np.unique(file)]
