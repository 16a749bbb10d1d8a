"""How recipes name features of a log: paths, ranges of numbers, cameras."""

from __future__ import annotations

import re
from typing import Annotated, Any, NamedTuple

from pydantic import BeforeValidator, Field

from rt2data.errors import UsageError


def as_tuple(value: Any) -> Any:
    """Turn a single path into a list of one; accept YAML lists."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


FeaturePath = Annotated[str, Field(min_length=1, max_length=512)]
FeaturePaths = Annotated[
    tuple[FeaturePath, ...],
    Field(min_length=1),
    BeforeValidator(as_tuple, json_schema_input_type=FeaturePath | list[FeaturePath]),
]
"""One feature path, or several whose numbers are concatenated in order."""
SplitNames = Annotated[tuple[str, ...], Field(min_length=1), BeforeValidator(as_tuple, json_schema_input_type=str | list[str])]

_RANGE = re.compile(r"(.+)\[(-?\d*):(-?\d*)\]")
_CONSTANT = re.compile(r"(zero|one)\[([1-9]\d{0,3})\]")


class Part(NamedTuple):
    """A feature, or a range of its numbers per step. Negative bounds count from the end."""

    path: str
    start: int = 0
    stop: int | None = None  # exclusive; None for no upper bound

    def __str__(self) -> str:
        edge = "" if self.stop is None else self.stop
        return f"{self.path}[{self.start}:{edge}]" if self.start or self.stop is not None else self.path

    def width(self, whole: int | None) -> int | None:
        """How many numbers this part has, of a feature with `whole` numbers."""
        return None if whole is None else len(range(whole)[self.start : self.stop])

    def fits(self, whole: int) -> bool:
        """Whether a feature of `whole` numbers contains this range."""
        return bool(self.width(whole)) and max(-self.start, self.stop or 0) <= whole


class Constant(NamedTuple):
    """Constant numbers, such as `zero[3]` or `one[1]`: padding for a layout that several robots share."""

    value: float
    width: int

    def __str__(self) -> str:
        return f"{'one' if self.value else 'zero'}[{self.width}]"


def parse_part(text: str) -> Part:
    """`observation.state`, or `observation.state[0:7]`: its first seven numbers. Raises UsageError for an empty range."""
    found = _RANGE.fullmatch(text)
    if found is None:
        return Part(text)
    try:
        start, stop = int(found[2] or 0), int(found[3]) if found[3] else None
    except ValueError:
        return Part(text)
    if stop is not None and stop <= start and (stop < 0) == (start < 0):
        raise UsageError(f"`{text}` is an empty range", do="write feature[start:stop], start below stop")
    return Part(found[1], start, stop)


def parse_column(text: str) -> Part | Constant:
    """The same, or a constant. Raises UsageError for an empty range."""
    found = _CONSTANT.fullmatch(text)
    return Constant(float(found[1] == "one"), int(found[2])) if found else parse_part(text)
