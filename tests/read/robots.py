"""Action spaces and real numbers that several tests share."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rt2data.prepare.statistics import DimStats
from rt2data.read.action_space import ActionSpace, Dim
from rt2data.records import F32
from rt2data.render.codecs.table import Codec, make_codec

# Published with OpenVLA's checkpoints for bridge_orig: 2,135,463 transitions.
BRIDGE_Q01 = (-0.028727, -0.041703, -0.026094, -0.080921, -0.092887, -0.207183, 0.0)
BRIDGE_Q99 = (0.028310, 0.040855, 0.040162, 0.081920, 0.077929, 0.203826, 1.0)


def stats_between(q01: tuple[float, ...], q99: tuple[float, ...]) -> DimStats:
    """Statistics with these quantiles; the rest is a guess."""
    middle = tuple((a + b) / 2 for a, b in zip(q01, q99, strict=True))
    return DimStats(100, middle, tuple(1.0 for _ in q01), q01, q99, q01, q99)


BRIDGE = stats_between(BRIDGE_Q01, BRIDGE_Q99)


def one_dim(lo: float, hi: float, codec: str) -> Codec:
    """A codec of one continuous dimension with fixed bounds."""
    return make_codec(codec, ActionSpace("one", (Dim("a", bounds=(lo, hi)),)))


def column(values: object) -> F32:
    """f32[N, 1]."""
    return np.array(values, np.float32).reshape(-1, 1)


def go_on(n: int) -> NDArray[np.bool_]:
    """n flags of steps that do not end the task."""
    return np.zeros(n, np.bool_)


def bridge_actions(shared_data: Path) -> F32:
    """f32[130, 7]: every action of the real Bridge sample, found in the bytes by its feature's name and its 70 packed floats."""
    mark = b"\x0a\x0csteps/action\x12" + bytes.fromhex("9e02129b020a9802")
    found = []
    for path in sorted((shared_data / "rlds_bridge").rglob("*.tfrecord-*")):
        raw = path.read_bytes()
        starts = [at.end() for at in re.finditer(re.escape(mark), raw)]
        found += [np.frombuffer(raw, "<f4", 70, start) for start in starts]
    return np.concatenate(found).reshape(-1, 7)
