"""Counts requests to object stores in each process; runners add them up for monitoring."""

from __future__ import annotations

from collections import Counter
from threading import Lock

KINDS = ("requests", "retries")
_LOCK = Lock()
_COUNTS: Counter[str] = Counter()


def count(what: str) -> None:
    """Count one of `requests`, or of `retries` after a broken-off response; obstore's own retries are not visible."""
    with _LOCK:
        _COUNTS[what] += 1


def taken() -> dict[str, int]:
    """The counts since the last call by anyone, so that the sum of all results is exact."""
    with _LOCK:
        found = dict(_COUNTS)
        _COUNTS.clear()
    return found
