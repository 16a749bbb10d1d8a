"""OpenVLA: quantile-normalised actions in 256 bins, written as the last 256 ids of the vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from rt2data.read.action_space import Dim
from rt2data.records import F32
from rt2data.render.codecs.codec import BINS, F64, I32, Bools, Codec

EDGES: F64 = np.linspace(-1, 1, BINS)  # 256 edges, so 255 intervals: the last bin is only the value 1
CENTERS: F64 = (EDGES[:-1] + EDGES[1:]) / 2

# The smallest float32 not below each edge: for float32 values, comparing with these equals comparing with the edges.
_NEAR = EDGES.astype(np.float32)
_FROM = np.where(_NEAR < EDGES, np.nextafter(_NEAR, np.float32(2)), _NEAR)


def digitize(values: F32) -> I32:
    """Bins 0..255 of f32 values in [-1, 1]: np.digitize(values, EDGES) - 1, but several times as fast.

    The interval is computed, then corrected where rounding lifted a value over an edge. Rounding never pushes a value below an
    edge: edges become half-integers, which float32 holds exactly, and rounding preserves order.
    """
    bins = (values * np.float32(127.5) + np.float32(127.5)).astype(np.int32)
    bins -= values < _FROM[bins]
    return bins


@dataclass(frozen=True)
class OpenVLA(Codec):
    """OpenVLA's normalisation and tokenizer, bit for bit (openvla/openvla c8f03f48).

    Normalised in float32, like its TensorFlow input: clip(2 * (x - lo) / (hi - lo + 1e-8) - 1, -1, 1). Compared with float64 edges,
    and decoded in float64 to the centre of the bin, then 0.5 * (a + 1) * (hi - lo) + lo, as in `predict_action`. The bin is
    OpenVLA's d - 1, so its token is id vocab_size - 1 - bin. Bin 255 decodes like 254.

    Dimensions bounded by [-1, 1], and a gripper bounded by [0, 1], are encoded unscaled. There is no terminate token. Two
    differences are deliberate: a dimension whose quantiles coincide is held at their value, or bounded by its minimum and maximum
    if it has few values, where OpenVLA maps its noise to -1 and 1 unless minimum and maximum coincide too; and a gripper that never
    moves keeps its value, not 0.
    """

    name: ClassVar[str] = "openvla"
    version: ClassVar[int] = 1
    token_map: ClassVar[Literal["digits", "last_n"]] = "last_n"
    rule: ClassVar[str] = "digitize"
    undo: ClassVar[Literal["left", "center"]] = "center"
    dtype: ClassVar[str] = "float32 normalisation, float64 edges"

    @property
    def width(self) -> int:
        return len(self.lo)

    @property
    def mask(self) -> tuple[bool, ...]:
        return tuple(not _as_it_is(dim) for dim in self.space.dims)

    @property
    def tolerance(self) -> F64:
        spans = np.where(self.mask, np.array(self.hi) - np.array(self.lo), 2.0)
        return self._with_rounding(spans / (BINS - 1) / 2)

    @property
    def terminate(self) -> dict[str, int] | None:
        own = self.space.terminate
        if own is None:
            return None
        dim, row = self.space.dims[own], np.zeros((2, len(self.lo)), np.float32)
        row[:, own] = dim.terminates or 0, dim.continues or 0
        ends, goes_on = self.encode(row, np.zeros(2, np.bool_))[:, own]
        return {"position": own, "terminates": int(ends), "continues": int(goes_on)}

    def encode(self, actions: F32, terminate: Bools) -> I32:
        values = self._sound(actions, terminate)
        lo, hi = self.ends32
        return digitize(np.where(self.mask, self._normalise(values), np.clip(values, lo, hi)))

    def decode(self, bins: I32) -> tuple[F64, Bools]:
        centers = CENTERS[np.minimum(self._sound_bins(bins), BINS - 2)]
        lo, hi = np.array(self.lo), np.array(self.hi)
        values = np.where(self.mask, 0.5 * (centers + 1) * (hi - lo) + lo, centers)
        values[:, self.discrete] = np.rint(values[:, self.discrete])
        values = self._raw_terminate(values)
        return values, self.space.ended(values)

    def _normalise(self, values: F32) -> F32:
        lo, _ = self.ends32
        spans = (np.array(self.hi) - np.array(self.lo) + 1e-8).astype(np.float32)
        with np.errstate(over="ignore"):  # overflow is clipped like any other value out of bounds
            normal: F32 = np.clip(np.float32(2) * (values - lo) / spans - np.float32(1), -1, 1)
        normal[:, self.held] = 0
        return normal


def _as_it_is(dim: Dim) -> bool:
    """True where OpenVLA's mask is False."""
    return dim.kind != "discrete" and (dim.span == (-1.0, 1.0) or (dim.grips and dim.span == (0.0, 1.0)))
