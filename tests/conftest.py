"""What all tests share."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rt2data.recipe import Recipe, read_recipe
from rt2data.sources.base import SOURCES
from tests.contract import toy

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real robot logs and corpora, beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"real data not found at {SHARED}")
    return SHARED


@pytest.fixture
def toy_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of sources with only the toys in it: a new source is one file and one line."""
    for name in list(SOURCES):
        monkeypatch.delitem(SOURCES, name)
    for name, place in toy.TABLE.items():
        monkeypatch.setitem(SOURCES, name, place)


@pytest.fixture(scope="module")
def toys() -> Iterator[None]:
    """The toys stand in the table of sources beside what ships."""
    with pytest.MonkeyPatch.context() as patch:
        for name, place in toy.TABLE.items():
            patch.setitem(SOURCES, name, place)
        yield


@pytest.fixture
def toy_recipe(tmp_path: Path, toy_sources: None) -> Callable[..., Recipe]:
    """A recipe over toy data in tmp_path; keyword arguments override its values."""
    robot, web = toy.write_robot(tmp_path / "robot"), toy.write_web(tmp_path / "web")
    (tmp_path / "mixture.yaml").write_text(
        f"""
robot_frac: 0.5
shards: {{bytes: 20kB}}
store: store
robot: {{arm: {{kind: toy_robot, path: {robot}, action_space: widowx_bridge}}}}
web: {{qa: {{kind: toy_web, path: {web}}}}}
"""
    )

    def read(**values: object) -> Recipe:
        overrides = [f"{key.replace('__', '.')}={value}" for key, value in values.items()]
        return read_recipe(tmp_path / "mixture.yaml", overrides=overrides)

    return read


def sha256_of(out: Path) -> str:
    """One hash over all shards of an output, in order."""
    digest = hashlib.sha256()
    for shard in sorted(out.glob("shard-*")):
        digest.update(shard.read_bytes())
    return digest.hexdigest()
