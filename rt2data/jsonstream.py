"""One array of a JSON file, element by element, in constant memory: the file may be larger than memory, or hostile.

Two passes in C over each chunk: numpy finds the brackets that lie outside strings and their depth, which gives each element's first and
last byte; msgspec then decodes that slice into a typed record. So an element that is too long is passed over without being held, and
everything found wrong has a byte offset. What breaks JSON's grammar (a cut file, NaN, a key given twice) raises DataError: nothing after
it can be trusted. What is wrong with one element's content (too long, not Unicode) is a `Fault` in its place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Generic, NamedTuple, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from rt2data.errors import DataError

T = TypeVar("T")

CHUNK = 1 << 18
MAX_ELEMENT = 1 << 20
_SPACE = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"
_LABEL = 4096  # bytes looked at before a bracket to find its key
_QUOTE, _OPEN, _CLOSE = b'"', ord("{"), ord("}")
_ESCAPE = re.compile(rb"\\.", re.DOTALL)
_STEP = np.zeros(256, np.int8)
_STEP[list(b"[{")], _STEP[list(b"]}")] = 1, -1


@dataclass(frozen=True, slots=True)
class Fault:
    """An element that cannot be used. `reason` is a short snake_case word for a Reject."""

    reason: str  # too_long_text, bad_text, bad_number
    detail: str = ""


class Slice(NamedTuple):
    """One element: its first byte, the byte after its last, and its text; None where it is longer than the cap."""

    start: int
    stop: int
    text: bytes | None


class _Brackets(NamedTuple):
    """The brackets outside strings in one chunk, whose first byte is `base`. n brackets."""

    base: int
    chunk: bytes
    at: NDArray[np.int64]  # n positions in the chunk
    depth: NDArray[np.int64]  # n: depth after the bracket, counted from where the scan began


@dataclass(frozen=True)
class JsonArray(Generic[T]):
    """The array under `key` of a JSON object, or a JSON file that is itself an array, of objects of type `element`.

    `element` is a msgspec.Struct type, or dict. Its fields should be of type Any where a wrong value is to be told from a wrong file.
    """

    path: str
    key: str
    element: type[T]
    max_element: int = MAX_ELEMENT
    chunk: int = CHUNK

    def objects(self, start: int | None = None, stop: int | None = None) -> Iterator[tuple[int, T | Fault]]:
        """(byte offset, element) of those that begin in [start, stop); of all by default. Raises DataError."""
        decoder = msgspec.json.Decoder(self.element)
        names = [f'"{name}"'.encode() for name in getattr(self.element, "__struct_fields__", ())]
        for begin, _, text in self.slices(start, stop):
            if text is None:
                yield begin, Fault("too_long_text", f"element of more than {self.max_element} bytes")
            else:
                yield begin, self._decode(decoder, names, begin, text)

    def slices(self, start: int | None = None, stop: int | None = None) -> Iterator[Slice]:
        """Where each element lies, and its text. Reading all of them also checks that the file ends as JSON must. Raises DataError."""
        with Path(self.path).open("rb") as file:
            begin = self._find(file) if start is None else start
            end = yield from self._elements(file, begin, stop)
            if end is not None:
                self._check_rest(file, end, nested=_first_byte(file) == b"{")

    def _decode(self, decoder: msgspec.json.Decoder[T], names: list[bytes], start: int, text: bytes) -> T | Fault:
        try:
            found = decoder.decode(text)
        except RecursionError:
            raise self._broken("too deeply nested", start) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return self._why(text, start, str(error))
        if any(text.count(name) > 1 for name in names):
            self._parse_slowly(text, start)
        return found

    def _why(self, text: bytes, start: int, said: str) -> Fault:
        """The kind of mistake in an element that msgspec refused: a Fault, or DataError where it is no JSON object."""
        try:
            text.decode()
        except UnicodeDecodeError as error:
            return Fault("bad_text", f"not UTF-8: {error.reason}")
        found = self._parse_slowly(text, start)
        if not isinstance(found, dict):
            raise self._broken("an element is not an object", start)
        return Fault("bad_number", said) if "out of range" in said else Fault("bad_text", f"not Unicode: {said}")

    def _parse_slowly(self, text: bytes, start: int) -> Any:
        """Parse with the standard library, which tells keys given twice. Numbers stay text: they may have any length."""
        try:
            return json.loads(text, object_pairs_hook=_unique, parse_int=str, parse_float=str, parse_constant=_refuse)
        except RecursionError:
            raise self._broken("too deeply nested", start) from None
        except ValueError as error:
            place = start + error.pos if isinstance(error, json.JSONDecodeError) else start
            raise self._broken(getattr(error, "msg", str(error)), place) from None

    def _find(self, file: BinaryIO) -> int:
        """Offset of the byte after the bracket that opens the array."""
        if _first_byte(file) == b"[":
            return self._opening(file, re.compile(rb"^\s*$"), 0)
        inside = self._opening(file, re.compile(rb"^\s*$"), 0)
        return self._opening(file, self._label, inside)

    @property
    def _label(self) -> re.Pattern[bytes]:
        return re.compile(rb'(?<!\\)"' + re.escape(self.key.encode()) + rb'"\s*:\s*$')

    def _opening(self, file: BinaryIO, label: re.Pattern[bytes], start: int) -> int:
        """Offset of the byte after the first bracket, among those at the scan's own depth, that follows text like `label`."""
        before = b""
        for block in self._brackets(file, start):
            done = 0
            for at in block.at[block.depth <= 1].tolist():
                before = (before + block.chunk[done:at])[-_LABEL:]
                ...
        raise self._broken(f"no array named {self.key!r}", start)
