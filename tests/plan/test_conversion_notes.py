"""What converting actions and states changed is told before a mixture is built."""

from __future__ import annotations

from fractions import Fraction

import msgspec

from rt2data.plan.plan import plan_source
from rt2data.plan.shares import SourceShare
from rt2data.plan.source_notes import CONVERTED, source_notes
from rt2data.prepare.store import SplitInfo, StoreInfo
from rt2data.records import Warn
from rt2data.standardize.conversions import JUMPS
from tests.contract.toy import ToyRobot

INFO = StoreInfo(
    version=3, tool_version="test", name="arm", kind="robot", source="toy_robot", settings={}, digest="0" * 32, camera="front",
    cameras=("front",), action_dim=4, state_dim=0, splits={"train": SplitInfo(100, 1, 0, 0, (100,), {})}, rejects=(),
    conversions={}, bytes_read=0,
)  # fmt: skip
SOURCE = ToyRobot(path="x", action_space="generic_nd")


def notes(**facts: int) -> dict[str, Warn]:
    named = {f"conversions.{name}": count for name, count in facts.items()}
    info = msgspec.structs.replace(INFO, facts=named)
    planned = plan_source(SourceShare("arm", SOURCE, Fraction(1), Fraction(1), ()), info, "train", 100)
    return {each.code: each for each in source_notes(SOURCE, info, planned)}


def test_changed_values_are_counted_in_one_line() -> None:
    found = notes(between_values=1200, wrapped_angles=3)
    assert found["converted"].level == "note" and "angle_jumps" not in found
    assert "3 angles of more than half a circle were wrapped, 1,200 values of a gripper" in found["converted"].what


def test_angles_that_jump_are_a_warning() -> None:
    found = notes(angle_jumps=2)
    assert found["angle_jumps"].level == "warning" and "2 changes of an angle" in found["angle_jumps"].what
    assert "wrap: true" in found["angle_jumps"].do and "converted" not in found


def test_nothing_changed_is_nothing_to_tell() -> None:
    assert {"converted", "angle_jumps"} & set(notes()) == set()


def test_every_fact_has_words() -> None:
    assert {*CONVERTED, JUMPS} == {
        f"conversions.{name}"
        for name in ("wrapped_angles", "angle_jumps", "between_values", "clipped_values", "assumed_open", "absent_steps")
    }
