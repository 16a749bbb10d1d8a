"""Parquet as a table. A part is a range of row groups. Only one page is in memory, compressed and decompressed, however large a row
group is.

pyarrow checks the page size only every 1,024 values when writing, so a page of images is as large as a row group of 1,024 rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rt2data.io.tables import column_chunks, parquet_file
from rt2data.read import units
from rt2data.read.corpus.arrow_rows import present, rows_of, sound
from rt2data.read.corpus.table import Part, RawRow, Table

_BATCH = 4 << 20  # bytes of rows that are decoded together
_REPEATED = 64 << 20  # bytes of rows, if all values were the dictionary's largest
_VALUE = 8  # bytes counted for any value, even if it takes none in the file
_ROWS = 4096
_BUFFER = 1 << 20


@dataclass(frozen=True)
class ParquetRows(Table):
    """A Parquet file. Its row 12, counted from 0 over the whole file, is row `12`."""

    def parts(self) -> list[Part]:
        """Row groups, joined up to UNIT_BYTES; numbered from 0. Raises DataError if the file is truncated or is not Parquet."""
        with self._opened() as file:
            sizes = [self._compressed(file, number) for number in range(file.num_row_groups)]
        return list(_grouped(sizes, units.UNIT_BYTES))

    def rows(self, start: int, stop: int) -> Iterator[RawRow]:
        """Rows of row groups [start, stop). Raises DataError, naming the damaged row group."""
        with self._opened() as file:
            counts = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
            first = list(accumulate(counts, initial=0))
            for group in range(start, stop):
                yield from self._numbered(self._group(file, group, self._batch_rows(file, group)), first[group])

    def first(self) -> RawRow | None:
        """The first row, of the first row group that has any."""
        with self._opened() as file:
            filled = (n for n in range(file.num_row_groups) if file.metadata.row_group(n).num_rows)
            group = next(filled, None)
            return None if group is None else next(self._numbered(self._group(file, group, 1), 0), None)

    def count(self) -> int:
        """The row count, from the footer."""
        with self._opened() as file:
            return int(file.metadata.num_rows)

    def _numbered(self, rows: Iterator[dict[str, Any]], first: int) -> Iterator[RawRow]:
        return (RawRow(str(number), f"{self.path}: row {number}", values) for number, values in enumerate(rows, first))

    def _group(self, file: pq.ParquetFile, group: int, size: int) -> Iterator[dict[str, Any]]:
        """The rows of a row group, `size` at a time."""
        names = present(self.columns, file.schema_arrow.names, self.path)
        with sound(self.path, f"row group {group} is damaged"):
            batches = file.iter_batches(size, [group], names, use_threads=False)
            rows = 0
            for batch in batches:
                rows += batch.num_rows
                yield from rows_of(batch)
            if rows != file.metadata.row_group(group).num_rows:
                raise pa.ArrowInvalid(f"{rows} rows, its footer says {file.metadata.row_group(group).num_rows}")

    def _batch_rows(self, file: pq.ParquetFile, group: int) -> int:
        """Rows per batch: about 4 MB if values differ, at most 64 MB if a dictionary encodes repeated values."""
        rows, columns = int(file.metadata.row_group(group).num_rows), self._columns(file, group)
        size = sum(max(int(column.total_uncompressed_size), _VALUE * int(column.num_values)) for column in columns)
        longest = max(map(_dictionary_bytes, columns), default=0)
        return max(1, min(_ROWS, rows * _BATCH // max(size, 1), _REPEATED // max(longest, 1)))

    def _compressed(self, file: pq.ParquetFile, group: int) -> int:
        return sum(int(column.total_compressed_size) for column in self._columns(file, group))

    def _columns(self, file: pq.ParquetFile, group: int) -> list[Any]:
        """The column chunks read from a row group."""
        return column_chunks(file, group, present(self.columns, file.schema_arrow.names, self.path))

    @contextmanager
    def _opened(self) -> Iterator[pq.ParquetFile]:
        """The open file. Columns are streamed, so that no row group is held whole. Raises DataError, OSError."""
        with (
            sound(self.path, "this is no whole Parquet file"),
            parquet_file(self.path, pre_buffer=False, buffer_size=_BUFFER, page_checksum_verification=True) as file,
        ):
            yield file


def _dictionary_bytes(column: Any) -> int:
    """The approximate size of a chunk's dictionary, an upper limit for a single value; 0 without a dictionary."""
    if not column.has_dictionary_page or column.physical_type != "BYTE_ARRAY":
        return 0
    packed, unpacked = int(column.total_compressed_size), int(column.total_uncompressed_size)
    return (int(column.data_page_offset) - int(column.dictionary_page_offset)) * unpacked // max(packed, 1)


def _grouped(sizes: list[int], limit: int) -> Iterator[Part]:
    """Adjacent row groups joined up to a limit; a larger one is a part of its own."""
    start, held = 0, 0
    for number, size in enumerate(sizes):
        if number > start and held + size > limit:
            yield Part(start, number, held)
            start, held = number, 0
        held += size
    if sizes:
        yield Part(start, len(sizes), held)
