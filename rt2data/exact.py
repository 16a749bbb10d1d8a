"""Exact fractions: shares and weights are never floats, so draws add up exactly."""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema


def parse_fraction(value: Any) -> Fraction:
    """`0.66`, `"2/3"`, `"50%"`, `1` -> Fraction, exactly as written.

    Raises ValueError for anything else, NaN and infinities included.
    """
    if isinstance(value, Fraction):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"not a number: {value!r}")
    text = str(value).strip()
    percent = text.endswith("%")
    try:
        found = Fraction(text.rstrip("%").strip())
    except (ValueError, ZeroDivisionError):
        raise ValueError(f"not a finite number, fraction or percentage: {value!r}") from None
    return found / 100 if percent else found


def _share(value: Any) -> Fraction:
    found = parse_fraction(value)
    if not 0 <= found <= 1:
        raise ValueError(f"must lie between 0 and 1, got {value}")
    return found


def _weight(value: Any) -> Fraction:
    found = parse_fraction(value)
    if found < 0:
        raise ValueError(f"must not be negative, got {value}")
    return found


_NUMBER = {"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^\s*[0-9.]+\s*(/\s*[0-9]+|%)?\s*$"}]}
_AS_TEXT = PlainSerializer(str, return_type=str)

Share = Annotated[Fraction, BeforeValidator(_share), _AS_TEXT, WithJsonSchema(_NUMBER)]
"""A fraction between 0 and 1."""
Weight = Annotated[Fraction, BeforeValidator(_weight), _AS_TEXT, WithJsonSchema(_NUMBER)]
"""A fraction of at least 0."""
