"""The deployed pipeline on Dataflow, as far as one machine can go: translated, staged, submitted, and the staged graph run."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rt2data.beam.pipeline_options import job_name
from rt2data.beam.run import fingerprint_of
from rt2data.build import Site, build_plainly
from rt2data.io.installation import pipelines
from rt2data.look.verify import verify
from rt2data.plan.recipe import read_recipe
from tests.beam.cloud import Cloud, cloud_at, needs_cloud
from tests.conftest import sha256_of
from tests.faults.command import environment, rt2data, running

OPTIONS = (
    "--runner=DataflowRunner",
    "--no_auth",
    "--project=some-project",
    "--region=us-central1",
    "--temp_location=gs://some-bucket/tmp",
    "--staging_location=gs://some-bucket/staging",
)
COMMAND = ("build-mixture", "--out", "out", "--runner", "dataflow", "--", *OPTIONS[1:])


pytestmark = [pytest.mark.slow, needs_cloud]


def emulated(cloud: Cloud) -> dict[str, str | None]:
    """Where the clients of Google's libraries find this machine's cloud."""
    return {"STORAGE_EMULATOR_HOST": cloud.url, "NO_GCE_CHECK": "true"}


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
    return subprocess.run(command, cwd=place, env=environment(emulated(cloud)), capture_output=True, text=True, timeout=120)


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
    assert done.returncode == 2
    assert "build_mixture: source arm would be repeated 31.25 times, max_epochs is 1" in done.stderr
    assert not (place / "out").exists()


def test_a_dry_run_submits_nothing(place: Path, cloud: Cloud) -> None:
    done = submit(place, cloud, "--dry_run=True")
    assert done.returncode == 0, done.stderr[-3000:]
    assert (cloud.jobs, cloud.objects) == ({}, {})
    assert not (place / "out").exists()


def test_the_command_builds_and_its_job_says_what_it_is(place: Path, cloud: Cloud) -> None:
    ended = rt2data(place, *COMMAND, f"--dataflow_endpoint={cloud.url}", "--labels=team=arms", env=emulated(cloud))
    ended.succeeded()
    assert "watch it: https://console.cloud.google.com/dataflow/jobs/us-central1/job-0?project=some-project" in ended.err
    assert verify(place / "out").ok
    (job,) = cloud.jobs.values()
    assert re.fullmatch(r"rt2data-out-[0-9a-f]{8}", job["name"])
    assert job["labels"] == {"rt2data-recipe": fingerprint_of(read_recipe(place / "mixture.yaml")), "team": "arms"}
    (workers,) = job["environment"]["workerPools"]
    assert (workers["machineType"], workers["numThreadsPerWorker"]) == ("n2-standard-4", 4)
    options = job["environment"]["sdkPipelineOptions"]["options"]
    assert (options["recipe"], options["out"]) == ("mixture.yaml", str(place / "out"))


def test_nothing_new_submits_nothing(place: Path, cloud: Cloud) -> None:
    for said in ("watch it:", "nothing to do"):
        ended = rt2data(place, *COMMAND, f"--dataflow_endpoint={cloud.url}", env=emulated(cloud))
        ended.succeeded()
        assert said in ended.err, ended.err
    assert len(cloud.jobs) == 1


def test_failures_keep_their_code(place: Path, cloud: Cloud) -> None:
    asked = ("--set", "size.num_examples=5000", "--set", "max_epochs=1")
    ended = rt2data(place, COMMAND[0], *asked, *COMMAND[1:], f"--dataflow_endpoint={cloud.url}", env=emulated(cloud))
    ended.failed(2, "max_epochs is 1")


def test_a_template_is_only_staged(place: Path, cloud: Cloud) -> None:
    ended = rt2data(place, *COMMAND, "--template_location=gs://some-bucket/job_object", env=emulated(cloud))
    ended.succeeded()
    assert "staged" in ended.err and not (place / "out").exists()
    assert "job_object" in cloud.objects and cloud.jobs == {}


def test_two_jobs_for_one_output_are_one_too_many(place: Path, cloud: Cloud) -> None:
    name = job_name(place / "out")
    cloud.jobs["job-0"] = {"id": "job-0", "name": name, "clientRequestId": "another", "currentState": "JOB_STATE_RUNNING"}
    ended = rt2data(place, *COMMAND, f"--dataflow_endpoint={cloud.url}", env=emulated(cloud))
    ended.failed(6, name, "wait for that job, or cancel it")


@pytest.mark.usefixtures("listening")
def test_an_interrupt_cancels_the_job(place: Path, tmp_path: Path) -> None:
    with cloud_at(tmp_path / "bucket", runs=False) as cloud:
        words = (*COMMAND, f"--dataflow_endpoint={cloud.url}")
        with running(place, *words, env=emulated(cloud)) as run:
            until = time.monotonic() + 60
            while not cloud.jobs and time.monotonic() < until:
                time.sleep(0.1)
            time.sleep(1)
            run.send(signal.SIGINT)
            ended = run.wait()
        assert ended.code == 130 and "Traceback" not in ended.err, ended.err
        assert [job["currentState"] for job in cloud.jobs.values()] == ["JOB_STATE_CANCELLED"]


@pytest.mark.parametrize("lost", ["google.cloud.storage", "google.cloud.dataflow_v1beta3"])
def test_missing_packages_are_named_before_anything_is_read(tmp_path: Path, lost: str) -> None:
    script = f"""
import sys
sys.modules[{lost!r}] = None
from pathlib import Path
from rt2data.beam.pipeline_options import new_pipeline
new_pipeline({OPTIONS!r}, Path("out"), "")
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment(), capture_output=True, text=True)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("rt2data.errors.UsageError: the Dataflow runner needs packages") and "pip install 'rt2data[gcp]'" in last
