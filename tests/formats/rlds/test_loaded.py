"""What OpenVLA's loader makes of episodes, step by step in plain loops, is what the statistics are taken of."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.build import Site, build_plainly, rlds_output
from rt2data.errors import UsageError
from rt2data.formats.rlds.loaded import Loaded, absolute_gripper, as_loaded, binary_gripper
from rt2data.plan.episodes import RldsOptions
from rt2data.plan.recipe import Recipe
from rt2data.read.action_space import load_space

F32 = np.ndarray[Any, np.dtype[np.float32]]
WIDOWX, GOOGLE = load_space("widowx_bridge"), load_space("google_robot")
values = st.sampled_from([-1.0, -0.5, -0.1, 0.0, 0.04, 0.05, 0.1, 0.3, 0.95, 0.96, 1.0])
grippers = st.lists(st.lists(values, min_size=1, max_size=7), min_size=1, max_size=5)


def binary_by_loop(gripper: Sequence[float]) -> list[float]:
    """From the last step to the first."""
    found, carried = [], float(np.float32(gripper[-1]))
    for value in np.float32(gripper)[::-1]:
        if value > np.float32(0.95):
            carried = 1.0
        elif value < np.float32(0.05):
            carried = 0.0
        found.append(carried)
    return found[::-1]


def absolute_by_loop(changes: Sequence[float]) -> list[float]:
    """A gripper's changes, above 0 to close, one after another: 1 open, 0 closed."""
    moves = [0 if abs(np.float32(change)) <= np.float32(0.1) else (-1 if change > 0 else 1) for change in changes]
    held = -next((move for move in moves if move), -1)
    found = []
    for move in moves:
        held = move or held
        found.append(float(held == 1))
    return found


def bridge_by_loop(action: F32, state: F32) -> tuple[F32, F32]:
    """One episode: actions and proprio of the steps between the first and the last."""
    gripper, acted, stood = binary_by_loop(action[1:, 6]) if len(action) > 1 else [], [], []
    for at in range(1, len(action) - 1):
        acted.append([*(state[at + 1, :6] - state[at, :6]), gripper[at - 1]])
        stood.append([*state[at, :6], 0.0, state[at, 6]])
    return np.array(acted, np.float32).reshape(-1, 7), np.array(stood, np.float32).reshape(-1, 8)


def laid(episodes: Sequence[Sequence[Any]]) -> tuple[F32, np.ndarray[Any, np.dtype[np.int64]]]:
    """Episodes end to end, and where each begins."""
    lengths = [len(episode) for episode in episodes]
    return np.concatenate([np.array(e, np.float32) for e in episodes]), np.cumsum([0, *lengths[:-1]])


@given(grippers)
def test_grippers_never_look_into_another_episode(episodes: list[list[float]]) -> None:
    gripper, starts = laid(episodes)
    assert binary_gripper(gripper, starts).tolist() == [value for e in episodes for value in binary_by_loop(e)]
    assert absolute_gripper(-gripper, starts).tolist() == [value for e in episodes for value in absolute_by_loop(e)]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.integers(0, 2**32 - 1))
def test_bridge(lengths: list[int], seed: int) -> None:
    """With episodes of one and two steps, of which nothing is left."""
    rng = np.random.default_rng(seed)
    episodes = [rng.uniform(-1, 1, (n, 14)).astype(np.float32) for n in lengths]
    rows, starts = laid(episodes)
    found = as_loaded("bridge", WIDOWX, rows[:, :7], rows[:, 7:], starts)
    wanted = [bridge_by_loop(e[:, :7], e[:, 7:]) for e in episodes]
    assert found is not None and found.proprio is not None
    np.testing.assert_array_equal(found.action, np.concatenate([action for action, _ in wanted]))
    np.testing.assert_array_equal(found.proprio, np.concatenate([proprio for _, proprio in wanted]))


def loaded(layout: str, space: Any, action: F32, state: F32 | None) -> Loaded:
    found = as_loaded(layout, space, action, state, np.array([0]))
    assert found is not None
    return found


def test_libero() -> None:
    action = np.array([[1, 2, 3, 4, 5, 6, grip] for grip in (-1, -0.5, 0, 0.25, 1)], np.float32)
    found = loaded("libero", WIDOWX, action, np.arange(45, dtype=np.float32).reshape(5, 9))
    assert found.action[:, 6].tolist() == [1, 1, 1, 0.75, 0]
    assert found.proprio is not None and found.proprio[0].tolist() == [0, 1, 2, 3, 4, 5, 7, 8]


def test_plain_datasets_are_loaded_as_they_are_registered() -> None:
    action = np.arange(16, dtype=np.float32).reshape(2, 8)
    action[:, 7] = 0, 1  # nothing, then close: so it was open
    assert loaded("plain", GOOGLE, action, None).action.tolist() == [[1, 2, 3, 4, 5, 6, 1], [9, 10, 11, 12, 13, 14, 0]]
    assert loaded("plain", WIDOWX, action[:, :7], None).action.tolist() == action[:, :7].tolist()
    assert as_loaded("plain", replace(WIDOWX, control_mode=None), action[:, :7], None, np.array([0])) is None


@pytest.mark.parametrize(("space", "there"), [("widowx_bridge", True), ("generic_nd", False)])
def test_no_statistics_of_actions_that_no_loader_sees(
    toy_recipe: Callable[..., Recipe], tmp_path: Path, space: str, there: bool
) -> None:
    recipe = toy_recipe(robot__arm__action_space=space)
    manifest = build_plainly(recipe, Site(tmp_path / "out"), output=rlds_output(RldsOptions()))
    files = {path.name for path in (tmp_path / "out").rglob("*")}
    assert ("dataset_statistics.json" in files, "register_rlds.py" in files) == (there, there)
    assert any("not registered" in warning for warning in manifest.plan.datasets[0].warnings) != there


def test_bridge_statistics_count_what_is_left(toy_recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    """Six episodes of eight steps lose two each."""
    build_plainly(toy_recipe(), Site(tmp_path / "out"), output=rlds_output(RldsOptions(layout="bridge")))
    found = json.loads((tmp_path / "out/bridge_dataset/1.0.0/dataset_statistics.json").read_text())["bridge_dataset"]
    assert (found["num_transitions"], found["num_trajectories"], len(found["proprio"]["mean"])) == (36, 6, 8)


@pytest.mark.parametrize("change", [{"web__qa__answers": "soft"}, {"web__qa__agreement": "vqa"}])
def test_answers_that_episodes_have_no_place_for_are_refused(
    toy_recipe: Callable[..., Recipe], tmp_path: Path, change: dict[str, str]
) -> None:
    with pytest.raises(UsageError, match="write-rlds writes no loss weights"):
        build_plainly(toy_recipe(**change), Site(tmp_path / "out"), output=rlds_output(RldsOptions()))
