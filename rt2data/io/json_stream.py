"""One array of a JSON file, element by element, in constant memory: the file may be larger than memory, or malicious.

Two passes in C over each chunk: numpy finds the brackets outside strings and their depth, which gives the first and last byte of
each element; msgspec decodes that slice into a typed record. So an element that is too long is skipped without being held, and
every fault has a byte offset. What breaks JSON's grammar (a cut file, NaN, a key given twice) raises DataError: nothing after
it can be trusted. What is wrong with the content of one element (too long, not Unicode) is a `JsonFault` in its place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Generic, NamedTuple, TypeVar

import msgspec
import numpy as np

from rt2data.errors import DataError
from rt2data.io import location

T = TypeVar("T")

CHUNK = 1 << 18
MAX_ELEMENT = 1 << 20
_SPACE = b" \t\r\n"
_BOM = b"\xef\xbb\xbf"
_TAIL = 4096  # bytes kept of a text that is too long: enough for the key before a bracket
_STEP = np.zeros(256, np.int8)  # what a bracket does to the depth
_STEP[list(b"[{")], _STEP[list(b"]}")] = 1, -1


@dataclass(frozen=True, slots=True)
class JsonFault:
    """An element that cannot be used. `reason` is a short snake_case word for a Reject."""

    reason: str  # too_long_text, bad_text, bad_number, bad_row
    detail: str = ""


Decode = Callable[[bytes | None, int], T | JsonFault]
"""Decodes the text of an element, None where it is too long, that begins at a byte."""


class Slice(NamedTuple):
    """One element: its first byte, the byte after its last, and its text; None where it is longer than the cap."""

    start: int
    stop: int
    text: bytes | None


class _Bracket(NamedTuple):
    """A bracket of the outline of a scan: one that opens or closes a child, or closes what the scan is in."""

    offset: int
    depth: int  # after it: 1 a child opens, 0 a child closes, -1 the end
    length: int  # bytes since the bracket before, this one included
    text: bytes  # those bytes; only the last few where there are more than the cap


@dataclass(frozen=True)
class JsonArray(Generic[T]):
    """The array under `key` of a JSON object, or a JSON file that is itself an array, of objects of type `element`.

    `element` is a msgspec.Struct type, or dict. Fields of type Any accept any value, so that a wrong value is distinguished from
    a wrong file. A field of the Struct that an element has twice is an error; other keys are ignored.
    """

    path: str
    key: str
    element: type[T]
    max_element: int = MAX_ELEMENT
    chunk: int = CHUNK

    def objects(self, within: tuple[int, int] | None = None) -> Iterator[tuple[int, T | JsonFault]]:
        """(byte offset, element) of every element, or of those that begin in [start, stop). Raises DataError."""
        for place, found in self.located(within):
            yield place.start, found

    def located(self, within: tuple[int, int] | None = None) -> Iterator[tuple[Slice, T | JsonFault]]:
        """Every element, or those that begin in [start, stop), with its place. Raises DataError."""
        decode = self.decoder()
        for place in self.slices(within):
            yield place, decode(place.text, place.start)

    def decoder(self, seen: bool = False) -> Decode[T]:
        """Decodes elements. Raises DataError where one is no JSON; `seen`: each was decoded before, so none has a key twice."""
        decode = _Decoder(self.path, self.element, () if seen else None)
        too_long = JsonFault("too_long_text", f"an element of more than {self.max_element} bytes")
        return lambda text, start: too_long if text is None else decode(text, start)

    def texts(self, places: Iterable[tuple[int, int]]) -> Iterator[bytes | None]:
        """Texts of elements whose (byte offset, length) is known, in the order given; None where it is longer than the cap.

        Reads ahead where the next element follows closely. Raises DataError where the file has become shorter.
        """
        at, ahead = 0, b""
        with location.open_unbuffered(self.path) as file:
            for start, length in places:
                if not length or length > self.max_element:
                    yield None if length else b""
                    continue
                if not at <= start <= start + length <= at + len(ahead):
                    follows = at <= start <= at + len(ahead) + self.chunk
                    at = file.seek(start)
                    ahead = file.read(max(length, self.chunk if follows else 0)) or b""
                    if len(ahead) < length:
                        raise self._broken("the file is cut", start + len(ahead))
                yield ahead[start - at : start - at + length]

    def slices(self, within: tuple[int, int] | None = None) -> Iterator[Slice]:
        """Byte ranges of the elements, and their texts. Reading all of them checks the file to its last byte. Raises DataError."""
        with location.open_file(self.path) as file:
            if within is not None:
                yield from self._elements(file, *within)
                return
            root, begin = self._find(file)
            end = yield from self._elements(file, begin)
            self._check_rest(file, root, end)

    def _find(self, file: BinaryIO) -> tuple[bytes, int]:
        """The bracket that opens the file, and the offset of the byte after the one that opens the array."""
        outer = next(self._outline(file, 0))
        root = outer.text.removeprefix(_BOM).strip(_SPACE)
        if root == b"[":
            return root, outer.offset + 1
        if root != b"{":
            raise self._broken("not a JSON object or array", 0)
        for bracket in self._outline(file, outer.offset + 1):
            if bracket.depth == 1 and self._is_label(bracket.text):
                return root, bracket.offset + 1
            if bracket.depth < 0:
                break
        what = f"there is no array named {self.key!r}"  # which may be valid JSON
        raise DataError(what, f"{self.path}: byte 0", "name a JSON file that has it at its top level")

    def _is_label(self, text: bytes) -> bool:
        return re.search(rb'(?<!\\)"' + re.escape(self.key.encode()) + rb'"\s*:\s*\[$', text) is not None

    def _elements(self, file: BinaryIO, begin: int, stop: int | None = None) -> Generator[Slice, None, int]:
        """Elements from `begin` (an element, or just inside the array) to `stop` or to the array's end, which is returned."""
        start, before = begin, (b"{",)
        for offset, depth, length, text in self._outline(file, begin):
            if depth == 0:
                yield Slice(start, offset + 1, b"{" + text if length < self.max_element else None)
                before = (b",{",)
            elif depth < 0:
                return self._closed(offset, text)
            elif stop is not None and offset >= stop:
                return offset
            elif text.translate(None, _SPACE) not in before:
                raise self._broken("an element is not an object, or a comma is missing or too many", offset)
            else:
                start = offset
        raise AssertionError("an outline ends with its own closing bracket")

    def _closed(self, offset: int, text: bytes) -> int:
        if text.strip(_SPACE) != b"]":
            raise self._broken("the array does not end properly", offset)
        return offset + 1

    def _check_rest(self, file: BinaryIO, root: bytes, end: int) -> None:
        """Raises DataError for a second array of the same name, a cut file, and anything after its end."""
        if root == b"{":
            for bracket in self._outline(file, end):
                if bracket.depth == 1 and self._is_label(bracket.text):
                    raise self._broken(f"{self.key!r} is given twice", bracket.offset)
                if bracket.depth < 0:
                    end = bracket.offset + 1
                    break
        file.seek(end)
        while rest := file.read(self.chunk):
            if rest.strip(_SPACE):
                raise self._broken("text after the end", file.tell() - len(rest.lstrip(_SPACE)))

    def _outline(self, file: BinaryIO, start: int) -> Iterator[_Bracket]:
        """The brackets at the level of `start`, to the one that closes that level. Raises DataError where the file ends before."""
        length, text, end = 0, b"", start
        for base, chunk, at, depths in self._chunks(file, start):
            done, end = 0, base + len(chunk)
            for position, depth in zip(at, depths, strict=True):
                piece = chunk[done : position + 1]
                yield _Bracket(base + position, depth, length + len(piece), text + piece)
                if depth < 0:
                    return
                length, text, done = 0, b"", position + 1
            length += len(chunk) - done
            text = text + chunk[done:] if length <= self.max_element else (text + chunk[done:])[-_TAIL:]
        raise self._broken("the file is cut", end)

    def _chunks(self, file: BinaryIO, start: int) -> Iterator[tuple[int, bytes, list[int], list[int]]]:
        """Chunks of the file with their offset, and positions in each and depths of the brackets that `_outline` is made of."""
        file.seek(start)
        base, depth, quoted, escaped = start, 0, 0, False
        while chunk := file.read(self.chunk):
            plain, escaped = _without_escapes(chunk, escaped)
            marks = np.frombuffer(plain, np.uint8)
            at = _marks(marks)
            kinds = marks[at]
            parity = (quoted + np.cumsum(kinds == ord('"'))) & 1
            outside = (_STEP[kinds] != 0) & (parity == 0)
            at, steps = at[outside], _STEP[kinds[outside]]
            depths = depth + np.cumsum(steps, dtype=np.int64)
            outline = (depths <= 0) | ((depths == 1) & (steps > 0))
            yield base, chunk, at[outline].tolist(), depths[outline].tolist()
            base += len(chunk)
            depth = int(depths[-1]) if depths.size else depth
            quoted = int(parity[-1]) if parity.size else quoted

    def _broken(self, what: str, offset: int) -> DataError:
        return _broken(self.path, what, offset)


class _Decoder(Generic[T]):
    """Decodes one element. Where msgspec refuses it, the standard library gives the reason."""

    def __init__(self, path: str, element: type[T], names: tuple[str, ...] | None = None) -> None:
        """`names`: of keys that must not come twice; by default all fields."""
        self._path = path
        self._decode = msgspec.json.Decoder(element).decode
        fields = getattr(element, "__struct_fields__", ()) if names is None else names
        self._names = [f'"{name}"'.encode() for name in fields]

    def __call__(self, text: bytes, start: int) -> T | JsonFault:
        try:
            found = self._decode(text)
        except RecursionError:
            raise _broken(self._path, "an element is nested too deeply", start) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return self._why(text, start, error)
        for name in self._names:
            if text.count(name) > 1:  # a key given twice, or a text that spells a key
                self._parse(text, start)
        return found

    def _why(self, text: bytes, start: int, error: Exception) -> JsonFault:
        """The fault of an element whose grammar is right. Raises DataError where it is not."""
        self._parse(text, start)
        if "out of range" in str(error):
            return JsonFault("bad_number", str(error))
        if isinstance(error, msgspec.ValidationError):
            return JsonFault("bad_row", str(error))
        return JsonFault("bad_text", "not Unicode: a wrong byte or half a surrogate pair")

    def _parse(self, text: bytes, start: int) -> None:
        """Check the grammar, and that no key is given twice. Numbers stay text: they may have any length."""
        readable = text.decode(errors="replace")
        try:
            json.loads(readable, object_pairs_hook=_unique, parse_int=str, parse_float=str, parse_constant=_refuse)
        except json.JSONDecodeError as error:
            raise _broken(self._path, error.msg, start + len(readable[: error.pos].encode())) from None
        except (ValueError, RecursionError) as error:
            raise _broken(self._path, str(error), start) from None


def _without_escapes(chunk: bytes, escaped: bool) -> tuple[bytes, bool]:
    """The chunk with escaped quotes and backslashes blanked, byte for byte, and whether it ends inside an escape.

    A run of backslashes is paired from its left, as JSON reads it; `escaped` says that the chunk before ended with half a pair.
    """
    if escaped:
        chunk = b"." + chunk[1:]
    if b"\\" not in chunk:
        return chunk, False
    plain = chunk.replace(b"\\\\", b"..").replace(b'\\"', b"..")
    return plain, plain.endswith(b"\\")


def _marks(text: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Positions of quotes and brackets. Square brackets are curly ones without bit 5."""
    curled = text | 0x20
    return np.flatnonzero((text == ord('"')) | (curled == ord("{")) | (curled == ord("}")))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key in found if sum(key == other for other, _ in pairs) > 1)
        raise ValueError(f"the key {twice[:40]!r} is given twice")
    return found


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def _broken(path: str, what: str, offset: int) -> DataError:
    return DataError(f"not valid JSON: {what}", f"{path}: byte {offset}", "repair the file or fetch it again")
