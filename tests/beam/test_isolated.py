"""Workers that share nothing with the launcher but an object store: what Dataflow is. They have a mount namespace of their own."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rt2data.build import Site, build_plainly
from rt2data.plan.recipe import read_recipe
from tests.bench.generate import write_corpus, write_log
from tests.faults.command import environment
from tests.faults.conftest import RECIPE

pytest.importorskip("obstore", reason="the extra `cloud` is not installed")

from tests.objects.stand_in import StandIn, stand_in


def can_hide() -> bool:
    """Whether this process may mount in a namespace of its own."""
    words = ["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /mnt"]
    return bool(shutil.which("unshare")) and subprocess.run(words, capture_output=True, check=False).returncode == 0


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_hide(), reason="a mount namespace needs Linux and root"),
]
POOL = "apache_beam.runners.worker.worker_pool_main"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_log(folder / "log", 320 * 4000, 4000, 320 * 1000)
    write_corpus(folder / "web", 80, 4000)
    return folder


@pytest.fixture(scope="module")
def built(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The mixture as it is built here, from local files."""
    here = tmp_path_factory.mktemp("built")
    (here / "mixture.yaml").write_text(RECIPE.format(data=data))
    build_plainly(read_recipe(here / "mixture.yaml"), Site(here / "mixture"))
    return here / "mixture"


@pytest.fixture(scope="module")
def objects(data: Path) -> Iterator[StandIn]:
    with stand_in() as found:
        found.upload(data, "data/")
        yield found


@contextmanager
def workers(hidden: Path, env: dict[str, str]) -> Iterator[str]:
    """A pool of Beam's workers that see an empty folder where the launcher's files are; its address."""
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    env = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **env}  # the pool starts workers as `python`
    hide = f"mount -t tmpfs none {hidden} && exec {sys.executable} -m {POOL} --service_port={port}"
    pool = subprocess.Popen(["unshare", "--mount", "sh", "-c", hide], env=environment(dict(env)), cwd="/", start_new_session=True)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                socket.create_connection(("localhost", port), 1).close()
                break
            except OSError:
                assert pool.poll() is None
                time.sleep(0.1)
        yield f"localhost:{port}"
    finally:
        os.killpg(pool.pid, signal.SIGKILL)  # the workers too
        pool.wait()


def shards(objects: StandIn, prefix: str) -> dict[str, str]:
    found = (key for key in objects.list(prefix) if not key.endswith("manifest.json"))
    return {
        key.rpartition("/")[2]: hashlib.sha256(objects.get(key)).hexdigest() for key in found if not key.endswith("current.json")
    }


@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_all_from_objects_to_objects(
    scheme: str, objects: StandIn, built: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    recipe = RECIPE.format(data=f"{scheme}://bucket/data").replace("store: store", f"store: {scheme}://bucket/{scheme}/store")
    (tmp_path / "mixture.yaml").write_text(recipe)  # the launcher's own: workers never see it
    with workers(tmp_path_factory.getbasetemp(), objects.env(scheme)) as pool:
        beam = ("--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=EXTERNAL", f"--environment_config={pool}")
        arguments = ["--recipe", str(tmp_path / "mixture.yaml"), "--out", f"{scheme}://bucket/{scheme}/mixture", *beam]
        main = [sys.executable, str(Path(__file__).parents[2] / "pipelines" / "build_mixture.py"), *arguments]
        done = subprocess.run(
            main, env=environment(dict(objects.env(scheme))), cwd=tmp_path, capture_output=True, text=True, timeout=300
        )
    assert done.returncode == 0, done.stderr[-3000:]
    near = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in built.rglob("*") if path.is_file()}
    near.pop("manifest.json")
    assert shards(objects, f"{scheme}/mixture/") == near
