"""Arrow and Parquet files by name. pyarrow opens local files itself; others are passed as open files."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rt2data.io import location

_SIZE = 1 << 62  # bytes


@contextmanager
def parquet_file(name: location.Name, **options: Any) -> Iterator[pq.ParquetFile]:
    """An open Parquet file. Raises OSError, also if the row groups have more or fewer rows than the file; ArrowException."""
    remote = {"pre_buffer": True} if location.is_remote(name) else {}  # the columns of a row group in one request
    with _opened(name) as source, pq.ParquetFile(source, **(remote | options)) as file:
        footer = file.metadata
        grouped = sum(footer.row_group(group).num_rows for group in range(footer.num_row_groups))
        if grouped != footer.num_rows:  # pyarrow would read the rows of the row groups
            raise OSError(f"its footer is damaged: it says {footer.num_rows} rows, and {grouped} in its row groups")
        yield file


def read_parquet(name: location.Name, **options: Any) -> pa.Table:
    """A whole table, or some of its columns. Raises OSError, ArrowException."""
    with _opened(name) as source:
        return pq.read_table(source, **options)


def column_chunks(file: pq.ParquetFile, group: int, columns: Sequence[str]) -> list[Any]:
    """The metadata of the chunks of these top-level columns in a row group. Raises OSError if damaged.

    pyarrow aborts the process if asked for the metadata of a damaged chunk, but raises an error when it is about to read the chunk.
    """
    unread = pq.ParquetFile(pa.PythonFile(_Unread(), mode="r"), metadata=file.metadata)
    with suppress(_ReadError):
        next(unread.iter_batches(1, [group], columns, use_threads=False), None)
    paths = [file.schema.column(at).path for at in range(len(file.schema))]
    within = tuple(f"{name}." for name in columns)
    wanted = [at for at, path in enumerate(paths) if path in columns or path.startswith(within)]
    return [_chunk(file, group, at) for at in wanted]


def _chunk(file: pq.ParquetFile, group: int, column: int) -> Any:
    """A chunk whose statistics can be read: of another type than its column, they too would abort the process."""
    found, expected = file.metadata.row_group(group).column(column), file.schema.column(column)
    if found.physical_type != expected.physical_type:
        kinds = f"{found.physical_type}, but {expected.physical_type} in the schema"
        raise OSError(f"column {expected.path} of row group {group} is {kinds}")
    return found


class _ReadError(Exception):
    """Raised in place of reading."""


class _Unread(io.RawIOBase):
    """A large file that is never read."""

    _at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset if whence == io.SEEK_SET else _SIZE
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        raise _ReadError


@contextmanager
def arrow_file(name: location.Name, mapped: bool = False) -> Iterator[pa.RecordBatchFileReader]:
    """An open Arrow file; `mapped`: memory-mapped if local. Raises OSError, ArrowException."""
    with _opened(name) as source:
        if not isinstance(source, str):
            yield pa.ipc.open_file(source)
            return
        with pa.memory_map(source) if mapped else pa.OSFile(source) as file:
            yield pa.ipc.open_file(file)


@contextmanager
def _opened(name: location.Name) -> Iterator[Any]:
    if not location.is_remote(name):
        yield str(location.path_of(name))
        return
    with location.open_unbuffered(name) as file:
        yield file
