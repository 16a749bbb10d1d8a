"""Exact fractions: shares and weights are never floats, so draws add up exactly."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

_DECIMAL = r"((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)"
_TEXT = rf"{_DECIMAL}\s*(/\s*[1-9][0-9]*|%)?"
_SIGNED = rf"[+-]?{_DECIMAL}([eE][+-]?[0-9]{{1,3}})?"
_NUMBER = re.compile(rf"(?P<number>{_SIGNED})\s*(/\s*(?P<over>[1-9][0-9]*)|(?P<percent>%))?")
_TOO_LONG = 10**30  # keeps sums of many fractions short, and 1e300 from being a weight


def parse_fraction(value: Any) -> Fraction:
    """`0.66`, `"2/3"`, `"50%"`, `1` -> Fraction, exactly as written.

    A float stands for its decimal text, `str(value)`. Exponents are read in floats only and leading zeros never: what
    could be taken for something else is refused. Raises ValueError for anything else, NaN and infinities included.
    """
    if isinstance(value, Fraction):
        return value
    found = _NUMBER.fullmatch(_text(value))
    if found is None:
        raise ValueError(f"must be a finite number, a fraction or a percentage, got {short(value)}")
    fraction = Fraction(found["number"]) / (100 if found["percent"] else int(found["over"] or 1))
    if max(abs(fraction.numerator), fraction.denominator) > _TOO_LONG:
        raise ValueError(f"must be a number of ordinary size, got {short(value)}")
    return fraction


def short(value: Any) -> str:
    """`repr` in at most 40 characters."""
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _text(value: Any) -> str:
    """What `_NUMBER` may look at; empty where the type, the size or an exponent in text rules a number out."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return ""
    if isinstance(value, float) and not math.isfinite(value):
        return ""
    text = str(value).strip()
    return "" if len(text) > 80 or (isinstance(value, str) and "e" in text.lower()) else text


def _share(value: Any) -> Fraction:
    found = parse_fraction(value)
    if not 0 <= found <= 1:
        raise ValueError(f"must lie between 0 and 1, got {short(value)}")
    return found


def _weight(value: Any) -> Fraction:
    found = parse_fraction(value)
    if found < 0:
        raise ValueError(f"must not be negative, got {short(value)}")
    return found


def _positive(value: Any) -> Fraction:
    found = parse_fraction(value)
    if found <= 0:
        raise ValueError(f"must be above 0, got {short(value)}")
    return found


def _schema(**bounds: int) -> WithJsonSchema:
    text = {"type": "string", "pattern": rf"^\s*{_TEXT}\s*$"}
    return WithJsonSchema({"anyOf": [{"type": "number", **bounds}, text]})


_AS_TEXT = PlainSerializer(str, return_type=str)

Share = Annotated[Fraction, BeforeValidator(_share), _AS_TEXT, _schema(minimum=0, maximum=1)]
"""A fraction between 0 and 1."""
Weight = Annotated[Fraction, BeforeValidator(_weight), _AS_TEXT, _schema(minimum=0)]
"""A fraction of at least 0."""
Positive = Annotated[Fraction, BeforeValidator(_positive), _AS_TEXT, _schema(exclusiveMinimum=0)]
"""A fraction above 0."""
