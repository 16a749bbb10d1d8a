"""Arrow and Parquet files by name. pyarrow opens local files itself; others are passed as open files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rt2data.io import location


@contextmanager
def parquet_file(name: location.Name, **options: Any) -> Iterator[pq.ParquetFile]:
    """An open Parquet file. Raises OSError, ArrowException."""
    remote = {"pre_buffer": True} if location.is_remote(name) else {}  # the columns of a row group in one request
    with _opened(name) as source, pq.ParquetFile(source, **(remote | options)) as file:
        yield file


def read_parquet(name: location.Name, **options: Any) -> pa.Table:
    """A whole table, or some of its columns. Raises OSError, ArrowException."""
    with _opened(name) as source:
        return pq.read_table(source, **options)


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
