"""Counts, sizes, durations and "did you mean", formatted for messages."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

LONGEST = 64
"""Maximum characters of a word to compare: a longer one is not a typo of a name."""


def closest(word: object, known: Iterable[str], cutoff: float = 0.6) -> str:
    """The known word most similar to this one, ignoring case; empty if none is close."""
    if not isinstance(word, str) or len(word) > LONGEST:
        return ""
    by_lower = {each.lower(): each for each in reversed(list(known))}
    return next((by_lower[each] for each in get_close_matches(word.lower(), by_lower, n=1, cutoff=cutoff)), "")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`did you mean x? `, with a trailing space; empty if no known word is close."""
    close = closest(word, known)
    return f"did you mean {close}? " if close else ""


def choose(word: str, known: Iterable[str], others: str = "") -> str:
    """Advice for an unknown name: `did you mean x? choose one of x, y, or ...`."""
    names = list(known)
    return f"{did_you_mean(word, names)}choose one of {', '.join(names)}{others}"


def plural(count: int, noun: str, many: str = "") -> str:
    """`1 shard`, `2,000 shards`; `many` is an irregular plural."""
    return f"{count:,} {noun if count == 1 else many or noun + 's'}"


def number(value: float) -> str:
    """12,345 or 1.25."""
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3g}" if abs(value) < 100 else f"{value:,.0f}"


def size(count: float, digits: int = 1) -> str:
    """Bytes in units of 1000: 512 B, 1.5 kB, 2.0 GB."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.{digits}f} {unit}"
        count /= 1000
    return f"{count:,.{digits}f} TB"


def duration(seconds: float) -> str:
    """0.4 s, 12 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"
