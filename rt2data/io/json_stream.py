"""One array or object of a JSON file, element by element, in constant memory: the file may be larger than memory, or malicious.

Two passes in C over each chunk: numpy finds the brackets outside strings and their depth, which gives the first and last byte of
each element; msgspec decodes that slice into a typed record. So an element that is too long is skipped without being held, and
every fault has a byte offset. What breaks JSON's grammar (a cut file, NaN, a key given twice) raises DataError: nothing after
it can be trusted. What is wrong with the content of one element (too long, not Unicode) is a `JsonFault` in its place.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Generic, NamedTuple, TypeVar

import msgspec
import numpy as np
import xxhash

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
    """One element: its first byte, the byte after its last, and its text; None where it is longer than the cap.

    Of an object's member the first byte is that of its key, while the text is the value's alone.
    """

    start: int
    stop: int
    text: bytes | None
    key: str | JsonFault = ""  # of a member of an object


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
    strict: bool = True  # False: an element whose grammar is broken, while its brackets are whole, is a JsonFault
    once: tuple[str, ...] = ()  # more keys that an element must not have twice

    def objects(self, within: tuple[int, int] | None = None) -> Iterator[tuple[int, T | JsonFault]]:
        """(byte offset, element) of every element, or of those that begin in [start, stop). Raises DataError."""
        for place, found in self.located(within):
            yield place.start, found

    def located(self, within: tuple[int, int] | None = None) -> Iterator[tuple[Slice, T | JsonFault]]:
        """Every element, or those that begin in [start, stop), with its place. Raises DataError."""
        decode = self.decoder()
        for place in self.slices(within):
            yield place, decode(place.text, place.stop - len(place.text or b""))

    def decoder(self, seen: bool = False) -> Decode[T]:
        """Decodes elements. Raises DataError where one is no JSON; `seen`: each was decoded before, so none has a key twice."""
        decode = _Decoder(self.path, self.element, () if seen else self.once or None, self.strict)
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
        start, before = begin, b""
        key: str | JsonFault = ""
        for offset, depth, length, text in self._outline(file, begin):
            if depth == 0:
                yield Slice(start, offset + 1, b"{" + text if length < self.max_element else None, key)
                before = b","
            elif depth < 0:
                return self._closed(offset, text)
            elif stop is not None and offset >= stop:
                return offset
            else:
                start, key = self._opened(offset, text, before)
        raise AssertionError("an outline ends with its own closing bracket")

    def _opened(self, offset: int, text: bytes, before: bytes) -> tuple[int, str | JsonFault]:
        """Where the element begins that a bracket opens, and its key. `text` ends with the bracket; `before` must precede both."""
        if text.translate(None, _SPACE) != before + b"{":
            raise self._broken("an element is not an object, or a comma is missing or too many", offset)
        return offset, ""

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
        for base, chunk, at, depths in bracket_chunks(file, start, self.chunk):
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

    def _broken(self, what: str, offset: int) -> DataError:
        return broken(self.path, what, offset)


KEYS = 1 << 22
"""So many of an object's first keys are compared with each other: 32 MB of hashes."""


@dataclass(frozen=True)
class JsonObject(JsonArray[T]):
    """A JSON file that is one object whose values are objects of type `element`: {"1": {...}, "2": {...}}. `key` is not used.

    Reading all of it notices a key that is given twice, among the first `KEYS`.
    """

    def slices(self, within: tuple[int, int] | None = None) -> Iterator[Slice]:
        """Byte ranges of the members, their keys, and the texts of their values. Raises DataError."""
        hashes = array("Q")
        for place in super().slices(within):
            if within is None and len(hashes) < KEYS:
                hashes.append(_hash(place.key))
            yield place
        self._require_unique(hashes)

    def _find(self, file: BinaryIO) -> tuple[bytes, int]:
        """Nothing is around the object; and the offset of the byte after the bracket that opens it."""
        outer = next(self._outline(file, 0))
        if outer.text.removeprefix(_BOM).strip(_SPACE) != b"{":
            raise self._broken("not a JSON object", 0)
        return b"", outer.offset + 1

    def _opened(self, offset: int, text: bytes, before: bytes) -> tuple[int, str | JsonFault]:
        """Where the key begins, and the key."""
        left = text.lstrip(_SPACE)
        left = left.removeprefix(before).lstrip(_SPACE) if left.startswith(before) else b""
        found = _LABEL.fullmatch(left)
        if found is None:
            raise self._broken("a value is not an object, or a comma is missing or too many", offset)
        return offset + 1 - len(left), self._key(found[1], offset + 1 - len(left))

    def _key(self, text: bytes, start: int) -> str | JsonFault:
        try:
            return _decode_key(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
        try:
            json.loads(text.decode(errors="replace"))
        except json.JSONDecodeError as error:
            raise self._broken(error.msg, start) from None
        return JsonFault("bad_text", "its key is not Unicode")

    def _closed(self, offset: int, text: bytes) -> int:
        if text.strip(_SPACE) != b"}":
            raise self._broken("the object does not end properly", offset)
        return offset + 1

    def _require_unique(self, hashes: array[int]) -> None:
        """Keys whose hashes are equal are compared in a second pass. Raises DataError."""
        ordered = np.sort(np.frombuffer(hashes, np.uint64)) if hashes else np.empty(0, np.uint64)
        suspects = set(ordered[:-1][ordered[:-1] == ordered[1:]].tolist())
        seen = set[str | JsonFault]()
        for place in super().slices() if suspects else ():
            if _hash(place.key) in suspects:
                if place.key in seen:
                    raise self._broken(f"the key {str(place.key)[:40]!r} is given twice", place.start)
                seen.add(place.key)


_LABEL = re.compile(rb'("[^"\\]*(?:\\.[^"\\]*)*")[ \t\r\n]*:[ \t\r\n]*\{', re.DOTALL)
_decode_key = msgspec.json.Decoder(str).decode


def _hash(key: str | JsonFault) -> int:
    return xxhash.xxh3_64_intdigest(str(key).encode())


EVERY_KEY = ("",)
"""As `once`: no key may come twice."""


def decoder_of(path: str, once: tuple[str, ...] = ()) -> Decode[dict[str, Any]]:
    """Decodes objects of a file, such as its lines. What is wrong with one is a JsonFault; `once`: keys it must not have twice."""
    decode = _Decoder(path, dict, once, strict=False)
    return lambda text, start: JsonFault("too_long_text") if text is None else decode(text, start)


class _Decoder(Generic[T]):
    """Decodes one element. Where msgspec refuses it, the standard library gives the reason."""

    def __init__(self, path: str, element: type[T], names: tuple[str, ...] | None = None, strict: bool = True) -> None:
        """`names`: of keys that must not come twice; by default all fields."""
        self._path, self._strict = path, strict
        self._decode = msgspec.json.Decoder(element).decode
        fields = getattr(element, "__struct_fields__", ()) if names is None else names
        self._names = [f'"{name}"'.encode() if name else b'"' for name in fields]

    def __call__(self, text: bytes, start: int) -> T | JsonFault:
        try:
            return self._decoded(text, start)
        except DataError as error:
            if self._strict:
                raise
            return JsonFault("bad_json", error.what.removeprefix("not valid JSON: "))

    def _decoded(self, text: bytes, start: int) -> T | JsonFault:
        try:
            found = self._decode(text)
            kept = not self._names or _is_kept(text, found)
        except RecursionError:
            raise broken(self._path, "an element is nested too deeply", start) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            return self._why(text, start, error)
        if not kept and any(text.count(name) > 1 for name in self._names):
            self._parse(text, start)  # a key given twice, or a text that spells a key
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
            raise broken(self._path, error.msg, start + len(readable[: error.pos].encode())) from None
        except (ValueError, RecursionError) as error:
            raise broken(self._path, str(error), start) from None


def bracket_chunks(file: BinaryIO, start: int, size: int, level: int = 0) -> Iterator[tuple[int, bytes, list[int], list[int]]]:
    """Chunks of a JSON file with their offset, and positions in each of brackets outside strings, with the depth after each.

    Depths count from `start` on. Of what is deeper than `level` only the brackets that open it are given.
    """
    file.seek(start)
    base, depth, quoted, escaped = start, 0, 0, False
    while chunk := file.read(size):
        plain, escaped = _without_escapes(chunk, escaped)
        marks = np.frombuffer(plain, np.uint8)
        at = _marks(marks)
        kinds = marks[at]
        parity = (quoted + np.cumsum(kinds == ord('"'))) & 1
        outside = (_STEP[kinds] != 0) & (parity == 0)
        at, steps = at[outside], _STEP[kinds[outside]]
        depths = depth + np.cumsum(steps, dtype=np.int64)
        outline = (depths <= level) | ((depths == level + 1) & (steps > 0))
        yield base, chunk, at[outline].tolist(), depths[outline].tolist()
        base += len(chunk)
        depth = int(depths[-1]) if depths.size else depth
        quoted = int(parity[-1]) if parity.size else quoted


def _is_kept(text: bytes, found: Any) -> bool:
    """Whether an object holds as many names and texts as it was decoded from, so that no key was given twice."""
    return isinstance(found, dict) and b"\\" not in text and text.count(b'"') == msgspec.json.encode(found).count(b'"')


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


def broken(path: str, what: str, offset: int) -> DataError:
    """The error of a file that is no JSON at a byte."""
    return DataError(f"not valid JSON: {what}", f"{path}: byte {offset}", "repair the file or fetch it again")
