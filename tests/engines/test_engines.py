"""The real command on Ray and on Spark, on this machine: the bytes of every other way, failures, interrupts, lost workers."""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import psutil
import pytest

from rt2data.build import Site, build_plainly
from rt2data.demo.write import write_demo
from rt2data.plan.recipe import read_recipe
from tests.bench.generate import STEPS, write_corpus, write_log
from tests.faults.command import Ended, Running, running
from tests.faults.conftest import LOG, RECIPE
from tests.objects.stand_in import StandIn, stand_in

EPISODES, PICTURES = 70, 80
"""An episode is a unit here, and more than 64 units are merged."""
COMMAND = (sys.executable, "-m", "tests.engines.command")
HERE = {"RAY_ADDRESS": "local", "MASTER": None}
"""Clusters of this machine, whatever runs on it."""
MANY = ("--set", "size.num_examples=12000")
"""Far from done when something happens."""
LIMIT_S = 240.0
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("listening")]


@pytest.fixture(params=["ray", "spark"])
def engine(request: pytest.FixtureRequest) -> str:
    """Each of those that are installed."""
    found: str = request.param
    if find_spec({"ray": "ray", "spark": "pyspark"}[found]) is None:
        pytest.skip(f"not installed: pip install 'rt2data[{found}]'")
    if found == "spark" and shutil.which("java") is None:
        pytest.skip("Spark needs Java, and there is none on PATH")
    return found


@dataclass(frozen=True)
class Place:
    """A folder with `mixture.yaml` and data. All builds use this recipe, so every file of their outputs must be the same."""

    folder: Path

    def building(self, out: str, *options: str, **env: str) -> AbstractContextManager[Running]:
        """`build-mixture` under way."""
        return running(self.folder, "build-mixture", "-o", out, *options, env={**HERE, **env}, command=COMMAND)

    def build(self, out: str, *options: str, **env: str) -> Ended:
        """`build-mixture` to its end, which leaves no process behind."""
        with self.building(out, *options, **env) as run:
            ended = run.wait(LIMIT_S)
            assert not run.orphans()
        return ended

    def forget(self) -> None:
        """Let the next build prepare the sources again."""
        shutil.rmtree(self.folder / "store", ignore_errors=True)

    def sums(self, out: str) -> dict[str, str]:
        """sha256 of every file of an output."""
        found = self.folder / out
        return {
            str(path.relative_to(found)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(found.rglob("*"))
            if path.is_file()
        }

    def temporaries(self) -> list[Path]:
        return list(self.folder.rglob(".*.tmp"))


def lay_out(folder: Path) -> Place:
    """A log of 70 episodes in four files, 160 questions about 80 pictures."""
    write_log(folder / "log", EPISODES * STEPS * 4000, 4000, EPISODES * STEPS * 1000)
    write_corpus(folder / "web", PICTURES, 4000)
    (folder / "mixture.yaml").write_text(RECIPE.format(data=folder))
    return Place(folder)


@pytest.fixture(scope="module", params=["demo", "many units"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """What is built in plain Python and by the default command: `plain` and `default`."""
    folder = tmp_path_factory.mktemp("place")
    if request.param == "demo":
        write_demo(folder / "demo")
    found = Place(folder / "demo") if request.param == "demo" else lay_out(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rt2data.read.units.UNIT_BYTES", 1)
        build_plainly(read_recipe(found.folder / "mixture.yaml"), Site(found.folder / "plain"))
    found.forget()
    found.build("default").succeeded()
    return found


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """What the default command builds of many examples: `default`. The sources are prepared."""
    found = lay_out(tmp_path_factory.mktemp("many"))
    found.build("default", *MANY).succeeded()
    return found


@pytest.fixture
def own(tmp_path: Path) -> Place:
    """Data that may be broken."""
    return lay_out(tmp_path)


@pytest.fixture(scope="module")
def objects(many: Place) -> Iterator[StandIn]:
    """An object store that holds the same log and pictures."""
    pytest.importorskip("obstore", reason="the extra `cloud` is not installed")
    with stand_in() as found:
        for name in ("log", "web"):
            found.upload(many.folder / name, f"data/{name}/")
        yield found


def sums_there(objects: StandIn, out: str) -> dict[str, str]:
    """sha256 of every file of the only generation of an output."""
    inside = {key.removeprefix(f"{out}/").partition("/")[2]: key for key in objects.list(f"{out}/")}
    return {name: hashlib.sha256(objects.get(key)).hexdigest() for name, key in inside.items() if name}


def shards_appear(run: Running, place: Place, out: str) -> None:
    """Wait until shards are being written."""
    until = time.monotonic() + LIMIT_S
    while len(list((place.folder / f".{out}.partial").glob("info-*"))) < 3 and run.process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.01)


def below(run: Running) -> list[psutil.Process]:
    """All that the command has started, whatever session it is in."""
    return psutil.Process(run.pid).children(recursive=True)


def test_the_same_bytes(place: Place, engine: str) -> None:
    place.forget()
    ended = place.build(engine, "--engine", engine)
    ended.succeeded()
    assert place.sums(engine) == place.sums("default") == place.sums("plain")
    shards = len(list((place.folder / engine).glob("shard-*.tar")))
    assert f"write    {shards}/{shards}" in ended.err
    assert "prepare  " in ended.err


@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_all_from_objects_to_objects(many: Place, objects: StandIn, tmp_path: Path, engine: str, scheme: str) -> None:
    """Orders carry names; each worker opens the store itself, and finds it by the environment of the command."""
    root = f"{scheme}://bucket/{engine}-{scheme}"
    recipe = RECIPE.format(data=f"{scheme}://bucket/data").replace("store: store", f"store: {root}/store")
    (tmp_path / "mixture.yaml").write_text(recipe)
    Place(tmp_path).build(f"{root}/mixture", "--engine", engine, *MANY, **objects.env(scheme)).succeeded()
    there, near = sums_there(objects, f"{engine}-{scheme}/mixture"), many.sums("default")
    assert near.pop("manifest.json") and there.pop("manifest.json")
    assert there == near
    assert [path.name for path in tmp_path.iterdir()] == ["mixture.yaml"], "neither a store nor an output on the disk"


def test_a_source_that_changes_midway(own: Place, engine: str) -> None:
    """When the plan is made, before a shard is written."""
    records = sorted((own.folder / LOG).glob("*.tfrecord*"))[2]
    ended = own.build("mixture", "--engine", engine, "--before", "job.json", "edit", str(records))
    ended.failed(7, records.name, "run")
    assert not (own.folder / "mixture").exists()
    assert not own.temporaries()


def test_data_that_cannot_be_used(own: Place, engine: str) -> None:
    """Rows that are damaged when the plan is made, before a shard is written."""
    own.build("first").succeeded()
    rows = next(own.folder.glob("store/log-*/rows-train-00000.parquet"))
    damage = ("--before", "job.json", "edit", str(rows))
    own.build("mixture", "--engine", engine, *damage).failed(3, "damaged", rows.name, "build again")
    assert not (own.folder / "mixture").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_in_order(many: Place, engine: str, number: int) -> None:
    out = f"{engine}-{number}"
    with many.building(out, "--engine", engine, *MANY) as run:
        shards_appear(run, many, out)
        started = below(run)
        run.send(number)
        ended = run.wait(LIMIT_S)
        _, left = psutil.wait_procs(started, timeout=60)  # Ray's agents notice late that it has ended
        assert not left
    assert ended.code == 128 + number, ended.err[-3000:]
    assert "run the same command to resume" in ended.err
    assert not (many.folder / out).exists()
    assert not many.temporaries()
    again = many.build(out, *MANY)
    again.succeeded()
    assert "from an earlier run" in again.err
    assert many.sums(out) == many.sums("default")


def test_a_killed_worker_changes_nothing(many: Place, engine: str) -> None:
    out = f"{engine}-killed"
    with many.building(out, "--engine", engine, "--json", *MANY) as run:
        shards_appear(run, many, out)
        at_work(run).kill()
        ended = run.wait(LIMIT_S)
    ended.succeeded()
    assert json.loads(ended.out)["out"] == str(many.folder / out), "what engines say is not on stdout"
    assert many.sums(out) == many.sums("default")


def at_work(run: Running) -> psutil.Process:
    """A worker that has an order: Ray says so in its title; Spark's are children of a daemon of the same name."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        for each in below(run):
            with suppress(psutil.Error):  # it has just ended
                if " ".join(each.cmdline()).startswith("ray::shard"):
                    return each
                if all("pyspark.daemon" in one.cmdline() for one in (each, *each.parents()[:1])):
                    return each
    raise AssertionError("no worker is at work")


@pytest.mark.parametrize(
    ("engine", "env"), [("ray", {"RAY_ADDRESS": "nonsense"}), ("spark", {"JAVA_HOME": "/nowhere"})], indirect=["engine"]
)
def test_a_cluster_that_does_not_answer(many: Place, engine: str, env: dict[str, str]) -> None:
    many.build(f"{engine}-none", "--engine", engine, **env).failed(2, f"--engine {engine}")
