"""RT-2: RT-1's bins, decoded to their centers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from rt2data.render.codecs.codec import BINS, F64, I32
from rt2data.render.codecs.rt1 import RT1


@dataclass(frozen=True)
class RT2(RT1):
    """The bins of `rt1`, number for number, decoded to the CENTER of the bin. RT-2 publishes no decode rule.

    Bin b of 0..254 is b/255 <= (a - lo) / (hi - lo) < (b + 1)/255, so it decodes to lo + (b + 1/2)/255 * (hi - lo), in float64; bin
    255 is only `hi`, and decodes to it. Errors are at most half a bin and unbiased, and decoded values encode to the bin they came
    from (where half a bin exceeds float32 rounding).
    """

    name: ClassVar[str] = "rt2"
    version: ClassVar[int] = 2
    undo: ClassVar[Literal["left", "center"]] = "center"

    @property
    def tolerance(self) -> F64:
        return self._with_rounding((np.array(self.hi) - np.array(self.lo)) / (BINS - 1) / 2)

    def _values(self, bins: I32) -> F64:
        lo, hi = np.array(self.lo), np.array(self.hi)
        values: F64 = np.minimum(lo + (bins + 0.5) / (BINS - 1) * (hi - lo), hi)
        return values
