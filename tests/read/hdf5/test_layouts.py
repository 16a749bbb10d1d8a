"""Layouts are recognized from structure, and read value by value as h5py has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

import rt2data
from rt2data.build import Site, build_plainly
from rt2data.errors import UsageError
from rt2data.look.inspect import recognize as inspect_recognize
from rt2data.look.verify import verify
from rt2data.plan.recipe import RecipeError, parse_recipe
from rt2data.read.hdf5.recognize import recognize_hdf5
from rt2data.read.hdf5.source import HDF5
from rt2data.records import Step
from tests.read.hdf5 import writing
from tests.read.hdf5.reading import by_episode, log, read


def require_equal(steps: list[Step], group: Any, action: str, state: tuple[str, ...], cameras: dict[str, str]) -> None:
    """The steps of an episode against the datasets of its group."""
    assert len(steps) == len(group[action])
    np.testing.assert_array_equal([step.action for step in steps], group[action][()].astype(np.float32))
    if state:
        columns = [group[path][()].reshape(len(steps), -1) for path in state]
        np.testing.assert_array_equal([step.state for step in steps], np.hstack(columns).astype(np.float32))
    seen = {camera: group[path][()] for camera, path in cameras.items()}
    for step in steps:
        assert {image.camera for image in step.images} == set(cameras)
        for image in step.images:
            content, raw = image.content(), seen[image.camera][step.step]
            if isinstance(content, np.ndarray):
                np.testing.assert_array_equal(content, raw)
            else:
                assert bytes(content) == raw.tobytes().rstrip(b"\0") and bytes(content).endswith(b"\xff\xd9")


ROBOMIMIC = ("obs/robot0_eef_pos", "obs/robot0_eef_quat", "obs/robot0_gripper_qpos")
REAL: dict[str, tuple[str, tuple[str, ...], dict[str, str], str]] = {
    "hdf5_robosuite_raw/lift/demo.hdf5": ("actions", (), {}, ""),
    "hdf5_robosuite_raw/door/demo.hdf5": ("actions", (), {}, ""),
    "hdf5_robosuite_raw/two_arm_handover_demos.hdf5": ("actions", (), {}, ""),
    "hdf5_robomimic/lift_ph_image84.hdf5": (
        "actions",
        ROBOMIMIC,
        {"agentview_image": "obs/agentview_image", "robot0_eye_in_hand_image": "obs/robot0_eye_in_hand_image"},
        "",
    ),
    "hdf5_act_xhand/episode_0.hdf5": (
        "action",
        ("observations/qpos",),
        {camera: f"observations/images/{camera}" for camera in ("cam_high", "cam_wrist")},
        "Grasp the spoon and scoop up a spoonful of water.",
    ),
    "sim_metaworld_hdf5/metaworld.hdf5": (
        "actions",
        ("obs/robot0_proprio",),
        {camera: f"obs/{camera}" for camera in ("corner2_image", "gripperPOV_image")},
        "@language_instruction",
    ),
}


@pytest.mark.parametrize("path", REAL)
def test_real_logs_are_as_h5py_has_them(path: str, shared_data: Path) -> None:
    action, state, cameras, words = REAL[path]
    suggestion = recognize_hdf5(shared_data / path)
    without = {} if cameras else {"cameras": "none"}
    assert suggestion is not None and suggestion.settings == {"path": str(shared_data / path)} | without
    source = log(shared_data / path)
    steps, rejects = read(source)
    assert not rejects
    with h5py.File(shared_data / path) as file:
        groups = file["data"] if "data" in file else {Path(path).stem: file}
        assert set(by_episode(steps)) == set(groups)
        for name, found in by_episode(steps).items():
            require_equal(found, groups[name], action, state, cameras)
            said = groups[name].attrs[words[1:]] if words.startswith("@") else words
            assert {step.instruction for step in found} == {said}
            if "rewards" in groups[name]:
                np.testing.assert_allclose([step.reward for step in found], groups[name]["rewards"][()])
            terminal = bool(groups[name]["dones"][-1]) if "dones" in groups[name] else False
            assert [step.is_terminal for step in found] == [False] * (len(found) - 1) + [terminal]
            assert found[-1].success == (bool(groups[name].attrs["success"]) if "success" in groups[name].attrs else None)
            assert found[0].timestamp is None


def test_masks_are_splits(shared_data: Path) -> None:
    source = log(shared_data / "sim_metaworld_hdf5" / "metaworld.hdf5")
    assert source.split_names() == ("train", "val")
    splits = {name: steps[0].split for name, steps in by_episode(read(source)[0]).items()}
    assert splits == {"demo_8": "train", "demo_16": "train", "demo_24": "train", "demo_0": "val"}


def test_episodes_in_no_mask_are_a_split_of_their_own(tmp_path: Path) -> None:
    path = writing.write_robomimic(
        tmp_path / "a.hdf5", (3, 3, 3, 3), {"train": ["demo_0", "demo_3"], "valid": ["demo_3", "demo_1"]}
    )
    splits = {name: steps[0].split for name, steps in by_episode(read(log(path))[0]).items()}
    assert splits == {"demo_0": "train", "demo_1": "val", "demo_2": "unmasked", "demo_3": "val"}  # what is held out stays so
    writing.write_robomimic(path, (3, 3), {"20_percent": ["demo_0"]})
    assert {step.split for step in read(log(path))[0]} == {"train"}


def test_numbers_count_by_their_value(tmp_path: Path) -> None:
    source = log(writing.write_robomimic(tmp_path / "a.hdf5", [2] * 12))
    assert list(by_episode(read(source)[0])) == [f"demo_{n}" for n in range(12)]
    for n in (10, 9, 1):
        writing.write_act(tmp_path / "act" / f"episode_{n}.hdf5", n, 2)
    assert list(by_episode(read(log(tmp_path / "act"))[0])) == ["episode_1", "episode_9", "episode_10"]


def test_frames_of_what_follows_are_not_cameras(tmp_path: Path) -> None:
    source = log(writing.write_robomimic(tmp_path / "a.hdf5"))
    assert dict(source.layout().cameras) == {camera: f"obs/{camera}" for camera in ("agentview_image", "eye_image")}
    assert [part.path for part in source.layout().state] == list(ROBOMIMIC)


@pytest.mark.parametrize("words", [True, False])
def test_libero(words: bool, tmp_path: Path) -> None:
    path = writing.write_libero(tmp_path / "KITCHEN_SCENE3_turn_on_the_stove_demo.hdf5", words)
    suggestion = recognize_hdf5(path)
    assert suggestion is not None and suggestion.facts["layout"] == "LIBERO"
    assert suggestion.settings.get("instruction") == (None if words else "file:name")
    assert "mirrors" in suggestion.facts["images"]
    assert suggestion.settings.get("images") == {"flip": "vertical"}
    steps, rejects = read(log(path, **{key: value for key, value in suggestion.settings.items() if key != "path"}))
    assert not rejects and {step.instruction for step in steps} == {writing.WORDS}
    assert steps[0].state is not None and steps[0].state.shape == (8,)
    with h5py.File(path) as file:
        cameras = {camera: f"obs/{camera}" for camera in ("agentview_rgb", "eye_in_hand_rgb")}
        for name, found in by_episode(steps).items():
            require_equal(found, file["data"][name], "actions", ("obs/ee_states", "obs/gripper_states"), cameras)


def test_libero_with_upright_images(tmp_path: Path) -> None:
    suggestion = recognize_hdf5(writing.write_libero(tmp_path / "a_demo.hdf5", convention="opencv"))
    assert suggestion is not None and "images" not in {*suggestion.settings, *suggestion.facts}


@pytest.mark.parametrize("as_jpeg", [True, False])
def test_act(as_jpeg: bool, tmp_path: Path) -> None:
    for number in range(2):
        path = writing.write_act(tmp_path / f"episode_{number}.hdf5", number, as_jpeg=as_jpeg)
    path.with_suffix(".txt").write_text("fold the cloth\n")
    source = log(tmp_path, instruction="file:txt") if as_jpeg else log(tmp_path)
    if as_jpeg:
        with pytest.raises(UsageError, match="there is no feature `file:txt`"):
            source.units()  # the first has none
    (tmp_path / "episode_0.txt").write_text("stack the cups")
    steps, rejects = read(log(tmp_path))
    assert not rejects
    found = by_episode(steps)
    assert [each[0].instruction for each in found.values()] == ["stack the cups", "fold the cloth"]
    for name in found:
        with h5py.File(tmp_path / f"{name}.hdf5") as file:
            cameras = {camera: f"observations/images/{camera}" for camera in ("cam_high", "cam_low")}
            require_equal(found[name], file, "action", ("observations/qpos",), cameras)
    assert {Path(each).name for each in log(tmp_path).files()} == {
        f"episode_{n}.{end}" for n in range(2) for end in ("hdf5", "txt")
    }


def test_droid_says_that_its_videos_are_not_there(tmp_path: Path) -> None:
    path = writing.write_droid(tmp_path / "success" / "2023-07-07" / "Fri_Jul__7_09:42:23_2023" / "trajectory.h5")
    suggestion = recognize_hdf5(tmp_path)
    assert suggestion is not None and suggestion.facts["layout"] == "DROID" and "recordings/MP4" in suggestion.facts["images"]
    steps, rejects = read(log(tmp_path))
    assert not rejects and [step.images for step in steps] == [()] * 6
    assert {step.instruction for step in steps} == {"Put the cup on the shelf"} and steps[-1].success is True
    assert [step.timestamp for step in steps] == pytest.approx([1_690_000_000 + 0.066 * n for n in range(6)], abs=1e-6)
    with h5py.File(path) as file:
        action = np.hstack([file["action/cartesian_velocity"][()], file["action/gripper_position"][()][:, None]])
        np.testing.assert_array_equal([step.action for step in steps], action.astype(np.float32))
    recipe = f"robot_frac: 1\nrobot: {{arm: {{kind: hdf5, path: {tmp_path}, action_space: generic_nd}}}}\n"
    with pytest.raises(RecipeError, match=r"arm.path: it has no images.*recordings/MP4"):
        parse_recipe(recipe, "mix.yaml", tmp_path, check=True)


def test_a_log_without_images_is_mixed_where_the_recipe_says_so(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "hdf5_robosuite_raw" / "lift" / "demo.hdf5"
    seen = inspect_recognize(path)
    first = seen.facts()["first_episode"]
    assert first == {"episode": "demo_1", "steps": 412, "instruction": "", "action": 7, "state": 0, "cameras": []}
    assert "has no images" in seen.facts()["images"] and 'cameras: "none"' in seen.suggestion()
    start = f"store: store\nrobot_frac: 1\nrobot: {{arm: {{kind: hdf5, path: {path}, action_space: generic_nd, text: Lift the cube"
    with pytest.raises(RecipeError, match=r"mix.yaml:3:33 robot.arm.path: it has no images.*dataset_states_to_obs"):
        parse_recipe(start + "}}\n", "mix.yaml", tmp_path, check=True)
    recipe = parse_recipe(start + ", cameras: none}}\n", "mix.yaml", tmp_path, check=True)
    build_plainly(recipe, Site(tmp_path / "out"))
    assert verify(tmp_path / "out").ok
    found = list(rt2data.load(tmp_path / "out"))
    assert len(found) == 412
    assert all(len(each["images"]) == 0 and len(each["action"]) == 7 for each in found)


# As declared


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A layout of nobody else's: episodes two levels down, words of each step, JPEG in three forms."""
    path = tmp_path / "own.h5"
    with h5py.File(path, "w") as file:
        for run in range(2):
            for take in range(2):
                group = file.create_group(f"run{run}/take-{take}")
                encoded = writing.jpegs(10 * run + take, 4)
                group["cmd"], group["extra"] = writing.numbers(take, 4, 3), np.arange(4.0)
                group["words"] = [f"step {n}".encode() for n in range(4)]
                group["fixed"] = np.array(encoded, "S")
                varied = group.create_dataset("varied", 4, h5py.vlen_dtype(np.uint8))
                for number, each in enumerate(encoded):
                    varied[number] = np.frombuffer(each, np.uint8)
                group["done_well"] = run == 1
    return path


OWN = {"episode_groups": "run*/take-*", "action": ["cmd[0:2]", "extra"], "instruction": "words", "success": "done_well"}


def test_a_declared_layout(own: Path) -> None:
    source = log(own, **OWN, camera_features={"a": "fixed", "b": "varied"})
    assert list(source.invalid_settings()) == []
    steps, rejects = read(source)
    assert not rejects and len(by_episode(steps)) == 4
    assert [step.instruction for step in steps[:4]] == [f"step {n}" for n in range(4)]
    assert [each[-1].success for each in by_episode(steps).values()] == [False, False, True, True]
    with h5py.File(own) as file:
        np.testing.assert_array_equal(
            [step.action for step in steps[:4]],
            np.column_stack([file["run0/take-0/cmd"][:, :2], np.arange(4)]).astype(np.float32),
        )
    for run in range(2):
        for take in range(2):
            encoded = writing.jpegs(10 * run + take, 4)
            here = steps[(2 * run + take) * 4 :][:4]
            assert [[image.content() for image in step.images] for step in here] == [[each, each] for each in encoded]
    assert all(len(name) <= 40 for name in by_episode(steps))


def test_a_layout_that_nobody_knows_says_what_is_there(own: Path) -> None:
    assert recognize_hdf5(own) is None
    with pytest.raises(UsageError, match=r"no episodes are recognized in it: there is run0, run1.*episode_groups"):
        log(own).units()
    (wrong,) = [each for each in log(own, action="cmd").invalid_settings() if each.setting == ("path",)]
    assert "episode_groups" in wrong.message
    with pytest.raises(UsageError, match=r"there is no feature `cmdd`.*did you mean cmd"):
        log(own, **OWN | {"action": "cmdd"}).units()


def test_groups_of_one_name_are_episodes(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["meta/actions_seen"] = [1]
        for number in (0, 2, 10):
            file[f"traj_{number}/actions"] = writing.numbers(number, 3, 2)
    steps, rejects = read(log(tmp_path / "a.h5"))
    assert not rejects and list(by_episode(steps)) == ["traj_0", "traj_2", "traj_10"]


@pytest.mark.parametrize("pattern", ["", "/", "a/../b", "data/[0-9]", "x?"])
def test_patterns_that_are_none(pattern: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be a path of groups"):
        log(tmp_path, episode_groups=pattern)


def test_names_stay_when_files_are_added(tmp_path: Path) -> None:
    """And no two episodes have one name, whatever files and groups are called."""
    for name in ("a", "a-b", "b/c", "d e", "f" * 60):
        writing.write_robomimic(tmp_path / f"{name}.hdf5", (2, 2))
    before = list(by_episode(read(log(tmp_path))[0]))
    assert len(set(before)) == 10 and "a-demo_0" in before
    for name in ("0", "a-demo_0", "b_c", "zz/a"):
        writing.write_robomimic(tmp_path / f"{name}.hdf5", (2, 2))
    writing.write_robomimic(tmp_path / "a.h5", (2,))
    after = list(by_episode(read(log(tmp_path))[0]))
    assert set(before) < set(after) and len(set(after)) == len(after) == 19
    assert HDF5.model_fields["kind"].default == "hdf5"
