"""Small mixtures of toys for all tests of the loader."""

from __future__ import annotations

from pathlib import Path

import pytest

from rt2data.build import Site, build_plainly
from rt2data.plan.recipe import read_recipe
from rt2data.read.source import SOURCES
from tests.contract import toy
from tests.loading import wide

EXAMPLES, MANY = 1000, 16_000
ROBOTS = 17 / 32


@pytest.fixture(scope="session")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A thousand examples in shards of about 80, 17/32 of them robot: blocks of 16 take turns at 8 and 9."""
    return _built(tmp_path_factory.mktemp("reading"), EXAMPLES, "340kB")


@pytest.fixture(scope="session")
def large_mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with thousands for each of eight ranks."""
    return _built(tmp_path_factory.mktemp("reading-large"), MANY, "2MB")


@pytest.fixture(scope="session")
def wide_mixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 examples with four places for images and chunks of up to five actions, of robots of 7, 4 and 2 dimensions."""
    return build_wide(tmp_path_factory.mktemp("wide"))


def _built(folder: Path, examples: int, shard: str) -> Path:
    toy.write_robot(folder / "robot")
    toy.write_web(folder / "web")
    return _build(
        folder,
        toy.TABLE,
        f"""
robot_frac: 17/32
size: {{num_examples: {examples}}}
shards: {{bytes: {shard}}}
store: store
robot: {{arm: {{kind: toy_robot, path: robot, action_space: widowx_bridge}}}}
web: {{qa: {{kind: toy_web, path: web}}}}
""",
    )


def build_wide(folder: Path, side: int = 32, examples: int = 200) -> Path:
    """The wide mixture; images of its smallest robot have `side` pixels a side, all others 32."""
    return _build(folder, wide.TABLE, wide.recipe(side, examples))


def _build(folder: Path, table: dict[str, str], recipe: str) -> Path:
    (folder / "mixture.yaml").write_text(recipe)
    with pytest.MonkeyPatch.context() as patch:
        for name, place in table.items():
            patch.setitem(SOURCES, name, place)
        build_plainly(read_recipe(folder / "mixture.yaml"), Site(folder / "mixture"))
    return folder / "mixture"
