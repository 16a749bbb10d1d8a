"""Conversions of actions and states: each rule against plain arithmetic, laws of pairs, and Bridge as OpenVLA relabels it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from math import asin, atan2, cos, pi, sin, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rt2data.errors import UsageError
from rt2data.read.conversions import converted_width
from rt2data.read.rlds.source import RLDS
from rt2data.records import Fact, Reject, Row, Step
from rt2data.standardize import standardize
from rt2data.standardize.conversions import Names, convert
from rt2data.standardize.rotations import rewritten
from tests.contract.toy import ToyRobot
from tests.standardize.steps import episode, facts, lost, rows

Numbers = NDArray[np.float32]


def rules(*asked: dict[str, Any]) -> Any:
    return ToyRobot(path="x", action_space="generic_nd", conversions=asked).conversions


def steps(action: Any, state: Any = None, **changed: Sequence[Any]) -> list[Step]:
    """An episode with these rows of numbers."""
    columns = {"action": np.asarray(action, np.float32)} | ({} if state is None else {"state": np.asarray(state, np.float32)})
    return episode(len(action), **columns, **changed)


def actions(*asked: dict[str, Any], action: Any, state: Any = None, names: Names | None = None) -> list[list[float]]:
    found, _ = convert(steps(action, state), rules(*asked), names or Names())
    return [[round(float(value), 5) for value in step.action] for step in found]


def counted(*asked: dict[str, Any], action: Any, state: Any = None) -> dict[str, int]:
    _, told = convert(steps(action, state), rules(*asked))
    return {each.name: each.count for each in told if isinstance(each, Fact)}


# One dimension at a time

THREE = [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"rule": "select", "dims": [2, 0]}, [[3, 1], [6, 4]]),
        ({"rule": "select", "dims": ["1:", 0]}, [[2, 3, 1], [5, 6, 4]]),
        ({"rule": "scale", "dims": "0:2", "by": 2.0}, [[2, 4, 3], [8, 10, 6]]),
        ({"rule": "offset", "dims": -1, "by": -0.5}, [[1, 2, 2.5], [4, 5, 5.5]]),
        ({"rule": "clip", "dims": ":", "low": 2, "high": 5}, [[2, 2, 3], [4, 5, 5]]),
        ({"rule": "negate", "dims": 1}, [[1, -2, 3], [4, -5, 6]]),
        ({"rule": "invert", "dims": -1}, [[1, 2, -2], [4, 5, -5]]),
        ({"rule": "threshold", "dims": 0, "at": 2.5}, [[0, 2, 3], [1, 5, 6]]),
        ({"rule": "threshold", "dims": 0, "at": 2.5, "above": -1.0, "below": 1.0}, [[1, 2, 3], [-1, 5, 6]]),
    ],
)
def test_a_rule_for_some_dimensions(rule: dict[str, Any], expected: list[list[float]]) -> None:
    assert actions(rule, action=THREE) == expected
    assert converted_width(rules(rule), 3) == len(expected[0])


def test_rules_follow_each_other() -> None:
    both = ({"rule": "clip", "dims": 2, "low": 0.0, "high": 1.0}, {"rule": "invert", "dims": 2})
    assert actions(*both, action=[[1, 2, 0.25], [1, 2, 7]]) == [[1, 2, 0.75], [1, 2, 0]]
    assert actions(*both[::-1], action=[[1, 2, 0.25], [1, 2, 7]]) == [[1, 2, 0.75], [1, 2, 0]]
    assert counted(both[0], action=[[1, 2, 0.25], [1, 2, 7], [1, 2, np.nan]]) == {"conversions.clipped_values": 1}


def test_the_state_alone() -> None:
    found, _ = convert(steps(THREE, [[1, 2], [3, 4]]), rules({"rule": "scale", "dims": 0, "by": 10.0, "of": "state"}))
    assert [step.state.tolist() for step in found] == [[10, 2], [30, 4]]
    assert [step.action.tolist() for step in found] == THREE


def test_dimensions_by_the_names_of_the_action_space() -> None:
    named = {"conversions": ({"rule": "invert", "dims": "gripper"},)}
    before, after = rows(episode(4)), rows(episode(4), **named)
    for old, new in zip(before, after, strict=True):
        assert old.action is not None and new.action is not None
        assert new.action.tolist() == [*old.action[:6].tolist(), float(np.float32(1) - old.action[6])]


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        ({"rule": "negate", "dims": 3}, "names dimension 3, and there are 3"),
        ({"rule": "negate", "dims": -4}, "names dimension -4, and there are 3"),
        ({"rule": "negate", "dims": "grip"}, "names dimension grip, and there are 3"),
        ({"rule": "negate", "dims": "3:"}, "names dimension 3:, and there are 3"),
        ({"rule": "negate", "dims": [0, "0:2"]}, "names a dimension twice: 0, 0:2"),
        ({"rule": "rotation", "dims": "0:2", "source": "rpy", "target": "r6"}, "rpy has 3 numbers, and the conversion names 2"),
    ],
)
def test_dimensions_that_are_not_there(rule: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        actions(rule, action=THREE)
    with pytest.raises(UsageError, match=says):
        converted_width(rules(rule), 3)


def test_a_state_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"delta_from_state needs a state, and there is none .*name it as `state`"):
        actions({"rule": "delta_from_state", "dims": 0}, action=THREE)


# Grippers


def binarized(values: Sequence[float]) -> list[float]:
    """As OpenVLA describes it, step by step from the end."""
    high, low = float(np.float32(0.95)), float(np.float32(0.05))
    carry, found = values[-1], []
    for value in reversed(values):
        if value > high or value < low:
            carry = float(value > high)
        found.append(carry)
    return found[::-1]


grips = st.lists(st.sampled_from([0.0, 0.04, 0.05, 0.3, 0.7, 0.95, 0.96, 1.0]), min_size=1, max_size=30)


@given(grips)
def test_binarize(values: list[float]) -> None:
    found = [grip for (grip,) in actions({"rule": "binarize", "dims": 0}, action=[[value] for value in values])]
    assert found == pytest.approx(binarized(np.float32(values).tolist()))


def test_values_between_are_counted() -> None:
    assert counted({"rule": "binarize", "dims": 0}, action=[[0.5], [1], [0.5], [0]]) == {"conversions.between_values": 2}


def absolute(changes: Sequence[float]) -> list[float]:
    """Where a gripper is after each change: RT-1's closing is above 0."""
    dead = float(np.float32(0.1))
    signs = [1 if change < -dead else -1 if change > dead else 0 for change in changes]
    first = next((sign for sign in signs if sign), -1)
    now, found = -first, []
    for sign in signs:
        now = sign or now
        found.append((now + 1) / 2)
    return found


@given(st.lists(st.sampled_from([-1.0, -0.5, -0.1, -0.05, 0.0, 0.1, 0.2, 1.0]), min_size=1, max_size=30))
def test_changes_of_a_gripper_as_where_it_is(changes: list[float]) -> None:
    found = [grip for (grip,) in actions({"rule": "relative_to_absolute", "dims": 0}, action=[[change] for change in changes])]
    assert found == absolute(np.float32(changes).tolist())


def test_a_gripper_that_never_changes_is_open_and_counted() -> None:
    rule = {"rule": "relative_to_absolute", "dims": 0}
    assert actions(rule, action=[[0], [0.05]]) == [[1], [1]]
    assert counted(rule, action=[[0], [0.05]]) == {"conversions.assumed_open": 1}
    assert counted(rule, action=[[0], [1]]) == {}


@pytest.mark.parametrize("rule", ["binarize", "relative_to_absolute", "threshold"])
def test_a_fault_is_not_made_a_number(rule: str) -> None:
    values = np.zeros((4, 7), np.float32)
    values[1, 6] = np.nan
    values[:, 0] = range(4)
    asked = {"conversions": ({"rule": rule, "dims": 6},), "filters": {"drop_last": 0}}
    assert lost(steps(values), **asked) == {("nan_action", True): 1}


# Motion

STATE = [[0, 3.12], [1, -3.13], [3, -3.1], [6, 0]]


def test_a_relabelled_action_is_what_the_state_did() -> None:
    rule = {"rule": "delta_from_state", "dims": "0:2", "angles": 1}
    asked = {"action": [[9, 9, grip] for grip in range(4)], "state": STATE}
    assert actions(rule, **asked) == [[1, -6.25, 0], [2, 0.03, 1], [3, 3.1, 2]]
    assert counted(rule, **asked) == {"conversions.angle_jumps": 1}
    assert actions(rule | {"wrap": True}, **asked) == [[1, 0.03319, 0], [2, 0.03, 1], [3, 3.1, 2]]
    assert counted(rule | {"wrap": True}, **asked) == {"conversions.wrapped_angles": 1}
    assert actions({"rule": "delta_from_state", "dims": 0, "state": 1}, **asked)[1] == [0.03, 9, 1]


def test_the_last_step_goes_and_its_marks_stay() -> None:
    made = steps([[1, 0]] * 4, STATE, is_terminal=[False] * 3 + [True], success=[None] * 3 + [True], reward=[0.0, 0.0, 0.0, 1.0])
    rule = {"rule": "delta_from_state", "dims": "0:2"}
    found, told = convert(made, rules(rule))
    assert [(step.step, step.steps, step.is_last, step.is_terminal, step.success, step.reward) for step in found] == [
        (0, 4, False, False, None, 0.0),
        (1, 4, False, False, None, 0.0),
        (2, 4, True, True, True, 1.0),
    ]
    assert told == [Reject("last_step", "episode e0 step 3", fault=False)]
    standing = steps([[1, 0]] * 3, [[1, 1]] * 3)
    asked = {"action_space": "generic_nd", "conversions": (rule,)}
    assert lost(standing, **asked) == {("last_step", False): 1}, "its last zero is a motion that was measured"
    assert [row.terminate for row in rows(made, **asked)] == [False, False, True]
    assert rows(steps([[1, 0]], [[1, 1]]), **asked, filters={"min_steps": 0}) == []


@given(st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_a_target_less_the_state_and_back(count: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    action, state = random.normal(size=(2, count, 3)).astype(np.float32)
    there = {"rule": "delta_from_absolute", "dims": ":"}
    back = {"rule": "absolute_from_delta", "dims": ":"}
    np.testing.assert_allclose(actions(there, action=action, state=state), action - state, atol=1e-5)
    np.testing.assert_allclose(actions(there, back, action=action, state=state), action, atol=1e-5)
    moved = actions(there | {"against": "previous"}, action=action)
    np.testing.assert_allclose(moved or np.empty((0, 3)), np.diff(action, axis=0), atol=1e-5)
    summed = actions(back | {"against": "previous"}, action=action, state=state)
    np.testing.assert_allclose(summed, state[0] + np.cumsum(action, axis=0), atol=1e-4)


def test_targets_less_those_before_lose_the_first_step() -> None:
    rule = {"rule": "delta_from_absolute", "dims": ":", "against": "previous"}
    found, told = convert(steps(THREE), rules(rule))
    assert [(step.step, step.is_first) for step in found] == [(1, True)]
    assert told == [Reject("first_step", "episode e0 step 0", fault=False)]


def test_every_third_step() -> None:
    action = [[1, at] for at in range(8)]
    made = steps(action, [[at] for at in range(8)], is_terminal=[False] * 7 + [True], reward=[0.0] * 6 + [1.0, 0.0])
    found, told = convert(made, rules({"rule": "skip", "every": 3, "sum": 0}))
    assert [step.action.tolist() for step in found] == [[3, 2], [3, 5], [2, 7]]
    assert [(s.step, s.steps, s.is_first, s.is_last, s.is_terminal, s.reward) for s in found] == [
        (0, 3, True, False, False, 0.0),
        (1, 3, False, False, False, 0.0),
        (2, 3, False, True, True, 1.0),
    ]
    assert [step.state.tolist() for step in found] == [[0], [3], [6]]
    assert sum(each.count for each in told if isinstance(each, Reject) and each.reason == "skipped_step") == 5
    chunks = rows(made, action_space="generic_nd", conversions=({"rule": "skip", "every": 3},))
    assert [row.step for row in chunks] == [0, 1, 2], "they follow each other, so that windows in time go over them"


def test_rules_that_drop_steps_one_after_the_other() -> None:
    both = ({"rule": "delta_from_state", "dims": 0}, {"rule": "skip", "every": 2, "sum": 0})
    found, told = convert(steps([[0]] * 6, [[at * at] for at in range(6)]), rules(*both))
    assert [step.action.tolist() for step in found] == [[4], [12], [9]]
    assert sorted((each.reason, each.count) for each in told if isinstance(each, Reject)) == [
        ("last_step", 1),
        ("skipped_step", 1),
        ("skipped_step", 1),
    ]


# Rotations


def matrix(roll: float, pitch: float, yaw: float) -> NDArray[np.float64]:
    x = np.array([[1, 0, 0], [0, cos(roll), -sin(roll)], [0, sin(roll), cos(roll)]])
    y = np.array([[cos(pitch), 0, sin(pitch)], [0, 1, 0], [-sin(pitch), 0, cos(pitch)]])
    z = np.array([[cos(yaw), -sin(yaw), 0], [sin(yaw), cos(yaw), 0], [0, 0, 1]])
    found: NDArray[np.float64] = z @ y @ x
    return found


def quaternion(m: NDArray[np.float64]) -> list[float]:
    """x, y, z, w, with w above 0."""
    w = sqrt(max(1 + m[0, 0] + m[1, 1] + m[2, 2], 1e-12)) / 2
    return [(m[2, 1] - m[1, 2]) / (4 * w), (m[0, 2] - m[2, 0]) / (4 * w), (m[1, 0] - m[0, 1]) / (4 * w), w]


def written(m: NDArray[np.float64]) -> dict[str, list[float]]:
    """One rotation in every way, by other formulas than those of the code."""
    x, y, z, w = quaternion(m)
    angle = 2 * atan2(sqrt(x * x + y * y + z * z), w)
    axis = np.array([x, y, z]) / max(sqrt(x * x + y * y + z * z), 1e-12)
    return {
        "quaternion_xyzw": [x, y, z, w],
        "quaternion_wxyz": [w, x, y, z],
        "rpy": [atan2(m[2, 1], m[2, 2]), asin(np.clip(-m[2, 0], -1, 1)), atan2(m[1, 0], m[0, 0])],
        "euler_ZYX": [atan2(m[1, 0], m[0, 0]), asin(np.clip(-m[2, 0], -1, 1)), atan2(m[2, 1], m[2, 2])],
        "axis_angle": (axis * angle).tolist(),
        "matrix": m.reshape(-1).tolist(),
        "r6": [*m[0], *m[1]],
        "r6_columns": m[:, :2].reshape(-1).tolist(),
    }


angles = st.floats(-1.4, 1.4)


@given(angles, angles, angles)
def test_a_rotation_is_the_same_in_every_way(roll: float, pitch: float, yaw: float) -> None:
    ways = written(matrix(roll, pitch, yaw))
    for source, numbers in ways.items():
        for target, expected in ways.items():
            found = rewritten(np.array([numbers], np.float32), source, target)[0]
            sign = np.sign(found[target.index("w") - len("quaternion_")]) if target == "quaternion_wxyz" else 1
            sign = np.sign(found[3]) if target == "quaternion_xyzw" else sign
            np.testing.assert_allclose(found * sign, expected, atol=2e-5)


def test_what_is_no_rotation_is_none() -> None:
    values = np.array([[0, 0, 0, 0], [np.nan, 0, 0, 1], [0, 0, 0, 2]], np.float32)
    found = rewritten(values, "quaternion_xyzw", "rpy")
    assert np.isnan(found).all(axis=1).tolist() == [True, True, False] and found[2].tolist() == [0, 0, 0]
    assert np.isnan(rewritten(np.ones((1, 6), np.float32), "r6", "rpy")).all()
    assert not np.isnan(rewritten(np.array([[0, pi / 2, 0]], np.float32), "rpy", "euler_xyz")).any(), "gimbal lock is no fault"


def test_a_rotation_inside_of_an_action() -> None:
    action = [[1, 2, 3, 0, 0, sin(0.2), cos(0.2), 9]]
    rule = {"rule": "rotation", "dims": "3:7", "source": "quaternion_xyzw", "target": "rpy"}
    assert actions(rule, action=action) == [[1, 2, 3, 0, 0, 0.4, 9]]
    assert converted_width(rules(rule), 8) == 7
    back = {"rule": "rotation", "dims": "3:6", "source": "rpy", "target": "quaternion_xyzw"}
    np.testing.assert_allclose(actions(rule, back, action=action), action, atol=1e-5)


def test_scipy_is_imported_only_where_a_rotation_is_converted() -> None:
    code = "import sys, rt2data.standardize.conversions, rt2data.cli.app; sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Settings


def test_without_conversions_nothing_is_written_of_them() -> None:
    plain = ToyRobot(path="x", action_space="generic_nd")
    assert plain == ToyRobot(path="x", action_space="generic_nd", conversions=())
    assert "conversions" not in plain.prepare_settings()
    asked = ToyRobot(path="x", action_space="generic_nd", conversions=({"rule": "invert", "dims": "-1:"},))
    assert asked.prepare_settings()["conversions"] == [{"rule": "invert", "dims": ["-1:"], "of": "action"}]


# Bridge


def openvla_bridge(action: Numbers, state: Numbers) -> Numbers:
    """What OpenVLA makes of an episode of the original Bridge."""
    action, state = action[1:], state[1:]
    grip = binarized(action[:, 6].tolist())
    return np.concatenate([state[1:, :6] - state[:-1, :6], np.array(grip[:-1], np.float32)[:, None]], axis=1)


def test_real_bridge_is_relabelled_as_by_openvla(shared_data: Path) -> None:
    path = str(shared_data / "rlds_bridge")
    source, plain = RLDS(path=path, dataset="bridge_orig"), RLDS(path=path, action_space="widowx_bridge")
    raw = [step for unit in plain.units() for step in plain.read(unit) if isinstance(step, Step)]
    found = [each for unit in source.units() for each in standardize(source, source.read(unit)) if isinstance(each, Row)]
    names = list(dict.fromkeys(step.episode for step in raw))
    assert len(names) == 13 and len(found) == 13 * 8
    for name in names:
        recorded, kept = [step for step in raw if step.episode == name], [row for row in found if row.group == name]
        action, state = (np.stack([getattr(step, what) for step in recorded]) for what in ("action", "state"))
        assert [row.step for row in kept] == list(range(1, len(recorded) - 1))
        np.testing.assert_array_equal(np.stack([row.action for row in kept]), openvla_bridge(action, state))
        assert [row.images for row in kept] == [step.images for step in recorded[1:-1]]
    assert {row.action.dtype for row in found} == {np.dtype(np.float32)}


def test_one_episode_of_a_record_at_a_time() -> None:
    first = [True, False, False, False, True, False, False, False]
    made = episode(8, is_first=first, state=[np.full(7, at, np.float32) for at in range(8)])
    asked = {"conversions": ({"rule": "delta_from_state", "dims": "0:6"},)}
    assert [(row.group, row.step) for row in rows(made, **asked)] == [(f"e0-p{part}", at) for part in (0, 1) for at in range(3)]
    assert facts(made, **asked)["episodes.cut_at_is_first"] == 1
