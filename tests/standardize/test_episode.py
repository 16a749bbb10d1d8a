"""Which steps of an episode are kept, and where it begins and ends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rt2data.errors import DataError
from rt2data.prepare.row_builder import KEY
from tests.standardize.steps import episode, facts, found, lost, rows

TERMINATES = """
name = "ends"
title = "two displacements and an end"
[[dim]]
name = "dx"
bounds = [-1.0, 1.0]
[[dim]]
name = "dy"
bounds = [-1.0, 1.0]
[[dim]]
name = "terminate"
kind = "discrete"
bounds = [0, 1]
terminates = 1
continues = 0
"""


def acts(*actions: list[float]) -> list[Any]:
    return [np.array(action, np.float32) for action in actions]


# A record that holds several episodes


def test_is_first_inside_a_record_begins_another_episode() -> None:
    steps = episode(6, is_first=[True, False, False, True, False, False])
    made = rows(steps, terminate="last_step")
    assert [(row.group, row.step, row.steps) for row in made] == [
        *(("e0-p0", step, 3) for step in range(3)),
        *(("e0-p1", step, 3) for step in range(3)),
    ]
    assert [row.terminate for row in made] == [False, False, True] * 2
    assert facts(steps)["episodes.cut_at_is_first"] == 1
    assert len({row.key for row in made}) == 6
    assert all(KEY.fullmatch(row.key) for row in made)


def test_is_first_everywhere_begins_one_episode() -> None:
    steps = episode(4, is_first=[True] * 4)
    assert {row.group for row in rows(steps)} == {"e0"}
    assert "episodes.cut_at_is_first" not in facts(steps)


# The last step


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("space") / "ends.toml"
    Path(path).write_text(TERMINATES)
    return str(path)


@pytest.mark.parametrize("last", [[0, 0, 1], [0.5, 0.1, 1]])
def test_a_motionless_step_that_ends_the_task_is_kept(ends: str, last: list[float]) -> None:
    steps = episode(3, action=acts([0.2, 0.1, 0], [0.5, 0.1, 1], last))
    settings = {"action_space": ends, "filters": {"noop": 0.001}}
    assert [row.terminate for row in rows(steps, **settings)][-1]
    assert "last_step" not in {reason for reason, _ in lost(steps, **settings)}


def test_a_motionless_last_step_that_ends_nothing_is_undefined(ends: str) -> None:
    steps = episode(3, action=acts([0.2, 0.1, 0], [0.5, 0.1, 1], [0, 0, 0]))
    assert lost(steps, action_space=ends) == {("last_step", False): 1}


def test_an_end_that_is_dropped_all_the_same_is_counted(ends: str) -> None:
    steps = episode(3, action=acts([0.2, 0.1, 0], [0.5, 0.1, 0], [0.1, 0, 1]))
    assert facts(steps, action_space=ends, filters={"drop_last": 1}) == {"ends.dropped": 1}


def test_the_end_moves_to_the_last_step_with_an_action() -> None:
    actions = episode(4)
    steps = [*actions[:3], replace(actions[3], action=np.zeros(7, np.float32), is_terminal=True)]
    assert [row.terminate for row in rows(steps, terminate="is_terminal")] == [False, False, True]


# Sizes


def test_an_episode_of_different_sizes_costs_itself_alone() -> None:
    good, torn = episode(4, "a"), episode(4, "b")
    torn[2] = replace(torn[2], action=torn[2].action[:6])
    assert lost([*good, *torn]) == {("ragged_episode", True): 4}
    states = [np.zeros(3, np.float32)] * 3 + [np.zeros(2, np.float32)]
    assert lost([*good, *episode(4, "c", state=states)]) == {("ragged_episode", True): 4}
    assert {row.group for row in rows([*good, *torn])} == {"a"}


def test_a_source_of_another_size_is_named() -> None:
    with pytest.raises(DataError, match="7 dimensions, action space metaworld has 4"):
        found(episode(4), action_space="metaworld")


# Gaps


def test_steps_missing_in_the_middle_are_counted() -> None:
    steps = episode(6)
    steps[2] = replace(steps[2], action=np.full(7, np.nan, np.float32))
    assert facts(steps)["episodes.with_gaps"] == 1
    assert "episodes.with_gaps" not in facts(episode(6))
    still = [replace(step, action=np.zeros(7, np.float32)) if 1 < step.step < 4 else step for step in episode(6)]
    assert "episodes.with_gaps" not in facts(still)
    assert facts(still, action_space="generic_nd", filters={"noop": 1e-4})["episodes.with_gaps"] == 1


def test_a_bad_step_takes_its_episode_but_not_where_it_is_undefined_anyway() -> None:
    steps = episode(4)
    bad = [*steps[:1], replace(steps[1], action=np.full(7, np.nan, np.float32)), *steps[2:]]
    assert lost(bad, bad_step="episode") == {("nan_action", True): 4}
    undefined = [*steps[:3], replace(steps[3], action=np.full(7, np.nan, np.float32))]
    assert lost(undefined, bad_step="episode") == {("last_step", False): 1}
