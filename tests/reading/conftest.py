"""A small mixture of toys for all tests of reading."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rt2data.build import Site, build_plainly
from rt2data.recipe import read_recipe
from rt2data.sources.base import SOURCES
from tests.contract import toy

EXAMPLES = 1000


@pytest.fixture(scope="session")
def mixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A thousand examples in shards of about 70, 17/32 of them robot: blocks of 16 take turns at 8 and 9."""
    folder = tmp_path_factory.mktemp("reading")
    toy.write_robot(folder / "robot")
    toy.write_web(folder / "web")
    (folder / "mixture.yaml").write_text(
        f"""
robot_frac: 17/32
size: {{num_examples: {EXAMPLES}}}
shards: {{bytes: 300kB}}
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
    yield folder / "mixture"
