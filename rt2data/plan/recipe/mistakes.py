"""Mistakes in a recipe, and their places."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from rt2data.errors import UsageError
from rt2data.read.text import one_line

KeyPath = tuple[str | int, ...]


class Spot(NamedTuple):
    """A position (from 1) in a recipe, or the command line option it was given by (line 0)."""

    origin: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.origin}:{self.line}:{self.column}" if self.line else self.origin


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake. Prints as `mixture.yaml:12:3 robot.bridge.weigth: unknown key, did you mean 'weight'?`"""

    spot: Spot
    path: str  # dotted; empty where there is none
    message: str
    suggestion: str = ""

    @property
    def line(self) -> int:
        return self.spot.line

    @property
    def column(self) -> int:
        return self.spot.column

    def __str__(self) -> str:
        place = f"{self.spot} {self.path}" if self.path else str(self.spot)
        hint = f", did you mean {self.suggestion!r}?" if self.suggestion else ""
        return one_line(f"{place}: {self.message}{hint}")


class RecipeError(UsageError):
    """A recipe with mistakes: `mistakes` holds all of them, in file order.

    Prints as one line: the mistake where there is one, else how many there are; `lines` is everything to show.
    """

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        found = tuple(sorted(mistakes, key=lambda mistake: (not mistake.line, mistake.spot, mistake.path)))
        super().__init__(str(found[0]) if len(found) == 1 else f"{len(found)} mistakes in the recipe")
        self.args = (found,)
        self.mistakes = found

    @property
    def lines(self) -> tuple[str, ...]:
        """Everything to print: the one mistake, or the head line and every mistake."""
        return (str(self), *map(str, self.mistakes)) if len(self.mistakes) > 1 else (str(self),)


def dotted(path: KeyPath) -> str:
    """`("robot", "bridge", "splits", 0)` -> `robot.bridge.splits[0]`. Unusual keys are quoted."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{_name(key)}" for key in path).lstrip(".")


def _name(key: str) -> str:
    return key if re.fullmatch(r"[\w-]{1,64}", key) else repr(key[:64])
