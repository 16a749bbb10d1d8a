"""Reads an array or object in a JSON file element by element, in constant memory: the file may be larger than memory, or malicious.

Two passes in C over each chunk: numpy finds the brackets outside strings and their depth, which gives the first and last byte of
each element; msgspec decodes that slice into a typed record. Thus an element that is too long is skipped without being held in
memory, and every fault has a byte offset. Violations of JSON's grammar (a truncated file, NaN, a duplicate key) raise DataError:
nothing after them can be trusted. Faults in the content of one element (too long, not Unicode) yield a `JsonFault` in its place.
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
_STEP = np.zeros(256, np.int8)  # change of depth at a bracket
_STEP[list(b"[{")], _STEP[list(b"]}")] = 1, -1


@dataclass(frozen=True, slots=True)
class JsonFault:
    """An element that cannot be used. `reason` is a short snake_case word for a Reject."""

    reason: str  # too_long_text, bad_text, bad_number, bad_row
    detail: str = ""


Decode = Callable[[bytes | None, int], T | JsonFault]
"""Decodes the text of an element (None if too long), given its first byte."""


class Slice(NamedTuple):
    """One element: its first byte, the byte after its last, and its text (None if longer than the cap).

    For a member of an object, the first byte is that of the key, but the text is only the value.
    """

    start: int
    stop: int
    text: bytes | None
    key: str | JsonFault = ""  # of a member of an object


class _Bracket(NamedTuple):
    """A bracket in the outline of a scan: it opens or closes a child, or closes the scanned level."""

    offset: int
    depth: int  # depth after it: 1 opens a child, 0 closes a child, -1 the end
    length: int  # bytes since the previous bracket, including this one
    text: bytes  # those bytes; only the last few if longer than the cap


@dataclass(frozen=True)
class JsonArray(Generic[T]):
    """The array under `key` of a JSON object, or a JSON file that is itself an array, of objects of type `element`.

    `element` is a msgspec.Struct type, or dict. Fields of type Any accept any value, so that a wrong value is distinguished from a
    wrong file. It is an error if an element has a field of the Struct twice; other keys are ignored.
    """

    path: str
    key: str
    element: type[T]
    max_element: int = MAX_ELEMENT
    chunk: int = CHUNK
    strict: bool = True  # False: an element with invalid grammar but balanced brackets is a JsonFault
    once: tuple[str, ...] = ()  # additional keys that an element must not have twice

    def objects(self, within: tuple[int, int] | None = None) -> Iterator[tuple[int, T | JsonFault]]:
        """(byte offset, element) of every element, or of those that begin in [start, stop). Raises DataError."""
        for place, found in self.located(within):
            yield place.start, found

    def located(self, within: tuple[int, int] | None = None) -> Iterator[tuple[Slice, T | JsonFault]]:
        """Every element, or those that begin in [start, stop), with their places. Raises DataError."""
        decode = self.decoder()
        for place in self.slices(within):
            yield place, decode(place.text, place.stop - len(place.text or b""))

    def decoder(self, seen: bool = False) -> Decode[T]:
        """A decoder for elements. Raises DataError if one is not JSON; `seen`: each was decoded before, so duplicate keys are not
        checked.
        """
        decode = _Decoder(self.path, self.element, () if seen else self.once or None, self.strict)
        too_long = JsonFault("too_long_text", f"an element of more than {self.max_element} bytes")
        return lambda text, start: too_long if text is None else decode(text, start)

    def texts(self, places: Iterable[tuple[int, int]]) -> Iterator[bytes | None]:
        """Texts of elements with known (byte offset, length), in the order given; None if longer than the cap.

        Reads ahead if the next element is close. Raises DataError if the file has become shorter.
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
        """The bracket that opens the file, and the offset after the bracket that opens the array."""
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
        what = f"there is no array named {self.key!r}"  # the file may still be valid JSON
        raise DataError(what, f"{self.path}: byte 0", "name a JSON file that has it at its top level")

    def _is_label(self, text: bytes) -> bool:
        return re.search(rb'(?<!\\)"' + re.escape(self.key.encode()) + rb'"\s*:\s*\[$', text) is not None

    def _elements(self, file: BinaryIO, begin: int, stop: int | None = None) -> Generator[Slice, None, int]:
        """Elements from `begin` (an element, or just inside the array) to `stop` or the array's end; returns where it ended."""
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
        """Where the element opened by a bracket begins, and its key. `text` ends with the bracket; `before` must precede the
        element.
        """
        if text.translate(None, _SPACE) != before + b"{":
            raise self._broken("an element is not an object, or a comma is missing or too many", offset)
        return offset, ""

    def _closed(self, offset: int, text: bytes) -> int:
        if text.strip(_SPACE) != b"]":
            raise self._broken("the array does not end properly", offset)
        return offset + 1

    def _check_rest(self, file: BinaryIO, root: bytes, end: int) -> None:
        """Raises DataError for a second array with the same name, a truncated file, and anything after its end."""
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
        """The brackets at the level of `start`, up to the one that closes that level. Raises DataError if the file ends earlier."""
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
"""Number of an object's first keys that are checked for duplicates: 32 MB of hashes."""


@dataclass(frozen=True)
class JsonObject(JsonArray[T]):
    """A JSON file that is one object whose values are objects of type `element`: {"1": {...}, "2": {...}}. `key` is not used.

    Reading all of it detects duplicates among the first `KEYS` keys.
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
        """An empty bracket, since nothing encloses the object, and the offset after the bracket that opens it."""
        outer = next(self._outline(file, 0))
        if outer.text.removeprefix(_BOM).strip(_SPACE) != b"{":
            raise self._broken("not a JSON object", 0)
        return b"", outer.offset + 1

    def _opened(self, offset: int, text: bytes, before: bytes) -> tuple[int, str | JsonFault]:
        """Where the member's key begins, and the key."""
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
        """Compare keys with equal hashes in a second pass. Raises DataError."""
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
"""A value for `once`: no key may occur twice."""


def decoder_of(path: str, once: tuple[str, ...] = ()) -> Decode[dict[str, Any]]:
    """A decoder for objects in a file, such as its lines. An invalid object yields a JsonFault; `once`: keys it must not have
    twice.
    """
    decode = _Decoder(path, dict, once, strict=False)
    return lambda text, start: JsonFault("too_long_text") if text is None else decode(text, start)


class _Decoder(Generic[T]):
    """Decodes one element. If msgspec refuses it, the standard library finds the reason."""

    def __init__(self, path: str, element: type[T], names: tuple[str, ...] | None = None, strict: bool = True) -> None:
        """`names`: keys that must not occur twice; by default all fields."""
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
            self._parse(text, start)  # a duplicate key, or a text equal to a key
        return found

    def _why(self, text: bytes, start: int, error: Exception) -> JsonFault:
        """The fault of an element with valid grammar. Raises DataError if the grammar is invalid."""
        self._parse(text, start)
        if "out of range" in str(error):
            return JsonFault("bad_number", str(error))
        if isinstance(error, msgspec.ValidationError):
            return JsonFault("bad_row", str(error))
        return JsonFault("bad_text", "not Unicode: a wrong byte or half a surrogate pair")

    def _parse(self, text: bytes, start: int) -> None:
        """Check the grammar, and that there are no duplicate keys. Numbers stay text: they may have any length."""
        readable = text.decode(errors="replace")
        try:
            json.loads(readable, object_pairs_hook=_unique, parse_int=str, parse_float=str, parse_constant=_refuse)
        except json.JSONDecodeError as error:
            raise broken(self._path, error.msg, start + len(readable[: error.pos].encode())) from None
        except (ValueError, RecursionError) as error:
            raise broken(self._path, str(error), start) from None


def bracket_chunks(file: BinaryIO, start: int, size: int, level: int = 0) -> Iterator[tuple[int, bytes, list[int], list[int]]]:
    """Chunks of a JSON file with their offset, the positions of brackets outside strings, and the depth after each bracket.

    Depths count from `start`. Below `level`, only the outermost opening brackets are given.
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
    """Whether a decoded object has as many names and texts as its source text, so that it had no duplicate keys."""
    return isinstance(found, dict) and b"\\" not in text and text.count(b'"') == msgspec.json.encode(found).count(b'"')


def _without_escapes(chunk: bytes, escaped: bool) -> tuple[bytes, bool]:
    """The chunk with escaped quotes and backslashes blanked, byte for byte, and whether it ends inside an escape.

    A run of backslashes is paired from the left, as in JSON; `escaped`: the previous chunk ended with half a pair.
    """
    if escaped:
        chunk = b"." + chunk[1:]
    if b"\\" not in chunk:
        return chunk, False
    plain = chunk.replace(b"\\\\", b"..").replace(b'\\"', b"..")
    return plain, plain.endswith(b"\\")


def _marks(text: np.ndarray[Any, np.dtype[np.uint8]]) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Positions of quotes and brackets. Square brackets are curly brackets without bit 5."""
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
    """The error for a file that is not JSON at a byte offset."""
    return DataError(f"not valid JSON: {what}", f"{path}: byte {offset}", "repair the file or fetch it again")
