"""The difference of two trees of plain values: every path at which they differ, with both values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec


class Difference(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A value that differs; null where one side lacks it."""

    path: str  # `a.b[2].c`
    before: Any
    after: Any
    moved: dict[str, float | None] = {}  # how much figures changed, by name; null if the change has no unit

    @property
    def most(self) -> float:
        """The largest change; infinite if one has no unit."""
        return max((float("inf") if move is None else abs(move) for move in self.moved.values()), default=0.0)


def differences(before: Any, after: Any, path: str = "", into_lists: bool = False) -> Iterator[Difference]:
    """Leaves at which two trees of mappings, lists and plain values differ, mappings in the order of their keys.

    A missing key equals null. A list is a leaf; with `into_lists` those of equal length are compared item by item.
    The cost is linear in the size of the trees.
    """
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in sorted({*before, *after}):
            below = f"{path}.{name}" if path else name
            yield from differences(before.get(name), after.get(name), below, into_lists)
    elif into_lists and _is_list(before) and _is_list(after) and len(before) == len(after):
        for i, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from differences(one, other, f"{path}[{i}]", into_lists)
    elif before != after:
        yield Difference(path=path, before=before, after=after)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def largest_first(found: Iterator[Difference]) -> tuple[Difference, ...]:
    """The differences, largest changes first."""
    return tuple(sorted(found, key=lambda each: -each.most))
