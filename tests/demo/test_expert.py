"""The expert does what the instruction says, and its log is consistent."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import combinations
from math import hypot

import numpy as np
import pytest

from rt2data.demo.corpora import make_episode
from rt2data.demo.expert import Episode
from rt2data.demo.layout import FAMILIES
from rt2data.demo.scene import WIDEST, Scene, Thing, support_of

NUMBERS = range(24)
every_episode = pytest.mark.parametrize("number", NUMBERS)


@lru_cache(maxsize=32)
def episode_of(number: int) -> Episode:
    return make_episode(0, number)


def named(scene: Scene, name: str) -> Thing:
    (found,) = [thing for thing in scene.things if thing.name == name]
    return found


def named_things(episode: Episode) -> tuple[str, str]:
    """The two things named in the instruction, in the order they are named."""
    shapes = "block|can|ball|mug|bowl|plate"
    first, second = re.findall(rf"the (\w+ (?:{shapes}))", episode.task.instruction)
    return first, second


@every_episode
def test_a_step_is_the_action_added_to_the_state(number: int) -> None:
    episode = episode_of(number)
    assert episode.states.shape == episode.actions.shape == (len(episode), 7)
    assert episode.states.dtype == episode.actions.dtype == np.float32
    np.testing.assert_allclose(episode.states[1:, :6], episode.states[:-1, :6] + episode.actions[:-1, :6], atol=1e-6)


@every_episode
def test_actions_are_within_the_limits_of_a_robot(number: int) -> None:
    episode = episode_of(number)
    assert 20 <= len(episode) <= 42
    assert np.linalg.norm(episode.actions[:, :3], axis=1).max() < 0.09  # metres in a fifth of a second
    assert np.abs(episode.actions[:, 3:6]).max() < 0.35
    assert set(np.unique(episode.actions[:, 6])) <= {0.0, 1.0}
    assert (np.ptp(episode.actions[:, :6], axis=0) > 0).all()
    assert (np.abs(episode.actions[:, :6]).max(axis=1) > 0).all()  # no step is idle
    assert not np.array_equal(episode.actions[-1], episode.actions[-2])
    assert episode.states[:, 2].min() > 0.012  # the finger tips are 12 mm lower
    assert (np.clip(episode.states[:, 6], 0, 1) == episode.states[:, 6]).all()


@every_episode
def test_the_named_thing_ends_where_the_instruction_says(number: int) -> None:
    episode = episode_of(number)
    before, after = episode.scenes[0], episode.scenes[-1]
    mover, place = named_things(episode)
    moved, anchor, words = named(after, mover), named(after, place), episode.task.instruction
    apart = hypot(moved.x - anchor.x, moved.y - anchor.y) - moved.size.radius - anchor.size.radius
    start = named(before, mover)
    gone = hypot(moved.x - start.x, moved.y - start.y)
    if " next to " in words or " beside " in words:
        assert 0.02 < apart < 0.065
    elif words.startswith(("push", "slide")):
        assert 0.0 < apart < 0.035
    else:
        assert support_of(moved, after.things) is anchor
    assert gone > 0.05
    assert moved == episode.task.goal


@every_episode
def test_only_the_named_thing_moves_and_nothing_collides(number: int) -> None:
    episode = episode_of(number)
    mover = named_things(episode)[0]
    still = [thing for thing in episode.scenes[0].things if thing.name != mover]
    for scene in episode.scenes:
        assert [thing for thing in scene.things if thing.name != mover] == still
    for one, two in combinations(episode.scenes[-1].things, 2):
        if abs(one.z - two.z) < 1e-6:
            assert hypot(one.x - two.x, one.y - two.y) > one.size.radius + two.size.radius


@every_episode
def test_a_name_means_one_thing(number: int) -> None:
    names = [thing.name for thing in episode_of(number).scenes[0].things]
    assert len(set(names)) == len(names)
    assert 3 <= len(names) <= 5


@every_episode
def test_the_gripper_holds_what_it_carries(number: int) -> None:
    episode = episode_of(number)
    mover = named_things(episode)[0]
    lifted = [t for t, scene in enumerate(episode.scenes) if named(scene, mover).z > 0.03 and not episode.actions[t, 6]]
    if episode.task.family == "push":
        assert all(named(scene, mover).z == 0 for scene in episode.scenes)
        return
    assert len(lifted) >= 5
    width = 2 * named(episode.scenes[0], mover).size.radius / WIDEST
    for t in lifted:
        held, tip = named(episode.scenes[t], mover), episode.states[t]
        assert tip[6] == pytest.approx(width, abs=1e-6)
        assert hypot(held.x - tip[0], held.y - tip[1]) < 0.004
        assert held.z < tip[2] < held.top


@every_episode
def test_things_move_without_jumps(number: int) -> None:
    episode = episode_of(number)
    path = np.array([[t.x, t.y, t.z] for t in (named(scene, named_things(episode)[0]) for scene in episode.scenes)])
    assert np.linalg.norm(np.diff(path, axis=0), axis=1).max() < 0.09
    np.testing.assert_array_equal(path[0], path[3])


def test_episodes_differ_and_do_not_depend_on_each_other() -> None:
    assert make_episode(0, 5).task.instruction == episode_of(5).task.instruction
    np.testing.assert_array_equal(make_episode(0, 5).states, episode_of(5).states)
    assert not np.array_equal(make_episode(1, 5).states[0], episode_of(5).states[0])
    assert {episode_of(n).task.family for n in NUMBERS} == set(FAMILIES)
    assert len({episode_of(n).task.instruction for n in NUMBERS}) > 20
