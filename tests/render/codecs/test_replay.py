"""Replay without a simulator: displacements encoded, decoded and summed, for every codec.

Rounding to the center of a bin is off by up to half a bin either way. Where actions spread over many bins these errors are
uniform, have mean zero and standard deviation half_bin / sqrt(3), and their sum over n steps grows with sqrt(n). Decoding to the
left edge is half a bin low in every step instead, which grows with n.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.render.codecs.codec import F64, Codec
from rt2data.render.codecs.table import CODECS
from tests.laws import tries
from tests.read.robots import go_on, one_dim

STEPS, WALKS = 50, 64
SIGMAS = 6
BOUNDS = st.sampled_from([0.01, 0.05, 1.0, 1.5707964, 2.0, 500.0])
SEEDS = st.integers(0, 2**32 - 1)
CENTERED = [name for name, codec in CODECS.items() if codec.undo == "center"]


def drift_of(codec: Codec, walks: F64) -> F64:
    """float64[WALKS]: how far from where the actions [WALKS, STEPS] lead their decoded bins lead."""
    actions = walks.reshape(-1, 1).astype(np.float32)
    back = codec.decode(codec.encode(actions, go_on(len(actions))))[0]
    drift: F64 = (back - actions).reshape(walks.shape).sum(axis=1)
    return drift


def half_bin(codec: Codec) -> float:
    return (codec.hi[0] - codec.lo[0]) / 510


def law(codec: Codec) -> float:
    """What centered rounding allows STEPS steps."""
    return SIGMAS * half_bin(codec) / np.sqrt(3) * np.sqrt(STEPS)


def walks_within(bound: float, seed: int) -> F64:
    """Actions of random walks, uniform within bounds."""
    return np.random.default_rng(seed).uniform(-bound, bound, (WALKS, STEPS))


@pytest.mark.parametrize("name", CENTERED)
@tries(50)
@given(bound=BOUNDS, seed=SEEDS)
def test_random_walks_drift_no_more_than_centered_rounding_allows(name: str, bound: float, seed: int) -> None:
    codec = one_dim(-bound, bound, name)
    drift = drift_of(codec, walks_within(bound, seed))
    assert np.abs(drift).max() <= law(codec)
    assert abs(drift.mean()) <= law(codec) / np.sqrt(WALKS), "over all walks it has no direction"


@pytest.mark.parametrize("name", CENTERED)
@tries(100)
@given(bound=BOUNDS, shares=st.lists(st.floats(-1, 1), min_size=STEPS, max_size=STEPS))
def test_no_walk_drifts_by_more_than_half_a_bin_a_step(name: str, bound: float, shares: list[float]) -> None:
    codec = one_dim(-bound, bound, name)
    assert abs(drift_of(codec, np.array([shares]) * bound)[0]) <= STEPS * codec.tolerance[0] * 1.001


@pytest.mark.parametrize("name", CODECS.keys() - CENTERED)
@tries(50)
@given(bound=BOUNDS, seed=SEEDS)
def test_left_edges_break_the_law_by_half_a_bin_a_step(name: str, bound: float, seed: int) -> None:
    codec = one_dim(-bound, bound, name)
    drift = drift_of(codec, walks_within(bound, seed))
    assert drift.mean() == pytest.approx(-STEPS * half_bin(codec), rel=0.05)
    assert abs(drift.mean()) > law(codec), "what the law above would catch"


def test_every_codec_is_looked_at() -> None:
    assert set(CENTERED) == {"rt2", "openvla"} and CODECS.keys() - CENTERED == {"rt1"}


@pytest.mark.parametrize("name", CENTERED)
def test_a_robot_told_to_stand_still_stands_still(name: str) -> None:
    """Whose bounds are symmetric: zero is the center of a bin."""
    codec = one_dim(-0.05, 0.05, name)
    assert np.abs(drift_of(codec, np.zeros((1, 1000)))).max() < 1e-9
