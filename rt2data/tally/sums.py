"""Sums over rows: frozen values with a zero and a plus."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self, TypeVar

import msgspec


class Sum(msgspec.Struct, frozen=True, eq=False):
    """A sum over rows. Without arguments it is zero; the sum of two sets of rows is the sum over both.

    Fields add one by one: numbers, other sums, mappings of either by key, tuples of either by position.
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
    """The sum of all parts, neighbors first, so that each is added log2(n) times. Rounding depends only on the parts' order."""
    stack: list[tuple[int, AnySum]] = []
    for part in parts:
        level = 0
        while stack and stack[-1][0] == level:
            part = stack.pop()[1] + part
            level += 1
        stack.append((level, part))
    found = stack.pop()[1] if stack else zero
    while stack:
        found = stack.pop()[1] + found
    return found
