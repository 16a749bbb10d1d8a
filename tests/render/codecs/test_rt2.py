"""RT-2's codec: RT-1's bins, decoded to their centers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.read.action_space import load_space
from rt2data.render.codecs.table import make_codec
from tests.read.robots import BRIDGE, bridge_actions, column, go_on, one_dim

# x, RT-1's token, the center of its bin in [-1, 1]
VECTORS = [
    (-2, 0, -0.996078),
    (-0.9999, 0, -0.996078),
    (-0.5, 63, -0.501961),
    (-0.004, 126, -0.007843),
    (0, 127, 0.0),
    (0.25, 159, 0.250980),
    (0.5, 191, 0.501961),
    (0.9999, 254, 0.996078),
    (1, 255, 1.0),
    (2, 255, 1.0),
]


@pytest.mark.parametrize(("x", "token", "decoded"), VECTORS)
def test_vectors(x: float, token: int, decoded: float) -> None:
    codec = one_dim(-1, 1, "rt2")
    bins = codec.encode(column([x]), go_on(1))
    assert bins.tolist() == [[1, token]]
    assert codec.decode(bins)[0][0, 0] == pytest.approx(decoded, abs=5e-7)


@given(st.lists(st.floats(-2, 2, width=32), min_size=1))
def test_bins_are_those_of_rt1(values: list[float]) -> None:
    actions, flags = column(values), go_on(len(values))
    np.testing.assert_array_equal(*(one_dim(-1, 1, name).encode(actions, flags) for name in ("rt1", "rt2")))


def test_all_256_bins_survive_the_way_back() -> None:
    for bound in (0.05, 1, 2, 1.5707964, 3.1415927):
        codec = one_dim(-bound, bound, "rt2")
        tokens = np.column_stack([np.ones(256), np.arange(256)]).astype(np.int32)
        np.testing.assert_array_equal(codec.encode(codec.decode(tokens)[0].astype(np.float32), go_on(256)), tokens)


def test_errors_have_no_bias() -> None:
    x = column(np.random.default_rng(0).uniform(-1, 1, 200_000))
    codec = one_dim(-1, 1, "rt2")
    error = codec.decode(codec.encode(x, go_on(len(x))))[0] - x
    assert abs(error.mean()) < 2e-5
    assert np.abs(error).max() == pytest.approx(1 / 255, abs=1e-5)
    assert codec.zero_offset().tolist() == [0], "a robot told to stand still does"


def test_real_bridge_actions_keep_their_sum(shared_data: object) -> None:
    """Added up over the episodes, centers stay within a few half bins where left edges drift one way."""
    actions = bridge_actions(shared_data)  # type: ignore[arg-type]
    drift = {}
    for name in ("rt1", "rt2"):
        codec = make_codec(name, load_space("widowx_bridge"), BRIDGE)
        errors = codec.decode(codec.encode(actions, go_on(130)))[0] - codec.clip(actions)
        drift[name] = errors[:, :6].sum(axis=0) / (np.array(codec.hi) - codec.lo)[:6] * 510
    assert (drift["rt1"] < -80).all(), "130 steps, about a half bin low each"
    assert (np.abs(drift["rt2"]) < 60).all()
