"""Episodes that lost steps in the middle are never written as whole ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import groupby
from pathlib import Path

import pytest

from rt2data.errors import DataError
from rt2data.look.verify.episodes import verify_episodes
from rt2data.plan.recipe import Recipe
from rt2data.prepare.store import Store
from rt2data.records import Step
from tests.formats.rlds.test_write import EPISODES, STEPS, digest, read, write

Read = Callable[..., Recipe]


def spoil(tmp_path: Path, episode: int, *steps: int) -> None:
    """Images of these steps are no images any more."""
    path = tmp_path / f"robot/{episode:03d}.bin"
    content, at, step = bytearray(path.read_bytes()), 0, 0
    while at < len(content):
        length = int.from_bytes(content[at : at + 4], "little")
        if step in steps:
            content[at + 4 : at + 7] = b"xxx"
        at, step = at + 4 + length, step + 1
    path.write_bytes(content)


def written(out: Path) -> list[tuple[str, list[Step], list[int]]]:
    """Episodes with their names and the numbers of their steps in the source."""
    steps, numbers = (read(out / "arm_rlds/1.0.0", **settings) for settings in ({}, {"state": "step"}))
    names = read(out / "arm_rlds/1.0.0", instruction="episode_metadata/episode_id")
    found = []
    for _, group in groupby(range(len(steps)), key=lambda at: steps[at].episode):
        rows = list(group)
        found.append((names[rows[0]].instruction, [steps[at] for at in rows], [int(numbers[at].state[0]) for at in rows]))  # type: ignore[index]
    return found


def test_an_episode_is_cut_where_steps_are_missing(toy_recipe: Read, tmp_path: Path) -> None:
    recipe = toy_recipe(max_bad="50%")
    spoil(tmp_path, 2, 3)
    spoil(tmp_path, 5, 7)  # the end of an episode: no gap, but its terminate token is gone
    manifest = write(recipe, tmp_path / "out")
    assert next(Store(path).info for path in (tmp_path / "store").glob("arm-*")).facts["ends.dropped"] == 1
    assert verify_episodes(tmp_path / "out").ok
    found = {name: (steps, numbers) for name, steps, numbers in written(tmp_path / "out")}
    assert {name: numbers for name, (_, numbers) in found.items() if name.startswith("e002")} == {
        "e002": [0, 1, 2],
        "e002-part1": [4, 5, 6, 7],
    }
    assert len(found) == EPISODES + 1
    for name in ("e002", "e002-part1"):
        steps = found[name][0]
        assert [step.is_first for step in steps] == [at == 0 for at in range(len(steps))]
        assert [step.is_last for step in steps] == [at == len(steps) - 1 for at in range(len(steps))]
        assert [step.is_terminal for step in steps] == [name == "e002-part1" and step is steps[-1] for step in steps]
    arm = manifest.plan.datasets[0]
    assert any("1 episodes have gaps: cut there, which makes 1 more episodes" in line for line in arm.warnings)


def test_pieces_that_are_too_short_are_dropped_and_told(toy_recipe: Read, tmp_path: Path) -> None:
    recipe = toy_recipe(max_bad="50%", robot__arm__filters="{min_steps: 3}")
    spoil(tmp_path, 2, 2)
    spoil(tmp_path, 4, 3)
    manifest = write(recipe, tmp_path / "out")
    numbers = {name: numbers for name, _, numbers in written(tmp_path / "out")}
    assert "e002" not in numbers and numbers["e002-part1"] == [3, 4, 5, 6, 7]
    assert (numbers["e004"], numbers["e004-part1"]) == ([0, 1, 2], [4, 5, 6, 7])
    assert manifest.steps == EPISODES * STEPS - 2 - 2 + 9
    assert any("2 steps in pieces shorter than min_steps are dropped" in line for line in manifest.plan.datasets[0].warnings)
    said = json.loads((tmp_path / "out/arm_rlds/1.0.0/dataset_statistics.json").read_text())["arm_rlds"]
    assert (said["num_transitions"], said["num_trajectories"]) == (EPISODES * STEPS - 4, EPISODES + 1)


@pytest.mark.parametrize(("rule", "episodes", "names"), [("drop", EPISODES - 1, []), ("join", EPISODES, ["e002"])])
def test_a_torn_episode_is_dropped_or_joined_as_the_recipe_says(
    toy_recipe: Read, tmp_path: Path, rule: str, episodes: int, names: list[str]
) -> None:
    recipe = toy_recipe(max_bad="50%", robot__arm__gaps=rule)
    spoil(tmp_path, 2, 3)
    manifest = write(recipe, tmp_path / "out")
    assert verify_episodes(tmp_path / "out").ok
    found = {name: numbers for name, _, numbers in written(tmp_path / "out")}
    assert len(found) == episodes
    assert [name for name in found if name.startswith("e002")] == names
    assert found.get("e002", [0, 1, 2, 4, 5, 6, 7]) == [0, 1, 2, 4, 5, 6, 7]
    assert any(f"(gaps: {rule})" in line for line in manifest.plan.datasets[0].warnings)


def test_gaps_belong_to_the_output_and_not_to_the_store(toy_recipe: Read, tmp_path: Path) -> None:
    recipes = [toy_recipe(robot__arm__gaps=rule) for rule in ("cut", "drop", "join")]
    assert len({json.dumps(recipe.robot["arm"].prepare_settings()) for recipe in recipes}) == 1
    assert len({digest(tmp_path / rule) for rule in ("cut", "join") if write(toy_recipe(), tmp_path / rule)}) == 1


def test_nothing_is_left_where_every_episode_is_torn(toy_recipe: Read, tmp_path: Path) -> None:
    recipe = toy_recipe(max_bad="50%", robot__arm__gaps="drop")
    for episode in range(EPISODES):
        spoil(tmp_path, episode, 3)
    with pytest.raises(DataError, match="has no episode without a gap"):
        write(recipe, tmp_path / "out")
