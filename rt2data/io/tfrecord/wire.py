"""The protobuf wire format, as far as tf.train.Example needs it. Source: protobuf.dev/programming-guides/encoding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

VARINT, FIXED64, BLOCK, FIXED32 = 0, 1, 2, 5
_FIXED = {FIXED64: 8, FIXED32: 4}
_MORE, _SEVEN = 0x80, 0x7F
_ONE_BYTE = [bytes([value]) for value in range(_MORE)]
_RUN = 1 << 20


class MalformedError(ValueError):
    """Bytes that are not a message of the expected type."""


Field = tuple[int, int, int, int]
"""One field of a message: its number, its wire type, and the bytes [start, stop) of its value."""


def fields(message: memoryview, start: int, stop: int) -> list[Field]:
    """The fields of the message in bytes [start, stop), in order. Raises MalformedError."""
    found: list[Field] = []
    at = start
    try:
        while at < stop:
            tag = message[at]
            at += 1
            if tag & _MORE:
                tag, at = _long_tag(message, at - 1)
            wire = tag & 7
            if tag < 8:
                raise MalformedError(f"field number 0 at byte {at}")
            if wire == BLOCK:
                size = message[at]
                at += 1
                if size & _MORE:
                    size, at = varint(message, at - 1)
                found.append((tag >> 3, wire, at, at := at + size))
            else:
                found.append((tag >> 3, wire, at, at := _after(message, at, wire)))
    except IndexError:
        raise MalformedError(f"the message ends inside a field, byte {start}") from None
    if at != stop:
        raise MalformedError(f"a field reaches beyond its message, byte {start}")
    return found


def _long_tag(message: memoryview, at: int) -> tuple[int, int]:
    """A tag of more than one byte, and what comes after it. Tags have 32 bits, in five bytes at most."""
    tag, after = varint(message, at)
    if tag >= 1 << 32 or after - at > 5:
        raise MalformedError(f"a tag of more than 32 bits at byte {at}")
    return tag, after


def _after(message: memoryview, at: int, wire: int) -> int:
    """Where a value that is not length-delimited ends."""
    if wire == VARINT:
        return varint(message, at)[1]
    if wire not in _FIXED:
        raise MalformedError(f"wire type {wire} at byte {at}")
    return at + _FIXED[wire]


def varint(message: memoryview, at: int) -> tuple[int, int]:
    """The unsigned number at byte `at`, and where the next value begins. Raises MalformedError, IndexError at the end."""
    value = shift = 0
    while shift < 70:
        byte = message[at]
        at += 1
        value |= (byte & _SEVEN) << shift
        if byte < _MORE:
            return value, at
        shift += 7
    raise MalformedError(f"a number of more than ten bytes, byte {at - 10}")


def encode_varint(value: int) -> bytes:
    """One unsigned number in groups of seven bits, lowest first."""
    if value < _MORE:
        return _ONE_BYTE[value]
    if value < _MORE << 7:
        return bytes((value & _SEVEN | _MORE, value >> 7))
    return bytes((value & _SEVEN | _MORE, value >> 7 & _SEVEN | _MORE)) + encode_varint(value >> 14)


def block(number: int, value: bytes) -> bytes:
    """A length-delimited field whose number is below 16."""
    size = len(value)
    return b"".join((_ONE_BYTE[number << 3 | BLOCK], _ONE_BYTE[size] if size < _MORE else encode_varint(size), value))


def block_head(number: int, size: int) -> bytes:
    """The bytes before the value of a length-delimited field whose number is below 16."""
    return _ONE_BYTE[number << 3 | BLOCK] + encode_varint(size)


def encode_int64s(values: NDArray[np.int64] | Sequence[int]) -> bytes:
    """Packed int64: each number as a varint of its 64 bits, so that a negative one takes ten bytes."""
    if not isinstance(values, np.ndarray):
        if not values or (min(values) >= 0 and max(values) < _MORE):
            return bytes(values)
        return b"".join([_ONE_BYTE[value] if 0 <= value < _MORE else encode_varint(value % 2**64) for value in values])
    flat = values.reshape(-1)
    if flat.size and flat.min() >= 0 and flat.max() < _MORE:
        return flat.astype(np.uint8).tobytes()
    return b"".join(map(encode_varint, flat.view(np.uint64).tolist()))


def decode_int64s(raw: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Inverse of `encode_int64s`: bytes -> int64[n]. Raises MalformedError."""
    if not raw.size or raw.max() < _MORE:
        return raw.astype(np.int64)
    return np.concatenate(list(_runs(raw)))


def _runs(raw: NDArray[np.uint8]) -> Iterator[NDArray[np.int64]]:
    """Numbers, decoded in runs of limited size, because finding their ends takes many times the memory of the bytes."""
    at = 0
    while at < len(raw):
        run = raw[at : at + _RUN]
        ends = np.flatnonzero(run < _MORE)
        if not ends.size:
            raise MalformedError("the list ends inside a number, or holds one of more than ten bytes")
        yield _numbers(run, ends)
        at += int(ends[-1]) + 1


def _numbers(run: NDArray[np.uint8], ends: NDArray[np.intp]) -> NDArray[np.int64]:
    """The numbers whose last bytes are at `ends`: seven bits per byte, lowest first."""
    starts = np.concatenate((np.zeros(1, np.intp), ends[:-1] + 1))
    sizes = ends - starts + 1
    if sizes.max() > 10:
        raise MalformedError("a number of more than ten bytes")
    value = np.zeros(len(ends), np.uint64)
    for k in range(int(sizes.max())):
        longer = np.flatnonzero(sizes > k)
        septet = run[starts[longer] + k] & np.uint8(_SEVEN)
        value[longer] |= septet.astype(np.uint64) << np.uint64(7 * k)
    return value.view(np.int64)
