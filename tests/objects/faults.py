"""What goes wrong on purpose: drawn from the request itself, so that the order in which requests arrive changes nothing."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

WRITES = frozenset({"put", "part", "create", "complete", "abort", "copy", "delete"})
APPLIES = {
    "unavailable": None,
    "reset": None,
    "cut": frozenset({"get", "list"}),
    "done_unavailable": WRITES,
    "done_reset": WRITES,
}
"""The kinds of request that each fault can befall; None: all."""


@dataclass(frozen=True)
class Faults:
    """Shares of requests, 0 to 1 and together at most 1, that go wrong in each way."""

    unavailable: float = 0.0
    """Nothing is done; the answer is 503."""
    reset: float = 0.0
    """Nothing is done; the connection is reset before an answer."""
    cut: float = 0.0
    """Half of the body is sent, then the connection is closed."""
    done_unavailable: float = 0.0
    """A write is done; the answer is 503."""
    done_reset: float = 0.0
    """A write is done; the connection is reset before an answer."""
    seed: int = 0
    times: int | None = None
    """Only so many first tries of one request (method, target, range) can go wrong."""
    kinds: tuple[str, ...] = ()
    """Kinds of request that can go wrong (`counters.KINDS`); none: all."""
    names: str = "*"
    """A pattern of BUCKET/KEY, as for file names."""

    def __post_init__(self) -> None:
        if not 0 <= sum(self.shares.values()) <= 1 or min(self.shares.values()) < 0:
            raise ValueError(f"shares of faults must be at least 0 and together at most 1: {self.shares}")

    @property
    def shares(self) -> dict[str, float]:
        return {name: getattr(self, name) for name in APPLIES}


@dataclass
class Dice:
    """Draws the fault of each request; a request that comes again is drawn again."""

    faults: Faults
    tries: Counter[str] = field(default_factory=Counter)

    def draw(self, kind: str, name: str, identity: str) -> str | None:
        """The fault of this try of a request, if any."""
        faults = self.faults
        if not any(faults.shares.values()) or (faults.kinds and kind not in faults.kinds) or not fnmatchcase(name, faults.names):
            return None
        attempt = self.tries[identity]
        self.tries[identity] += 1
        if faults.times is not None and attempt >= faults.times:
            return None
        return self._pick(kind, _fraction(f"{faults.seed} {attempt} {identity}"))

    def _pick(self, kind: str, drawn: float) -> str | None:
        for fault, share in self.faults.shares.items():
            if drawn < share:
                kinds = APPLIES[fault]
                return fault if kinds is None or kind in kinds else None
            drawn -= share
        return None


def _fraction(text: str) -> float:
    """A number in [0, 1) that looks random and is always the same for the same text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest()) / 2**48
