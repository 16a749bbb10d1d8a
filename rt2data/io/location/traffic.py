"""Requests to object stores, counted in each process: runners add them up for whoever watches a job."""

from __future__ import annotations

from collections import Counter
from threading import Lock

KINDS = ("requests", "retries")
_LOCK = Lock()
_COUNTS: Counter[str] = Counter()


def count(what: str) -> None:
    """One more `requests`, or `retries` of those whose answer broke off; what obstore tries again itself is not seen."""
    with _LOCK:
        _COUNTS[what] += 1


def taken() -> dict[str, int]:
    """What was counted since this was asked last, by anyone: sums of all answers are exact."""
    with _LOCK:
        found = dict(_COUNTS)
        _COUNTS.clear()
    return found
