"""Statistics as trainers read them: their keys, their numbers, beside numpy and beside the statistics of a finished mixture."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rt2data.errors import UsageError
from rt2data.look.stats.model import Stats
from rt2data.look.stats.run import take_stats
from rt2data.look.stats.subject import store_subject
from rt2data.look.stats.trainers import as_trainer
from rt2data.seal.trainer_statistics import TRAINERS
from tests.look.stats.stores import files_of, lay, robot_rows, web_row

ACTION = np.random.default_rng(5).normal(0, 1, (200, 7)).astype(np.float32)
STATE = np.random.default_rng(6).normal(0, 1, (200, 9)).astype(np.float32)


@pytest.fixture(scope="module")
def stats(tmp_path_factory: pytest.TempPathFactory) -> Stats:
    folder = tmp_path_factory.mktemp("s")
    return take_stats(store_subject(folder, [lay(folder / "s", files_of(robot_rows("e", ACTION, STATE)), "widowx_bridge")]))


def test_lerobot(stats: Stats) -> None:
    found = as_trainer(stats, "lerobot")
    assert found.keys() == {"action", "observation.state"}
    for name, values in (("action", ACTION), ("observation.state", STATE)):
        exact = values.astype(np.float64)
        assert found[name]["count"] == [200]
        for quantile in (1, 10, 50, 90, 99):
            assert found[name][f"q{quantile:02d}"] == np.quantile(exact, quantile / 100, axis=0).tolist()
        for figure in ("min", "max", "mean", "std"):
            np.testing.assert_allclose(found[name][figure], getattr(np, figure)(exact, axis=0), rtol=1e-12)


def test_openvla(stats: Stats) -> None:
    found = as_trainer(stats, "openvla")["arm"]
    assert found["action"]["mask"] == [True] * 6 + [False]
    assert (found["num_transitions"], found["num_trajectories"]) == (200, 1)
    assert found["action"]["q99"] == np.quantile(ACTION.astype(np.float64), 0.99, axis=0).tolist()
    assert len(found["proprio"]["mean"]) == 9


def test_octo_and_openpi(stats: Stats) -> None:
    octo = as_trainer(stats, "octo")["arm"]["action"]
    assert {"mean", "std", "min", "max", "p01", "p99", "mask"} == octo.keys()
    openpi = as_trainer(stats, "openpi")
    assert openpi.keys() == {"about", "norm_stats"}
    assert openpi["norm_stats"].keys() == {"actions", "state"}
    assert openpi["norm_stats"]["actions"]["q01"] == octo["p01"]


@pytest.mark.parametrize("name", TRAINERS)
def test_they_are_those_of_the_mixture(out: Path, mixture: Stats, name: str) -> None:
    """A mixture holds statistics of the same rows already: `--as` says the same, but for the mask, which there is its codec's."""
    file = {"openvla": "dataset_statistics", "octo": "statistics/octo"}.get(name, f"statistics/{name}_arm")
    wanted = json.loads((out / f"{file}.json").read_text())
    if name == "openvla":
        wanted["arm"]["action"].pop("mask")
    compare(as_trainer(mixture, name), wanted)


def compare(found: object, wanted: object) -> None:
    if isinstance(wanted, dict):
        assert isinstance(found, dict)
        for key, value in wanted.items():
            compare(found[key], value)
    elif isinstance(wanted, str):
        assert found == wanted
    else:
        assert found == pytest.approx(wanted, rel=1e-12, abs=1e-15)


def two_splits(folder: Path, *names: str) -> Stats:
    """Each of one episode; the second has every action tripled."""
    rows = [row for n, split in enumerate(names) for row in robot_rows(split, ACTION * (1 + 2 * n), STATE, split=split)]
    return take_stats(store_subject(folder, [lay(folder / "s", files_of(rows), "widowx_bridge")]))


@pytest.mark.parametrize("name", TRAINERS)
def test_a_source_with_two_splits_keeps_the_name_that_loaders_look_for(tmp_path: Path, stats: Stats, name: str) -> None:
    """Its own, with the statistics of train: a key such as arm/train is looked up by nobody."""
    compare(as_trainer(two_splits(tmp_path, "train", "val"), name), as_trainer(stats, name))


def test_which_of_several_splits_must_be_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="source arm has splits a, b"):
        as_trainer(two_splits(tmp_path, "a", "b"), "openvla")


def test_what_has_no_actions_has_no_shape(tmp_path: Path, stats: Stats) -> None:
    store = lay(tmp_path / "s", files_of([web_row("q", "who?", ["me"], 1)]))
    with pytest.raises(UsageError, match="no source has actions"):
        as_trainer(take_stats(store_subject(tmp_path, [store])), "octo")
    with pytest.raises(UsageError, match="choose one of openvla"):
        as_trainer(stats, "act")
