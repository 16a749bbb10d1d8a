"""Sums over actions as a codec writes them: which bins, what is clipped, and how far off they come back."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from rt2data.look.stats.model import Coded
from rt2data.order import I64
from rt2data.read.action_space import ActionSpace, Dim
from rt2data.records import F32
from rt2data.render.codecs.codec import BINS, Codec
from rt2data.tally.counts import Counts, count
from rt2data.tally.moments import F64
from rt2data.tally.sums import Sum


class CodedSums(Sum, frozen=True, eq=False):
    """Actions of D dimensions after encoding. Empty tuples are zero."""

    rows: int = 0
    bins: Counts = msgspec.field(default_factory=Counts)  # dimension * 256 + bin
    low: tuple[int, ...] = ()  # values below what the codec reaches
    high: tuple[int, ...] = ()
    errors: tuple[Error, ...] = ()


class Error(msgspec.Struct, frozen=True):
    """Of decode(encode(x)) - x: the sum of squares and the largest."""

    squares: float
    worst: float

    def __add__(self, other: Error) -> Error:
        return Error(self.squares + other.squares, max(self.worst, other.worst))


def dimension_bins(codec: Codec, bins: NDArray[np.int32]) -> NDArray[np.int32]:
    """The bins int32[N, D] of the space's dimensions, in its order, of what the codec writes, int32[N, width]."""
    if codec.width > len(codec.lo):
        return bins[:, codec.width - len(codec.lo) :]  # its own word for terminate comes first
    own = codec.space.terminate
    if own is None or not codec.terminate or codec.terminate["position"] == own:
        return bins
    order = sorted(range(len(codec.lo)), key=lambda i: i != own)  # the space's terminate comes first
    return bins[:, np.argsort(order)]


def sum_coded(codec: Codec, actions: F32, terminate: NDArray[np.bool_]) -> CodedSums:
    """Sums of the rows of f32[N, D] that are finite."""
    good = np.isfinite(actions).all(axis=1)
    kept = actions if good.all() else actions[good]
    if not len(kept):
        return CodedSums()
    bins = codec.encode(kept, terminate[good])
    errors = codec.decode(bins)[0] - kept
    mine = dimension_bins(codec, bins).astype(np.int64) + np.arange(len(codec.lo)) * BINS
    low, high = reach(codec)
    squares, worst = np.einsum("nd,nd->d", errors, errors), np.abs(errors).max(axis=0)
    return CodedSums(
        len(kept),
        count(*_counted(mine, len(codec.lo))),
        tuple(np.count_nonzero(kept < low.astype(np.float32), axis=0).tolist()),
        tuple(np.count_nonzero(kept > high.astype(np.float32), axis=0).tolist()),
        tuple(Error(float(s), float(w)) for s, w in zip(squares, worst, strict=True)),
    )


def _counted(bins: I64, dims: int) -> tuple[I64, I64]:
    times = np.bincount(bins.ravel(), minlength=dims * BINS)
    return np.arange(len(times)), times


def reach(codec: Codec) -> tuple[F64, F64]:
    """float64[D], float64[D]: the least and the most that is not clipped."""
    return np.array(codec.lo, np.float64), np.array(codec.hi, np.float64)


def coded(sums: CodedSums, codec: Codec) -> tuple[Coded, ...]:
    """The summary of each dimension."""
    if not sums.rows:
        return ()
    offsets = codec.zero_offset() + codec.clip(np.zeros((1, len(codec.lo)), np.float32))[0]
    return tuple(_coded(sums, codec, i, float(offsets[i])) for i in range(len(codec.lo)))


def drifting(found: tuple[Coded, ...], space: ActionSpace, hz: float | None) -> tuple[Coded, ...]:
    """With how far a robot that is told to stand still moves, by what an action of 0 comes back as.

    A velocity is of a second already; a displacement of a step becomes one by the rate `hz` of the robot.
    """
    both = zip(found, space.dims, strict=True)
    return tuple(_drifting(each, dim, hz) if dim.kind == "continuous" and not dim.grips else each for each, dim in both)


def _drifting(found: Coded, dim: Dim, hz: float | None) -> Coded:
    velocity = dim.unit.endswith("/s")
    times = hz or 1.0
    unit = dim.unit if velocity else f"{dim.unit}/s" if hz else f"{dim.unit}/step"
    return msgspec.structs.replace(found, drift=found.zero_offset * (1.0 if velocity else times), drift_unit=unit)


def _coded(sums: CodedSums, codec: Codec, i: int, zero: float) -> Coded:
    bins = sums.bins.of(np.arange(i * BINS, (i + 1) * BINS))
    shares = bins[bins > 0] / sums.rows
    used = np.flatnonzero(bins)
    return Coded(
        name=codec.space.dims[i].name,
        lo=codec.lo[i],
        hi=codec.hi[i],
        bins=tuple(bins.tolist()),
        entropy=max(float(-(shares * np.log2(shares)).sum()), 0.0),
        clipped_low=sums.low[i] / sums.rows,
        clipped_high=sums.high[i] / sums.rows,
        edge=float(bins[[0, BINS - 1]].sum() / sums.rows) if len(used) else 0.0,
        rmse=float(np.sqrt(sums.errors[i].squares / sums.rows)),
        worst=sums.errors[i].worst,
        zero_offset=zero,
    )
