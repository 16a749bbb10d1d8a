"""Which rows of a corpus to keep, by other columns such as ratings, similarities or status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from rt2data.read.corpus.draft import RowFault
from rt2data.settings import Settings


class Wanted(Settings):
    """The values a column may have."""

    min: Annotated[float | int, Field()] | None = None
    """At least this number."""
    max: Annotated[float | int, Field()] | None = None
    """At most this number."""
    among: Annotated[tuple[str | int | bool, ...], Field(min_length=1)] | None = None
    """One of these values."""

    def problem(self, value: Any) -> str:
        """Why a value is not wanted; empty if it is wanted."""
        if self.among is not None and not any(type(each) is type(value) and each == value for each in self.among):
            return f"{_short(value)} is not among {', '.join(map(str, self.among))}"
        if self.min is None and self.max is None:
            return ""
        number = _number(value)
        if number is None:
            return f"{_short(value)} is no number"
        if self.min is not None and number < self.min:
            return f"{number} is below {self.min}"
        return f"{number} is above {self.max}" if self.max is not None and number > self.max else ""


Where = dict[str, Wanted]


def require_wanted(values: Mapping[str, Any], where: Where) -> None:
    """Raises RowFault, marked as requested by the recipe, if a column has an unwanted value."""
    for column, wanted in where.items():
        if problem := wanted.problem(values.get(column)):
            raise RowFault(f"where_{_snake(column)}", problem, wanted=True)


def _number(value: Any) -> float | None:
    """The value as a number, also if written as text, as in CSV; None if it is not a number."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    return value if isinstance(value, int | float) and not isinstance(value, bool) and value == value else None


def _short(value: Any) -> str:
    return "nothing" if value is None else repr(value)[:40]


def _snake(name: str) -> str:
    return "".join(char if char.isalnum() else "_" for char in name.lower())[:40]
