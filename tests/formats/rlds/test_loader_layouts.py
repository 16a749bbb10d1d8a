"""Names, cameras and grippers as loaders want them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rt2data.errors import UsageError
from rt2data.formats.rlds.loader_layouts import (
    LAYOUTS,
    doubts,
    feature_name,
    find_layout,
    gripper_of,
    name_datasets,
    name_images,
    require_fit,
)
from rt2data.prepare.store import StoreInfo
from rt2data.read.action_space import load_space

PLAIN, BRIDGE, LIBERO = (LAYOUTS[name] for name in ("plain", "bridge", "libero"))
WIDOWX = load_space("widowx_bridge")


def info(cameras: tuple[str, ...] = ("front", "wrist"), action: int = 7, state: int = 7) -> StoreInfo:
    settings = {"version": 1, "tool_version": "0", "name": "arm", "kind": "robot", "source": "rlds", "settings": {}, "digest": ""}
    return StoreInfo(
        **settings,  # type: ignore[arg-type]
        camera=cameras[0],
        cameras=cameras,
        action_dim=action,
        state_dim=state,
        splits={},
        rejects=(),
        conversions={},
        bytes_read=0,
    )


def test_features_of_cameras() -> None:
    assert name_images(PLAIN, info(), ()) == {"image_front": "front", "image_wrist": "wrist"}
    assert name_images(LIBERO, info(("front", "side", "wrist")), ()) == {"image": "front", "wrist_image": "wrist"}
    assert name_images(BRIDGE, info(), ()) == {"image_0": "front", "image_1": "wrist"}
    assert name_images(BRIDGE, info(("image_0", "image_2")), ()) == {"image_0": "image_0", "image_2": "image_2"}
    assert name_images(LIBERO, info(), ["front", "wrist_image=front"]) == {"image": "front", "wrist_image": "front"}
    assert feature_name("cam/high left") == "image_cam_high_left"


@pytest.mark.parametrize("wished", [["back"], ["a=front", "a=wrist"], ["1x=front"]])
def test_cameras_that_cannot_be(wished: list[str]) -> None:
    with pytest.raises(UsageError):
        name_images(PLAIN, info(), wished)


def test_names_of_datasets() -> None:
    assert name_datasets(PLAIN, ["arm"], ["vqa"], {}) == {"arm": "arm_rlds", "vqa": "vqa_rlds"}
    assert name_datasets(BRIDGE, ["arm"], ["vqa"], {"vqa": "mine"}) == {"arm": "bridge_dataset", "vqa": "mine"}
    assert name_datasets(BRIDGE, ["a", "b"], [], {"a": "bridge_dataset"}) == {"a": "bridge_dataset", "b": "bridge_orig"}


@pytest.mark.parametrize(
    ("robots", "wished"),
    [(["a", "b", "c"], {}), (["a"], {"b": "x"}), (["a"], {"a": "Bad-name"}), (["a", "b"], {"a": "x", "b": "x"})],
)
def test_names_that_cannot_be(robots: list[str], wished: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        name_datasets(BRIDGE, robots, [], wished)


def test_sources_that_fit_a_layout() -> None:
    require_fit(BRIDGE, info(), WIDOWX)
    with pytest.raises(UsageError, match="states of 7 numbers"):
        require_fit(BRIDGE, info(state=0), WIDOWX)
    with pytest.raises(UsageError, match="actions of 7 numbers"):
        require_fit(LIBERO, info(action=14), load_space("generic_nd").sized(14))
    require_fit(PLAIN, info(action=14), load_space("generic_nd").sized(14))
    for word in ({"control_mode": "absolute_joint"}, {"gripper_mode": "relative"}, {"rotation": "quaternion"}):
        with pytest.raises(UsageError, match=f"of {next(iter(word))} "):
            require_fit(LIBERO, info(), replace(WIDOWX, **word))
    assert doubts(BRIDGE, WIDOWX) == []
    assert len(doubts(BRIDGE, replace(WIDOWX, control_mode=None, rotation=None, gripper_mode=None))) == 3
    with pytest.raises(UsageError, match="unknown layout"):
        find_layout("fur")


def test_the_gripper_is_turned_only_where_it_must() -> None:
    assert gripper_of(PLAIN, WIDOWX) is None
    assert gripper_of(BRIDGE, WIDOWX) is None
    turned = gripper_of(LIBERO, WIDOWX)  # from 1 open, 0 closed to -1 open, 1 closed
    assert turned is not None
    assert (turned.dim, 1 * turned.slope + turned.offset, 0 * turned.slope + turned.offset) == (6, -1.0, 1.0)
