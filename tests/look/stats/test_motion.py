"""Each action is paired with the state it moves, wherever that stands; the checks of motion follow the pairs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.look.stats.model import Actions, Stats
from rt2data.look.stats.motion import Steps, compared, correlate, sum_motion
from rt2data.look.stats.run import take_stats
from rt2data.look.stats.subject import store_subject
from rt2data.read.action_space import load_space
from tests.laws import tries
from tests.look.stats.stores import files_of, lay, robot_rows

EPISODES, STEPS = 12, 30
F32 = np.ndarray


def google_log(rng: np.random.Generator) -> tuple[F32, F32]:
    """Actions [E, T, 8] of Google's robot, terminate first, and its state [E, T, 7]: position, turn, how open the gripper is."""
    action = np.zeros((EPISODES, STEPS, 8), np.float32)
    action[..., 0] = 1
    action[:, -1, 0] = 0
    action[..., 1:7] = rng.normal(0, 0.05, (EPISODES, STEPS, 6))
    action[..., 7] = np.sign(np.sin(np.arange(STEPS) / 3 + rng.uniform(0, 6, (EPISODES, 1)))) * (
        rng.random((EPISODES, STEPS)) < 0.3
    )
    state = np.zeros((EPISODES, STEPS, 7), np.float32)
    state[:, 1:, :6] = np.cumsum(action[:, :-1, 1:7] + rng.normal(0, 0.01, (EPISODES, STEPS - 1, 6)), axis=1)
    state[:, 1:, 6] = -np.cumsum(0.1 * action[:, :-1, 7], axis=1)
    return action, state


def stats_of(action: F32, state: F32, space: str, folder: Path) -> Stats:
    rows = [row for e in range(len(action)) for row in robot_rows(f"e{e:02d}", action[e], state[e], text=f"pick {e % 3}", hz=3)]
    return take_stats(store_subject(folder, [lay(folder / "store", files_of(rows), space)]))


def actions_of(found: Stats) -> Actions:
    actions = found.sources[0].actions
    assert actions is not None
    return actions


def codes(found: Stats) -> set[str]:
    return {warn.code for warn in found.warnings}


def test_a_space_with_terminate_first_is_not_off_by_one(tmp_path: Path) -> None:
    action, state = google_log(np.random.default_rng(3))
    found = stats_of(action, state, "google_robot", tmp_path)
    actions = actions_of(found)
    assert {m.action: m.state for m in actions.motion} == {
        name: f"s_{i}" for i, name in enumerate(load_space("google_robot").names[1:])
    }
    assert actions.unpaired == ("terminate",)
    assert all(abs(m.delta) > 0.9 and m.lag == 0 for m in actions.motion)
    assert actions.gripper is not None and actions.gripper.measured == "s_6"
    assert actions.gripper.agrees is not None and actions.gripper.agrees > 0.9
    assert not codes(found) & {"lag", "inverted_gripper", "absolute_as_delta", "not_paired", "wraps"}


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ("lag", "lag", "2 steps earlier"),
        ("inverted", "inverted_gripper", "commanded to open, s_6 falls"),
        ("wraps", "wraps", "s_5 jumps"),
    ],
)
def test_faults_are_found_where_sizes_differ(fault: str, code: str, words: str, tmp_path: Path) -> None:
    action, state = google_log(np.random.default_rng(3))
    if fault == "lag":
        action, state = np.roll(action, 2, axis=1)[:, 2:], state[:, 2:]
    elif fault == "inverted":
        action[..., 7] *= -1
    else:
        state[..., 5] = (state[..., 5] + np.linspace(2.5, 3.9, STEPS) + np.pi) % (2 * np.pi) - np.pi
    found = stats_of(action, state, "google_robot", tmp_path)
    assert any(warn.code == code and words in warn.what for warn in found.warnings), found.warnings


def test_positions_are_known_where_the_state_has_more(tmp_path: Path) -> None:
    """Fourteen absolute joints, and a state that holds velocities before the positions."""
    rng = np.random.default_rng(1)
    place = np.cumsum(rng.normal(0, 0.1, (EPISODES, STEPS + 1, 14)), axis=1).astype(np.float32)
    state = np.concatenate([np.diff(place, axis=1, prepend=0)[:, :-1], place[:, :-1]], axis=2)
    actions = actions_of(stats_of(place[:, 1:], state, "generic_nd", tmp_path))
    assert actions.absolute and not actions.unpaired
    assert [m.state for m in actions.motion] == [f"s_{14 + i}" for i in range(14)]


def test_what_goes_with_nothing_is_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    action, state = rng.normal(0, 1, (2, EPISODES, STEPS, 4)).astype(np.float32)
    found = stats_of(action, state, "generic_nd", tmp_path)
    assert actions_of(found).motion == () and actions_of(found).unpaired == ("a_0", "a_1", "a_2", "a_3")
    assert [warn.level for warn in found.warnings if warn.code == "not_paired"] == ["note"]


@tries(40)
@given(order=st.permutations(range(9)), seed=st.integers(0, 1000), parts=st.integers(1, 4))
def test_any_order_of_the_state_gives_the_same_pairs(order: list[int], seed: int, parts: int) -> None:
    """Six displacements, three states that nothing moves; sums of parts of the episodes say what those of all say."""
    rng = np.random.default_rng(seed)
    action = rng.normal(0, 1, (8, 40, 6)).astype(np.float32)
    state = np.cumsum(np.concatenate([np.roll(action, 1, axis=1), rng.normal(0, 1, (8, 40, 3))], axis=2), axis=1)
    sums = [
        sum_motion(
            steps_of(action[part::parts], state[part::parts][..., order].astype(np.float32)), load_space("generic_nd").sized(6)
        )
        for part in range(parts)
    ]
    whole = sums[0]
    for each in sums[1:]:
        whole = whole + each
    together = correlate(whole, 6)
    assert together is not None
    assert together.pairs(9) == {i: order.index(i) for i in range(6)}


def steps_of(action: F32, state: F32) -> Steps:
    episodes, steps, _ = action.shape
    return Steps(
        np.repeat(np.arange(episodes), steps),
        np.tile(np.arange(steps, dtype=np.int32), episodes),
        action.reshape(episodes * steps, -1),
        state.reshape(episodes * steps, -1),
        np.full(episodes * steps, np.nan),
    )


def test_a_vast_state_is_compared_in_part() -> None:
    assert compared(14, 14) == 14 and compared(64, 4096) == 64 and compared(1024, 1024) == 4
    rng = np.random.default_rng(0)
    action, state = rng.normal(0, 1, (1, 50, 64)).astype(np.float32), rng.normal(0, 1, (1, 50, 100)).astype(np.float32)
    found = sum_motion(steps_of(action, state), load_space("generic_nd").sized(64))
    assert len(found.level.x) == 64 * 64 and len(found.wraps) == 100


def test_drift_is_in_the_units_of_the_action(tmp_path: Path) -> None:
    """Displacements by the rate that was recorded; positions and grippers have none."""
    action, state = google_log(np.random.default_rng(3))
    rows = [row for e in range(EPISODES) for row in robot_rows(f"e{e:02d}", action[e], state[e], hz=3)]
    store = lay(tmp_path / "store", files_of(rows), "google_robot")
    coded = {
        codec: {c.name: c for c in actions_of(take_stats(store_subject(tmp_path, [store], codec=codec))).coded}
        for codec in ("rt1", "rt2", "openvla")
    }
    left = coded["rt1"]["world_vector_x"]
    assert (left.drift, left.drift_unit) == (pytest.approx(-3 / 255, rel=1e-4), "m/s")
    assert coded["rt1"]["rotation_delta_x"].drift_unit == "rad/s"
    for codec in ("rt2", "openvla"):
        assert coded[codec]["world_vector_x"].drift == pytest.approx(0, abs=1e-9)
    assert all(each["gripper_closedness"].drift is each["terminate"].drift is None for each in coded.values())
    warned = [warn for warn in take_stats(store_subject(tmp_path, [store], codec="rt1")).warnings if warn.code == "drift"]
    assert len(warned) == 1 and warned[0].level == "note" and "world_vector_x -0.012 m/s" in warned[0].what
    assert "drift" not in codes(take_stats(store_subject(tmp_path, [store])))


def test_positions_have_no_drift(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    place = np.cumsum(rng.normal(0, 0.1, (EPISODES, STEPS + 1, 3)), axis=1).astype(np.float32)
    actions = actions_of(stats_of(place[:, 1:], place[:, :-1], "generic_nd", tmp_path))
    assert actions.absolute and [each.drift for each in actions.coded] == [None] * 3


def test_a_step_behind_a_gap_repeats_nothing() -> None:
    steps = Steps(
        episode=np.zeros(4, np.int64),
        step=np.array([0, 1, 5, 6], np.int32),
        action=np.full((4, 7), 0.5, np.float32),
        state=None,
        timestamp=np.full(4, np.nan),
    )
    found = sum_motion(steps, load_space("widowx_bridge"))
    assert (found.repeated, found.same_place) == (2, 2)
