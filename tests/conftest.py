"""What all tests share."""

from __future__ import annotations

import gc
import hashlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rt2data.build import Site, build_plainly
from rt2data.engines.outcome import collect_seldom
from rt2data.plan.recipe import Recipe, read_recipe
from rt2data.read.source import SOURCES
from tests import laws
from tests.contract import toy

ROOT = Path(__file__).parent.parent
SHARED = ROOT.parent / "shared" / "data"

laws.register()


def pytest_collection_finish() -> None:
    """Thousands of tests are many objects that stay: without this, looking for cycles among them takes a tenth of the time."""
    gc.freeze()
    collect_seldom()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real robot logs and corpora, beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"real data not found at {SHARED}")
    return SHARED


RECIPE = """
robot_frac: 1/2
size: {{num_examples: 90}}
store: store
shards: {{bytes: 2MB}}
robot:
  bridge: {{kind: rlds, path: {data}/rlds_bridge/bridge_dataset/1.0.0, action_space: widowx_bridge}}
web:
  coco:
    kind: vqav2
    questions: {data}/coco_web/annotations/v2_OpenEnded_mscoco_trainval2014_questions.json
    annotations: {data}/coco_web/annotations/v2_mscoco_trainval2014_annotations.json
    image_dirs: [{data}/coco_web/train2017, {data}/coco_web/val2017]
"""
"""A real mixture, Bridge and COCO."""


@pytest.fixture(scope="session")
def real_recipe(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Recipe]:
    """The recipe with some of its values overridden; one store for all."""
    path = tmp_path_factory.mktemp("real") / "mixture.yaml"
    path.write_text(RECIPE.format(data=shared_data))
    return lambda *overrides: read_recipe(path, overrides=overrides)


@pytest.fixture(scope="session")
def mixture(real_recipe: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The folder of the mixture in a format; overrides give other mixtures of the same rows."""
    folder = tmp_path_factory.mktemp("formats")

    def build(name: str, *overrides: str) -> Path:
        out = folder / "-".join((name, *overrides)).replace("/", "_")
        if not out.exists():
            build_plainly(real_recipe(f"shards.format={name}", *overrides), Site(out))
        return out

    return build


WINDOWS = ("robot.bridge.cameras=all", "robot.bridge.history=[-1, 0]", "robot.bridge.horizon=8")
"""All four cameras of Bridge, now and one step before, and chunks of eight actions."""


@pytest.fixture(scope="session")
def windows(real_recipe: Callable[..., Recipe], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of the mixture in a format with several images and chunks of actions."""
    folder = tmp_path_factory.mktemp("windows")

    def build(name: str) -> Path:
        if not (folder / name).exists():
            build_plainly(real_recipe(f"shards.format={name}", *WINDOWS), Site(folder / name))
        return folder / name

    return build


@pytest.fixture
def listening() -> Iterator[None]:
    """A command started where SIGINT is ignored, as in a shell's background, ignores it too: see that it does not."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def toy_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of sources with only the toys in it: a new source is one file and one line."""
    for name in reversed(list(SOURCES)):  # undone last first, so the order of the table comes back
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
