"""Separated values as tables: CSV (RFC 4180), tab-separated lines, and Flickr30k's captions. All are UTF-8.

The first record names the columns if it contains a requested column, or only plain names; otherwise it is a row, and the columns
are called `0`, `1` and so on, or as the recipe names them.
"""

from __future__ import annotations

import csv
import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from typing import Any, BinaryIO, NamedTuple

from rt2data.errors import DataError, UsageError
from rt2data.io import location
from rt2data.io.json_stream import JsonFault
from rt2data.io.stamps import Stamp
from rt2data.read import units
from rt2data.read.corpus.json_tables import line_after
from rt2data.read.corpus.table import Part, RawRow, Table

_BOM = b"\xef\xbb\xbf"
_WIDE = (b"\xff\xfe", b"\xfe\xff")
_MOST_AGAIN = 64 << 20  # bytes that may be re-read because of unclosed quotes, beyond as many as were read before
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class Record(NamedTuple):
    """The fields of a record, or its fault, and its first byte."""

    at: int
    fields: list[str] | JsonFault


@dataclass(frozen=True)
class Separated(Table):
    """Records of fields. The record at byte 120 is row `120`. Raises DataError if the file is UTF-16."""

    @abstractmethod
    def records(self, file: BinaryIO, start: int, width: int | None = None) -> Iterator[Record]:
        """Records from the one that begins at `start`, with `width` fields if known. Blank lines are skipped."""

    def rows(self, start: int, stop: int) -> Iterator[RawRow]:
        """Records that begin in [start, stop)."""
        with location.open_file(self.path) as file:
            names, first = self._heading(file)
            begin = first if start <= first else self.begin(file, start)
            for at, fields in self.records(file, begin, len(names)):
                if at >= stop:
                    return
                yield RawRow(str(at), f"{self.path}: byte {at}", _named(names, fields))

    def first(self) -> RawRow | None:
        """The first record."""
        return next(self.rows(0, location.stat(self.path).size), None)

    def begin(self, file: BinaryIO, start: int) -> int:
        """Where the first record of a part begins."""
        return start

    def _heading(self, file: BinaryIO) -> tuple[Sequence[str], int]:
        """The column names, and where the rows begin. Raises DataError, or UsageError if two columns have the same name."""
        head = file.read(3)
        if head[:2] in _WIDE:
            raise DataError("this is UTF-16", self.path, "write it as UTF-8")
        begin = len(_BOM) if head == _BOM else 0
        if self.header is not None:
            return self.header, begin
        records = self.records(file, begin)
        first = next(records, Record(begin, []))
        fields = [] if isinstance(first.fields, JsonFault) else first.fields
        names = [name.strip() for name in fields]
        if not self._are_names(names):
            return [str(number) for number in range(len(fields))], begin
        if len(set(names)) < len(names):
            raise UsageError("two columns have the same name", self.path, "name all of them with `columns`, and drop that line")
        row = next(records, None)
        return names, file.seek(0, 2) if row is None else row.at

    def _are_names(self, names: Sequence[str]) -> bool:
        return bool(set(names) & set(self.columns)) or all(map(_PLAIN_NAME.fullmatch, names))


def _named(names: Sequence[str], fields: list[str] | JsonFault) -> dict[str, Any] | JsonFault:
    if isinstance(fields, JsonFault):
        return fields
    if len(fields) != len(names):
        return JsonFault("wrong_fields", f"{len(fields)} fields instead of {len(names)}")
    return dict(zip(names, fields, strict=True))


# CSV


@dataclass(frozen=True)
class CsvRows(Separated):
    """Fields may be quoted and contain line ends. They are separated by commas, or by another separator found in the first line."""

    def parts(self) -> list[Part]:
        """Whole records. A large file is read once to find them: where a record ends depends on all records before it."""
        stamp = Stamp.of(self.path)
        if stamp.size <= units.UNIT_BYTES:
            return [Part(0, stamp.size, stamp.size)] if stamp.size else []
        return list(_parts(self, stamp, units.UNIT_BYTES))

    def records(self, file: BinaryIO, start: int, width: int | None = None) -> Iterator[Record]:
        """All records. One that is malformed, or spans several lines with the wrong number of fields, ends after its first line."""
        csv.field_size_limit(max(csv.field_size_limit(), self.max_row))
        lines = _Lines(file, self.path, self.max_row)
        reader = csv.reader(lines, delimiter=_separator(file), strict=True)
        at = lines.begin(start)
        while True:
            try:
                fields: list[str] | JsonFault = next(reader)
            except StopIteration:
                return
            except (csv.Error, UnicodeDecodeError, _TooLongError) as error:
                fields = _fault(error)
                lines.back()
            if isinstance(fields, list) and width is not None and len(fields) != width and fields:
                lines.back()
            if fields:
                yield Record(at, fields)
            at = lines.begin(lines.at)


class _TooLongError(Exception):
    """A record of more bytes than the limit."""


class _Lines:
    """Lines of a file as text. Tracks its position, and can go back to the end of a record's first line."""

    def __init__(self, file: BinaryIO, path: str, limit: int) -> None:
        self._file, self._path, self._limit = file, path, limit
        self.at = self._start = self._second = self._again = 0

    def begin(self, at: int) -> int:
        """A record begins here."""
        self.at = self._start = self._second = at
        return at

    def back(self) -> None:
        """Treat the record's first line as the whole record. Raises DataError if lines would be re-read too often."""
        self._again += self.at - self._second
        if self._again > _MOST_AGAIN + self._second:
            raise DataError("quotes without end in many records", f"{self._path}: byte {self._start}", "write the file again")
        self.at = self._second

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        if self._file.tell() != self.at:
            self._file.seek(self.at)
        line = self._file.readline(self._limit + 1)
        if not line:
            raise StopIteration
        is_first = self.at == self._start
        self.at += len(line)
        if len(line) > self._limit:
            self.at += _skipped(self._file, line, self._limit)
        self._second = self.at if is_first else self._second
        if self.at - self._start > self._limit:
            raise _TooLongError
        return line.decode()


def _fault(error: Exception) -> JsonFault:
    if isinstance(error, UnicodeDecodeError):
        return JsonFault("bad_text", "not UTF-8")
    if isinstance(error, _TooLongError) or "field larger than" in str(error):
        return JsonFault("too_long_text", "a record that is too long, or whose quoted field has no end")
    return JsonFault("bad_csv", str(error)[:200])


def _separator(file: BinaryIO) -> str:
    """The separator: a comma or, if the first line has none, another common separator."""
    file.seek(0)
    line = file.readline(1 << 16)
    return next((each for each in ",\t|;" if each.encode() in line), ",")


@lru_cache(maxsize=64)
def _parts(table: CsvRows, stamp: Stamp, size: int) -> tuple[Part, ...]:
    """Parts that begin with a record and have at least `size` bytes, except the last."""
    cuts = [0]
    for row in table.rows(0, stamp.size):
        if int(row.at) - cuts[-1] >= size:
            cuts.append(int(row.at))
    ends = [*cuts[1:], stamp.size]
    return tuple(Part(start, end, end - start) for start, end in zip(cuts, ends, strict=True))


# Lines


@dataclass(frozen=True)
class TsvRows(Separated):
    """Each line is a record. Quotes that enclose a whole field, as pandas writes them, are removed; others are text."""

    def parts(self) -> list[Part]:
        """Parts by size alone: a line belongs to the part in which it begins."""
        size, step = location.stat(self.path).size, units.UNIT_BYTES
        return [Part(start, min(start + step, size), min(step, size - start)) for start in range(0, size, step)]

    def begin(self, file: BinaryIO, start: int) -> int:
        """The first line that begins at or after `start`."""
        return line_after(file, start)

    def records(self, file: BinaryIO, start: int, width: int | None = None) -> Iterator[Record]:
        """One record per line."""
        for at, line in _lines(file, start, self.max_row):
            if isinstance(line, JsonFault):
                yield Record(at, line)
            elif line:
                yield Record(at, [_unquoted(field) for field in line.split("\t")])


@dataclass(frozen=True)
class TokenRows(Table):
    """Flickr30k's captions: `NAME.jpg#0`, a tab and a caption on each line. Adjacent lines of one image form a row."""

    def parts(self) -> list[Part]:
        """One part: the file is small."""
        size = location.stat(self.path).size
        return [Part(0, size, size)] if size else []

    def rows(self, start: int, stop: int) -> Iterator[RawRow]:
        """Columns `image` and `captions`."""
        with location.open_file(self.path) as file:
            lines = ((at, *_image_caption(line)) for at, line in _lines(file, 0, self.max_row) if line)
            for image, group in groupby(lines, itemgetter(1)):
                found = list(group)
                at = found[0][0]
                values = image if isinstance(image, JsonFault) else {"image": image, "captions": [each[2] for each in found]}
                yield RawRow(str(at), f"{self.path}: byte {at}", values)


def _lines(file: BinaryIO, start: int, limit: int) -> Iterator[tuple[int, str | JsonFault]]:
    """Lines from a byte on, without line ends, each with its first byte."""
    at = file.seek(start)
    while line := file.readline(limit + 1):
        length = len(line) + _skipped(file, line, limit)
        text = line.removeprefix(_BOM) if at == 0 else line
        try:
            yield at, JsonFault("too_long_text", f"{length} bytes") if length > limit else text.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            yield at, JsonFault("bad_text", "not UTF-8")
        at += length


def _skipped(file: BinaryIO, line: bytes, limit: int) -> int:
    """Skip the rest of a line that exceeds the limit, and return its length."""
    length = 0
    while len(line) > limit and not line.endswith(b"\n"):
        line = file.readline(limit + 1)
        length += len(line)
        if not line or len(line) <= limit:
            break
    return length


def _unquoted(field: str) -> str:
    inner = field[1:-1]
    whole = len(field) > 1 and field[0] == field[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if whole else field


def _image_caption(line: str | JsonFault) -> tuple[str | JsonFault, str]:
    """The image of a line, or what is wrong with the line, and the caption."""
    if isinstance(line, JsonFault):
        return line, ""
    name, tab, caption = line.partition("\t")
    found = re.fullmatch(r"(.+)#[0-9]+", name)
    if not found or not tab:
        return JsonFault("bad_row", f"not NAME.jpg#0, a tab and a caption: {line[:60]!r}"), ""
    return found[1], caption
