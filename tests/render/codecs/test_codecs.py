"""What holds for every codec: error bounds, order, JSON, dimensions without a range, and plain words for what cannot be."""

from __future__ import annotations

import json
import pickle
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rt2data.errors import DataError, UsageError
from rt2data.prepare.statistics import DimStats, summarize
from rt2data.read.action_space import ActionSpace, Dim, load_space, space_names, too_narrow
from rt2data.records import F32
from rt2data.render.codecs.table import CODECS, Codec, codec_from_json, make_codec
from tests.laws import tries
from tests.read.robots import BRIDGE, bridge_actions, column, go_on, one_dim, stats_between

ENDS = st.floats(-1e6, 1e6, width=32)
SPANS = st.tuples(ENDS, ENDS).map(sorted).filter(lambda ends: not too_narrow(*ends)).map(tuple)
LEVELS = st.tuples(st.integers(-50, 50), st.integers(1, 254)).map(lambda at: (float(at[0]), float(at[0] + at[1])))
VALUES = st.floats(allow_nan=False, allow_infinity=False, width=32)


@st.composite
def codecs(draw: st.DrawFn) -> Codec:
    """A codec for a robot nobody has built: any bounds, discrete and quantile dimensions, any order."""
    dims, lows, highs = [], [], []
    for i in range(draw(st.integers(1, 5))):
        lo, hi = draw(SPANS)
        kind = draw(st.sampled_from(["q01q99", "held", "spec", "discrete"]))
        fixed = {"spec": Dim(f"d{i}", bounds=(lo, hi)), "discrete": Dim(f"d{i}", "discrete", draw(LEVELS))}
        dims.append(fixed.get(kind, Dim(f"d{i}")))
        lows.append(lo)
        highs.append(lo + draw(st.sampled_from([0, 1e-9, 3e-8])) if kind == "held" else hi)
    return make_codec(
        draw(st.sampled_from(list(CODECS))), ActionSpace("any", tuple(dims)), stats_between(tuple(lows), tuple(highs))
    )


@st.composite
def codecs_with_actions(draw: st.DrawFn) -> tuple[Codec, F32]:
    """A codec, and actions within bounds, on them and far out."""
    codec = draw(codecs())
    n, size = draw(st.integers(1, 8)), len(codec.lo)
    inside = draw(arrays(np.float64, (n, size), elements=st.floats(0, 1)))
    actions = (np.array(codec.lo) + inside * (np.array(codec.hi) - np.array(codec.lo))).astype(np.float32)
    wild = draw(arrays(np.bool_, (n, size)))
    return codec, np.where(wild, draw(arrays(np.float32, (n, size), elements=VALUES)), actions)


@tries(300)
@given(codecs_with_actions())
def test_the_way_back_misses_by_no_more_than_promised(given_pair: tuple[Codec, F32]) -> None:
    codec, actions = given_pair
    bins = codec.encode(actions, go_on(len(actions)))
    assert bins.shape == (len(actions), codec.width) and bins.dtype == np.int32
    assert bins.min() >= 0 and bins.max() <= 255
    values, ended = codec.decode(bins)
    assert values.dtype == np.float64 and not ended.any()
    assert (np.abs(values - codec.clip(actions)) <= codec.tolerance).all()


@pytest.mark.parametrize(("name", "whole_bins"), [("rt1", 1.0), ("rt2", 0.5), ("openvla", 0.5)])
def test_tolerance_is_a_bin_or_half_of_it(name: str, whole_bins: float) -> None:
    assert one_dim(-1, 1, name).tolerance[0] == pytest.approx(whole_bins * 2 / 255, rel=1e-3)
    assert make_codec(name, load_space("widowx_bridge"), BRIDGE).tolerance[:6] == pytest.approx(
        whole_bins / 255 * (np.array(BRIDGE.q99) - np.array(BRIDGE.q01))[:6], rel=1e-3
    )


@tries(200)
@given(codecs())
def test_what_is_decoded_to_a_center_encodes_to_its_bin(codec: Codec) -> None:
    """Wherever half a bin is more than float32's rounding and the 1e-8 that OpenVLA adds to a range when it encodes.

    OpenVLA's top bin decodes as the one below it does.
    """
    lo, hi = np.array(codec.lo), np.array(codec.hi)
    fine = (hi - lo) / 510 > np.maximum(2e-8, 4 * np.finfo(np.float32).eps * np.maximum(abs(lo), abs(hi)))
    fine &= ~codec.discrete & ~codec.held & (codec.undo == "center")
    every = np.repeat(np.arange(255 if codec.name == "openvla" else 256, dtype=np.int32)[:, None], len(lo), axis=1)
    first = np.ones((len(every), codec.width - len(lo)), np.int32)
    values, _ = codec.decode(np.concatenate([first, every], axis=1))
    assert ((values >= lo) & (values <= hi))[:, fine].all()
    again = codec.encode(values.astype(np.float32), go_on(len(every)))[:, codec.width - len(lo) :]
    np.testing.assert_array_equal(again[:, fine], every[:, fine])


@tries(200)
@given(codecs_with_actions())
def test_more_is_never_a_lower_bin(given_pair: tuple[Codec, F32]) -> None:
    codec, actions = given_pair
    bins = codec.encode(np.sort(actions, axis=0), go_on(len(actions)))
    assert (np.diff(bins, axis=0) >= 0).all()


@tries(100)
@given(codecs_with_actions())
def test_one_at_a_time_is_the_same_as_all_at_once(given_pair: tuple[Codec, F32]) -> None:
    codec, actions = given_pair
    single = [codec.encode(actions[i : i + 1], go_on(1)) for i in range(len(actions))]
    np.testing.assert_array_equal(np.concatenate(single), codec.encode(actions, go_on(len(actions))))


@given(codecs())
def test_json_there_and_back(codec: Codec) -> None:
    back = codec_from_json(json.loads(json.dumps(codec.to_json())))
    assert back == codec and back.to_json() == codec.to_json()
    assert pickle.loads(pickle.dumps(codec)) == codec


def test_what_version_1_of_rt2_wrote_decodes_as_it_said() -> None:
    """To the left edge, which is called rt1 now."""
    for made in (make_codec("rt1", load_space("widowx_bridge"), BRIDGE), make_codec("rt1", load_space("google_robot"))):
        former = codec_from_json(made.to_json() | {"name": "rt2"})
        assert (former.undo, former.version) == ("left", 1)
        bins = np.full((1, 8), 100, np.int32)
        np.testing.assert_array_equal(former.decode(bins)[0], made.decode(bins)[0])


def flag(terminates: int, continues: int, bounds: tuple[float, float] = (0.0, 1.0)) -> ActionSpace:
    stop = Dim("terminate_episode", "discrete", bounds, terminates=terminates, continues=continues)
    return ActionSpace("flagged", (Dim("x", bounds=(-1.0, 1.0)), stop))


@pytest.mark.parametrize("codec", CODECS)
def test_terminate_has_one_polarity_whatever_the_raw_values(codec: str) -> None:
    """RT-1's index says 0 ends, a float `terminate_episode` says 1 ends: both are written alike, and come back as they were."""
    raw = {"index": flag(0, 1), "float": flag(1, 0), "mode": flag(2, 0, (0.0, 2.0)), "sign": flag(-1, 1, (-1.0, 1.0))}
    written = {}
    for name, space in raw.items():
        made, stop = make_codec(codec, space), space.dims[1]
        actions = np.array([[0.5, stop.terminates], [0.5, stop.continues]], np.float32)
        bins = made.encode(actions, go_on(2))
        values, ended = made.decode(bins)
        assert ended.tolist() == [True, False] == space.ended(actions).tolist()
        assert values[:, 1].tolist() == [stop.terminates, stop.continues]
        assert made.terminate is not None
        place = made.terminate["position"]
        assert bins[:, place].tolist() == [made.terminate["terminates"], made.terminate["continues"]]
        assert bins[0, place] == 0 < bins[1, place]
        assert codec_from_json(json.loads(json.dumps(made.to_json()))) == made
        written[name] = bins.tolist()
    assert written["index"] == written["float"]


@pytest.mark.parametrize("codec", CODECS)
def test_the_other_polarity_is_read_as_it_was_written(codec: str) -> None:
    made = replace(make_codec(codec, flag(0, 1)), terminates=1)
    bins = made.encode(np.array([[0, 0], [0, 1]], np.float32), go_on(2))
    assert made.terminate is not None and bins[0, made.terminate["position"]] == made.terminate["terminates"] > 0
    back = codec_from_json(made.to_json())
    assert back == made and back.decode(bins)[1].tolist() == [True, False]


def test_a_terminate_that_no_release_can_read_is_refused() -> None:
    said = make_codec("rt1", flag(1, 0, (0.0, 2.0))).to_json()
    with pytest.raises(DataError, match="terminate is") as error:
        codec_from_json(said | {"terminate": {"position": 0, "terminates": 2, "continues": 0}})
    assert "release of rt2data that wrote it" in error.value.do


def test_a_flag_in_between_ends_where_its_bin_says() -> None:
    space = flag(1, 0)
    actions = np.array([[0, value] for value in (-3, 0.2, 0.7, 1, 9)], np.float32)
    for codec in CODECS:
        made = make_codec(codec, space)
        ended = made.decode(made.encode(actions, go_on(5)))[1]
        assert ended.tolist() == space.ended(actions).tolist() == [False, False, True, True, True]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("space", space_names())
def test_every_codec_takes_every_robot(codec: str, space: str) -> None:
    size = load_space(space).size or 3
    actions = np.random.default_rng(0).normal(0, 0.5, (50, size)).astype(np.float32)
    made = make_codec(codec, load_space(space), summarize(actions))
    values, _ = made.decode(made.encode(actions, go_on(50)))
    assert (np.abs(values - made.clip(actions)) <= made.tolerance).all()
    assert codec_from_json(made.to_json()) == made and made.warnings() == ()
    assert made.encode(actions[:0], go_on(0)).shape == (0, made.width)


def test_json_says_all_there_is_to_know() -> None:
    said = make_codec("rt2", load_space("widowx_bridge"), BRIDGE).to_json()
    assert (said["rule"], said["decode"], said["dtype"], said["bins"]) == ("rt1_floor", "center", "float32", 256)
    assert make_codec("rt1", load_space("widowx_bridge"), BRIDGE).to_json()["decode"] == "left"
    assert said["dims"][0] == {"name": "x", "lo": -0.028727, "hi": 0.02831, "source": "q01q99", "normalize": True}
    assert said["dims"][6]["source"] == "spec" and said["terminate"]["position"] == 0
    assert said["space"]["dim"][0] == {"name": "x", "kind": "continuous", "bounds": "q01q99", "unit": "m"}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_is_never_encoded(codec: str, bad: float) -> None:
    actions = np.zeros((3, 4), np.float32)
    actions[2, 1] = bad
    with pytest.raises(ValueError, match="NaN or Inf in action 2 of 3"):
        make_codec(codec, load_space("metaworld")).encode(actions, go_on(3))


@pytest.mark.parametrize("codec", CODECS)
def test_nan_is_not_encoded_in_a_held_dimension_either(codec: str) -> None:
    made = make_codec(codec, ActionSpace("still", (Dim("a"),)), stats_between((1.0,), (1.0,)))
    with pytest.raises(ValueError, match="NaN"):
        made.encode(column([np.nan]), go_on(1))


@pytest.mark.parametrize("codec", CODECS)
def test_wrong_shapes_and_bins(codec: str) -> None:
    made = make_codec(codec, load_space("metaworld"))
    with pytest.raises(ValueError, match="shape"):
        made.encode(np.zeros((2, 3), np.float32), go_on(2))
    with pytest.raises(ValueError, match="2 terminate flags for 3 actions"):
        made.encode(np.zeros((3, 4), np.float32), go_on(2))
    with pytest.raises(ValueError, match="shape"):
        made.decode(np.zeros((2, made.width + 1), np.int32))
    for bin_ in (-1, 256):
        with pytest.raises(ValueError, match=r"must be in 0\.\.255"):
            made.decode(np.full((1, made.width), bin_, np.int32))


@pytest.mark.parametrize("codec", CODECS)
def test_a_constant_dimension_keeps_its_value(codec: str) -> None:
    actions = np.full((100, 1), 0.3, np.float32)
    made = make_codec(codec, ActionSpace("still", (Dim("yaw"),)), summarize(actions))
    assert made.encode(actions, go_on(100))[:, -1].tolist() == [127] * 100
    assert (made.decode(made.encode(actions, go_on(100)))[0] == actions).all() and made.tolerance.tolist() == [0]
    assert made.warnings() == ("dimension yaw is constant: always encoded as 0.3",)


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("far", [0.4, 1e30])
def test_a_sparse_dimension_neither_explodes_nor_flips(codec: str, far: float) -> None:
    """One value in 200 is far away, the rest is noise around zero: noise must not become full strokes."""
    actions = column(np.random.default_rng(0).choice([-1e-9, 0.0, 1e-9], 1000))
    actions[::200] = far
    made = make_codec(codec, ActionSpace("rare", (Dim("land"),)), summarize(actions))
    bins = made.encode(actions, go_on(1000))
    assert set(bins[:, -1].tolist()) == {127}
    assert np.abs(made.decode(bins)[0]).max() < 1e-8
    assert f"dimension land is {made.lo[0]:g} in 98 %" in made.warnings()[0] and "give it bounds" in made.warnings()[0]
    assert codec_from_json(made.to_json()).warnings() == made.warnings()


RARE = {"a flag": [0.0, 1.0], "a pulse downwards": [-0.5, 0.0], "a relative gripper": [-1.0, 0.0, 1.0]}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("values", RARE.values(), ids=RARE)
def test_few_values_are_kept_apart_however_rare(codec: str, values: list[float]) -> None:
    """Active in one step of 1000: its quantiles coincide, its least and greatest value do not."""
    actions = np.zeros((3000, 1), np.float32)
    actions[: len(values), 0] = values
    made = make_codec(codec, ActionSpace("rare", (Dim("land"),)), summarize(actions))
    back, _ = made.decode(made.encode(actions, go_on(3000)))
    assert (made.lo, made.hi, made.warnings()) == ((min(values),), (max(values),), ())
    assert len(np.unique(back)) == len(values) and np.abs(back - actions).max() <= made.tolerance[0]
    said = json.loads(json.dumps(made.to_json()))
    assert said["dims"][0]["source"] == "minmax" and codec_from_json(said) == made


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("values", [[0.0, 1e-9, 1.0], [0.0, 1e8], list(np.linspace(0, 1, 9))])
def test_values_that_bins_cannot_keep_apart_are_held(codec: str, values: list[float]) -> None:
    """Noise, an outlier beyond any unit, and too many values."""
    actions = np.zeros((3000, 1), np.float32)
    actions[: len(values), 0] = values
    made = make_codec(codec, ActionSpace("rare", (Dim("land"),)), summarize(actions))
    assert made.held.all() and len(made.warnings()) == 1


@pytest.mark.parametrize("codec", CODECS)
def test_fixed_bounds_keep_what_a_sparse_dimension_does(codec: str) -> None:
    actions = column(np.where(np.arange(1000) % 200, 0.0, 0.4))
    made = make_codec(codec, ActionSpace("rare", (Dim("land", bounds=(-0.5, 0.5)),)), summarize(actions))
    assert np.abs(made.decode(made.encode(actions, go_on(1000)))[0] - actions).max() <= made.tolerance[0] < 0.004


def test_quantiles_that_explode() -> None:
    space = ActionSpace("wild", (Dim("a"),))
    with pytest.raises(DataError, match="dimension a explodes"):
        make_codec("rt2", space, stats_between((-3e38,), (3e38,)))
    assert "is that its unit" in make_codec("rt2", space, stats_between((0.0,), (1e30,))).warnings()[0]


def test_quantiles_are_needed() -> None:
    with pytest.raises(UsageError, match="dimension x of action space widowx_bridge is bounded by q01q99") as error:
        make_codec("rt2", load_space("widowx_bridge"))
    assert "prepare" in error.value.do
    with pytest.raises(UsageError, match="generic_nd takes its number of dimensions from data"):
        make_codec("rt2", load_space("generic_nd"))
    with pytest.raises(DataError, match="actions have 7 dimensions, action space metaworld has 4"):
        make_codec("rt2", load_space("metaworld"), BRIDGE)


def test_names_that_are_almost_right() -> None:
    with pytest.raises(UsageError, match="did you mean openvla"):
        make_codec("open_vla", load_space("metaworld"))


GOOD = one_dim(-1, 1, "rt2").to_json()


@pytest.mark.parametrize(
    "broken",
    [
        None,
        {},
        GOOD | {"name": "rt3"},
        GOOD | {"version": 3},
        GOOD | {"space": None},
        GOOD | {"dims": []},
        GOOD | {"dims": [{"name": "a"}]},
        GOOD | {"dims": [{"lo": 1.0, "hi": -1.0}]},
        GOOD | {"dims": [{"lo": float("nan"), "hi": 1.0}]},
        GOOD | {"terminate": None},
        {key: value for key, value in GOOD.items() if key != "warnings"},
    ],
)
def test_json_that_is_no_codec(broken: object) -> None:
    with pytest.raises(DataError):
        codec_from_json(broken)


@pytest.mark.parametrize("codec", CODECS)
def test_real_bridge_actions_with_published_quantiles(codec: str, shared_data: Path) -> None:
    actions = bridge_actions(shared_data)
    assert actions.shape == (130, 7) and actions[:, 5].min() < -0.25, "yaw goes below its 1 % quantile: clipping is exercised"
    made = make_codec(codec, load_space("widowx_bridge"), BRIDGE)
    values, _ = made.decode(made.encode(actions, go_on(130)))
    error = np.abs(values - made.clip(actions))
    assert (error <= made.tolerance).all()
    half = (np.array(BRIDGE.q99) - np.array(BRIDGE.q01)) / 510
    assert (error[:, :6] <= (2.001 if codec == "rt1" else 1.001) * half[:6]).all()


@pytest.mark.parametrize("codec", CODECS)
def test_a_hundred_thousand_actions_take_no_time(codec: str) -> None:
    """About 10 ms of one core; a loop over actions would take seconds."""
    actions = np.random.default_rng(0).normal(0, 0.05, (100_000, 7)).astype(np.float32)
    made = make_codec(codec, load_space("widowx_bridge"), BRIDGE)
    spent = []
    for _ in range(3):
        start = time.process_time()
        made.encode(actions, go_on(100_000))
        spent.append(time.process_time() - start)
    assert min(spent) < 0.25


def test_codecs_are_values() -> None:
    codec = make_codec("openvla", load_space("widowx_bridge"), BRIDGE)
    assert codec == make_codec("openvla", load_space("widowx_bridge"), BRIDGE) and hash(codec)
    assert codec != make_codec("openvla", load_space("widowx_bridge"), replace(BRIDGE, q01=(-1.0,) * 7))
    assert isinstance(BRIDGE, DimStats)
