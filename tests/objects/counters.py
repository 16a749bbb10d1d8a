"""What a store counts: requests by kind, answers, faults, bytes, and the objects that were read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

KINDS = ("get", "head", "list", "put", "part", "create", "complete", "abort", "copy", "delete")
"""`create`, `part`, `complete` and `abort` are the requests of an upload in parts; a bulk delete is one `delete`."""


@dataclass
class Counters:
    """Sums since the start or the last reset. A request that goes wrong on purpose counts like any other."""

    requests: Counter[str] = field(default_factory=Counter)
    """By kind, when they have arrived."""
    answers: Counter[str] = field(default_factory=Counter)
    """By status, such as "206"; a reset connection is "none". A client that leaves before gets none and has nothing done."""
    faults: Counter[str] = field(default_factory=Counter)
    keys_read: Counter[str] = field(default_factory=Counter)
    """BUCKET/KEY of each GET that was answered with content."""
    listed: Counter[str] = field(default_factory=Counter)
    """BUCKET/PREFIX of each listing, one for each page."""
    bytes_in: int = 0
    """Bytes of bodies received."""
    bytes_out: int = 0
    """Bytes of bodies sent."""
    most_in_flight: int = 0
    """Most requests that waited or were being answered at one time."""

    @classmethod
    def of(cls, values: dict[str, Any]) -> Counters:
        """From what `values` gave."""
        made = cls()
        for name, value in values.items():
            setattr(made, name, Counter(value) if isinstance(value, dict) else value)
        return made

    def values(self) -> dict[str, Any]:
        """For JSON."""
        return dict(vars(self))
