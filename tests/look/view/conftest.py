"""A small mixture of toys, and its stores; built once, read-only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rt2data.build import Site, build_plainly
from rt2data.plan.recipe import read_recipe
from rt2data.read.source import SOURCES
from tests.contract import toy

RECIPE = """
robot_frac: 0.5
shards: {bytes: 20kB}
store: store
robot: {arm: {kind: toy_robot, path: robot, action_space: widowx_bridge}}
web: {qa: {kind: toy_web, path: web}}
"""


@contextmanager
def toys_in(folder: Path) -> Iterator[Path]:
    """Toys and their recipe in a folder; their kinds are registered meanwhile."""
    toy.write_robot(folder / "robot"), toy.write_web(folder / "web")
    (folder / "mixture.yaml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        for name, place in toy.TABLE.items():
            patch.setitem(SOURCES, name, place)
        yield folder / "mixture.yaml"


@pytest.fixture(scope="session")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """96 examples in several shards; its recipe is in the same folder, its stores in `store`."""
    folder = tmp_path_factory.mktemp("viewing")
    with toys_in(folder) as recipe:
        build_plainly(read_recipe(recipe), Site(folder / "mixture"))
    return folder / "mixture"
