"""RT-1's bins and its left edges, number for number, and RT-2's order of them."""

from __future__ import annotations

import numpy as np
import pytest

from rt2data.read.action_space import ActionSpace, Dim, load_space
from rt2data.render.codecs.rt1 import RT1
from rt2data.render.codecs.table import make_codec
from tests.read.robots import BRIDGE, column, go_on, one_dim

# x, token, decoded: measured with RT-1's own tokenizer.
VECTORS = [
    (-2, 0, -1.0),
    (-1, 0, -1.0),
    (-0.9999, 0, -1.0),
    (-0.5, 63, -0.505882),
    (-0.004, 126, -0.011765),
    (0, 127, -0.003922),
    (0.25, 159, 0.247059),
    (0.5, 191, 0.498039),
    (0.9999, 254, 0.992157),
    (1, 255, 1.0),
    (2, 255, 1.0),
]
HALF_TURN = 1.5707964


@pytest.mark.parametrize(("x", "token", "decoded"), VECTORS)
def test_vectors(x: float, token: int, decoded: float) -> None:
    codec = one_dim(-1, 1, "rt1")
    bins = codec.encode(column([x]), go_on(1))
    assert bins.dtype == np.int32 and bins.tolist() == [[1, token]]
    assert codec.decode(bins)[0][0, 0] == pytest.approx(decoded, abs=5e-7)


@pytest.mark.parametrize(
    ("x", "token", "decoded"), [(0, 127, -0.00616), (0.1, 135, 0.0924), (-1.6, 0, -HALF_TURN), (1.5, 249, 1.4969)]
)
def test_rotation_vectors(x: float, token: int, decoded: float) -> None:
    codec = one_dim(-HALF_TURN, HALF_TURN, "rt1")
    bins = codec.encode(column([x]), go_on(1))
    assert bins[0, 1] == token
    assert codec.decode(bins)[0][0, 0] == pytest.approx(decoded, abs=5e-5)


@pytest.mark.parametrize(("bound", "moved"), [(1, 63), (2, 63), (HALF_TURN, 39), (3.1415927, 39)])
def test_tokens_that_do_not_survive_the_way_back(bound: float, moved: int) -> None:
    """A fact of RT-1's float32 arithmetic, kept: decoded left edges fall just below their bin for so many of 256."""
    codec = one_dim(-bound, bound, "rt1")
    tokens = np.column_stack([np.ones(256), np.arange(256)]).astype(np.int32)
    again = codec.encode(codec.decode(tokens)[0].astype(np.float32), go_on(256))
    assert (again != tokens).sum() == moved
    assert (tokens - again).max() == 1 and (tokens - again).min() == 0


def test_decoded_values_lie_half_a_bin_low() -> None:
    x = column(np.random.default_rng(0).uniform(-1, 1, 200_000))
    codec = one_dim(-1, 1, "rt1")
    error = codec.decode(codec.encode(x, go_on(len(x))))[0] - x
    assert error.mean() == pytest.approx(-0.00392, abs=2e-5)
    assert np.abs(error).max() == pytest.approx(0.007843, abs=1e-5) and error.max() <= 1e-6
    assert codec.zero_offset()[0] == pytest.approx(-0.003922, abs=1e-6)


def test_float32_decides() -> None:
    """In float64 some values fall into another bin: the arithmetic is part of the codec."""
    x = column(np.random.default_rng(0).uniform(-1, 1, 2_000_000))
    wide = ((x.astype(np.float64) + 1) / 2 * 255).astype(np.int32)
    found = one_dim(-1, 1, "rt1").encode(x, go_on(len(x)))[:, 1:]
    assert 0 < (found != wide).mean() < 1e-5


def google(terminate: float, arm: float = 0.0) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """One action f32[1, 8] of Google's robot."""
    return np.array([[terminate, *[arm] * 7]], np.float32)


def test_google_robot_says_itself_when_to_stop() -> None:
    codec = make_codec("rt1", load_space("google_robot"))
    assert codec.width == 8
    assert codec.encode(google(1), go_on(1)).tolist() == [[1, *[127] * 7]]
    assert codec.encode(google(0), go_on(1)).tolist() == [[0, *[127] * 7]]
    assert codec.encode(google(1), ~go_on(1)).tolist() == [[1, *[127] * 7]], "the action space outweighs the flag"
    assert codec.decode(codec.encode(google(0), go_on(1)))[1].tolist() == [True]
    assert codec.decode(codec.encode(google(1), go_on(1)))[1].tolist() == [False]
    assert codec.terminate == {"position": 0, "terminates": 0, "continues": 1}


def test_the_papers_own_string_decodes() -> None:
    codec = make_codec("rt1", load_space("google_robot"))
    values, ended = codec.decode(np.array([[1, 143, 129, 123, 145, 114, 115, 127]], np.int32))
    assert not ended[0] and values[0, 0] == 1
    assert values[0, 1:4] == pytest.approx([0.121569, 0.011765, -0.035294], abs=1e-6)


def test_a_terminate_token_is_put_first_where_the_space_has_none() -> None:
    codec = make_codec("rt1", load_space("widowx_bridge"), BRIDGE)
    assert codec.width == 8
    bins = codec.encode(np.zeros((2, 7), np.float32), np.array([False, True]))
    assert bins[:, 0].tolist() == [1, 0]
    assert codec.decode(bins)[1].tolist() == [False, True]
    assert codec.decode(bins)[0].shape == (2, 7)


def test_polarity_of_terminate_is_a_field() -> None:
    space = load_space("metaworld")
    codec = RT1(space, (-1.0,) * 4, (1.0,) * 4, terminates=1)
    bins = codec.encode(np.zeros((2, 4), np.float32), np.array([False, True]))
    assert bins[:, 0].tolist() == [0, 1] and codec.decode(bins)[1].tolist() == [False, True]
    assert codec.to_json()["terminate"] == {"position": 0, "terminates": 1, "continues": 0}
    assert RT1.from_json(codec.to_json()) == codec


def test_terminate_is_first_wherever_the_space_has_it() -> None:
    mode = Dim("mode", "discrete", (-1.0, 1.0), terminates=1, continues=-1)
    codec = make_codec("rt1", ActionSpace("late", (Dim("a", bounds=(0.0, 1.0)), Dim("b", bounds=(0.0, 2.0)), mode)))
    actions = np.array([[1, 0, 1], [0, 2, -1], [0, 2, 0]], np.float32)
    bins = codec.encode(actions, go_on(3))
    assert bins.tolist() == [[0, 255, 0], [1, 0, 255], [2, 0, 255]]
    values, ended = codec.decode(bins)
    assert values.tolist() == actions.tolist() and ended.tolist() == [True, False, False]
    assert codec.terminate == {"position": 0, "terminates": 0, "continues": 1}


def test_a_discrete_token_beyond_its_values_is_the_first_as_in_rt1() -> None:
    codec = make_codec("rt1", load_space("google_robot"))
    values, ended = codec.decode(np.array([[200, *[127] * 7]], np.int32))
    assert values[0, 0] == 0 and ended[0]
