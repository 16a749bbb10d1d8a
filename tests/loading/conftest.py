"""A small mixture of toys for all tests of reading."""

from __future__ import annotations

from pathlib import Path

import pytest

from rt2data.build import Site, build_plainly
from rt2data.plan.recipe import read_recipe
from rt2data.read.source import SOURCES
from tests.contract import toy

EXAMPLES, MANY = 1000, 16_000
ROBOTS = 17 / 32


@pytest.fixture(scope="session")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A thousand examples in shards of about 70, 17/32 of them robot: blocks of 16 take turns at 8 and 9."""
    return _built(tmp_path_factory.mktemp("reading"), EXAMPLES, "340kB")


@pytest.fixture(scope="session")
def large_mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with thousands for each of eight ranks."""
    return _built(tmp_path_factory.mktemp("reading-large"), MANY, "2MB")


def _built(folder: Path, examples: int, shard: str) -> Path:
    toy.write_robot(folder / "robot")
    toy.write_web(folder / "web")
    (folder / "mixture.yaml").write_text(
        f"""
robot_frac: 17/32
size: {{num_examples: {examples}}}
shards: {{bytes: {shard}}}
store: store
robot: {{arm: {{kind: toy_robot, path: robot, action_space: widowx_bridge}}}}
web: {{qa: {{kind: toy_web, path: web}}}}
"""
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, place in toy.TABLE.items():
            patch.setitem(SOURCES, name, place)
        recipe = read_recipe(folder / "mixture.yaml")
        build_plainly(recipe, Site(folder / "mixture"))
    return folder / "mixture"
