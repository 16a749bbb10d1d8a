"""Real logs: published statistics reproduced, and no alarm that is untrue."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from rt2data.build import preparations, prepare_plainly
from rt2data.look.stats.model import Stats
from rt2data.look.stats.run import take_stats
from rt2data.look.stats.subject import Question, find_subject
from rt2data.plan.recipe import Recipe
from rt2data.prepare.statistics import DimStats
from rt2data.prepare.store import Store
from rt2data.tally.moments import Moments, moments


def prepare(recipe: Recipe) -> dict[str, Store]:
    """Every source, here."""
    with preparations(recipe, recipe.store_folder.absolute()) as todo:
        return {each.name: prepare_plainly(each) for each in todo}


def look(path: Path, scratch: Path) -> Stats:
    """Statistics of whatever lies at a path."""
    return take_stats(find_subject(Question(path, store=scratch / "store"), scratch, prepare))


@pytest.fixture(scope="module")
def bridge(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Stats, Path]:
    scratch = tmp_path_factory.mktemp("bridge")
    return look(shared_data / "rlds_bridge" / "bridge_dataset" / "1.0.0", scratch), scratch


def test_bridge_gives_one_true_alarm(bridge: tuple[Stats, Path]) -> None:
    """Its black camera, in both splits; nothing else is wrong with it."""
    found, _ = bridge
    assert [(warn.code, warn.level) for warn in found.warnings] == [("same_image", "note")] * 2
    assert all("image_3" in warn.what for warn in found.warnings)
    assert found.leaks == ()


def test_bridge_is_what_it_is_known_to_be(bridge: tuple[Stats, Path]) -> None:
    """By its standard: actions are changes of the state, the first and the last of ten steps are left out, state 6 is a filler."""
    train, val = bridge[0].sources
    assert (train.split, train.rows, train.groups, val.rows) == ("train", 80, 10, 24)
    assert train.actions is not None and train.actions.gripper is not None and train.episodes is not None
    assert train.episodes.steps.min == train.episodes.steps.max == 8
    assert train.actions.gripper.agrees is not None and train.actions.gripper.agrees > 0.8
    assert [m.state for m in train.actions.motion] == [*(f"s_{i}" for i in range(6)), "s_7"] and train.actions.unpaired == ()
    deltas = train.actions.motion[:6]
    assert all(m.delta > 0.999 for m in deltas) and not train.actions.absolute
    assert train.actions.terminate == 10
    assert train.tokens is None
    cameras = {camera.name: camera for camera in train.cameras}
    assert cameras["image_0"].used and cameras["image_0"].sizes == ((64, 64, 80),)
    assert cameras["image_3"].unique == 1 and cameras["image_3"].commonest == 80


def test_they_agree_with_those_of_the_store(bridge: tuple[Stats, Path]) -> None:
    """The store's own statistics, which codecs are made of."""
    found, scratch = bridge
    (folder,) = (scratch / "store").glob("bridge_dataset-*")
    kept = json.loads((folder / "stats.json").read_text())
    for source in found.sources:
        assert source.actions is not None
        for what, dims in (("action", source.actions.dims), ("state", source.state)):
            wanted = DimStats.from_json(kept[source.split][what])
            for i, dim in enumerate(dims):
                assert (dim.count, dim.min, dim.max) == (wanted.count, wanted.min[i], wanted.max[i])
                assert (dim.q01, dim.q99) == (wanted.q01[i], wanted.q99[i])
                assert (dim.mean, dim.std) == pytest.approx((wanted.mean[i], wanted.std[i]), rel=1e-12, abs=1e-15)


def test_the_quadrotor_gives_no_alarm(shared_data: Path, tmp_path: Path) -> None:
    """No gripper, four velocities, twelve numbers of state."""
    found = look(shared_data / "sim_quadrotor_rlds", tmp_path)
    assert found.warnings == ()
    (source,) = found.sources
    assert source.actions is not None
    assert source.actions.gripper is None
    pairs = {m.action: m for m in source.actions.motion}
    assert {name: m.state for name, m in pairs.items()} == {"a_0": "s_6", "a_2": "s_5", "a_3": "s_11"}
    assert pairs["a_2"].delta > 0.99, "the yaw rate turns the yaw"
    assert source.actions.unpaired == ("a_1",)
    assert len(source.actions.dims) == 4 and len(source.state) == 12 and len(source.actions.correlation) == 4


# LeRobot's published statistics of each episode


@pytest.fixture(scope="module")
def published(shared_data: Path) -> list[dict[str, dict[str, list[float]]]]:
    path = shared_data / "lerobot_v21_g1" / "meta" / "episodes_stats.jsonl"
    return [json.loads(line)["stats"] for line in path.read_text().splitlines()]


def columns(folder: Path, episode: int) -> Iterator[tuple[str, np.ndarray]]:
    """Float columns of one episode, as [N, D]."""
    table = pq.read_table(folder / "lerobot_v21_g1" / "data" / "chunk-000" / f"episode_{episode:06d}.parquet")
    for name in table.column_names:
        values = np.array(table[name].to_pylist())
        if values.dtype.kind == "f":
            yield name, values.reshape(len(values), -1)


def test_published_statistics_of_each_episode(shared_data: Path, published: list[dict[str, dict[str, list[float]]]]) -> None:
    for episode, wanted in enumerate(published):
        found = {name: moments(values) for name, values in columns(shared_data, episode)}
        assert {"action", "observation.state"} <= found.keys()
        for name, sums in found.items():
            for figure, value in (("min", sums.min), ("max", sums.max), ("mean", sums.mean), ("std", sums.std)):
                np.testing.assert_allclose(value, wanted[name][figure], atol=1e-6, rtol=1e-6, err_msg=f"{episode} {name} {figure}")
            assert sums.count.tolist() == [wanted[name]["count"][0]] * len(sums.count)


def test_two_episodes_add_up_to_both(shared_data: Path) -> None:
    first, second = dict(columns(shared_data, 0)), dict(columns(shared_data, 1))
    for name, values in first.items():
        both = np.concatenate([values, second[name]])
        added, whole = moments(values) + moments(second[name]) + Moments(), moments(both)
        for figure in ("mean", "std", "min", "max"):
            np.testing.assert_allclose(getattr(added, figure), getattr(whole, figure), rtol=1e-12, atol=1e-12)
            np.testing.assert_allclose(getattr(added, figure), getattr(np, figure)(both.astype(np.float64), axis=0), atol=1e-12)
