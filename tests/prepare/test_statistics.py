"""Statistics are numpy's, plain JSON, and OpenVLA's shape."""

from __future__ import annotations

import json
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rt2data.errors import DataError
from rt2data.prepare.statistics import DimStats, from_openvla, openvla_statistics, summarize
from rt2data.prepare.streamed import summarize_parts
from rt2data.read.action_space import load_space
from rt2data.records import F32
from rt2data.render.codecs.table import make_codec
from tests.read.robots import BRIDGE, BRIDGE_Q01, go_on

ROWS = arrays(np.float32, st.tuples(st.integers(1, 50), st.integers(1, 4)), elements=st.floats(-1e6, 1e6, width=32))


@given(ROWS)
def test_same_as_numpy(rows: F32) -> None:
    found, wide = summarize(rows), rows.astype(np.float64)
    assert found.count == len(rows) and found.size == rows.shape[1]
    np.testing.assert_array_equal(found.min, wide.min(0))
    np.testing.assert_array_equal(found.max, wide.max(0))
    np.testing.assert_allclose(found.mean, wide.mean(0), rtol=1e-12, atol=1e-6)
    np.testing.assert_allclose(found.std, wide.std(0, ddof=0), rtol=1e-9, atol=1e-6)
    np.testing.assert_array_equal(found.q01, np.quantile(wide, 0.01, axis=0))
    np.testing.assert_array_equal(found.q99, np.quantile(wide, 0.99, axis=0))


@given(ROWS)
def test_json_there_and_back(rows: F32) -> None:
    found = summarize(rows)
    assert DimStats.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_mean_of_many_small_numbers_is_exact() -> None:
    assert summarize(np.full((1_000_000, 1), 0.1, np.float32)).mean[0] == pytest.approx(float(np.float32(0.1)), rel=1e-12)


def test_nothing_to_summarize() -> None:
    with pytest.raises(DataError, match="no rows"):
        summarize(np.zeros((0, 7), np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_and_inf_are_refused(bad: float) -> None:
    rows = np.zeros((3, 2), np.float32)
    rows[1, 1] = bad
    with pytest.raises(ValueError, match="NaN or Inf"):
        summarize(rows)


@pytest.mark.parametrize(
    "broken",
    [
        None,
        {},
        BRIDGE.to_json() | {"count": "7"},
        BRIDGE.to_json() | {"q01": None},
        BRIDGE.to_json() | {"q01": ["a"] * 7},
        BRIDGE.to_json() | {"q01": [float("nan")] * 7},
        BRIDGE.to_json() | {"q01": [0.0]},
        BRIDGE.to_json() | {"rare": 7},
        BRIDGE.to_json() | {"rare": [[0.0, 1.0]]},
        BRIDGE.to_json() | {"rare": [["a"]] * 7},
    ],
)
def test_broken_json(broken: object) -> None:
    with pytest.raises(DataError, match="statistics"):
        DimStats.from_json(broken)


def test_openvlas_shape() -> None:
    codec = make_codec("openvla", load_space("widowx_bridge"), BRIDGE)
    state = summarize(np.ones((10, 3), np.float32))
    written = openvla_statistics("bridge", BRIDGE, codec.mask, 4, state, (codec.lo, codec.hi))
    entry = json.loads(json.dumps(written))["bridge"]
    assert set(entry) == {"action", "proprio", "num_transitions", "num_trajectories"}
    assert set(entry["action"]) == {"mean", "std", "max", "min", "q01", "q99", "mask"}
    assert entry["action"]["mask"] == [True] * 6 + [False] and entry["proprio"]["mean"] == [1, 1, 1]
    assert (entry["num_transitions"], entry["num_trajectories"]) == (100, 4)
    assert from_openvla(written, "bridge") == BRIDGE


def test_without_a_state_proprio_is_zeros() -> None:
    entry = openvla_statistics("bridge", BRIDGE, [True] * 7, 4)["bridge"]
    assert entry["proprio"]["q99"] == [0.0] * 7
    assert entry["action"]["q01"] == list(BRIDGE_Q01)


@pytest.mark.parametrize("name", ["metaworld", "language_table", "widowx_bridge", "google_robot"])
def test_predict_action_brings_back_what_was_encoded(name: str) -> None:
    """The published inverse, with nothing but the exported statistics and the ids, gives what the codec itself decodes."""
    space = load_space(name)
    rows = np.random.default_rng(0).normal(0, 0.3, (500, space.size or 0)).astype(np.float32)
    codec = make_codec("openvla", space, summarize(rows))
    stats = openvla_statistics("d", summarize(rows), codec.mask, 1, bounds=(codec.lo, codec.hi))["d"]["action"]
    bins = codec.encode(rows, go_on(500))
    edges = np.linspace(-1, 1, 256)
    normal = ((edges[:-1] + edges[1:]) / 2)[np.clip(bins, 0, 254)]
    low, high = np.array(stats["q01"]), np.array(stats["q99"])
    undone = np.where(stats["mask"], 0.5 * (normal + 1) * (high - low) + low, normal)
    whole = [dim.kind == "discrete" for dim in space.dims]
    np.testing.assert_array_equal(np.where(whole, np.rint(undone), undone), codec.decode(bins)[0])


@pytest.mark.parametrize("published", [{}, {"other": {}}, {"d": None}, {"d": {"action": {}}}, {"d": {"num_transitions": 3}}, None])
def test_published_statistics_that_are_not_there(published: object) -> None:
    with pytest.raises(DataError):
        from_openvla(published, "d")


@given(
    arrays(np.float32, st.tuples(st.integers(1, 400), st.integers(1, 3)), elements=st.sampled_from([0.0, 1.0, -2.5, 0.125, 7e5])),
    st.data(),
)
def test_rows_in_parts_have_the_statistics_of_all(rows: np.ndarray, data: st.DataObject) -> None:
    """Bounds of codecs to the last bit, however the rows are cut."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(rows)), max_size=4)))
    parts = np.split(rows, cuts)
    found, whole = summarize_parts(lambda: parts), summarize(rows)
    assert [found.count, found.min, found.max, found.q01, found.q99] == [whole.count, whole.min, whole.max, whole.q01, whole.q99]
    np.testing.assert_allclose([found.mean, found.std], [whole.mean, whole.std], rtol=1e-9, atol=1e-9)
    assert summarize_parts(lambda: [rows]) == whole


@given(st.lists(st.tuples(st.integers(0, 999), st.integers(0, 11)), max_size=9), st.integers(0, 1000))
def test_few_values_are_found_in_parts_too(pulses: list[tuple[int, int]], cut: int) -> None:
    """A dimension that rests in almost all rows: its values decide its bounds, however the rows are cut."""
    rows = np.zeros((1000, 2), np.float32)
    rows[:, 0] = np.arange(1000)
    for at, value in pulses:
        rows[at, 1] = value
    assert summarize_parts(lambda: np.split(rows, [cut])).rare == summarize(rows).rare


def test_parts_without_rows_have_no_statistics() -> None:
    with pytest.raises(DataError, match="no rows"):
        summarize_parts(list)
    with pytest.raises(ValueError, match="NaN"):
        summarize_parts(lambda: [np.full((3, 2), np.nan, np.float32)])


def test_parts_are_held_one_at_a_time() -> None:
    """The statistics of a store must not hold its columns, whatever its number of rows."""
    alive: list[int] = []

    class Part(np.ndarray):
        pass

    def parts() -> Iterator[F32]:
        known: list[weakref.ref[Part]] = []
        for number in range(8):
            part = np.full((100, 3), number, np.float32).view(Part)
            known.append(weakref.ref(part))
            yield part
            del part
            alive.append(sum(each() is not None for each in known))

    assert summarize_parts(parts).count == 800
    assert max(alive) <= 1
