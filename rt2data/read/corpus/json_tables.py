"""JSON as tables: an array of objects, an object of objects, or an object on each line. All use constant memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, BinaryIO

from rt2data.errors import UsageError
from rt2data.io import location
from rt2data.io.json_stream import JsonArray, JsonFault, JsonObject, decoder_of
from rt2data.io.stamps import Stamp
from rt2data.read import units
from rt2data.read.corpus.table import Names, Part, RawRow, Table
from rt2data.read.json_shape import json_shape


def json_table(path: str, columns: tuple[str, ...], max_row: int, rows_in: str | None, header: Names) -> Table:
    """The table of a .json file: JSON, or JSON Lines, which many are in spite of their name."""
    shape = json_shape(path)
    kind = JsonLines if shape.lines else JsonMembers if shape.members and rows_in is None else JsonRows
    return kind(path, columns, max_row, rows_in, header)


@dataclass(frozen=True)
class JsonRows(Table):
    """A JSON file that is an array of objects, or contains one. The element at byte 120 is row `120`."""

    def parts(self) -> list[Part]:
        """Parts, found by reading the file once."""
        return list(parts_of_array(self._array, Stamp.of(self.path), units.UNIT_BYTES))

    def rows(self, start: int, stop: int) -> Iterator[RawRow]:
        """Elements that begin in [start, stop)."""
        return self._located(self._array.located((start, stop)))

    def first(self) -> RawRow | None:
        """The first element."""
        return next(self._located(self._array.located()), None)

    def _located(self, found: Iterator[tuple[Any, Any]]) -> Iterator[RawRow]:
        return (RawRow(str(place.start), f"{self.path}: byte {place.start}", values) for place, values in found)

    @property
    def _array(self) -> JsonArray[dict[str, Any]]:
        return JsonArray(self.path, self._name(), dict, self.max_row, strict=False, once=self.columns)

    def _name(self) -> str:
        """The name of the array of rows. Raises UsageError if there are several, and none is named."""
        arrays = sorted(json_shape(self.path).arrays)
        if self.rows_in is not None or not arrays:
            return self.rows_in or ""
        if len(arrays) > 1:
            raise UsageError(f"there are several arrays: {', '.join(arrays[:8])}", self.path, "name the rows with `rows`")
        return arrays[0]


@lru_cache(maxsize=64)
def parts_of_array(array: JsonArray[dict[str, Any]], stamp: Stamp, size: int) -> tuple[Part, ...]:
    """Parts that begin with an element and have at least `size` bytes, except the last. `stamp` is the file's, for the cache."""
    cuts: list[int] = []
    stop = 0
    for place in array.slices():
        if not cuts or place.start - cuts[-1] >= size:
            cuts.append(place.start)
        stop = place.stop
    ends = [*cuts[1:], stop]
    return tuple(Part(start, end, end - start) for start, end in zip(cuts, ends, strict=True)) if cuts else ()


KEY = "_key"
"""The column with the key of a JSON object's member."""


@dataclass(frozen=True)
class JsonMembers(JsonRows):
    """A JSON file that is an object of objects, such as {"1": {...}, "2": {...}}. The key is in the column `_key`."""

    def _located(self, found: Iterator[tuple[Any, Any]]) -> Iterator[RawRow]:
        for place, values in found:
            fault = next((each for each in (place.key, values) if isinstance(each, JsonFault)), None)
            yield RawRow(str(place.start), f"{self.path}: byte {place.start}", fault or values | {KEY: place.key})

    @property
    def _array(self) -> JsonArray[dict[str, Any]]:
        return JsonObject(self.path, "", dict, self.max_row, strict=False, once=self.columns)


@dataclass(frozen=True)
class JsonLines(Table):
    """An object on each line. The line at byte 120 is row `120`; blank lines are skipped."""

    def parts(self) -> list[Part]:
        """Parts by size alone: a line belongs to the part in which it begins."""
        size, step = location.stat(self.path).size, units.UNIT_BYTES
        return [Part(start, min(start + step, size), min(step, size - start)) for start in range(0, size, step)]

    def rows(self, start: int, stop: int) -> Iterator[RawRow]:
        """Lines that begin in [start, stop)."""
        decode = decoder_of(self.path, self.columns)
        with location.open_file(self.path) as file:
            at = line_after(file, start)
            while at < stop:
                line, length = self._line(file)
                if not length:
                    return
                if line is None or line.strip():
                    yield RawRow(str(at), f"{self.path}: byte {at}", self._decoded(decode, line, at))
                at += length

    def _line(self, file: BinaryIO) -> tuple[bytes | None, int]:
        """The next line (None if it is too long), and its length including the line end."""
        line = file.readline(self.max_row)
        length = len(line)
        if length < self.max_row or line.endswith(b"\n"):
            return line, length
        while rest := file.readline(self.max_row):
            length += len(rest)
            if rest.endswith(b"\n"):
                break
        return None, length

    def _decoded(self, decode: Any, line: bytes | None, at: int) -> Any:
        if line is None:
            return JsonFault("too_long_text", f"a line of more than {self.max_row} bytes")
        text = line.removeprefix(b"\xef\xbb\xbf") if at == 0 else line
        if not text.lstrip().startswith(b"{"):
            return JsonFault("bad_json", "the line is not an object")
        return decode(text, at)


def line_after(file: BinaryIO, start: int) -> int:
    """Seek to the first line that begins at or after `start`."""
    if start == 0:
        return 0
    at = file.seek(start - 1)
    while piece := file.readline(1 << 16):
        at += len(piece)
        if piece.endswith(b"\n"):
            break
    return at
