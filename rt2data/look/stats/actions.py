"""Sums over the dimensions of actions and states in two passes, sums over encoded actions, and their summaries."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from rt2data.look.stats.model import Dimension, EncodedDimension
from rt2data.order import U64
from rt2data.read.action_space import ActionSpace, Dim, too_narrow
from rt2data.records import F32
from rt2data.render.codecs.codec import BINS, Codec
from rt2data.tally.columns import ColumnSums, column_of, sum_columns
from rt2data.tally.counts import Counts, count
from rt2data.tally.quantiles import HIGH, WHOLE, count_values, of_dimension, to_values
from rt2data.tally.sums import Sum

COMMON = 64
"""A value with at least this share (1/COMMON) of one file of rows is counted exactly everywhere; a value with that share of all
rows has it in at least one file."""
CANDIDATES = 256
"""Maximum common values counted per dimension."""
NEAR = 0.02
"""A value this close to an end, as a share of the range, counts as that end."""


# Dimensions


class DimensionSums(Sum, frozen=True, eq=False):
    """First pass over float32[N, D]."""

    columns: ColumnSums = msgspec.field(default_factory=ColumnSums)
    common: Counts = msgspec.field(default_factory=Counts)  # candidates for the most common value, counted where they are common

    @property
    def dims(self) -> int:
        """D."""
        return self.columns.dims

    def wanted(self) -> Wanted:
        """What the second pass counts."""
        common = [of_dimension(self.common, i, WHOLE).most_common(CANDIDATES) for i in range(self.dims)]
        candidates = [(i << WHOLE | key) >> HIGH for i, found in enumerate(common) for key, _ in found]
        bins = np.union1d(self.columns.wanted(), np.array(candidates, np.uint64))
        moments = self.columns.moments
        return Wanted(bins, tuple(zip(moments.min.tolist(), moments.max.tolist(), strict=True)))


class Wanted(msgspec.Struct, frozen=True, eq=False):
    """What the second pass counts."""

    bins: U64  # dimension and bin
    ends: tuple[tuple[float, float], ...]  # minimum and maximum of each dimension


class ValueSums(Sum, frozen=True, eq=False):
    """Second pass over float32[N, D]."""

    values: Counts = msgspec.field(default_factory=Counts)  # in the wanted bins
    at_ends: Counts = msgspec.field(default_factory=Counts)  # dimension -> values near its minimum or maximum


def sum_dimensions(values: F32) -> DimensionSums:
    """First pass over the rows of f32[N, D]."""
    columns = sum_columns(values)
    enough = max(len(values) // COMMON, 2)
    inside = count_values(values, columns.bins.keys[columns.bins.counts >= enough])
    often = inside.counts >= enough
    return DimensionSums(columns, Counts(inside.keys[often], inside.counts[often]))


def sum_values(values: F32, wanted: Wanted) -> ValueSums:
    """Second pass over the rows of f32[N, D]."""
    low, high = np.array(wanted.ends, np.float64).reshape(-1, 2).T
    reach = NEAR * (high - low)
    near = (values <= (low + reach).astype(np.float32)) | (values >= (high - reach).astype(np.float32))
    times = (near & np.isfinite(values)).sum(axis=0)
    return ValueSums(count_values(values, wanted.bins), count(np.arange(len(times)), times))


def dimensions(first: DimensionSums, second: ValueSums, names: Sequence[str], units: Sequence[str]) -> tuple[Dimension, ...]:
    """The summary of each dimension. Raises LookupError if the second pass did not count what the first one requires."""
    return tuple(_dimension(first, second, i, name, unit) for i, (name, unit) in enumerate(zip(names, units, strict=True)))


def _dimension(first: DimensionSums, second: ValueSums, i: int, name: str, unit: str) -> Dimension:
    column = column_of(first.columns, second.values, i)
    q01, q05, q10, q50, q90, q95, q99 = column.quantiles
    rows = max(column.count, 1)
    return Dimension(
        name=name,
        unit=unit,
        count=column.count,
        not_finite=column.not_finite,
        mean=column.mean,
        std=column.std,
        min=column.min,
        max=column.max,
        q01=q01,
        q05=q05,
        q10=q10,
        q50=q50,
        q90=q90,
        q95=q95,
        q99=q99,
        zeros=column.zeros / rows,
        top=int(column.counted.counts.max(initial=0)) / rows,
        dead=column.min == column.max,
        sparse=column.min != column.max and too_narrow(q01, q99),
    )


def common_values(second: ValueSums, i: int, most: int) -> dict[str, int]:
    """The most common values of a dimension as text, and how often they occur."""
    found = of_dimension(second.values, i, WHOLE).most_common(most)
    return {f"{float(to_values(np.array([key]))[0]):.6g}": times for key, times in found}


# Actions as encoded by a codec


class Error(msgspec.Struct, frozen=True):
    """Errors decode(encode(x)) - x: the sum of squares and the largest."""

    squares: float
    worst: float

    def __add__(self, other: Error) -> Error:
        return Error(self.squares + other.squares, max(self.worst, other.worst))


class EncodedSums(Sum, frozen=True, eq=False):
    """Actions of D dimensions after encoding. Zero has empty tuples."""

    rows: int = 0
    bins: Counts = msgspec.field(default_factory=Counts)  # dimension * 256 + bin
    low: tuple[int, ...] = ()  # values clipped below
    high: tuple[int, ...] = ()
    errors: tuple[Error, ...] = ()


def sum_encoded(codec: Codec, actions: F32, terminate: NDArray[np.bool_]) -> EncodedSums:
    """Sums of the finite rows of f32[N, D]."""
    good = np.isfinite(actions).all(axis=1)
    kept = actions if good.all() else actions[good]
    if not len(kept):
        return EncodedSums()
    dims = len(codec.lo)
    bins = codec.encode(kept, terminate[good])
    errors = codec.decode(bins)[0] - kept
    times = np.bincount((dimension_bins(codec, bins).astype(np.int64) + np.arange(dims) * BINS).ravel(), minlength=dims * BINS)
    squares, worst = np.einsum("nd,nd->d", errors, errors), np.abs(errors).max(axis=0)
    return EncodedSums(
        len(kept),
        count(np.arange(len(times)), times),
        tuple(np.count_nonzero(kept < np.array(codec.lo).astype(np.float32), axis=0).tolist()),
        tuple(np.count_nonzero(kept > np.array(codec.hi).astype(np.float32), axis=0).tolist()),
        tuple(Error(float(s), float(w)) for s, w in zip(squares, worst, strict=True)),
    )


def dimension_bins(codec: Codec, bins: NDArray[np.int32]) -> NDArray[np.int32]:
    """The bins int32[N, D] of the space's dimensions, in its order, from the codec's output int32[N, width]."""
    if codec.width > len(codec.lo):
        return bins[:, codec.width - len(codec.lo) :]  # its own terminate word comes first
    own = codec.space.terminate
    if own is None or not codec.terminate or codec.terminate["position"] == own:
        return bins
    order = sorted(range(len(codec.lo)), key=lambda i: i != own)  # the space's terminate comes first
    return bins[:, np.argsort(order)]


def encoded(sums: EncodedSums, codec: Codec) -> tuple[EncodedDimension, ...]:
    """The summary of each dimension."""
    if not sums.rows:
        return ()
    offsets = codec.zero_offset() + codec.clip(np.zeros((1, len(codec.lo)), np.float32))[0]
    return tuple(_encoded(sums, codec, i, float(offsets[i])) for i in range(len(codec.lo)))


def _encoded(sums: EncodedSums, codec: Codec, i: int, zero: float) -> EncodedDimension:
    bins = sums.bins.of(np.arange(i * BINS, (i + 1) * BINS))
    shares = bins[bins > 0] / sums.rows
    return EncodedDimension(
        name=codec.space.dims[i].name,
        lo=codec.lo[i],
        hi=codec.hi[i],
        bins=tuple(bins.tolist()),
        entropy=max(float(-(shares * np.log2(shares)).sum()), 0.0),
        clipped_low=sums.low[i] / sums.rows,
        clipped_high=sums.high[i] / sums.rows,
        edge=float(bins[[0, BINS - 1]].sum() / sums.rows),
        rmse=float(np.sqrt(sums.errors[i].squares / sums.rows)),
        worst=sums.errors[i].worst,
        zero_offset=zero,
    )


def with_drift(found: Sequence[EncodedDimension], space: ActionSpace, hz: float | None) -> tuple[EncodedDimension, ...]:
    """Adds the drift of a robot that should stand still, from the decoded value of an action of 0.

    A velocity is per second already; a displacement per step is multiplied by the robot's rate `hz`.
    """
    both = zip(found, space.dims, strict=True)
    return tuple(_with_drift(each, dim, hz) if dim.kind == "continuous" and not dim.grips else each for each, dim in both)


def _with_drift(found: EncodedDimension, dim: Dim, hz: float | None) -> EncodedDimension:
    velocity = dim.unit.endswith("/s")
    unit = dim.unit if velocity else f"{dim.unit}/s" if hz else f"{dim.unit}/step"
    return msgspec.structs.replace(found, drift=found.zero_offset * (1.0 if velocity else hz or 1.0), drift_unit=unit)
