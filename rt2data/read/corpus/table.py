"""Files of rows. A table of each kind of file says where its parts are and gives its rows; a new kind is one line in `TABLES`."""

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
"""By the suffix of a file's name."""


Names = tuple[str, ...] | None


class Part(NamedTuple):
    """A range of a file of which the rows can be read without the others."""

    start: int  # means what the table wants it to mean
    stop: int
    bytes: int  # how much there is to read, for progress


class RawRow(NamedTuple):
    """One row of a file."""

    at: str  # its name in the file, which is part of its key: [A-Za-z0-9_-], at most 24 characters
    where: str  # for messages
    values: Mapping[str, Any] | JsonFault  # or why it cannot be read


@dataclass(frozen=True)
class Table(ABC):
    """A file of rows."""

    path: str
    columns: tuple[str, ...] = ()  # what is asked of the rows; more may be given
    max_row: int = 1 << 21  # bytes of text in one row
    rows_in: str | None = None  # where a file has several arrays of rows: the name of the one that is meant
    header: Names = None  # of the columns of a file that does not name them itself

    @abstractmethod
    def parts(self) -> list[Part]:
        """Ranges of about `UNIT_BYTES`, in order. Raises DataError where the file is cut, UsageError where it is no such table."""

    @abstractmethod
    def rows(self, start: int, stop: int) -> Iterator[RawRow]:
        """The rows of a part, in order. Raises DataError where nothing that follows can be trusted."""

    def first(self) -> RawRow | None:
        """The first row, found without reading the whole file. Raises as `rows` does."""
        return next((row for part in self.parts()[:1] for row in self.rows(part.start, part.stop)), None)

    def count(self) -> int | None:
        """How many rows there are, where that is known without reading them."""
        return None


def is_table(name: str) -> bool:
    """Whether a file of this name may be a table."""
    return PurePosixPath(name).suffix.lower() in TABLES


def open_table(
    path: str, columns: tuple[str, ...] = (), max_row: int = 1 << 21, rows_in: str | None = None, header: Names = None
) -> Table:
    """The table that a file is, by its suffix. Raises UsageError where there is no such kind of table."""
    module, name = TABLES[PurePosixPath(path).suffix.lower()].split(":")
    made: Table = getattr(import_module(module), name)(path, columns, max_row, rows_in, header)
    return made
