"""Files of rows. Each kind of file has a table class that finds its parts and reads its rows; a new kind is one line in
`TABLES`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from rt2data.io.json_stream import JsonFault

TABLES: dict[str, str] = {
    ".json": "rt2data.read.corpus.json_tables:json_table",
    ".jsonl": "rt2data.read.corpus.json_tables:JsonLines",
    ".ndjson": "rt2data.read.corpus.json_tables:JsonLines",
    ".csv": "rt2data.read.corpus.csv_tables:CsvRows",
    ".tsv": "rt2data.read.corpus.csv_tables:TsvRows",
    ".token": "rt2data.read.corpus.csv_tables:TokenRows",
    ".parquet": "rt2data.read.corpus.parquet_table:ParquetRows",
    ".arrow": "rt2data.read.corpus.arrow_table:ArrowRows",
    ".tar": "rt2data.read.corpus.tar_table:TarSamples",
}
"""Table class by file suffix."""


Names = tuple[str, ...] | None


class Part(NamedTuple):
    """A range of a file whose rows can be read independently of the rest."""

    start: int  # meaning depends on the table
    stop: int
    bytes: int  # amount to read, for progress


class RawRow(NamedTuple):
    """One row of a file."""

    at: str  # its name within the file, part of its key: [A-Za-z0-9_-], at most 24 characters
    where: str  # for messages
    values: Mapping[str, Any] | JsonFault  # a fault if it cannot be read


@dataclass(frozen=True)
class Table(ABC):
    """A file of rows."""

    path: str
    columns: tuple[str, ...] = ()  # columns to read; others may be present
    max_row: int = 1 << 21  # bytes of text in one row
    rows_in: str | None = None  # for a file with several arrays: the name of the array of rows
    header: Names = None  # column names for a file without a header

    @abstractmethod
    def parts(self) -> list[Part]:
        """Ranges of about `UNIT_BYTES`, in order. Raises DataError if the file is truncated, UsageError if it is not such a
        table.
        """

    @abstractmethod
    def rows(self, start: int, stop: int) -> Iterator[RawRow]:
        """The rows of a part, in order. Raises DataError if nothing after this point can be trusted."""

    def first(self) -> RawRow | None:
        """The first row, found without reading the whole file. Raises the same errors as `rows`."""
        return next((row for part in self.parts()[:1] for row in self.rows(part.start, part.stop)), None)

    def count(self) -> int | None:
        """The number of rows, or None if unknown without reading them."""
        return None


def is_table(name: str) -> bool:
    """Whether a file of this name may be a table."""
    return PurePosixPath(name).suffix.lower() in TABLES


def open_table(
    path: str, columns: tuple[str, ...] = (), max_row: int = 1 << 21, rows_in: str | None = None, header: Names = None
) -> Table:
    """Open a file as a table, by its suffix. Raises UsageError if there is no such kind of table."""
    module, name = TABLES[PurePosixPath(path).suffix.lower()].split(":")
    made: Table = getattr(import_module(module), name)(path, columns, max_row, rows_in, header)
    return made
