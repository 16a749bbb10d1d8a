"""What OpenVLA and Octo are told of a dataset follows from what its action space says, never from its number of dimensions."""

from __future__ import annotations

import ast
import sys
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from rt2data.formats.rlds.dataset import DatasetPlan, ImageFeature
from rt2data.formats.rlds.loader_layouts import OCTO, OPENVLA, find_encoding, unregistered
from rt2data.formats.rlds.registration import registration
from rt2data.read.action_space import SPACE, ActionSpace, Dim, load_space, space_names

WIDOWX, GOOGLE, GENERIC = (load_space(name) for name in ("widowx_bridge", "google_robot", "generic_nd"))


def plan(space: ActionSpace, dataset: str = "arm_rlds") -> DatasetPlan:
    images = (ImageFeature("image_front", "front", "jpeg", 8, 8), ImageFeature("image_wrist", "wrist", "jpeg", 8, 8))
    return DatasetPlan(
        source="arm",
        kind="robot",
        dataset=dataset,
        version="1.0.0",
        layout="plain",
        digest="",
        action_dim=len(space.dims),
        state_dim=3,
        bins=0,
        tokens=False,
        images=images,
        gripper=None,
        splits=(),
        changes=(),
    )


def text_of(space: ActionSpace) -> str | None:
    return registration([plan(space)], {"arm": space})


def joints(mode: str, count: int = 7, gripper_mode: str | None = "absolute") -> ActionSpace:
    """Joints and a gripper."""
    dims = [*(Dim(f"joint_{n}", unit="rad") for n in range(count)), Dim("gripper", bounds=(0.0, 1.0), open=0.0, closed=1.0)]
    return ActionSpace(name="joints", dims=tuple(dims), control_mode=mode, gripper_mode=gripper_mode)  # type: ignore[arg-type]


def registered(text: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Mapping[str, Any]]:
    """What each loader has been told after the file's functions were called, by their modules' names."""
    encodings = SimpleNamespace(
        EEF_POS="EEF_POS", EEF_R6="EEF_R6", JOINT_POS="JOINT_POS", NONE="NONE", POS_EULER="POS_EULER", JOINT_POS_BIMANUAL="?"
    )
    found: dict[str, Mapping[str, Any]] = {}
    places = {
        "openvla": ("prismatic.vla.datasets.rlds.oxe.configs", "prismatic.vla.datasets.rlds.oxe.transforms"),
        "octo": ("octo.data.oxe.oxe_dataset_configs", "octo.data.oxe.oxe_standardization_transforms"),
    }
    monkeypatch.setitem(sys.modules, "tensorflow", SimpleNamespace())
    names: dict[str, Any] = {}
    exec(text, names)  # as a training script imports it
    for loader, (configs, transforms) in places.items():
        entries: dict[str, Any] = {}
        made = SimpleNamespace(
            OXE_DATASET_CONFIGS=entries, ActionEncoding=encodings, StateEncoding=encodings, ProprioEncoding=encodings
        )
        for name in (configs, transforms):
            monkeypatch.setitem(sys.modules, name, made)
        made.OXE_STANDARDIZATION_TRANSFORMS = {}
        if loader in names:
            names[loader]()
            assert made.OXE_STANDARDIZATION_TRANSFORMS.keys() == entries.keys()
            found[loader] = entries
    return found


def encodings_of(space: ActionSpace) -> tuple[str, str]:
    return find_encoding(space, OPENVLA).name, find_encoding(space, OCTO).name


def test_deltas_of_the_end_effector_and_an_absolute_gripper(monkeypatch: pytest.MonkeyPatch) -> None:
    text = text_of(WIDOWX)
    assert text is not None
    found = registered(text, monkeypatch)
    assert {loader: each["arm_rlds"]["action_encoding"] for loader, each in found.items()} == {
        "openvla": "EEF_POS",
        "octo": "EEF_POS",
    }
    assert found["octo"]["arm_rlds"]["image_obs_keys"] == {"primary": "image_front", "secondary": None, "wrist": "image_wrist"}
    assert "1 open, 0 closed" not in text
    assert unregistered(WIDOWX) == []


def test_terminate_first_is_no_joint(monkeypatch: pytest.MonkeyPatch) -> None:
    """Google's robot has eight numbers: terminate, six deltas and a relative gripper. Both loaders get it, converted."""
    text = text_of(GOOGLE)
    assert text is not None
    assert [each["arm_rlds"]["action_encoding"] for each in registered(text, monkeypatch).values()] == ["EEF_POS"] * 2
    assert "tf.gather(action, [1, 2, 3, 4, 5, 6, 7], axis=1)  # without terminate" in text
    assert "absolute_gripper(action[:, -1:] * -1.0 + 0.0)" in text


@pytest.mark.parametrize("size", [2, 7, 8, 10, 14])
def test_numbers_that_nobody_named_are_not_claimed(size: int) -> None:
    space = GENERIC.sized(size)
    assert encodings_of(space) == ("", "")
    reason, statistics = unregistered(space)
    assert reason.startswith("not registered with OpenVLA and Octo: action space generic_nd does not say its control_mode; name a")
    assert statistics.startswith("no dataset_statistics.json")
    assert text_of(space) is None


def test_joints_only_where_they_are_declared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Octo's JOINT_POS stands for changes of seven joints; OpenVLA trains on none."""
    space = joints("delta_joint")
    assert encodings_of(space) == ("", "JOINT_POS")
    text = text_of(space)
    assert text is not None
    assert registered(text, monkeypatch).keys() == {"octo"}
    assert "action[:, -1:] * -1.0 + 1.0" in text
    told, _ = unregistered(space)
    assert "OpenVLA: action space joints is delta_joint, 7 numbers and a gripper, which is last: there is no such encoding" in told
    for other in (joints("absolute_joint"), joints("delta_joint", 6), joints("delta_joint", gripper_mode=None)):
        assert encodings_of(other) == ("", "")
        assert text_of(other) is None


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"rotation": "axis_angle"}, "rotation axis_angle"),
        ({"rotation": None}, "rotation not said"),
        ({"control_mode": "absolute_eef"}, "absolute_eef"),
        ({"gripper_mode": "effort"}, "gripper of effort"),
        ({"gripper_mode": None}, "does not say its gripper_mode"),
        ({"dims": WIDOWX.dims[6:] + WIDOWX.dims[:6]}, "not last"),
    ],
)
def test_one_word_that_differs_is_another_encoding(change: dict[str, Any], why: str) -> None:
    space = replace(WIDOWX, **change)
    assert encodings_of(space) == ("", "")
    assert why in unregistered(space)[0]


def test_what_is_left_out_stands_beside_what_is_not() -> None:
    first, second = plan(WIDOWX), replace_plan(plan(GENERIC.sized(7), "other_rlds"))
    text = registration([first, second], {"arm": WIDOWX, "other": GENERIC.sized(7)})
    assert text is not None
    ast.parse(text)
    assert text.count("# other_rlds is omitted: action space generic_nd does not say its control_mode") == 2
    assert registration([], {}) is None


def replace_plan(dataset: DatasetPlan) -> DatasetPlan:
    import msgspec

    return msgspec.structs.replace(dataset, source="other")


@pytest.mark.parametrize("name", space_names())
def test_shipped_spaces_say_what_they_command(name: str) -> None:
    """But for the two that stand for any robot."""
    space = load_space(name)
    assert (space.control_mode is None) == (name in ("generic_nd", "oxe_eef_raw"))
    assert (space.gripper_mode is None) == (not space.grippers)


def test_a_gripper_mode_needs_a_gripper() -> None:
    with pytest.raises(ValidationError, match="no dimension says open and closed"):
        SPACE.validate_python({"name": "a", "dim": [{"name": "x"}], "gripper_mode": "absolute"}, strict=False)
