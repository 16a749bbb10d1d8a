"""A small mixture and its statistics, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

from rt2data.build import Site, build_plainly
from rt2data.look.stats.model import Stats
from rt2data.look.stats.run import take_stats
from rt2data.look.stats.subject import mixture_subject
from rt2data.plan.recipe import read_recipe
from rt2data.read.source import SOURCES
from tests.contract import toy

RECIPE = """
robot_frac: 0.5
shards: {{bytes: 20kB}}
store: store
robot: {{arm: {{kind: toy_robot, path: {robot}, action_space: widowx_bridge}}}}
web: {{qa: {{kind: toy_web, path: {web}}}}}
"""


@pytest.fixture(scope="package")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mixture of toys: 48 robot steps once, 9 questions again and again. Not to be changed."""
    folder = tmp_path_factory.mktemp("toys")
    robot, web = toy.write_robot(folder / "robot"), toy.write_web(folder / "web")
    (folder / "mixture.yaml").write_text(RECIPE.format(robot=robot, web=web))
    with pytest.MonkeyPatch.context() as patch:
        for name, place in toy.TABLE.items():
            patch.setitem(SOURCES, name, place)
        build_plainly(read_recipe(folder / "mixture.yaml"), Site(folder / "out"))
    return folder / "out"


@pytest.fixture(scope="package")
def mixture(out: Path, tmp_path_factory: pytest.TempPathFactory) -> Stats:
    """Its statistics."""
    return take_stats(mixture_subject(out, tmp_path_factory.mktemp("scratch")))
