"""Going to a lower rate by the times of the steps: laws, what it shares with `skip`, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from rt2data.errors import UsageError
from rt2data.read.folder.source import FolderLog
from rt2data.records import Fact, Reject, Step
from rt2data.standardize.conversions import convert
from tests.read import folders
from tests.standardize.steps import lost, rows
from tests.standardize.test_conversions import rules, steps


def timed(times: Any, action: Any = None, state: Any = None) -> list[Step]:
    """An episode with a step at each of these seconds; by default each action is its number."""
    numbers = [[at] for at in range(len(times))]
    return steps(numbers if action is None else action, numbers if state is None else state, timestamp=[*map(float, times)])


def resampled(made: list[Step], hz: float = 10, **rule: Any) -> list[Step]:
    return convert(made, rules({"rule": "resample", "hz": hz, **rule}))[0]


def told(made: list[Step], **rule: Any) -> list[Fact | Reject]:
    return convert(made, rules({"rule": "resample", "hz": 10, **rule}))[1]


def plain(found: list[Step]) -> list[Any]:
    return [replace(step, action=step.action.tobytes(), state=step.state is not None and step.state.tobytes()) for step in found]  # type: ignore[arg-type]


rates = st.floats(0.5, 200)
lengths = st.integers(1, 60)


@given(rates, lengths, st.floats(0, 1e5))
def test_the_same_rate_changes_nothing(hz: float, length: int, start: float) -> None:
    made = timed(start + np.arange(length) / hz)
    assert plain(resampled(made, hz, sum=0)) == plain(made)


@given(rates, lengths, st.integers(2, 9))
def test_a_rate_k_times_as_high_is_skip_k(hz: float, length: int, every: int) -> None:
    action = np.random.default_rng(length).normal(size=(length, 2))
    made = timed(np.arange(length) / (every * hz), action)
    skipped = convert(made, rules({"rule": "skip", "every": every, "sum": 0}))
    found = convert(made, rules({"rule": "resample", "hz": hz, "sum": 0}))
    assert plain(found[0]) == plain(skipped[0]) and found[1] == skipped[1]
    by_rate = convert(timed(np.zeros(length), action), rules({"rule": "resample", "hz": hz, "from_hz": every * hz, "sum": 0}))
    assert [step.action.tolist() for step in by_rate[0]] == [step.action.tolist() for step in found[0]]


gaps = st.lists(st.floats(0.001, 0.09), min_size=1, max_size=40)


@given(gaps, st.integers(0, 99))
def test_changes_add_up_to_the_same(between: list[float], seed: int) -> None:
    """Whatever the times are; and each step is one of the log, at most half a period from where it should be."""
    times = np.cumsum([0.0, *between])
    made = timed(times, np.random.default_rng(seed).integers(-9, 9, size=(len(times), 2)))
    found = resampled(made, sum=0)
    assert sum(step.action[0] for step in found) == sum(step.action[0] for step in made)
    for step in found:
        assert step.timestamp is not None and abs(step.timestamp - step.step / 10) <= 0.0501
        near = min(times, key=lambda time: abs(time - step.step / 10))
        assert abs(near - step.step / 10) == pytest.approx(abs(step.timestamp - step.step / 10), abs=2e-4)
    assert all(before.step < after.step for before, after in pairwise(found)) and found[0].step == 0
    assert {step.steps for step in found} == {found[-1].step + 1}


@given(st.integers(1, 12), st.sampled_from(["base", "tool"]), st.sampled_from(["rpy", "axis_angle", "quaternion_xyzw"]))
def test_turns_compose_to_the_same_turn(length: int, frame: str, written: str) -> None:
    each = Rotation.from_rotvec(np.random.default_rng(length).normal(0, 0.3, (length, 3)))
    numbers = {"rpy": each.as_euler("xyz"), "axis_angle": each.as_rotvec(), "quaternion_xyzw": each.as_quat()}[written]
    made = timed(np.arange(length) / 30, np.column_stack([np.arange(length), numbers]))
    found = np.stack([step.action[1:] for step in resampled(made, turns={"dims": "1:", "written": written, "frame": frame})])
    read = {
        "rpy": lambda n: Rotation.from_euler("xyz", n),
        "axis_angle": Rotation.from_rotvec,
        "quaternion_xyzw": Rotation.from_quat,
    }
    total, expected = Rotation.identity(), Rotation.identity()
    for turn in read[written](found.astype(np.float64)):
        total = turn * total if frame == "base" else total * turn
    for turn in each:
        expected = turn * expected if frame == "base" else expected * turn
    assert (total.inv() * expected).magnitude() < 1e-4


def test_a_turn_by_itself_keeps_its_bytes_and_one_that_is_none_spoils_its_own() -> None:
    numbers = np.full((6, 3), 0.1, np.float32)
    numbers[3, 0] = np.nan
    turns = {"dims": ":", "written": "axis_angle", "frame": "tool"}
    assert plain(resampled(timed(np.arange(6) / 10, numbers), turns=turns)) == plain(timed(np.arange(6) / 10, numbers))
    found = np.stack([step.action for step in resampled(timed(np.arange(6) / 20, numbers), turns=turns)])
    assert np.isnan(found).any(axis=1).tolist() == [False, True, False]
    np.testing.assert_allclose(found[0], np.full(3, 0.2), atol=1e-6)


def test_targets_are_held_and_pictures_are_of_the_nearest_step() -> None:
    found = resampled(timed([0, 0.04, 0.08, 0.12, 0.16, 0.2, 0.24]))
    assert [step.state.tolist() for step in found if step.state is not None] == [[0], [2], [5]]
    assert [step.action.tolist() for step in found] == [[1], [4], [6]], "each leads where the next one begins"
    assert [step.timestamp for step in found] == [0, 0.08, 0.2] and found[-1].is_last and not found[1].is_last


def test_a_pause_is_a_gap_in_the_numbers() -> None:
    made = timed([0, 0.05, 0.1, 0.15, 0.5, 0.55, 0.6])
    assert [step.step for step in resampled(made)] == [0, 1, 5, 6]
    assert Fact("conversions.absent_steps", 3) in told(made)
    kept = rows(made, action_space="generic_nd", conversions=({"rule": "resample", "hz": 10},))
    assert [row.step for row in kept] == [0, 1, 5, 6], "windows in time end there"


@pytest.mark.parametrize("times", [[0, 0.2, 0.1, 0.3], [0, np.nan, 0.2, 0.3], [0, 1e300, 2e300, 3e300]])
def test_times_that_are_none_cost_the_episode(times: list[float]) -> None:
    made = timed(times)
    assert not resampled(made)
    assert lost(made, action_space="generic_nd", conversions=({"rule": "resample", "hz": 10},)) == {("bad_times", True): 4}


def test_without_times_the_log_or_the_recipe_gives_the_rate() -> None:
    made = steps([[at] for at in range(8)])
    with pytest.raises(UsageError, match=r"needs the times of the steps.*from_hz") as caught:
        resampled(made)
    assert "\n" not in str(caught.value)
    declared, _ = convert(made, rules({"rule": "resample", "hz": 10}), hz=20)
    assert [step.action.tolist() for step in declared] == [[1], [3], [5], [7]]
    assert plain(resampled(made, from_hz=20)) == plain(declared)


def test_steps_are_never_made_up() -> None:
    with pytest.raises(UsageError, match="asks for 10 steps a second, and the log has 5"):
        resampled(timed(np.arange(6) / 5))
    with pytest.raises(ValueError, match="must not be above `from_hz`"):
        rules({"rule": "resample", "hz": 10, "from_hz": 5})


def test_rules_follow_each_other() -> None:
    made = timed(np.arange(9) / 20, state=[[at * at] for at in range(9)])
    both = (
        {"rule": "delta_from_state", "dims": 0},
        {"rule": "resample", "hz": 10, "sum": 0},
        {"rule": "skip", "every": 2, "sum": 0},
    )
    found, _ = convert(made, rules(*both))
    assert [(step.step, step.steps, step.action.tolist()) for step in found] == [(0, 2, [16]), (1, 2, [48])]


# What is refused when a recipe is read

BASE = {"rule": "resample", "hz": 5}
TURNS = {"dims": "3:6", "written": "axis_angle", "frame": "base"}
HALF, DOUBLE = ({"rule": "scale", "dims": "3:6", "by": by} for by in (0.5, 2.0))


@pytest.mark.parametrize(
    ("space", "conversions", "said"),
    [
        ("libero", [BASE], "libero says that x, y, z, rotation_x, rotation_y, rotation_z are changes"),
        ("libero", [BASE | {"sum": "0:3"}], "that rotation_x, rotation_y, rotation_z are changes"),
        ("libero", [BASE | {"sum": "0:3", "turns": TURNS}], "composes radians, and rotation_x of libero is in 0.5 rad"),
        ("libero", [HALF, BASE | {"sum": "0:3", "turns": TURNS}, DOUBLE], ""),
        ("libero", [BASE | {"sum": "0:6"}], ""),
        ("libero", [BASE | {"sum": "0:4", "turns": TURNS}], "names a dimension twice"),
        ("libero", [BASE | {"sum": "0:3", "turns": TURNS | {"dims": "3:5"}}], "has 3 numbers, and `turns` names 2"),
        ("libero", [BASE, {"rule": "delta_from_absolute", "dims": "0:6", "against": "previous"}], ""),
        ("oxe_eef_velocity", [BASE], ""),
        ("generic_nd", [BASE], ""),
    ],
)
def test_changes_are_named(tmp_path: Path, space: str, conversions: list[dict[str, Any]], said: str) -> None:
    log = folders.write(tmp_path / "log")
    source = FolderLog(path=str(log), action_space=space, conversions=conversions)  # type: ignore[arg-type]
    found = [invalid.message for invalid in source.invalid_settings()]
    assert len(found) == bool(said) and said in "".join(found)
