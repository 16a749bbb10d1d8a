"""RT-2: RT-1's 256 bins as whole numbers, terminate first."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal

import numpy as np

from rt2data.actions.base import BINS, F64, I32, MIDDLE, Bools, Codec
from rt2data.records import F32

TOP = np.float32(BINS - 1)


@dataclass(frozen=True)
class RT2(Codec):
    """RT-1's tokenizer on RT-2's order of numbers.

    tok = int((a - lo) / (hi - lo) * 255), truncated, in float32, operation by operation as RT1ActionTokenizer does it
    (google-research/robotics_transformer 4569641, tokenizers/action_tokenizer.py); back to the LEFT edge of the bin. So
    only `hi` itself gives 255, decoded values lie half a bin low on average, and not all of them encode to the bin they
    came from.

    Terminate is the first number. A space with a terminate dimension says itself what it means; for others it is taken
    from the flags: `terminates` (0, as index 0 of RT-1's terminate_episode) ends the task, the other of 0 and 1 goes on.
    """

    name: ClassVar[str] = "rt2"
    version: ClassVar[int] = 1
    token_map: ClassVar[Literal["digits", "last_n"]] = "digits"
    rule: ClassVar[str] = "rt1_floor"
    undo: ClassVar[Literal["left", "center"]] = "left"
    dtype: ClassVar[str] = "float32"

    terminates: Literal[0, 1] = 0

    @property
    def width(self) -> int:
        return len(self.lo) + (self.space.terminate is None)

    @property
    def mask(self) -> tuple[bool, ...]:
        return tuple(bool(scaled) for scaled in ~self.discrete)

    @property
    def tolerance(self) -> F64:
        return self._with_rounding((np.array(self.hi) - np.array(self.lo)) / (BINS - 1))

    @property
    def terminate(self) -> dict[str, int]:
        own = self.space.terminate
        if own is None:
            return {"position": 0, "terminates": self.terminates, "continues": 1 - self.terminates}
        dim, lo = self.space.dims[own], int(self.lo[own])
        return {"position": 0, "terminates": (dim.terminates or 0) - lo, "continues": (dim.continues or 0) - lo}

    def encode(self, actions: F32, terminate: Bools) -> I32:
        lo, hi = self.ends32
        values = np.clip(self._sound(actions, terminate), lo, hi)
        spans = np.where(self.held, np.float32(1), hi - lo)
        bins = ((values - lo) / spans * TOP).astype(np.int32)
        bins[:, self.held] = MIDDLE
        bins[:, self.discrete] = (values - lo)[:, self.discrete]
        if self.space.terminate is not None:
            return bins[:, self._order]
        return np.column_stack([self._first(terminate), bins])

    def decode(self, bins: I32) -> tuple[F64, Bools]:
        bins = self._sound_bins(bins)
        if self.space.terminate is None:
            return self._values(bins[:, 1:]), bins[:, 0] == self.terminates
        values = self._values(bins[:, np.argsort(self._order)])
        return values, self._ended(values)

    def _values(self, bins: I32) -> F64:
        """float64[N, D] of bins int32[N, D] in the order of the space."""
        lo, hi = self.ends32
        values = (bins.astype(np.float32) / TOP * (hi - lo) + lo).astype(np.float64)
        whole = lo + np.where(bins > hi - lo, 0, bins)  # as RT-1: what lies beyond the last value is the first
        return np.where(self.discrete, whole, values)

    def _first(self, terminate: Bools) -> I32:
        return np.where(terminate, self.terminates, 1 - self.terminates).astype(np.int32)

    @cached_property
    def _order(self) -> list[int]:
        """The space's dimensions with terminate first."""
        return sorted(range(len(self.lo)), key=lambda i: i != self.space.terminate)

    @classmethod
    def _fields(cls, found: dict[str, Any]) -> dict[str, Any]:
        fields = super()._fields(found)
        own = fields["space"].terminate is not None
        return fields if own else fields | {"terminates": int(found["terminate"]["terminates"])}
