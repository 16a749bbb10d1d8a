"""What is summed over rows: frozen values with a zero and a plus. They travel and are kept as bytes, and come back equal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray


class Sum(msgspec.Struct, frozen=True, eq=False):
    """A sum over rows. With no arguments it is zero; the sum of two lots of rows is the sum of all of them together.

    Fields are added one by one: numbers, other sums, mappings of either by key, tuples of either by place.
    """

    def __add__(self, other: Self) -> Self:
        return type(self)(*(_plus(getattr(self, name), getattr(other, name)) for name in self.__struct_fields__))


AnySum = TypeVar("AnySum", bound=Sum)


def _plus(one: Any, other: Any) -> Any:
    if isinstance(one, dict):
        both = sorted(one.keys() | other.keys())
        return {key: _plus(one[key], other[key]) if key in one and key in other else one.get(key, other.get(key)) for key in both}
    if isinstance(one, tuple):
        return tuple(_plus(a, b) for a, b in zip(one, other, strict=True)) if one and other else one or other
    return one + other


def add_up(zero: AnySum, parts: Iterable[AnySum]) -> AnySum:
    """All parts added, neighbours first, so that each is added log2(n) times. The order of the parts alone decides the rounding."""
    waiting: list[tuple[int, AnySum]] = []
    for part in parts:
        level = 0
        while waiting and waiting[-1][0] == level:
            part = waiting.pop()[1] + part
            level += 1
        waiting.append((level, part))
    found = waiting.pop()[1] if waiting else zero
    while waiting:
        found = waiting.pop()[1] + found
    return found


def pack(found: Sum) -> bytes:
    """A sum as MessagePack; equal sums give equal bytes."""
    return _ENCODER.encode(found)


def unpack(content: bytes, kind: type[AnySum]) -> AnySum:
    """The sum that `pack` wrote. Raises msgspec.MsgspecError for anything else."""
    return msgspec.msgpack.Decoder(kind, dec_hook=_read_array).decode(content)


def _write_array(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        raise NotImplementedError(type(value).__name__)
    return value.dtype.str, value.shape, value.tobytes()


def _read_array(kind: Any, found: Any) -> NDArray[Any]:
    dtype, shape, content = found
    if not isinstance(dtype, str) or dtype[1:2] not in "fiu":
        raise ValueError(f"not an array of numbers: {dtype}")
    return np.frombuffer(content, dtype).reshape(shape)


_ENCODER = msgspec.msgpack.Encoder(enc_hook=_write_array, order="deterministic")
