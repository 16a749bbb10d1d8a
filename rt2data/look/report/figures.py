"""Formatting of numbers and text for a page. Untrusted text is sanitized and shortened."""

from __future__ import annotations

import math

from rt2data.io import words
from rt2data.read.text import clean_text

MAX_CHARS = 600
NOTHING = "–"
"""Shown in place of a missing number."""


def plain(text: object, limit: int = MAX_CHARS) -> str:
    """Untrusted text on one line, without control or invisible characters, shortened to `limit`."""
    whole = str(text)
    kept = "".join(char for char in clean_text(whole[:limit]) if char.isprintable())
    return kept + "…" if len(whole) > limit else kept


def sentence(text: str, upper: bool = False) -> str:
    """Untrusted text as a sentence with a final period and, with `upper`, an initial capital."""
    found = plain(text).strip()
    if upper and found.split(" ")[0].isalpha():
        found = found[0].upper() + found[1:]
    return found if not found or found[-1] in ".!?…:" else found + "."


def whole(value: float | None) -> str:
    """12,345."""
    return NOTHING if _none(value) else _signed(f"{value:,.0f}")


def real(value: float | None, digits: int = 4) -> str:
    """The digits that count: 12.35, 0.001235, 1.2e-07."""
    if value is None or _none(value):
        return NOTHING
    if value == int(value) and abs(value) < 1e6:
        return _signed(f"{value:,.0f}")
    return _signed(f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.{digits}g}")


def percent(value: float | None, digits: int = 2) -> str:
    """A share in 0..1 as 12.35 %; shares near 0 or 1 are not rounded to them."""
    if value is None or _none(value):
        return NOTHING
    least = 10.0**-digits
    shown = value * 100
    if 0 < abs(shown) < least:
        return f"<{least:g} %"
    if 100 - least < shown < 100:
        return f">{100 - least:g} %"
    return _signed(f"{shown:.{digits}f} %")


def amount(count: float | None) -> str:
    """Bytes: 1.5 MB."""
    if count is None or _none(count):
        return NOTHING
    return _signed(words.size(count))


def duration(seconds: float | None) -> str:
    """3 min 20 s."""
    return NOTHING if seconds is None or _none(seconds) else words.duration(seconds)


def _none(value: float | None) -> bool:
    return value is None or not math.isfinite(value)


def _signed(text: str) -> str:
    """A number with a minus sign as wide as a digit."""
    return text.replace("-", "\N{MINUS SIGN}")
