"""Toy sources in the table, and recipes over them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rt2data.plan.recipe import Recipe, read_recipe
from tests.contract import toy

Read = Callable[..., Recipe]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, toys: None) -> Path:
    """A robot, two corpora, and a recipe over them; never prepared."""
    folder = tmp_path_factory.mktemp("place")
    toy.write_robot(folder / "arm"), toy.write_robot(folder / "leg", episodes=4, steps=5)
    toy.write_web(folder / "qa"), toy.write_web(folder / "cap", pictures=20)
    (folder / "mixture.yaml").write_text(
        """
robot_frac: 0.5
shards: {bytes: 40kB}
store: store
robot:
  arm: {kind: toy_robot, path: arm, action_space: widowx_bridge}
  leg: {kind: toy_robot, path: leg, action_space: widowx_bridge}
web:
  qa: {kind: toy_web, path: qa}
  cap: {kind: toy_web, path: cap}
"""
    )
    return folder


@pytest.fixture
def read(place: Path) -> Read:
    """The recipe with some values changed: `robot__arm__weight=2` overrides robot.arm.weight."""

    def recipe(**values: object) -> Recipe:
        return read_recipe(place / "mixture.yaml", overrides=[f"{key.replace('__', '.')}={value}" for key, value in values.items()])

    return recipe
