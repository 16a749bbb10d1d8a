"""Chunks, several images and conversations: what is right has no faults, and a wrong value of any field is named."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from rt2data.build import Site, build_plainly
from rt2data.formats.base import FORMATS
from rt2data.look.verify import verify
from rt2data.look.verify.expected import CONSTANTS
from rt2data.look.verify.records import ELSEWHERE, ROBOT_FIELDS, UNCHECKED, WEB_FIELDS
from rt2data.plan.recipe import read_recipe
from rt2data.render.fields import FIELDS, MORE_FIELDS
from tests.look import several
from tests.look.verify.test_verify import edit_manifest, faults_text, rewrite

SHARD = "shard-000000.tar"
Change = Callable[[dict[str, Any]], object]


@pytest.fixture
def out(wide: Path, tmp_path: Path) -> Path:
    """A copy, to be damaged."""
    return Path(shutil.copytree(wide, tmp_path / "copy"))


def change(out: Path, key: str, edit: Change) -> str:
    """Edit one example; the faults that name it."""

    def edit_one(found: list[dict[str, Any]]) -> None:
        edit(next(each for each in found if each["key"] == key))

    rewrite(out, edit_one, SHARD)
    return "\n".join(fault.what for fault in verify(out).faults if key in fault.where)


def test_every_field_has_a_check() -> None:
    assert not UNCHECKED
    for fields in (ROBOT_FIELDS, WEB_FIELDS):
        assert {*fields, *CONSTANTS, *ELSEWHERE} == {field.name for field in (*FIELDS, *MORE_FIELDS)}
        assert not {*fields} & {*CONSTANTS, *ELSEWHERE}


@pytest.mark.parametrize("form", FORMATS)
def test_a_right_mixture_has_no_faults(wide: Path, tmp_path: Path, form: str) -> None:
    with several.kinds_known():
        recipe = read_recipe(wide.with_name("mixture.yaml"), overrides=[f"shards.format={form}"])
        build_plainly(recipe, Site(tmp_path / "out"))
    found = verify(tmp_path / "out")
    assert found.ok, faults_text(found)
    assert found.examples == 30 and found.notes == ()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (lambda r: r.update(episode_length=2), "episode_length is 2 at step 2"),
        (lambda r: r.update(episode_length=None), "episode_length is None"),
        (lambda r: r.update(episode_length=4), "3 actions from step 2 are more than its episode of 4 steps has"),
        (lambda r: r.update(camera="wrist"), "camera is wrist, its first image is of front"),
        (lambda r: r["image_names"].reverse(), "image_names are wrist, front, wrist, front, not front, wrist, front, wrist"),
        (lambda r: r.update(image_names=["front"]), "image_mask has 4 entries for 1 image_names"),
        (lambda r: r.update(image_offsets=[0, 0, -2, -2]), "image_offsets are 0, 0, -2, -2, not 0, 0, -1, -1"),
        (lambda r: r["image_mask"].__setitem__(1, False), "image_mask says images 0, 2, 3, there are 0, 1, 2, 3"),
        (lambda r: r.update(loss_weight=0.3), "loss_weight is 0.3, the plan says 0.30000001192092896"),
        (lambda r: r["actions"][0].__setitem__(0, 9.0), "the first of its actions is not its action"),
        (lambda r: r["actions"][1].__setitem__(0, 9.0), "x of action 1: its bin means"),
        (lambda r: r["actions"][1].__setitem__(0, 9.0), "x of action 1 is 9, beyond the "),
        (lambda r: r["actions"][3].__setitem__(0, 9.0), "padding of actions does not repeat action 2"),
        (lambda r: r["actions"].pop(), "actions are not 4 of 7 numbers"),
        (lambda r: r.update(actions=None), "actions are not 4 of 7 numbers"),
        (lambda r: r["actions"][1].__setitem__(0, 1e300), "actions are beyond float32"),
        (lambda r: r.update(action_is_pad=[False, True, False, True]), "action_is_pad is not false and then true"),
        (lambda r: r.update(action_is_pad=[False] * 4), "4 actions from step 2 are more than its episode of 5 steps has"),
        (lambda r: r.update(action_is_pad=[False, False, True, True]), "action_bins are not 16 numbers from 0 to 255"),
        (lambda r: r["action_bins"].__setitem__(0, 0), "action_bins are not those codec rt2 gives"),
        (lambda r: r["action_bins"].__setitem__(8, 0), "action_bins are not those codec rt2 gives"),
        (lambda r: r["action_bins"].__setitem__(9, 0), "x of action 1: its bin means"),
        (lambda r: r["action_bins"].pop(), "action_bins are not 24 numbers from 0 to 255"),
        (lambda r: r.update(terminate=True), "action_bins are not those codec rt2 gives"),
        (lambda r: r["messages"][1].update(content="1 2"), "its last message is not its target"),
        (lambda r: r["messages"][0].update(content="<image>\nwhat?"), "messages do not ask for its text"),
        (lambda r: r["messages"].pop(), "messages do not alternate"),
        (lambda r: r.update(text="drop it"), "its prompt is not that of its text"),
    ],
)
def test_a_wrong_robot_field_is_named(out: Path, changed: Change, named: str) -> None:
    assert named in change(out, "arm-e1-000002", lambda each: changed(each["record"]))


def test_an_endless_timestamp_is_named() -> None:
    """No JSON has one, but a column of floats may."""
    assert ROBOT_FIELDS["timestamp"](float("inf"), cast("Any", None)) == "timestamp is inf"


def test_only_the_last_action_of_an_episode_ends_it(out: Path) -> None:
    """The bins agree with each other, the target and its ids with them: only the padding tells."""

    def end_early(each: dict[str, Any]) -> None:
        each["record"]["action_bins"][8], each["record"]["action_bins"][16] = 0, 1

    assert "action 1 of its chunk ends the task, 3 are no padding" in change(out, "arm-e1-000002", end_early)


def test_images_of_before_the_episode_are_named(out: Path) -> None:
    def give(each: dict[str, Any]) -> None:
        each["images"].append((2, *each["images"][0][1:]))
        each["record"]["image_mask"][2] = True

    assert "image_2 is of a step before its episode" in change(out, "arm-e1-000000", give)


def test_a_missing_image_is_named(out: Path) -> None:
    assert "image_mask says images 0, 1, 2, there are 0, 2" in change(out, "talks-three", lambda each: each["images"].pop(1))


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (lambda r: r.update(text="hello"), "its text is not what the user says first"),
        (lambda r: r["messages"].reverse(), "messages do not alternate between user and assistant"),
        (lambda r: r["messages"][-1].update(content="left"), "its last message is not its target"),
        (lambda r: r["messages"][3].update(content="when?"), "its prompt is not that of its messages"),
        (lambda r: r["messages"][3].update(content="when? <image>"), "messages have 2 places for 1 images"),
        (lambda r: r["messages"][2].update(content="a pot"), "its input_ids are not those of its messages"),
        (lambda r: r["input_ids"].__setitem__(5, 99), "its input_ids are not those of its messages"),
        (lambda r: r["loss_mask"].__setitem__(0, 1), "loss_mask has 2 runs of 1s for 2 answers"),
        (lambda r: r["loss_mask"].__setitem__(r["loss_mask"].index(1), 0), "tokens of answer 1"),
        (lambda r: r["loss_mask"].__setitem__(r["loss_mask"].index(1) - 1, 1), "of prompt 1"),
        (lambda r: r.update(image_names=["front"]), "image_names are front, not image_0"),
        (lambda r: r.update(actions=[[0.0] * 7] * 4), "a web example has actions"),
        (lambda r: r.update(action_is_pad=[True] * 4), "a web example has action_is_pad"),
        (lambda r: r.update(episode_length=3), "a web example has episode_length"),
        (lambda r: r.update(timestamp=0.5), "a web example has timestamp"),
    ],
)
def test_a_wrong_conversation_is_named(out: Path, changed: Change, named: str) -> None:
    assert named in change(out, "talks-one", lambda each: changed(each["record"]))


def test_another_loss_weight_of_the_plan_is_named(out: Path) -> None:
    edit_manifest(out, lambda manifest: manifest["plan"]["sources"][0].update(loss_weight="1"))
    assert "loss_weight is 0.30000001192092896, the plan says 1.0" in faults_text(verify(out))
