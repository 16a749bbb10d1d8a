"""A record with room left in it: all but the pictures is encoded, and they are then read into their places from where they lie.

The bytes are those that `frame(encode_example(...))` would give, without a copy of the pictures for each level of nesting.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import google_crc32c
import numpy as np

from rt2data.io.tfrecord.example import Values, encode_list
from rt2data.io.tfrecord.framing import FOOTER, HEADER, MAX_PAYLOAD, mask, masked_crc
from rt2data.io.tfrecord.wire import BLOCK, encode_varint

_BYTES_LIST = 1


@dataclass(frozen=True, slots=True)
class Room:
    """Values still to come: a list of so many strings of these lengths."""

    lengths: Sequence[int]


@dataclass(frozen=True, slots=True)
class Record:
    """One framed record; `places` are writable views of its room, by feature, one for each value in order."""

    buffer: bytearray
    places: Mapping[str, Sequence[memoryview]]

    def close(self) -> bytearray:
        """The whole record, its checksum set, once all room is filled."""
        crc = google_crc32c.extend(0, np.frombuffer(self.buffer, np.uint8, len(self.buffer) - HEADER - FOOTER, HEADER))
        struct.pack_into("<I", self.buffer, len(self.buffer) - FOOTER, mask(crc))
        return self.buffer


def record_with_room(features: Mapping[str, Values | Room]) -> Record:
    """Lay one Example out as a framed record. Raises ValueError where it would be longer than a record can be."""
    parts = _Parts([])
    for name in sorted(features):
        parts.add(_entry(name, features[name]))
    whole = parts.inside(1)
    if whole.size > MAX_PAYLOAD:
        raise ValueError(f"a record of {whole.size:,} bytes, more than {MAX_PAYLOAD:,}")
    buffer = bytearray(HEADER + whole.size + FOOTER)
    length = struct.pack("<Q", whole.size)
    buffer[:HEADER] = length + struct.pack("<I", masked_crc(length))
    return Record(buffer, whole.lay(memoryview(buffer)[HEADER:]))


@dataclass(slots=True)
class _Parts:
    """Encoded bytes, and room (feature, length) between them."""

    parts: list[bytes | tuple[str, int]]
    size: int = 0

    def add(self, other: _Parts) -> None:
        self.parts += other.parts
        self.size += other.size

    def inside(self, number: int) -> _Parts:
        """As the value of a length-delimited field."""
        head = _head(number, self.size)
        return _Parts([head, *self.parts], len(head) + self.size)

    def lay(self, payload: memoryview) -> dict[str, list[memoryview]]:
        """Write the bytes into the payload; the room that is left."""
        at, places = 0, dict[str, list[memoryview]]()
        for part in self.parts:
            if isinstance(part, bytes):
                payload[at : at + len(part)] = part
                at += len(part)
            else:
                places.setdefault(part[0], []).append(payload[at : at + part[1]])
                at += part[1]
        return places


def _entry(name: str, values: Values | Room) -> _Parts:
    """One entry of the map from names to features."""
    feature = (_room(name, values) if isinstance(values, Room) else _bytes(encode_list(values))).inside(2)
    entry = _bytes(name.encode()).inside(1)
    entry.add(feature)
    return entry.inside(1)


def _room(name: str, room: Room) -> _Parts:
    found = _Parts([])
    for length in room.lengths:
        head = _head(1, length)
        found.parts += [head, (name, length)]
        found.size += len(head) + length
    return found.inside(_BYTES_LIST)


def _bytes(content: bytes) -> _Parts:
    return _Parts([content], len(content))


def _head(number: int, size: int) -> bytes:
    return encode_varint(number << 3 | BLOCK) + encode_varint(size)
