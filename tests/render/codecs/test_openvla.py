"""OpenVLA's tokens, id for id."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from rt2data.read.action_space import ActionSpace, Dim, load_space
from rt2data.records import F32
from rt2data.render.codecs.openvla import CENTERS, EDGES, digitize
from rt2data.render.codecs.table import make_codec
from tests.read.robots import BRIDGE, BRIDGE_Q01, BRIDGE_Q99, column, go_on, one_dim

VOCAB = 32000

# x, d, id in Llama's vocabulary, decoded.
VECTORS = [
    (-2, 1, 31999, -0.996078),
    (-1, 1, 31999, -0.996078),
    (-0.9999, 1, 31999, -0.996078),
    (-0.5, 64, 31936, -0.501961),
    (-0.004, 127, 31873, -0.007843),
    (0, 128, 31872, 0.0),
    (0.25, 160, 31840, 0.250980),
    (0.5, 192, 31808, 0.501961),
    (0.9999, 255, 31745, 0.996078),
    (1, 256, 31744, 0.996078),
    (2, 256, 31744, 0.996078),
]


@pytest.mark.parametrize(("x", "d", "token", "decoded"), VECTORS)
def test_vectors(x: float, d: int, token: int, decoded: float) -> None:
    codec = one_dim(-1, 1, "openvla")
    bins = codec.encode(column([x]), go_on(1))
    assert bins.dtype == np.int32 and bins[0, 0] + 1 == d and VOCAB - 1 - bins[0, 0] == token
    assert codec.decode(bins)[0][0, 0] == pytest.approx(decoded, abs=5e-7)
    if x == 0:
        assert codec.decode(bins)[0][0, 0] == 0, "a robot told to stand still stands still"


class Published:
    """OpenVLA's tokenizer written down again from its description: np.digitize between linspace edges, ids from the end."""

    def __init__(self, vocab_size: int) -> None:
        self.vocab_size = vocab_size
        self.bins = np.linspace(-1, 1, 256)
        self.centers = (self.bins[:-1] + self.bins[1:]) / 2.0

    def ids(self, action: F32) -> NDArray[np.int64]:
        clipped = np.clip(action, a_min=-1.0, a_max=1.0)
        return self.vocab_size - np.digitize(clipped, self.bins)

    def actions(self, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        return self.centers[np.clip(self.vocab_size - ids - 1, 0, 254)]


def edges_and_neighbours() -> F32:
    """f32[N, 1]: the edges, and the next hundred float32 numbers below and above each."""
    near = (EDGES.astype(np.float32) + np.float32(2)).view(np.int32)[:, None] + np.arange(-100, 101, dtype=np.int32)
    fine = EDGES.astype(np.float32).view(np.int32)[:, None] + np.arange(-100, 101, dtype=np.int32)
    return column(np.concatenate([near.view(np.float32) - np.float32(2), fine.view(np.float32)]))


@pytest.mark.parametrize(
    "values",
    [column(np.random.default_rng(7).uniform(-1.2, 1.2, 1_000_000)), edges_and_neighbours()],
    ids=["a million values", "edges"],
)
def test_same_ids_as_published(values: F32) -> None:
    codec, published = one_dim(-1, 1, "openvla"), Published(VOCAB)
    bins = codec.encode(values, go_on(len(values)))
    ids = published.ids(values)
    np.testing.assert_array_equal(VOCAB - 1 - bins, ids)
    np.testing.assert_array_equal(codec.decode(bins)[0], published.actions(ids))


def test_digitize_is_searchsorted() -> None:
    values = np.random.default_rng(1).normal(0, 0.5, (1000, 7)).clip(-1, 1).astype(np.float32)
    np.testing.assert_array_equal(digitize(values), np.searchsorted(EDGES, values, side="right") - 1)


def test_the_plain_floor_would_not_do() -> None:
    """Rounding puts many of the exact edges into the interval before: why edges are compared, not computed."""
    floor = np.floor((EDGES + 1) / 2 * 255).astype(int)
    assert (floor != np.searchsorted(EDGES, EDGES, side="right") - 1).sum() == 40


def test_every_bin_but_the_last_comes_back() -> None:
    codec = one_dim(-1, 1, "openvla")
    bins = np.arange(256, dtype=np.int32).reshape(-1, 1)
    again = codec.encode(codec.decode(bins)[0].astype(np.float32), go_on(256))
    assert np.flatnonzero(again != bins).tolist() == [255] and again[255, 0] == 254


def test_same_grid_as_rt1() -> None:
    x = column(np.random.default_rng(3).uniform(-1, 1, 2_000_000))
    flags = go_on(len(x))
    ours, rt1 = one_dim(-1, 1, "openvla").encode(x, flags), one_dim(-1, 1, "rt2").encode(x, flags)[:, 1:]
    assert (ours != rt1).mean() < 5e-6 and np.abs(ours - rt1).max() <= 1


def reference_normalise(x: F32) -> F32:
    """BOUNDS_Q99 as OpenVLA's input does it: float32 numbers, but q99 - q01 + 1e-8 summed in float64 first."""
    low, span = np.array(BRIDGE_Q01, np.float32), (np.array(BRIDGE_Q99) - np.array(BRIDGE_Q01) + 1e-8).astype(np.float32)
    scaled = np.clip(np.float32(2) * (x - low) / span - np.float32(1), np.float32(-1), np.float32(1))
    normal: F32 = np.where([True] * 6 + [False], scaled, x).astype(np.float32)
    return normal


def bridge_like(n: int) -> F32:
    """f32[n, 7] of about the size of Bridge's actions, some out of bounds."""
    rng = np.random.default_rng(11)
    rows = rng.normal(0, 1, (n, 7)) * np.array(BRIDGE_Q99) * 0.6
    rows[:, 6] = rng.integers(0, 2, n)
    return np.asarray(rows, np.float32)


def test_normalised_as_published() -> None:
    rows = bridge_like(200_000)
    codec = make_codec("openvla", load_space("widowx_bridge"), BRIDGE)
    ids = Published(VOCAB).ids(reference_normalise(rows))
    np.testing.assert_array_equal(VOCAB - 1 - codec.encode(rows, go_on(len(rows))), ids)


@pytest.mark.slow
def test_normalised_as_tensorflow_does() -> None:
    """The same formula, run by TensorFlow inside tf.data, as OpenVLA runs it: not one bin differs."""
    tf = pytest.importorskip("tensorflow")
    rows, q01, q99 = bridge_like(300_000), np.array(BRIDGE_Q01), np.array(BRIDGE_Q99)

    def normalise(x):  # type: ignore[no-untyped-def]
        scaled = tf.clip_by_value(2 * (x - q01) / (q99 - q01 + 1e-8) - 1, -1, 1)
        return tf.where(np.array([True] * 6 + [False]), scaled, x)

    theirs = next(iter(tf.data.Dataset.from_tensors(rows).map(normalise))).numpy()
    ours = make_codec("openvla", load_space("widowx_bridge"), BRIDGE).encode(rows, go_on(len(rows)))
    np.testing.assert_array_equal(VOCAB - 1 - ours, Published(VOCAB).ids(theirs))


def test_the_gripper_is_left_as_it_is() -> None:
    codec = make_codec("openvla", load_space("widowx_bridge"), BRIDGE)
    rows = np.zeros((2, 7), np.float32)
    rows[1, 6] = 1
    bins = codec.encode(rows, go_on(2))
    assert (bins[:, 6] + 1).tolist() == [128, 256]
    assert codec.decode(bins)[0][:, 6] == pytest.approx([0.0, 0.996078], abs=1e-6)
    assert codec.mask == (True,) * 6 + (False,)


def test_other_fixed_bounds_are_scaled() -> None:
    codec = make_codec("openvla", load_space("language_table"))
    bins = codec.encode(np.array([[-0.1, 0.1], [0.0, 0.05], [-9, 9]], np.float32), go_on(3))
    assert bins.tolist() == [[0, 255], [127, 191], [0, 255]] and codec.mask == (True, True)
    assert codec.decode(bins)[0][1] == pytest.approx([0, 0.0501961], abs=1e-7)


def test_no_terminate_token_unless_the_space_has_it() -> None:
    bridge = make_codec("openvla", load_space("widowx_bridge"), BRIDGE)
    assert bridge.width == 7 and bridge.terminate is None
    assert not bridge.decode(bridge.encode(np.zeros((1, 7), np.float32), ~go_on(1)))[1].any()
    google = make_codec("openvla", load_space("google_robot"))
    rows = np.zeros((2, 8), np.float32)
    rows[1, 0] = 1
    values, ended = google.decode(google.encode(rows, go_on(2)))
    assert google.width == 8 and google.terminate == {"position": 0, "terminates": 0, "continues": 255}
    assert values[:, 0].tolist() == [0, 1] and ended.tolist() == [True, False]


def test_every_value_of_a_long_discrete_dimension_comes_back() -> None:
    codec = make_codec("openvla", ActionSpace("modes", (Dim("mode", "discrete", (-3.0, 251.0)),)))
    values = column(np.arange(-3, 252))
    np.testing.assert_array_equal(codec.decode(codec.encode(values, go_on(255)))[0], values)


def test_centres_are_odd() -> None:
    assert CENTERS[127] == 0 and np.abs(CENTERS + CENTERS[::-1]).max() < 1e-15
