"""Small generated data, a robot log and a corpus, and folders to build in."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.bench.generate import write_corpus, write_log
from tests.conftest import sha256_of
from tests.faults.command import Warm

INLINE = ("build-mixture", "--workers", "0")
"""The quickest way to build."""
LOG, WEB = "log/bench_log/1.0.0", "web"
STEPS, EPISODES, PICTURES = 40, 8, 80
RECIPE = """
robot_frac: 0.5
store: store
shards: {{bytes: 150kB}}
robot: {{log: {{kind: rlds, path: "{data}/log", action_space: widowx_bridge}}}}
web:
  qa:
    kind: vqav2
    questions: "{data}/web/questions.json"
    annotations: "{data}/web/annotations.json"
    image_dirs: "{data}/web/images"
"""


@dataclass(frozen=True)
class Place:
    """A folder with a recipe; the output will be `mixture`, the store `store`."""

    folder: Path
    data: Path

    @property
    def out(self) -> Path:
        return self.folder / "mixture"

    @property
    def staging(self) -> Path:
        return self.folder / ".mixture.partial"

    @property
    def shards(self) -> list[Path]:
        """Files of records of the log."""
        return sorted((self.data / LOG).glob("*.tfrecord*"))

    @property
    def bytes_built(self) -> str:
        """One hash over all shards and the manifest, in which only paths may differ from folder to folder."""
        manifest = (self.out / "manifest.json").read_text().replace(str(self.data), "DATA").replace(str(self.folder), "HERE")
        return sha256_of(self.out) + manifest

    def litter(self) -> list[str]:
        """Temporary files anywhere below, and unfinished folders."""
        return [str(p) for p in self.folder.rglob(".*") if p.name.endswith((".tmp", ".partial", ".old"))]


def make_place(folder: Path, data: Path) -> Place:
    """A folder to build in."""
    folder.mkdir(parents=True)
    (folder / "mixture.yaml").write_text(RECIPE.format(data=data))
    return Place(folder, data)


@pytest.fixture(scope="session")
def warm(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """The command without the time its imports take."""
    folder = tmp_path_factory.mktemp("warm")
    server = Warm(folder, make_place(folder / "rehearsal", data).folder)
    yield server
    server.close()


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight episodes of 40 steps in four files, 160 questions about 80 pictures. Not to be changed."""
    folder = tmp_path_factory.mktemp("data")
    write_log(folder / "log", EPISODES * STEPS * 4000, 4000, EPISODES * STEPS * 1000)
    write_corpus(folder / "web", PICTURES, 4000)
    return folder


@pytest.fixture
def new_place(data: Path, tmp_path: Path) -> Callable[[str], Place]:
    """Folders to build in, over the common data."""
    return lambda name: make_place(tmp_path / name, data)


@pytest.fixture
def place(new_place: Callable[[str], Place]) -> Place:
    """A folder to build in, over the common data."""
    return new_place("here")


@pytest.fixture
def own(data: Path, tmp_path: Path) -> Place:
    """A folder to build in, over a copy of the data that may be broken."""
    shutil.copytree(data, tmp_path / "own")
    return make_place(tmp_path / "here", tmp_path / "own")


@pytest.fixture(scope="session")
def built(warm: Warm, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The mixture as it should be, with its store."""
    found = make_place(tmp_path_factory.mktemp("built") / "here", data)
    warm(found.folder, *INLINE).succeeded()
    return found


@pytest.fixture
def prepared(built: Place, tmp_path: Path) -> Place:
    """A folder to build in whose sources are prepared."""
    found = make_place(tmp_path / "here", built.data)
    shutil.copytree(built.folder / "store", found.folder / "store")
    return found
