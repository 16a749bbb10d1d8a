"""Encodes and decodes tf.train.Example without protobuf.

    Example { Features features = 1 }          Features { map<string, Feature> feature = 1 }
    Feature { oneof kind { BytesList = 1, FloatList = 2, Int64List = 3 } }     each list { repeated value = 1, numbers packed }

Source: tensorflow/core/example/{example,feature}.proto. Decoding reads only names and lengths; values are read on demand, and bytes
stay in the payload, as ranges.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from rt2data.io.tfrecord.framing import FOOTER, HEADER, MAX_PAYLOAD, frame_header, mask
from rt2data.io.tfrecord.wire import (
    BLOCK,
    FIXED32,
    VARINT,
    Field,
    MalformedError,
    block,
    block_head,
    decode_int64s,
    encode_int64s,
    fields,
    varint,
)

ListKind = Literal["bytes", "float", "int64"]
Values = Sequence[bytes] | NDArray[np.float32] | NDArray[np.int64]

_KINDS: dict[int, ListKind] = {1: "bytes", 2: "float", 3: "int64"}
_NUMBERS = {kind: number for number, kind in _KINDS.items()}
_BLOCK_TAG = 1 << 3 | BLOCK
_FEATURE_TAG = 2 << 3 | BLOCK
_LIST_TAGS = {number << 3 | BLOCK: kind for number, kind in _KINDS.items()}


_CACHED = 256
"""Bytes: longer values are not cached for the next record."""


class Feature(NamedTuple):
    """One feature of an Example: bytes [start, stop) of `payload` are its list. An unset feature has kind None."""

    payload: memoryview
    kind: ListKind | None
    start: int
    stop: int

    def spans(self) -> list[tuple[int, int]]:
        """Byte ranges (start, stop) of the payload, one per value. Raises MalformedError unless it is a list of bytes."""
        self._expect("bytes")
        return _spans(self.payload, self.start, self.stop)

    def floats(self) -> NDArray[np.float32]:
        """float32[n], a view of the payload if possible. Raises MalformedError unless it is a list of floats."""
        self._expect("float")
        return _join_floats([self._float_part(wire, start, stop) for _, wire, start, stop in self._values()])

    def int64s(self) -> NDArray[np.int64]:
        """int64[n]. Raises MalformedError unless it is a list of integers."""
        self._expect("int64")
        return _join_ints([self._int_part(wire, start, stop) for _, wire, start, stop in self._values()])

    def values(self) -> Values:
        """All values, in the form that `encode_example` takes."""
        if self.kind == "float":
            return self.floats()
        if self.kind == "int64":
            return self.int64s()
        return [bytes(self.payload[start:stop]) for start, stop in self.spans()]

    def _expect(self, kind: ListKind) -> None:
        if self.kind not in (kind, None):
            raise MalformedError(f"a list of {kind} values was expected, this one holds {self.kind} values")

    def _values(self) -> list[Field]:
        return [one for one in fields(self.payload, self.start, self.stop) if one[0] == 1]

    def _float_part(self, wire: int, start: int, stop: int) -> NDArray[np.float32]:
        """A packed run of floats, or a single one."""
        if wire not in (BLOCK, FIXED32) or (stop - start) % 4:
            raise MalformedError(f"a list of floats that holds {stop - start} bytes of wire type {wire}, byte {start}")
        return np.frombuffer(self.payload, "<f4", (stop - start) // 4, start)

    def _int_part(self, wire: int, start: int, stop: int) -> NDArray[np.int64]:
        """A packed run of integers, or a single one."""
        if wire not in (BLOCK, VARINT):
            raise MalformedError(f"a list of integers that holds wire type {wire}, byte {start}")
        return decode_int64s(np.frombuffer(self.payload, np.uint8, stop - start, start))


def decode_example(payload: memoryview) -> dict[str, Feature]:
    """Features by name. If a name occurs twice, the last one counts, as in protobuf. Raises MalformedError."""
    found: dict[str, Feature] = {}
    for part in _blocks(payload, 0, len(payload), "Example"):
        for start, stop in _blocks(payload, part[0], part[1], "Features"):
            name, feature = _plain_entry(payload, start, stop) or _entry(payload, start, stop)
            found[name] = feature
    return found


def _blocks(payload: memoryview, start: int, stop: int, message: str) -> list[tuple[int, int]]:
    """Byte ranges of the length-delimited fields with number 1. Other numbers, from later versions of the message, are skipped."""
    found = [one for one in fields(payload, start, stop) if one[0] == 1]
    if any(wire != BLOCK for _, wire, _, _ in found):
        raise MalformedError(f"{message} with a field of the wrong wire type, byte {start}")
    return [(begin, end) for _, _, begin, end in found]


def _plain_entry(payload: memoryview, start: int, stop: int) -> tuple[str, Feature] | None:
    """An entry in the form used by most writers: a short name, a feature with one list, nothing else; None for any other."""
    try:
        at = start + 2 + payload[start + 1]
        if payload[start] != _BLOCK_TAG or payload[start + 1] > 127 or payload[at] != _FEATURE_TAG:
            return None
        size, begin = varint(payload, at + 1)
        kind = _LIST_TAGS.get(payload[begin])
        length, first = varint(payload, begin + 1)
    except (IndexError, MalformedError):
        return None
    if kind is None or begin + size != stop or first + length != stop:
        return None
    return _name(payload, start + 2, at), Feature(payload, kind, first, stop)


def _entry(payload: memoryview, start: int, stop: int) -> tuple[str, Feature]:
    """One entry of the map from names to features."""
    name, feature = "", Feature(payload, None, 0, 0)
    for number, wire, begin, end in fields(payload, start, stop):
        if number in (1, 2) and wire != BLOCK:
            raise MalformedError(f"a feature with a field of the wrong wire type, byte {begin}")
        if number == 1:
            name = _name(payload, begin, end)
        elif number == 2:
            feature = _feature(payload, begin, end)
    return name, feature


def _name(payload: memoryview, start: int, stop: int) -> str:
    try:
        return str(payload[start:stop], "utf-8")
    except UnicodeDecodeError:
        raise MalformedError(f"the name of a feature is not UTF-8, byte {start}") from None


def _feature(payload: memoryview, start: int, stop: int) -> Feature:
    lists = [one for one in fields(payload, start, stop) if one[0] in _KINDS]
    if not lists:
        return Feature(payload, None, 0, 0)
    number, wire, begin, end = lists[0]
    if len(lists) > 1 or wire != BLOCK:
        raise MalformedError(f"a feature must hold one list, byte {start}")
    return Feature(payload, _KINDS[number], begin, end)


def _spans(payload: memoryview, start: int, stop: int) -> list[tuple[int, int]]:
    """A fast `fields` for the case that occurs once per image: values of field 1, each after its length."""
    found = []
    at = start
    try:
        while at < stop:
            if payload[at] != _BLOCK_TAG:
                raise MalformedError(f"a list of bytes with another field in it, byte {at}")
            size = payload[at + 1]
            at += 2
            shift = 7
            while size >> shift and shift < 70:  # the last byte read says that more follow
                size = size - (1 << shift) | payload[at] << shift
                at += 1
                shift += 7
            found.append((at, at := at + size))
    except IndexError:
        raise MalformedError(f"the list ends inside a value, byte {start}") from None
    if at > stop:
        raise MalformedError(f"a value reaches beyond its list, byte {start}")
    return found


def _join_floats(parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
    return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, np.float32), *parts])


def _join_ints(parts: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    return parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, np.int64), *parts])


# Encode


def encode_example(features: Mapping[str, Values]) -> bytes:
    """One Example, the same bytes for the same features: names sorted, numbers packed.

    Raises TypeError for anything but bytes, float32 and int64.
    """
    return block(1, b"".join([encode_feature(name, features[name]) for name in sorted(features)]))


def encode_feature(name: str, values: Values | Sequence[int] | Sequence[float], kind: ListKind | None = None) -> bytes:
    """One entry of the map from names to features. `kind` must be given if the values are Python numbers.

    Raises TypeError for arrays of anything but float32 and int64.
    """
    kind = kind or _kind(values)
    if kind == "bytes":
        blocks = [block(1, value) for value in values]  # type: ignore[arg-type]
        packed = blocks[0] if len(blocks) == 1 else b"".join(blocks)
    elif kind == "float":
        packed = values.astype("<f4").tobytes() if isinstance(values, np.ndarray) else struct.pack(f"<{len(values)}f", *values)
    else:
        packed = encode_int64s(values)  # type: ignore[arg-type]
    return _entry_of(name, kind, packed) if len(packed) <= _CACHED else _entry_of.__wrapped__(name, kind, packed)


@lru_cache(maxsize=1 << 14)
def encode_text(name: str, text: str) -> bytes:
    """The entry of one text, cached for the next record: for texts that repeat, such as sources and instructions."""
    return encode_feature(name, (text.encode(),), "bytes")


def _kind(values: object) -> ListKind:
    if not isinstance(values, np.ndarray):
        return "bytes"
    if values.dtype not in (np.float32, np.int64):
        raise TypeError(f"a feature holds bytes, float32 or int64, not {values.dtype}")
    return "float" if values.dtype == np.float32 else "int64"


@lru_cache(maxsize=1 << 14)
def _entry_of(name: str, kind: ListKind, packed: bytes) -> bytes:
    """An entry, cached because most short values repeat: sources, instructions, masks, steps."""
    values = packed if kind == "bytes" or not packed else block(1, packed)
    return block(1, block(1, name.encode()) + block(2, block(_NUMBERS[kind], values)))


# Encode with room for bytes that are later read directly into place


@dataclass(frozen=True, slots=True)
class Room:
    """Space reserved for a list of byte strings of these lengths."""

    lengths: Sequence[int]


class Parts(NamedTuple):
    """Encoded bytes, with room (feature, length) between them; `size` counts both, in bytes."""

    parts: Sequence[bytes | tuple[str, int]]
    size: int

    def write(self, payload: memoryview) -> dict[str, list[memoryview]]:
        """Write the bytes into a payload of `size` bytes; returns the remaining room, by feature, one view per value in order."""
        at, places = 0, dict[str, list[memoryview]]()
        for part in self.parts:
            if isinstance(part, bytes):
                payload[at : at + len(part)] = part
                at += len(part)
            else:
                places.setdefault(part[0], []).append(payload[at : at + part[1]])
                at += part[1]
        return places


def encode_with_room(entries: Iterable[bytes | tuple[str, Room]]) -> Parts:
    """One Example of these entries in the given order: results of `encode_feature`, and names of bytes features with room.

    The bytes equal those of `encode_example` for the same order, without copying large values at each level of nesting.
    """
    parts: list[bytes | tuple[str, int]] = []
    size = 0
    for entry in entries:
        if isinstance(entry, bytes):
            parts.append(entry)
            size += len(entry)
        else:
            found = _room_entry(*entry)
            parts += found.parts
            size += found.size
    head = block_head(1, size)
    return Parts([head, *parts], len(head) + size)


def _room_entry(name: str, room: Room) -> Parts:
    parts: list[bytes | tuple[str, int]] = []
    size = 0
    for length in room.lengths:
        head = block_head(1, length)
        parts += (head, (name, length))
        size += len(head) + length
    before = block_head(_NUMBERS["bytes"], size)
    before = block(1, name.encode()) + block_head(2, len(before) + size) + before
    before = block_head(1, len(before) + size) + before
    return Parts([before, *parts], len(before) + size)


@dataclass(frozen=True, slots=True)
class Record:
    """One framed record; `places` are writable views of its room, by feature, one per value in order."""

    buffer: bytearray
    places: Mapping[str, Sequence[memoryview]]

    def close(self) -> bytearray:
        """The whole record with its checksum, once all room is filled."""
        crc = google_crc32c.extend(0, np.frombuffer(self.buffer, np.uint8, len(self.buffer) - HEADER - FOOTER, HEADER))
        struct.pack_into("<I", self.buffer, len(self.buffer) - FOOTER, mask(crc))
        return self.buffer


def record_with_room(features: Mapping[str, Values | Room]) -> Record:
    """One Example as a framed record, names sorted. Raises ValueError if it would exceed the maximum record size."""
    named = sorted(features.items())
    whole = encode_with_room((name, each) if isinstance(each, Room) else encode_feature(name, each) for name, each in named)
    if whole.size > MAX_PAYLOAD:
        raise ValueError(f"a record of {whole.size:,} bytes, more than {MAX_PAYLOAD:,}")
    buffer = bytearray(HEADER + whole.size + FOOTER)
    buffer[:HEADER] = frame_header(whole.size)
    return Record(buffer, whole.write(memoryview(buffer)[HEADER:]))
