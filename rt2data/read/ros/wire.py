"""Decodes ROS 1 and ROS 2 (CDR) messages to plain values: groups become dicts, arrays of numbers NumPy arrays, times `Stamp`s.

Definitions are parsed by rosbags, which knows all their forms. Values are decoded by a table of readers here, because rosbags
generates Python code from a definition and runs it; nothing from a file is ever run. Lengths beyond the message's end are never
trusted.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping, Sequence
from functools import cache, lru_cache, partial
from typing import Any

import numpy as np

from rt2data.read.ros.values import DEEPEST, LONGEST_DEFINITION, Decode, MessageFault, Stamp, UnreadableError, Value, ros_type

_Read = Callable[[memoryview, int], tuple[Value, int]]

_PARTS = 10_000
"""Maximum fields of a message, including nested ones; an array may have a hundred times as many, counting the fields of all
elements."""
_COMMENTS = re.compile(r"^[ \t]*#[^\n]*\n", re.MULTILINE)
"""Comment lines, removed because parsing them takes most of the time."""
_SEPARATOR = "=" * 80 + "\n"
_NUMBERS = {
    "bool": "?",
    "byte": "B",
    "char": "B",
    **dict(zip(("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"), "bBhHiIqQ", strict=True)),
    "float32": "f",
    "float64": "d",
}
_TIMES = ("builtin_interfaces/msg/Time", "builtin_interfaces/msg/Duration")


def wire_decoder(name: str, encoding: str, definition: bytes, language: str) -> Decode:
    """The decoder for `ros1` or `cdr` messages. Raises UnreadableError."""
    types = _types(ros_type(name), definition, language)
    if encoding == "ros1":
        return partial(_whole, _Wire(types, "<", False).group(ros_type(name)), 0)
    orders = {flag: _Wire(types, sign, True).group(ros_type(name)) for flag, sign in ((0, ">"), (1, "<"))}
    return partial(_cdr, orders)


def _cdr(orders: Mapping[int, _Read], data: memoryview) -> dict[str, Value]:
    """Decode plain CDR: four bytes give the encoding of the rest, and alignment counts from after them."""
    if len(data) < 4 or data[0] != 0 or data[1] not in orders:
        raise MessageFault(f"not plain CDR: it begins with {bytes(data[:4]).hex()}")
    return _whole(orders[data[1]], 0, data[4:])


def _whole(read: _Read, at: int, data: memoryview) -> dict[str, Value]:
    try:
        found: dict[str, Value] = read(data, at)[0]
    except (struct.error, ValueError) as error:
        raise MessageFault(f"it does not hold what its definition says: {error}") from None
    return found


@lru_cache(maxsize=64)
def _types(name: str, definition: bytes, language: str) -> dict[str, list[tuple[str, Any]]]:
    """Fields by type name, from the definition or else from ROS 2's standard messages. Raises UnreadableError."""
    from rosbags.typesys import TypesysError

    text = _COMMENTS.sub("", definition.decode("utf-8", "replace"))
    if len(text) > LONGEST_DEFINITION:
        raise UnreadableError(f"a definition of {len(text):,} characters is not read")
    if not text.strip():
        return _undefined(name, language)
    try:
        found = _parsed(name, text, language)
    except (TypesysError, ValueError, RecursionError) as error:
        raise UnreadableError(f"its definition cannot be parsed: {str(error)[:200]}") from None
    brought = {kind: _known()[kind] for kind in _TIMES} if language == "ros1msg" else _known()  # ROS 1 has a different Header
    return brought | {kind: fields for kind, (_, fields) in found.items()}


def _parsed(name: str, text: str, language: str) -> dict[str, Any]:
    from rosbags.typesys import get_types_from_idl, get_types_from_msg

    if language in ("ros1msg", "ros2msg", ""):
        return dict(get_types_from_msg(text, name))
    if language != "ros2idl":
        raise UnreadableError(f"definitions in {language[:40]!r} are not read: known are ros1msg, ros2msg and ros2idl")
    found: dict[str, Any] = {}
    for part in filter(str.strip, text.split(_SEPARATOR)):
        found |= get_types_from_idl(part.partition("\n")[2] if part.startswith("IDL: ") else part)
    return found


def _undefined(name: str, language: str) -> dict[str, list[tuple[str, Any]]]:
    """Types without a definition: an empty definition means an empty message; a missing one requires a standard ROS 2 type."""
    if language:
        return {**_known(), name: []}
    if name not in _known():
        raise UnreadableError(f"the log has no definition of {name}")
    return _known()


@cache
def _known() -> dict[str, list[tuple[str, Any]]]:
    """ROS 2's standard messages: databases before Iron name types without defining them."""
    from rosbags.typesys.stores.ros2_humble import FIELDDEFS

    return {kind: fields for kind, (_, fields) in FIELDDEFS.items()}


class _Wire:
    """Readers of the types of one definition, in one byte order."""

    def __init__(self, types: Mapping[str, list[tuple[str, Any]]], order: str, aligned: bool) -> None:
        self.types, self.order, self.aligned = types, order, aligned
        self._groups: dict[str, _Read] = {}
        self._parts: dict[str, int] = {}

    def parts(self, kind: str, above: tuple[str, ...] = ()) -> int:
        """The number of fields of a type, including nested ones. Raises UnreadableError if there are too many, or the type is
        recursive.
        """
        if kind not in self.types:
            raise UnreadableError(f"the log has no definition of {kind[:80]}")
        if kind in above or len(above) > DEEPEST:
            raise UnreadableError(f"the definition of {kind[:80]} holds itself, or is nested too deep")
        if kind not in self._parts:
            self._parts[kind] = 1 + sum(self._parts_of(field, (*above, kind)) for _, field in self.types[kind])
        if self._parts[kind] > _PARTS:
            raise UnreadableError(f"the definition of {kind[:80]} has more than {_PARTS:,} fields")
        return self._parts[kind]

    def _parts_of(self, field: Any, above: tuple[str, ...]) -> int:
        node, what = field
        if node.name == "NAME":
            return self.parts(what, above)
        return 1 if node.name == "BASE" else self._parts_of(what[0], above)

    def group(self, kind: str) -> _Read:
        """The reader for a message or a nested message."""
        self.parts(kind)
        if kind not in self._groups:
            self._groups[kind] = self._time(kind) if kind in _TIMES else self._fields(self.types[kind])
        return self._groups[kind]

    def _time(self, kind: str) -> _Read:
        """The reader for a time or duration. In ROS 1 both parts of a time are unsigned, both of a duration signed."""
        ros1 = "II" if kind == _TIMES[0] else "ii"
        parts = struct.Struct(self.order + ("iI" if self.aligned else ros1))

        def read(data: memoryview, at: int) -> tuple[Value, int]:
            at += -at % 4 if self.aligned else 0
            seconds, rest = parts.unpack_from(data, at)
            return Stamp(seconds * 10**9 + rest), at + 8

        return read

    def _fields(self, fields: Sequence[tuple[str, Any]]) -> _Read:
        readers = [(name, self._field(field)) for name, field in fields]
        filler = int(self.aligned and not fields)  # DDS has no empty structures

        def read(data: memoryview, at: int) -> tuple[Value, int]:
            found = {}
            for name, each in readers:
                found[name], at = each(data, at)
            return found, at + filler

        return read

    def _field(self, field: Any) -> _Read:
        node, what = field
        if node.name == "NAME":
            return self.group(what)
        if node.name == "BASE":
            return self._text() if what[0] == "string" else self._number(self._code(what[0]))
        inner, size = what
        count = self._count() if node.name == "SEQUENCE" else (lambda data, at: (size, at))
        if inner[0].name == "BASE" and inner[1][0] != "string":
            return self._numbers(self._code(inner[1][0]), count)
        return self._list(self._field(inner), count, self._parts_of(inner, ()))

    def _code(self, name: str) -> str:
        if name not in _NUMBERS:
            raise UnreadableError(f"fields of type {name[:40]} are not read")
        return "b" if name == "byte" and not self.aligned else _NUMBERS[name]

    def _number(self, code: str) -> _Read:
        number, aligned = struct.Struct(self.order + code), self.aligned
        size = number.size

        def read(data: memoryview, at: int) -> tuple[Value, int]:
            at += -at % size if aligned else 0
            return number.unpack_from(data, at)[0], at + size

        return read

    def _count(self) -> _Read:
        return self._number("I")

    def _numbers(self, code: str, count: _Read) -> _Read:
        kind, aligned = np.dtype(self.order + code), self.aligned

        def read(data: memoryview, at: int) -> tuple[Value, int]:
            length, at = count(data, at)
            if not length:
                return np.empty(0, kind), at
            at += -at % kind.itemsize if aligned else 0
            _require(data, at, length * kind.itemsize)
            return np.frombuffer(data, kind, length, at), at + length * kind.itemsize

        return read

    def _text(self) -> _Read:
        count, ending = self._count(), int(self.aligned)  # CDR's length includes a final zero

        def read(data: memoryview, at: int) -> tuple[Value, int]:
            length, at = count(data, at)
            _require(data, at, length)
            return str(data[at : at + max(length - ending, 0)], "utf-8", "surrogateescape"), at + length

        return read

    def _list(self, each: _Read, count: _Read, parts: int) -> _Read:
        def read(data: memoryview, at: int) -> tuple[Value, int]:
            length, at = count(data, at)
            if length * parts > 100 * _PARTS:
                raise ValueError(f"an array of {length:,} elements")
            found = []
            for _ in range(length):
                value, at = each(data, at)
                found.append(value)
            return found, at

        return read


def _require(data: memoryview, at: int, length: int) -> None:
    if at + length > len(data):
        raise ValueError(f"{length:,} bytes at byte {at:,} of {len(data):,}")
