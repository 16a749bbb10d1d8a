"""kill -9 of a launcher whose job runs elsewhere: the job ends as it would have, and keeps others out until then."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from rt2data.build import Site, build_plainly
from rt2data.plan.recipe import read_recipe
from tests.bench.generate import write_corpus, write_log
from tests.faults.command import Ended, environment, running
from tests.faults.conftest import RECIPE

pytest.importorskip("obstore", reason="the extra `cloud` is not installed")

from tests.objects.stand_in import StandIn, stand_in

pytestmark = pytest.mark.slow
SERVICE = "apache_beam.runners.portability.local_job_service_main"
MANY = ("--set", "size.num_examples=6000")
LIMIT_S = 120.0


@contextmanager
def process(folder: Path, env: dict[str, str], *words: str) -> Iterator[None]:
    """A server, and its children, while the block runs."""
    with (folder / "said").open("a") as said:
        started = subprocess.Popen(
            [sys.executable, "-m", *words], cwd=folder, env=environment(dict(env)), stdout=said, stderr=said, start_new_session=True
        )
    try:
        yield
    finally:
        os.killpg(started.pid, signal.SIGKILL)
        started.wait()


def free_port() -> str:
    with socket.create_server(("localhost", 0)) as free:
        return str(free.getsockname()[1])


def listens(port: str) -> bool:
    try:
        socket.create_connection(("localhost", int(port)), 1).close()
    except OSError:
        return False
    return True


def wait_until(true: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < until, what
        time.sleep(0.02)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_log(folder / "log", 320 * 4000, 4000, 320 * 1000)
    write_corpus(folder / "web", 80, 4000)
    return folder


@pytest.fixture
def objects(data: Path) -> Iterator[StandIn]:
    with stand_in(delay_ms=10) as found:
        found.upload(data, "data/")
        yield found


@pytest.fixture
def beam(objects: StandIn, tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """Options of a job service with workers, none of them a child of the launcher."""
    service, pool = free_port(), free_port()
    with ExitStack() as stack:
        env = objects.env("gs")
        stack.enter_context(process(tmp_path, env, SERVICE, "--job_port", service, "--staging_dir", str(tmp_path / "staged")))
        stack.enter_context(process(tmp_path, env, "tests.beam.worker_pool", pool))
        wait_until(lambda: listens(service) and listens(pool), "the servers start")
        external = ("--environment_type=EXTERNAL", f"--environment_config=localhost:{pool}")
        yield "--runner", "portable", "--", f"--job_endpoint=localhost:{service}", *external


def shards(objects: StandIn, folder: str) -> dict[str, str]:
    found = {key.rpartition("/")[2]: hashlib.sha256(objects.get(key)).hexdigest() for key in objects.list(folder)}
    return {name: sha for name, sha in found.items() if name.startswith("shard-")}


def test_the_job_of_a_launcher_that_was_killed(objects: StandIn, data: Path, beam: tuple[str, ...], tmp_path: Path) -> None:
    recipe = RECIPE.format(data="gs://bucket/data").replace("store: store", "store: gs://bucket/store")
    objects.put("mixture.yaml", recipe.encode())
    build = ("build-mixture", "gs://bucket/mixture.yaml", "-o", "gs://bucket/mixture", *MANY)

    def launched_again(*more: str) -> Ended:
        with running(tmp_path, *build, *more, env={**objects.env("gs")}) as other:
            return other.wait()

    with running(tmp_path, *build, *beam, env={**objects.env("gs")}) as launcher:
        wait_until(lambda: sum("/shard-" in key for key in objects.list("mixture/")) >= 2, "shards are written")
        launcher.send(signal.SIGKILL)
        launcher.wait()
    holder = f"a job of process {launcher.pid} on"
    launched_again("--workers", "0").failed(6, "another build is writing gs://bucket/mixture", holder)
    assert "mixture/current.json" not in objects.list("mixture/"), "the job was still at work"
    wait_until(lambda: "mixture/current.json" in objects.list("mixture/"), "the job ends")
    wait_until(lambda: "mixture/.lease" not in objects.list("mixture/"), "the lease is released")
    again = launched_again("--workers", "0")
    again.succeeded()
    assert "nothing to do" in again.err
    near = tmp_path / "near"
    near.mkdir()
    (near / "mixture.yaml").write_text(RECIPE.format(data=data))
    build_plainly(read_recipe(near / "mixture.yaml", [MANY[1]]), Site(near / "mixture"))
    generation = json.loads(objects.get("mixture/current.json"))["generation"]
    built = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (near / "mixture").glob("shard-*")}
    assert shards(objects, f"mixture/{generation}/") == built
    left = [key for key in objects.list() if key.endswith((".lock", ".lease")) or "failure" in key]
    assert left == [], "leases of the stores are released too"
