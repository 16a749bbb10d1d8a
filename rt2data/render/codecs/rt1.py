"""RT-1's 256 bins in RT-2's order, terminate first, decoded as RT-1 does."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

import numpy as np

from rt2data.records import F32
from rt2data.render.codecs.codec import BINS, F64, I32, MIDDLE, Bools, Codec

TOP = np.float32(BINS - 1)


@dataclass(frozen=True)
class RT1(Codec):
    """RT-1's tokenizer with RT-2's order of numbers.

    tok = int((a - lo) / (hi - lo) * 255), truncated, in float32, operation by operation as RT1ActionTokenizer does it
    (google-research/robotics_transformer 4569641, tokenizers/action_tokenizer.py); decoded to the LEFT edge of the bin. So only
    `hi` itself gives 255, decoded values are half a bin too low on average, and some encode to another bin than they came from. The
    bias adds up if actions are displacements: codec `rt2` has the same bins and decodes to their centers.

    Terminate is the first number: bin `terminates` (0, as index 0 of RT-1's terminate_episode) ends the task, the other of 0 and 1
    continues it. It comes from the space's own terminate dimension if there is one, else from the flags.
    """

    name: ClassVar[str] = "rt1"
    version: ClassVar[int] = 1
    token_map: ClassVar[Literal["digits", "last_n"]] = "digits"
    rule: ClassVar[str] = "rt1_floor"
    undo: ClassVar[Literal["left", "center"]] = "left"
    dtype: ClassVar[str] = "float32"

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
        return {"position": 0, "terminates": self.terminates, "continues": 1 - self.terminates}

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
            return self._undo(bins[:, 1:]), bins[:, 0] == self.terminates
        values = self._raw_terminate(self._undo(bins[:, np.argsort(self._order)]))
        return values, self.space.ended(values)

    def _undo(self, bins: I32) -> F64:
        """float64[N, D] from bins int32[N, D] in the order of the space."""
        lo, hi = self.ends32
        whole = lo + np.where(bins > hi - lo, 0, bins)  # as in RT-1, a value beyond the last becomes the first
        return np.where(self.discrete, whole, self._values(bins))

    def _values(self, bins: I32) -> F64:
        """float64[N, D] from the bins of continuous dimensions."""
        lo, hi = self.ends32
        return (bins.astype(np.float32) / TOP * (hi - lo) + lo).astype(np.float64)

    def _first(self, terminate: Bools) -> I32:
        return np.where(terminate, self.terminates, 1 - self.terminates).astype(np.int32)

    @cached_property
    def _order(self) -> list[int]:
        """The space's dimensions with terminate first."""
        return sorted(range(len(self.lo)), key=lambda i: i != self.space.terminate)
