"""Workers that share nothing with the launcher but an object store: what Dataflow is. They have a mount namespace of their own."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
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

from tests.beam.cloud import cloud_at, needs_cloud
from tests.beam.test_dataflow import OPTIONS
from tests.bench.generate import write_corpus, write_log
from tests.faults.command import environment, rt2data
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
    """The mixture built here, from local files. By another process: if this one has imported TensorFlow, its SQLite differs."""
    here = tmp_path_factory.mktemp("built")
    (here / "mixture.yaml").write_text(RECIPE.format(data=data))
    rt2data(here, "build-mixture", "-o", "mixture").succeeded()
    return here / "mixture"


@pytest.fixture(scope="module")
def objects(data: Path) -> Iterator[StandIn]:
    with stand_in() as found:
        found.upload(data, "data/")
        yield found


def without(hidden: Path, command: list[str]) -> list[str]:
    """The command, in a mount namespace where an empty folder hides this one."""
    return ["unshare", "--mount", "sh", "-c", f"mount -t tmpfs none {hidden} && exec {shlex.join(command)}"]


@contextmanager
def workers(hidden: Path, env: dict[str, str]) -> Iterator[str]:
    """A pool of Beam's workers that see an empty folder where the hidden one is; its address."""
    with socket.create_server(("localhost", 0)) as free:
        port = free.getsockname()[1]
    env = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **env}  # the pool starts workers as `python`
    command = [sys.executable, "-m", POOL, f"--service_port={port}"]
    pool = subprocess.Popen(without(hidden, command), env=environment(dict(env)), cwd="/", start_new_session=True)
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


def files_of(built: Path) -> dict[str, str]:
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in built.rglob("*") if path.is_file()}
    return {name: sha256 for name, sha256 in found.items() if name != "manifest.json"}


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
    assert shards(objects, f"{scheme}/mixture/") == files_of(built)


def test_the_launcher_sees_no_source(objects: StandIn, data: Path, built: Path, tmp_path: Path) -> None:
    recipe = RECIPE.format(data=data).replace("store: store", "store: gs://bucket/blind/store")
    (tmp_path / "mixture.yaml").write_text(recipe)
    (tmp_path / "nothing").mkdir()
    with workers(tmp_path / "nothing", objects.env("gs")) as pool:
        beam = ["--job_endpoint=embed", "--environment_type=EXTERNAL", f"--environment_config={pool}"]
        words = "rt2data build-mixture -o gs://bucket/blind/mixture --runner portable --"
        command = without(data, [sys.executable, "-m", *words.split(), *beam])
        env = environment(dict(objects.env("gs")))
        done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert shards(objects, "blind/mixture/") == files_of(built)


@needs_cloud
def test_dataflow_runs_without_the_launchers_disk(
    objects: StandIn, built: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Both pipelines, translated and staged by the Dataflow runner, are run by workers that do not see this disk."""
    recipe = RECIPE.format(data="gs://bucket/data").replace("store: store", "store: gs://bucket/flow/store")
    (tmp_path / "mixture.yaml").write_text(recipe)
    mixture, stats = "gs://bucket/flow/mixture", "gs://bucket/flow/stats.json"
    with workers(tmp_path_factory.getbasetemp(), objects.env("gs")) as pool:
        for words in (f"build-mixture -o {mixture}", f"stats {mixture} --out {stats}"):
            with cloud_at(tmp_path / "staged", pool=pool) as cloud:
                env = {**objects.env("gs"), "STORAGE_EMULATOR_HOST": cloud.url, "NO_GCE_CHECK": "true"}
                flow = ("--runner", "dataflow", "--", *OPTIONS[1:], f"--dataflow_endpoint={cloud.url}")
                rt2data(tmp_path, *words.split(), *flow, env=env).succeeded()
                (job,) = cloud.jobs.values()
                assert job["currentState"] == "JOB_STATE_DONE"
                assert sum(map(len, cloud.objects.values())) < 300_000, "work orders only"
    assert shards(objects, "flow/mixture/") == files_of(built)
    found = json.loads(objects.get("flow/stats.json"))
    near = json.loads(rt2data(built, "stats", str(built), "--json").out)
    assert {name for name, value in near.items() if found[name] != value} <= {"path", "what", "subject"}
