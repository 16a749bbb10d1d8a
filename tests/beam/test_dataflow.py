"""The deployed pipeline on Dataflow, as far as one machine can go: translated, staged, submitted, and the staged graph run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from rt2data.build import Site, build_plainly
from rt2data.io.installation import pipelines
from rt2data.look.verify import verify
from rt2data.plan.recipe import read_recipe
from tests.beam.cloud import Cloud
from tests.bench.generate import STEPS, write_corpus, write_log
from tests.conftest import sha256_of
from tests.faults.command import environment

NEEDED = {"google.cloud.storage": "google-cloud-storage", "google.cloud.dataflow_v1beta3": "google-cloud-dataflow-client"}
OPTIONS = (
    "--runner=DataflowRunner",
    "--no_auth",
    "--project=some-project",
    "--region=us-central1",
    "--temp_location=gs://some-bucket/tmp",
    "--staging_location=gs://some-bucket/staging",
)


def _missing() -> list[str]:
    """Distributions that Beam's Dataflow runner needs and does not find."""
    found = []
    for module, distribution in NEEDED.items():
        try:
            there = find_spec(module) is not None
        except ModuleNotFoundError:
            there = False
        found += [] if there else [distribution]
    return found


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(_missing()), reason=f"Beam's Dataflow runner needs {' and '.join(_missing())}, not installed here"),
]


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    found = Cloud()
    yield found
    found.shutdown()
    found.server_close()


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with data and a recipe, as on a disk that all workers share."""
    write_log(tmp_path / "log", 2 * STEPS * 1500, 1500)
    write_corpus(tmp_path / "web", 5, 1500)
    (tmp_path / "mixture.yaml").write_text(
        """
robot_frac: 0.5
store: store
shards: {bytes: 200kB}
robot: {arm: {kind: rlds, path: log/bench_log, action_space: widowx_bridge}}
web: {qa: {kind: vqav2, questions: web/questions.json, annotations: web/annotations.json, image_dirs: web/images}}
"""
    )
    return tmp_path


def submit(place: Path, cloud: Cloud, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the pipeline's main, for which this machine is the cloud."""
    command = [
        sys.executable,
        str(pipelines() / "build_mixture.py"),
        "--recipe",
        "mixture.yaml",
        "--out",
        "out",
        *OPTIONS,
        *options,
    ]
    here = environment({"STORAGE_EMULATOR_HOST": cloud.url, "NO_GCE_CHECK": "true"})
    return subprocess.run(command, cwd=place, env=here, capture_output=True, text=True, timeout=120)


def test_dataflow_writes_the_same_bytes(place: Path, cloud: Cloud) -> None:
    done = submit(place, cloud, f"--dataflow_endpoint={cloud.url}")
    assert done.returncode == 0, done.stderr[-3000:]
    (job,) = cloud.jobs.values()
    assert job["currentState"] == "JOB_STATE_DONE"
    assert {name.rsplit("/", 1)[1] for name in cloud.objects} == {"pipeline.pb", "submission_environment_dependencies.txt"}
    assert sum(map(len, cloud.objects.values())) < 300_000, "work orders only: neither data nor the main session"
    assert verify(place / "out").ok
    build_plainly(read_recipe(place / "mixture.yaml", ["store=store-plain"]), Site(place / "plain"))
    assert sha256_of(place / "out") == sha256_of(place / "plain")


def test_a_job_that_fails_is_told(place: Path, cloud: Cloud) -> None:
    done = submit(place, cloud, f"--dataflow_endpoint={cloud.url}", "--set", "size.num_examples=5000", "--set", "max_epochs=1")
    assert done.returncode
    assert "max_epochs is 1" in done.stderr
    assert not (place / "out").exists()


def test_a_dry_run_submits_nothing(place: Path, cloud: Cloud) -> None:
    done = submit(place, cloud, "--dry_run=True")
    assert done.returncode == 0, done.stderr[-3000:]
    assert (cloud.jobs, cloud.objects) == ({}, {})
    assert not (place / "out").exists()
