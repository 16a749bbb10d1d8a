"""Every dataset of OpenVLA's tables, as `inspect` suggests to read it, against a computation of its transform of our own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rt2data.look.inspect import recognize
from rt2data.plan.recipe import parse_recipe
from rt2data.read.rlds.source import RLDS
from rt2data.read.standards import load_standard, shipped
from rt2data.records import End, Fact, Reject, Row
from rt2data.standardize import standardize
from tests.oxe.layouts import GUESSED, LAYOUTS, NAMES, episode, leaves, without_sizes
from tests.oxe.transforms import TRANSFORMS, standardized
from tests.tfds_writing import write_dataset

EPISODES = 3


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A dataset of that name, in the layout that it has."""
    folder = tmp_path_factory.mktemp("oxe")

    def write(name: str) -> Path:
        root = folder / name / "1.0.0"
        if not root.exists():
            layout = NAMES[name]
            write_dataset(folder, name, leaves(layout), {"train": [[episode(layout, seed) for seed in range(EPISODES)]]})
        return root

    return write


def suggested(root: Path) -> RLDS:
    """The source that is suggested for a dataset, as it is pasted into a recipe; all that it names must be there."""
    found = parse_recipe(f"robot_frac: 1\n{recognize(root).suggestion()}", "pasted", Path("/"), check=True)
    (source,) = found.robot.values()
    assert isinstance(source, RLDS)
    return source


def standard_rows(source: RLDS) -> Iterator[Row | Reject | Fact]:
    for unit in source.units():
        yield from standardize(source, source.read(unit))


@pytest.mark.parametrize("name", NAMES)
def test_a_dataset_is_right_as_suggested(name: str, written: Any) -> None:
    layout, source = NAMES[name], suggested(written(name))
    assert source.dataset is not None and name in (source.dataset, *load_standard(source.dataset).match.names)
    assert source.camera == TRANSFORMS[layout].camera
    found = list(standard_rows(source))
    assert {each.reason for each in found if isinstance(each, Reject) and each.fault} == set()
    for seed in range(EPISODES):
        made = [each for each in found if isinstance(each, Row) and each.group.endswith(f"{seed:06d}")]
        steps, action, state = standardized(layout, episode(layout, seed))
        assert [row.step for row in made] == steps and len(steps) >= 7
        # 2e-5: scipy turns a quaternion into angles in double precision, and near a pitch of a quarter turn float32 has not more
        equal(made, "action", action, 2e-5 if any(rule.rule == "rotation" for rule in source.conversions) else 0)
        if state is not None:
            equal(made, "state", state)
        assert {row.text for row in made} <= {"Lift the red cup", "Lift the blue cup", "push the blue cube – now"}


def equal(rows: Sequence[Row], what: str, expected: NDArray[np.float32], atol: float = 0) -> None:
    found = np.stack([getattr(row, what) for row in rows])
    assert found.dtype == expected.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)


def test_all_names_of_the_tables_are_here() -> None:
    assert len(NAMES) == 73 and set(NAMES.values()) == set(LAYOUTS) == set(TRANSFORMS) and len(LAYOUTS) == 59
    known = {name for each in shipped() for name in {each.name, *each.match.names}}
    assert set(NAMES) <= known
    unseen = {each.name for each in shipped() if "as the transform reads them" in each.source}
    assert {name.split("_dataset")[0] for name in unseen} == {*GUESSED, "ppgm"}, "who has not seen the features says so"


@pytest.mark.parametrize("name", ["bridge_orig", "libero_10_no_noops", "utaustin_mutex", "taco_play"])
def test_images_of_any_size_change_nothing(name: str, tmp_path: Path) -> None:
    layout = NAMES[name]
    root = write_dataset(tmp_path, name, without_sizes(leaves(layout)), {"train": [[episode(layout, 0)]]})
    assert suggested(root).dataset == load_standard(name).name


def test_only_successes_of_kuka_are_wanted(written: Any) -> None:
    """Which marks are believed is judged when all episodes are known, as a store is made."""
    marks = {row.group[-1]: row.marks for row in standard_rows(suggested(written("kuka"))) if isinstance(row, Row)}
    assert {group: (End.WANTED in mark, End.SUCCESS in mark, End.FAILURE in mark) for group, mark in marks.items()} == {
        "0": (True, True, False),
        "1": (True, False, True),
        "2": (True, True, False),
    }


def test_steps_of_droid_without_motion_are_dropped(tmp_path: Path) -> None:
    made = episode("droid", 0)
    made["steps/action_dict/cartesian_velocity"][2:4] = 0
    made["steps/action_dict/gripper_position"][1:4] = [[0.5], [0.5], [0.7]]
    source = suggested(write_dataset(tmp_path, "droid", leaves("droid"), {"train": [[made]]}))
    found = list(standard_rows(source))
    assert [each.step for each in found if isinstance(each, Row)] == [0, 1, *range(3, 9)], "the gripper moves in step 3"
    assert [(each.reason, each.count) for each in found if isinstance(each, Reject)] == [("noop", 1)]


def test_what_a_recipe_changes_stands(written: Any) -> None:
    source = suggested(written("language_table"))
    plain = RLDS(path=source.path, dataset="language_table", action_space="language_table", action="action", state=None)
    assert list(plain.invalid_settings()) == []
    row = next(each for each in standard_rows(plain) if isinstance(each, Row))
    assert row.action is not None and row.action.tolist() == episode("language_table", 0)["steps/action"][0].tolist()


@pytest.mark.parametrize("name", ["fractal20220817_data", "kuka"])
def test_googles_eight_numbers_are_still_there(name: str, written: Any) -> None:
    action = [f"action/{part}" for part in ("terminate_episode", "world_vector", "rotation_delta", "gripper_closedness_action")]
    source = RLDS(path=str(written(name)), dataset=name, action_space="google_robot", action=action, conversions=())
    assert list(source.invalid_settings()) == []
    row = next(each for each in standard_rows(source) if isinstance(each, Row))
    grip = episode(name, 0)["steps/action/gripper_closedness_action"]
    assert row.action is not None and (row.action[0], row.action[7]) == (1, grip[0, 0])


def test_a_changed_layout_is_not_taken_for_the_known_one(tmp_path: Path) -> None:
    changed = tuple(replace(leaf, shape=(9,)) if leaf.key == "steps/action" else leaf for leaf in leaves("libero"))
    made = episode("libero", 0) | {"steps/action": np.zeros((9, 9), np.float32)}
    root = write_dataset(tmp_path, "libero_10_no_noops", changed, {"train": [[made]]})
    assert "action has the shape [9], not [7]" in recognize(root).suggestion()
