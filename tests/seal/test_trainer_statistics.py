"""Statistics as trainers read them: their fields, and OpenVLA's decoding with nothing else."""

from __future__ import annotations

import json

import numpy as np
import pytest

from rt2data.prepare.statistics import DimStats, summarize
from rt2data.read.action_space import load_space
from rt2data.render.codecs.table import make_codec
from rt2data.seal.trainer_statistics import TRAINERS, SourceStatistics, lerobot, openpi, openvla
from rt2data.standardize.windows import Runs, action_chunks
from tests.read.robots import BRIDGE, BRIDGE_Q01, go_on


def test_openvla() -> None:
    codec = make_codec("openvla", load_space("widowx_bridge"), BRIDGE)
    state = summarize(np.ones((10, 3), np.float32))
    entry = json.loads(json.dumps(openvla(SourceStatistics("bridge", BRIDGE, state, 4, codec.mask, (codec.lo, codec.hi)))))
    assert set(entry) == {"action", "proprio", "num_transitions", "num_trajectories"}
    assert set(entry["action"]) == {"mean", "std", "max", "min", "q01", "q99", "mask"}
    assert entry["action"]["mask"] == [True] * 6 + [False] and entry["proprio"]["mean"] == [1, 1, 1]
    assert (entry["num_transitions"], entry["num_trajectories"]) == (100, 4)
    assert DimStats.from_json(entry["action"] | {"count": entry["num_transitions"]}) == BRIDGE


def test_openvla_without_a_state_has_zeros() -> None:
    entry = openvla(SourceStatistics("bridge", BRIDGE, None, 4, [True] * 7))
    assert entry["proprio"]["q99"] == [0.0] * 7
    assert entry["action"]["q01"] == list(BRIDGE_Q01)


@pytest.mark.parametrize("name", ["metaworld", "language_table", "widowx_bridge", "google_robot"])
def test_predict_action_decodes_what_was_encoded(name: str) -> None:
    """The published inverse, with nothing but the exported statistics and the ids, gives what the codec itself decodes."""
    space = load_space(name)
    rows = np.random.default_rng(0).normal(0, 0.3, (500, space.size or 0)).astype(np.float32)
    codec = make_codec("openvla", space, summarize(rows))
    stats = openvla(SourceStatistics("d", summarize(rows), None, 1, codec.mask, (codec.lo, codec.hi)))["action"]
    bins = codec.encode(rows, go_on(500))
    edges = np.linspace(-1, 1, 256)
    normal = ((edges[:-1] + edges[1:]) / 2)[np.clip(bins, 0, 254)]
    low, high = np.array(stats["q01"]), np.array(stats["q99"])
    undone = np.where(stats["mask"], 0.5 * (normal + 1) * (high - low) + low, normal)
    whole = [dim.kind == "discrete" for dim in space.dims]
    np.testing.assert_array_equal(np.where(whole, np.rint(undone), undone), codec.decode(bins)[0])


def test_lerobot_has_the_quantiles_that_are_known() -> None:
    fields = {"min", "max", "mean", "std", "count", "q01", "q99"}
    source = SourceStatistics("d", BRIDGE, None, 1, [True] * 7)
    assert lerobot(source).keys() == {"action"} and lerobot(source)["action"].keys() == fields
    known = dict.fromkeys(("q10", "q50", "q90"), BRIDGE.mean)
    stats = DimStats(BRIDGE.count, BRIDGE.mean, BRIDGE.std, BRIDGE.min, BRIDGE.max, BRIDGE.q01, BRIDGE.q99, **known)
    assert DimStats.from_json(stats.to_json()) == stats
    found = lerobot(SourceStatistics("d", stats, stats, 1, [True] * 7))
    assert found.keys() == {"action", "observation.state"}
    assert found["observation.state"].keys() == fields | known.keys() and found["action"]["count"] == [100]


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_mask_of_another_length_is_refused(trainer: str) -> None:
    with pytest.raises(ValueError, match="a mask of 3 for 7 dimensions"):
        TRAINERS[trainer](SourceStatistics("d", BRIDGE, None, 1, [True] * 3))


def test_openpi_counts_the_padding_of_chunks() -> None:
    """As its RunningStats does over batches of chunks whose ends repeat the last action (`shared/normalize.py`)."""
    lengths, horizon = [1, 3, 9], 4
    episodes = [np.random.default_rng(n).normal(0, 1, (n, 2)).astype(np.float32) for n in lengths]
    chunks = [action_chunks(each, np.zeros(len(each), bool), Runs.of(range(len(each))), horizon).actions for each in episodes]
    every = np.concatenate(chunks).reshape(-1, 2).astype(np.float64)
    source = SourceStatistics(
        "d", summarize(np.concatenate(episodes)), None, 3, [True] * 2, chunk=summarize(every.astype(np.float32))
    )
    found = openpi(source)["norm_stats"]["actions"]
    assert found["mean"] == pytest.approx(every.mean(0)) and found["std"] == pytest.approx(every.std(0))
    assert found["mean"] != pytest.approx(np.concatenate(episodes).mean(0))
