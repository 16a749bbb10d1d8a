"""One number of an action: its name, unit, bounds, and, for a gripper, which way is open."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator, ConfigDict, Field

from rt2data.errors import UsageError
from rt2data.records import F32

QUANTILES: Literal["q01q99"] = "q01q99"
ENDLESS = 1e37  # what float32 arithmetic cannot scale
MAX_LEVELS = 255  # a discrete dimension's values; one fewer than bins, so that every codec keeps them apart
STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")]
Words = Annotated[str, Field(max_length=500)]
Span = tuple[float, float]


def too_narrow(lo: float, hi: float) -> bool:
    """True where float32, or OpenVLA's 1e-8 under the fraction, leaves nothing sound between `lo` and `hi`."""
    return not hi - lo > 1e-6 * max(1.0, abs(lo), abs(hi))


def _bounds(found: Any) -> Span | str:
    if found == QUANTILES:
        return QUANTILES
    if not isinstance(found, list | tuple) or len(found) != 2:
        raise ValueError('must be [lo, hi] or "q01q99"')
    if any(isinstance(end, bool) or not isinstance(end, int | float) for end in found):
        raise ValueError("must be two numbers")
    lo, hi = (float(end) for end in found)
    if too_narrow(lo, hi) or not max(abs(lo), abs(hi)) < ENDLESS:
        raise ValueError(f"must be finite, the first well below the second, got [{lo:g}, {hi:g}]")
    return lo, hi


@dataclass(frozen=True, slots=True)
class Dim:
    """One number of an action.

    `bounds` are the ends of what is encoded, in `unit`, or "q01q99": the 1 % and 99 % quantiles of the source's own
    actions. A gripper says which value means `open` and which `closed`; a terminate dimension which value `terminates`
    and which `continues`. Raises ValueError for what contradicts itself.
    """

    __pydantic_config__ = STRICT

    name: Name
    kind: Literal["continuous", "discrete", "binary"] = "continuous"
    bounds: Annotated[Span | Literal["q01q99"], BeforeValidator(_bounds)] = QUANTILES
    unit: Words = ""
    open: float | None = None
    closed: float | None = None
    terminates: int | None = None
    continues: int | None = None

    def __post_init__(self) -> None:
        self._check_pair("open", self.open, "closed", self.closed)
        self._check_pair("terminates", self.terminates, "continues", self.continues)
        if self.kind != "continuous" and self.span is None:
            raise ValueError(f"a {self.kind} dimension needs bounds = [lo, hi]")
        if self.kind == "discrete" and self.span is not None:
            _check_levels(*self.span)
        if self.ends and self.kind != "discrete":
            raise ValueError('a dimension that terminates must have kind = "discrete"')
        if self.ends and self.grips:
            raise ValueError("one dimension cannot be both the gripper and terminate")

    def _check_pair(self, a: str, first: float | None, b: str, second: float | None) -> None:
        if first is None and second is None:
            return
        if first is None or second is None or first == second:
            raise ValueError(f"{a} and {b} must both be given, and differ")
        if self.span is not None and not all(self.span[0] <= end <= self.span[1] for end in (first, second)):
            raise ValueError(f"{a} and {b} must lie within the bounds")

    @property
    def span(self) -> Span | None:
        """The fixed bounds, or None where they come from the statistics."""
        return None if isinstance(self.bounds, str) else self.bounds

    @property
    def grips(self) -> bool:
        """True for the gripper."""
        return self.open is not None

    @property
    def ends(self) -> bool:
        """True for the terminate dimension."""
        return self.terminates is not None


def _check_levels(lo: float, hi: float) -> None:
    if not (lo.is_integer() and hi.is_integer() and hi - lo < MAX_LEVELS):
        raise ValueError(f"a discrete dimension needs whole bounds with at most {MAX_LEVELS} values")


def to_polarity(values: Any, source_open: Literal[-1, 0, 1], dim: Dim) -> F32:
    """Gripper values (any shape) of a source that opens at `source_open`, as `dim` has them, in float32.

    The conventions are (-1 open, 1 closed), (0 open, 1 closed) and (1 open, 0 closed); what lies between keeps its
    proportion. Raises UsageError if `dim` is no gripper.
    """
    if dim.open is None or dim.closed is None:
        raise UsageError(f"gripper_open is given, but dimension {dim.name} does not say which values are open and closed")
    found: F32 = np.asarray(values, np.float32)
    source_closed = 0 if source_open == 1 else 1
    if (dim.open, dim.closed) == (source_open, source_closed):
        return found
    slope = (dim.closed - dim.open) / (source_closed - source_open)
    return np.asarray(dim.open + (found.astype(np.float64) - source_open) * slope, np.float32)
