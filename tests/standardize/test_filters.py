"""Which steps filters keep: by lists, origin and ranges, and where the robot hardly moves."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.read.filters import Filters, Idle
from rt2data.records import Reject, Step
from rt2data.standardize.filters import FOUND, KNOWN, MISSING, UNKNOWN, in_ranges, moving, settled, true_runs
from tests.standardize.steps import episode, facts, found, lost, rows


def kept(steps: list[Step], **filters: object) -> list[int]:
    return [row.step for row in rows(steps, filters=Filters(**filters))]  # type: ignore[arg-type]


def from_(origin: str, steps: int = 4, name: str = "e0") -> list[Step]:
    return episode(steps, name, origin=[origin] * steps)


# Episodes


def test_a_path_is_searched_in_the_origin() -> None:
    good, bad = from_("lab/success/1", name="a"), from_("lab/Success/2", name="b")
    assert {row.group for row in rows([*good, *bad], filters=Filters(path="success"))} == {"a"}
    assert lost([*good, *bad], filters=Filters(path="success")) == {("path_filter", False): 4}
    assert kept(from_(""), path="success") == []


@pytest.mark.parametrize("name", ["e1", "lab/1"])
def test_episodes_are_listed_by_name_or_origin(name: str) -> None:
    log = [*from_("lab/0", name="e0"), *from_("lab/1", name="e1")]
    assert {row.group for row in rows(log, filters=Filters(episodes=(name,)))} == {"e1"}
    assert lost(log, filters=Filters(episodes=(name,))) == {("not_in_episodes", False): 4}
    assert {row.group for row in rows(log, filters=Filters(exclude_episodes=(name,)))} == {"e0"}
    assert lost(log, filters=Filters(exclude_episodes=(name,))) == {("excluded_episode", False): 4}


def test_the_origin_of_what_is_dropped_is_told() -> None:
    dropped = [each for each in found(from_("lab/0"), filters=Filters(exclude_episodes=("e0",))) if isinstance(each, Reject)]
    assert [(each.where, each.detail, each.tasks) for each in dropped] == [("episode e0", "lab/0", (("lift the cup", 4),))]


def test_what_lists_name_and_a_source_has_not_is_known_by_name() -> None:
    filters = Filters(episodes=("e0", "e7", "e9"), exclude_episodes=("e0",))
    seen = facts(episode(), filters=filters)
    assert seen == {f"{FOUND}.episodes.e0": 1, f"{FOUND}.exclude_episodes.e0": 1}
    assert settled(filters, seen | {"ends.success": 2}) == {
        "ends.success": 2,
        f"{FOUND}.episodes": 1,
        f"{FOUND}.exclude_episodes": 1,
        f"{MISSING}.episodes": 2,
        f"{MISSING}.episodes.e7": 1,
        f"{MISSING}.episodes.e9": 1,
    }


def test_facts_without_lists_are_as_they_were() -> None:
    seen = {"b": 1, "a": 2}
    assert settled(Filters(noop=0.1), seen) is seen


# Ranges


@pytest.fixture
def ranges(tmp_path: Path) -> str:
    path = tmp_path / "ranges.json"
    path.write_text(json.dumps({"e0": [[1, 2], [4, 9]], "lab/1": [[0, 3]], "e2-p1": [[0, 1]], "e3": [], "lab/4": [[2, 5]]}))
    return str(path)


@pytest.mark.parametrize(
    ("name", "origin", "steps"), [("e0", "", [1, 4, 5]), ("e1", "lab/1", [0, 1, 2]), ("e3", "", []), ("e9", "lab/9", [])]
)
def test_steps_outside_of_ranges_are_dropped(ranges: str, name: str, origin: str, steps: list[int]) -> None:
    log = from_(origin, 6, name)
    assert kept(log, keep_ranges=ranges) == steps
    reason = "no_keep_ranges" if name == "e9" else "outside_keep_ranges"
    assert lost(log, filters=Filters(keep_ranges=ranges)) == {(reason, False): 6 - len(steps)}
    assert facts(log, filters=Filters(keep_ranges=ranges))[UNKNOWN if name == "e9" else KNOWN] == 1


def test_ranges_of_a_record_count_from_its_own_first_step(ranges: str) -> None:
    """A record of two episodes: ranges by the episode's own name count from its own first step."""
    first = [True, False, False] * 2
    of_record, of_episode = episode(6, "e5", is_first=first, origin=["lab/4"] * 6), episode(6, "e2", is_first=first)
    made = rows(of_record, filters=Filters(keep_ranges=ranges))
    assert [(row.group, row.step) for row in made] == [("e5-p0", 2), ("e5-p1", 0), ("e5-p1", 1)]
    made = rows(of_episode, filters=Filters(keep_ranges=ranges))
    assert [(row.group, row.step) for row in made] == [("e2-p1", 0)]


def test_an_episode_that_is_left_out_is_not_missed_in_ranges(ranges: str) -> None:
    seen = facts(from_("lab/9", name="e9"), filters=Filters(keep_ranges=ranges, path="elsewhere"))
    assert UNKNOWN not in seen and KNOWN not in seen


def test_a_fault_outside_of_ranges_is_no_fault(ranges: str) -> None:
    log = episode(6)
    log[3] = replace(log[3], action=np.full(7, np.nan, np.float32))
    assert lost(log, filters=Filters(keep_ranges=ranges)) == {("outside_keep_ranges", False): 3}


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20))), st.integers(0, 20), st.integers(0, 20))
def test_a_step_is_kept_if_it_is_in_a_range(ranges: list[tuple[int, int]], first: int, steps: int) -> None:
    numbers = first + np.arange(steps)
    assert in_ranges(ranges, numbers).tolist() == [any(number in range(*each) for each in ranges) for number in numbers.tolist()]


# Idle stretches

rules = st.builds(
    Idle,
    below=st.just(0.5),
    min_idle=st.integers(1, 5),
    min_non_idle=st.integers(1, 6),
    drop_last=st.integers(0, 4),
)
paths = st.lists(st.integers(0, 1), max_size=40).map(lambda moves: np.cumsum(moves, dtype=np.float32).reshape(-1, 1))


def slowly(actions: np.ndarray, rule: Idle) -> list[bool]:
    """The rule, step by step: long idle runs go, then short rests, then the end of each rest."""
    flat = actions[:, 0].tolist()
    idle = [at > 0 and abs(flat[at] - flat[at - 1]) < rule.below for at in range(len(flat))]
    keep: list[bool] = []
    for value, run in groupby(idle):
        size = len([*run])
        keep += [not (value and size >= rule.min_idle)] * size
    made: list[bool] = []
    for value, run in groupby(keep):
        size = len([*run])
        left = max(size - rule.drop_last, 0) if value and size >= rule.min_non_idle else 0
        made += [True] * left + [False] * (size - left)
    return made


@given(paths, rules)
def test_idle_stretches_go_as_the_rule_says(actions: np.ndarray, rule: Idle) -> None:
    assert moving(actions, rule).tolist() == slowly(actions, rule)


@given(paths, rules)
def test_a_robot_that_never_rests_loses_only_the_end(actions: np.ndarray, rule: Idle) -> None:
    actions = np.arange(len(actions), dtype=np.float32)[:, None]
    left = len(actions) - rule.drop_last if len(actions) >= rule.min_non_idle else 0
    assert moving(actions, rule).tolist() == [at < left for at in range(len(actions))]


@given(st.lists(st.booleans()))
def test_runs_cover_what_is_true(flags: list[bool]) -> None:
    runs = true_runs(np.array(flags, np.bool_))
    covered = {at for start, stop in runs for at in range(start, stop)}
    assert covered == {at for at, flag in enumerate(flags) if flag}
    assert all(stop > start for start, stop in runs)
    assert all(before[1] < after[0] for before, after in pairwise(runs))


def test_openpi_s_values_are_the_default() -> None:
    """30 steps of motion, 10 of rest, 15 of motion: the rest goes, then the short motion, then the last 10 of the long one."""
    moves = [1.0] * 30 + [0.0] * 10 + [1.0] * 15
    actions = np.zeros((55, 7), np.float32)
    actions[:, 0] = np.cumsum(moves)
    log = episode(55, action=list(actions))
    assert kept(log, idle=Idle(), drop_last=0) == list(range(20))
    assert lost(log, filters=Filters(idle=Idle(), drop_last=0)) == {("idle", False): 35}


def test_a_gripper_is_no_motion() -> None:
    actions = np.zeros((12, 7), np.float32)
    actions[:, 6] = np.arange(12) % 2
    assert kept(episode(12, action=list(actions)), idle=Idle(min_non_idle=1), drop_last=0) == []


def test_infinite_actions_stay_faults() -> None:
    log = episode(4)
    log[2] = replace(log[2], action=np.full(7, np.inf, np.float32))
    rule = Idle(min_non_idle=1, drop_last=0)
    assert lost(log, filters=Filters(idle=rule, drop_last=0)) == {("nan_action", True): 1}
