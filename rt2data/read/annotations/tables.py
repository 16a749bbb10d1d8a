"""Rows of annotation tables: streamed, and later re-read by place (byte offsets in JSONL and CSV, row numbers in Parquet)."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import lru_cache
from io import StringIO
from itertools import chain
from typing import Any, BinaryIO, NamedTuple, cast

import pyarrow as pa

from rt2data.errors import DataError
from rt2data.io import location
from rt2data.io.json_stream import EVERY_KEY, Decode, JsonFault, decoder_of
from rt2data.io.tables import parquet_file
from rt2data.read.annotations.settings import version
from rt2data.read.text import one_line

MAX_ROW = 1 << 24
Record = dict[str, Any]


class PlacedRow(NamedTuple):
    """A row, its place, and the place after it."""

    start: int
    stop: int
    row: Record


def table_rows(path: str) -> Iterator[PlacedRow]:
    """All rows in order. Raises DataError if the table is damaged."""
    if path.endswith(".parquet"):
        return _parquet_rows(path)
    return _json_rows(path) if path.endswith(".jsonl") else _csv_rows(path)


def rows_between(path: str, start: int, stop: int) -> list[Record]:
    """The rows of a range of places."""
    if path.endswith(".parquet"):
        return _parquet_range(path, start, stop)
    text = location.read_range(path, start, stop - start)
    if path.endswith(".jsonl"):
        return [_decoded(path, start, line) for line in text.split(b"\n") if line.strip()]
    return list(_csv_records(path, start, text))


# JSON lines


def _json_rows(path: str) -> Iterator[PlacedRow]:
    with location.open_file(path) as file:
        start = 0
        for line in _lines(path, cast(BinaryIO, file)):
            if line.strip():
                yield PlacedRow(start, start + len(line), _decoded(path, start, line))
            start += len(line)


def _decoded(path: str, start: int, line: bytes) -> Record:
    found = decoder(path)(line.removeprefix(b"\xef\xbb\xbf"), start)
    if isinstance(found, JsonFault):
        raise _damaged(path, start, found.detail or found.reason)
    return found


@lru_cache(maxsize=64)
def decoder(path: str) -> Decode[Record]:
    """Decodes an object of a file in which no key may occur twice."""
    return decoder_of(path, EVERY_KEY)


def _lines(path: str, file: BinaryIO) -> Iterator[bytes]:
    start = 0
    while line := file.readline(MAX_ROW):
        if len(line) == MAX_ROW:
            raise _damaged(path, start, f"a row of more than {MAX_ROW:,} bytes")
        yield line
        start += len(line)


# CSV


def _csv_rows(path: str) -> Iterator[PlacedRow]:
    begin = _header(path, version(path))[1]
    with location.open_file(path) as file:
        file.seek(begin)
        for start, record in _whole_records(path, cast(BinaryIO, file), begin):
            for row in _csv_records(path, start, record):
                yield PlacedRow(start, start + len(record), row)


def _whole_records(path: str, file: BinaryIO, start: int) -> Iterator[tuple[int, bytes]]:
    """Records with their first byte. A line end inside quotes does not end a record."""
    record, quotes = bytearray(), 0
    for line in _lines(path, file):
        record += line
        quotes += line.count(b'"')
        if len(record) > MAX_ROW:
            break
        if not quotes % 2:
            yield start, bytes(record)
            start, record, quotes = start + len(record), bytearray(), 0
    if record:
        raise _damaged(path, start, "a quote is not closed")


@lru_cache(maxsize=64)
def _header(path: str, _version: str) -> tuple[tuple[str, ...], int]:
    """Names of the columns, and the byte after them."""
    with location.open_file(path) as file:
        _, record = next(_whole_records(path, cast(BinaryIO, file), 0), (0, b""))
    names = next(_parsed(path, 0, record.removeprefix(b"\xef\xbb\xbf")), [])
    if not names or len(set(names)) < len(names):
        raise _damaged(path, 0, "the first row must name each column once")
    return tuple(names), len(record)


def _csv_records(path: str, start: int, text: bytes) -> Iterator[Record]:
    names = _header(path, version(path))[0]
    for values in _parsed(path, start, text):
        if values and len(values) != len(names):
            raise _damaged(path, start, f"a row of {len(values)} values, there are {len(names)} columns")
        if values:
            yield dict(zip(names, values, strict=True))


def _parsed(path: str, start: int, text: bytes) -> Iterator[list[str]]:
    try:
        yield from csv.reader(StringIO(text.decode(), newline=""), delimiter="\t" if path.endswith(".tsv") else ",", strict=True)
    except (csv.Error, UnicodeDecodeError) as error:
        raise _damaged(path, start, str(error)) from None


# Parquet


def _parquet_rows(path: str) -> Iterator[PlacedRow]:
    at = 0
    for group in range(_groups(path, version(path))[1]):
        table = _group(path, group, version(path))
        for batch in table.to_batches(4096):
            for row in _values(path, batch):
                yield PlacedRow(at, at + 1, row)
                at += 1


def _parquet_range(path: str, start: int, stop: int) -> list[Record]:
    ends, count = _groups(path, version(path))
    parts = []
    for group in range(count):
        first, last = max(start, ends[group]), min(stop, ends[group + 1])
        if first < last:
            parts.append(_values(path, _group(path, group, version(path)).slice(first - ends[group], last - first)))
    return list(chain.from_iterable(parts))


@lru_cache(maxsize=64)
def _groups(path: str, _version: str) -> tuple[tuple[int, ...], int]:
    """The first row of each row group and the total number of rows; and the number of row groups."""
    try:
        with parquet_file(path) as file:
            sizes = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, 0, str(error)) from None
    ends = [0]
    for size in sizes:
        ends.append(ends[-1] + size)
    return tuple(ends), len(sizes)


@lru_cache(maxsize=2)
def _group(path: str, group: int, _version: str) -> pa.Table:
    """A row group, without binary columns such as images."""
    try:
        with parquet_file(path) as file:
            plain = [field.name for field in file.schema_arrow if not pa.types.is_nested(field.type) and not _is_bytes(field.type)]
            return file.read_row_group(group, columns=plain, use_threads=False)
    except (OSError, pa.ArrowException) as error:
        raise _damaged(path, 0, str(error)) from None


def _values(path: str, rows: pa.Table | pa.RecordBatch) -> list[Record]:
    try:
        found: list[Record] = rows.to_pylist()
    except (ValueError, OverflowError, LookupError) as error:  # text that is not UTF-8, a time Python cannot represent
        raise _damaged(path, 0, str(error)) from None
    return found


def _is_bytes(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _damaged(path: str, at: int, why: str) -> DataError:
    place = path if path.endswith(".parquet") else f"{path}: byte {at}"
    return DataError(f"annotations cannot be read: {one_line(why, 200)}", place, "repair the file or make it again")
