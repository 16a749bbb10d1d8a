"""Rows of Parquet files, in order and a few at a time: a file may hold many episodes, and its images may not fit in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import accumulate

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rt2data.errors import DataError
from rt2data.io.tables import parquet_file
from rt2data.read.recorded import EpisodeFault
from rt2data.records import F32

_BUFFER = 1 << 20
"""Bytes of a column to read at once."""
_DO = "fetch the file again"


class RowStream:
    """Columns of one file, chosen before the first rows are taken. Rows taken in order are read only once."""

    def __init__(self, path: str, batch: int, columns: Sequence[str] = ()) -> None:
        self._path, self._batch, self.columns = path, batch, list(columns)
        self._stack = ExitStack()
        self._file: pq.ParquetFile | None = None
        self._starts: list[int] = []  # first rows of row groups, and the end of the last
        self._held: list[pa.RecordBatch] = []
        self._at = self._stop = 0  # range of rows in memory
        self._batches: Iterator[pa.RecordBatch] = iter(())

    def take(self, start: int, stop: int) -> pa.Table:
        """Rows [start, stop), fewer if the file ends earlier. Raises DataError, ArrowException, OSError."""
        file = self.file
        stop = min(stop, self._starts[-1])
        if not self._at <= start < self._end_of_group():
            self._restart(file, start)
        while self._stop < stop and (batch := next(self._batches, None)) is not None:
            self._held.append(batch)
            self._stop += batch.num_rows
            self._drop(start)
        self._drop(start)
        return self._table().slice(start - self._at, stop - start)

    def close(self) -> None:
        """Close the file. It is reopened when needed."""
        self._stack.close()
        self._file, self._held, self._batches = None, [], iter(())
        self._at = self._stop = 0

    @property
    def file(self) -> pq.ParquetFile:
        """The open file. Raises DataError if it is not Parquet or is truncated, OSError."""
        if self._file is None:
            self._file = self._stack.enter_context(opened(self._path))
            self._starts = row_group_starts(self._file)
            self._restart(self._file, 0)
        return self._file

    def _end_of_group(self) -> int:
        """The end row of the row group to read next."""
        return next((end for end in self._starts[1:] if end > self._stop), self._starts[-1] + 1)

    def _restart(self, file: pq.ParquetFile, row: int) -> None:
        """Continue from the row group that contains a row."""
        groups = len(self._starts) - 1
        first = next((group for group in range(groups) if self._starts[group + 1] > row), groups)
        self._held, self._at, self._stop = [], self._starts[first], self._starts[first]
        self._batches = self._read(file, first)

    def _read(self, file: pq.ParquetFile, first: int) -> Iterator[pa.RecordBatch]:
        """Batches, one row group at a time, so that no more than one is in memory."""
        for group in range(first, len(self._starts) - 1):
            yield from file.iter_batches(self._batch, row_groups=[group], columns=self.columns)

    def _drop(self, start: int) -> None:
        """Drop batches before a row."""
        while self._held and self._at + self._held[0].num_rows <= start:
            self._at += self._held.pop(0).num_rows

    def _table(self) -> pa.Table:
        assert self._file is not None
        return pa.Table.from_batches(self._held, None if self._held else self._file.schema_arrow)


@contextmanager
def opened(path: str) -> Iterator[pq.ParquetFile]:
    """An open Parquet file. Raises DataError if it is not Parquet or is truncated, OSError."""
    with damage_named(path), parquet_file(path, buffer_size=_BUFFER) as file:
        yield file


@contextmanager
def damage_named(path: str) -> Iterator[None]:
    """Context: raises DataError if pyarrow finds damage in this file; an OSError of the file itself passes through."""
    try:
        yield
    except (pa.ArrowException, UnicodeError) as error:
        raise DataError(f"not a whole Parquet file: {_line(error)}", path, _DO) from None
    except OSError as error:
        if error.errno is None:  # pyarrow's own error: pages that cannot be decompressed
            raise DataError(f"a damaged Parquet file: {_line(error)}", path, _DO) from None
        raise


def row_group_starts(file: pq.ParquetFile) -> list[int]:
    """The first row of each row group, and the total number of rows."""
    sizes = (file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups))
    return [*accumulate(sizes, initial=0)]


def _line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:200]


# Columns of a table as arrays


def matrix(table: pa.Table, name: str) -> F32:
    """A column of numbers, or of lists of numbers of any depth: float32[T, D], NaN for missing numbers.

    Raises EpisodeFault if the steps differ in their number of values, or have none.
    """
    found, rows = table[name].combine_chunks(), table.num_rows
    while is_list(found.type):
        if found.null_count or not _even(found):
            raise EpisodeFault("ragged_episode", f"steps have different numbers of values in {name}", rows)
        found = found.flatten()
    values = numbers(found)
    with np.errstate(over="ignore"):  # overflow becomes Inf, which `standardize` detects
        return values.astype(np.float32).reshape(rows, -1) if rows else np.empty((0, 0), np.float32)


def numbers(column: pa.Array | pa.ChunkedArray) -> NDArray[np.generic]:
    """Numbers or booleans with their own dtype; NaN if missing."""
    column = column.cast(pa.uint8()) if pa.types.is_boolean(column.type) else column
    found: NDArray[np.generic] = column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else column.to_numpy()
    return found


def _even(lists: pa.Array) -> bool:
    """Whether all lists have the same length."""
    if pa.types.is_fixed_size_list(lists.type):
        return True
    lengths = lists.value_lengths().to_numpy(zero_copy_only=False)
    return len(lengths) == 0 or bool((lengths == lengths[0]).all())


def is_list(kind: pa.DataType) -> bool:
    """Whether each value is a list."""
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def holds_numbers(kind: pa.DataType) -> bool:
    """Whether each value is a number, a boolean, or a list of them."""
    while is_list(kind):
        kind = kind.value_type
    return bool(pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind))
