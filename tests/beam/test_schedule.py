"""What is deployed to run on a schedule, without a cloud: the workflow against a stand-in, Terraform's files by a parser."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from rt2data.io.installation import pipelines
from rt2data.look.verify import verify
from tests.beam.cloud import Cloud, needs_cloud
from tests.beam.workflows import Raised, execute

SCHEDULE = pipelines() / "schedule"
WORKFLOW = SCHEDULE / "workflow.yaml"
TERRAFORM = SCHEDULE / "main.tf"


def argument(place: Path, cloud: Cloud, **parameters: str) -> dict[str, Any]:
    """What the scheduler gives to the workflow; the template is in the bucket, and so is the recipe."""
    metadata = json.loads((pipelines() / "build_mixture.metadata.json").read_text())
    cloud.objects["templates/build_mixture.json"] = json.dumps({"image": "build_mixture.py", "metadata": metadata}).encode()
    return {
        "job": "rt2data-mixture",
        "region": "us-central1",
        "template": "gs://some-bucket/templates/build_mixture.json",
        "image": "an-image",
        "service_account": "worker@some-project.iam.gserviceaccount.com",
        "bucket": "some-bucket",
        "poll_seconds": 1,
        "parameters": {"recipe": str(place / "mixture.yaml"), "out": "gs://some-bucket/mixture", **parameters},
    }


@pytest.mark.slow
@needs_cloud
class TestWorkflow:
    """The workflow launches the template as Dataflow does, and ends as the job ends."""

    def test_it_builds_a_mixture(self, place: Path, cloud: Cloud) -> None:
        (cloud.folder / "failures").mkdir()
        job, run = execute(WORKFLOW, argument(place, cloud, overwrite="true", set="seed=3\nsize.num_examples=40"), cloud.url)
        assert cloud.jobs[job]["currentState"] == "JOB_STATE_DONE"
        assert verify(cloud.folder / "mixture").ok
        assert json.loads((cloud.folder / "mixture/manifest.json").read_text())["plan"]["num_examples"] == 40
        assert [method for method, *_ in run.calls].count("POST") == 1
        staged = cloud.jobs[job]["staged"]
        assert staged["labels"]["rt2data-recipe"]
        assert staged["environment"]["workerPools"][0]["numThreadsPerWorker"] == 4
        assert list((cloud.folder / "failures").iterdir()) == []

    def test_it_fails_with_the_job_and_says_why(self, place: Path, cloud: Cloud) -> None:
        (cloud.folder / "failures").mkdir()
        asked = argument(place, cloud, set="size.num_examples=5000\nmax_epochs=1")
        with pytest.raises(Raised) as caught:
            execute(WORKFLOW, asked, cloud.url, execution="e7")
        assert (caught.value.value["job"], caught.value.value["code"]) == ("job-0", 2)
        assert "max_epochs is 1" in caught.value.value["message"]
        assert [path.name for path in (cloud.folder / "failures").iterdir()] == ["e7.json"]

    def test_a_failure_of_the_launcher_is_told_too(self, place: Path, cloud: Cloud) -> None:
        (cloud.folder / "failures").mkdir()
        with pytest.raises(Raised) as caught:
            execute(WORKFLOW, argument(place, cloud, recipe="gs://some-bucket/gone.yaml"), cloud.url)
        assert caught.value.value["code"] == 2 and "no recipe at" in caught.value.value["message"]

    def test_a_job_that_cannot_tell_is_pointed_at(self, place: Path, cloud: Cloud) -> None:
        with pytest.raises(Raised, match="job job-0 ended as JOB_STATE_FAILED"):
            execute(WORKFLOW, argument(place, cloud, recipe="gs://some-bucket/gone.yaml"), cloud.url)

    @pytest.mark.parametrize("wrong", [{"recipe": "mixture.yaml"}, {"overwrite": "yes"}, {"robot_farc": "0.5"}])
    def test_parameters_are_checked_before_anything_starts(self, place: Path, cloud: Cloud, wrong: dict[str, str]) -> None:
        with pytest.raises(Raised, match=f"(bad|unknown): {next(iter(wrong))}"):
            execute(WORKFLOW, argument(place, cloud, **wrong), cloud.url)
        assert cloud.jobs == {}

    def test_two_builds_do_not_overlap(self, place: Path, cloud: Cloud) -> None:
        cloud.jobs["job-0"] = {"name": "rt2data-mixture", "currentState": "JOB_STATE_RUNNING"}
        with pytest.raises(Raised, match="a job of this name is active"):
            execute(WORKFLOW, argument(place, cloud), cloud.url)


def test_every_argument_of_the_workflow_is_given_and_documented() -> None:
    text = WORKFLOW.read_text()
    used = set(re.findall(r"\bargs\.(\w+)", text)) | set(re.findall(r'map\.get\(args, "(\w+)"\)', text))
    head = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    assert [name for name in used if not re.search(rf"\b{name}\b", head)] == []
    needed = set(re.findall(r"\bargs\.(\w+)", text))
    given = re.search(r"argument = jsonencode\(\{(.*?)\}\)", TERRAFORM.read_text(), re.DOTALL)
    assert given
    names = set(re.findall(r"^\s+(\w+)\s+=", given[1], re.MULTILINE))
    assert needed <= names <= used


def test_parameters_of_the_schedule_are_those_of_the_template() -> None:
    metadata = json.loads((pipelines() / "build_mixture.metadata.json").read_text())
    known = {each["name"]: each["isOptional"] for each in metadata["parameters"]}
    block = re.search(r"parameters = merge\((.*?)\n  \)", TERRAFORM.read_text(), re.DOTALL)
    assert block
    given = set(re.findall(r"\b(\w+)\s+= ", block[1]))
    assert given <= known.keys() and {name for name, optional in known.items() if not optional} <= given


@pytest.fixture(scope="module")
def terraform() -> dict[str, Any]:
    """What main.tf says. Strings that python-hcl2 leaves in quotes are freed of them."""
    hcl2 = pytest.importorskip("hcl2", reason="python-hcl2 is not installed")
    with TERRAFORM.open() as file:
        found: dict[str, Any] = freed(hcl2.load(file))
    return found


def freed(value: Any) -> Any:
    if isinstance(value, dict):
        return {freed(name): freed(each) for name, each in value.items()}
    if isinstance(value, list):
        return [freed(each) for each in value]
    return value[1:-1] if isinstance(value, str) and len(value) > 1 and value[0] == value[-1] == '"' else value


def resources(terraform: dict[str, Any], kind: str) -> dict[str, Any]:
    found = [each[kind] for each in terraform["resource"] if kind in each]
    return {name: body for each in found for name, body in each.items() if not name.startswith("__")}


def test_nothing_but_what_jobs_left_goes_by_age(terraform: dict[str, Any]) -> None:
    (bucket,) = resources(terraform, "google_storage_bucket").values()
    rules = [(rule["action"][0]["type"], rule["condition"][0].get("matches_prefix")) for rule in bucket["lifecycle_rule"]]
    assert rules == [("Delete", ["dataflow/"]), ("AbortIncompleteMultipartUpload", None)]


def test_every_account_has_the_roles_that_it_needs(terraform: dict[str, Any]) -> None:
    projects = resources(terraform, "google_project_iam_member")
    text = json.dumps(projects)
    for role in ("dataflow.worker", "artifactregistry.reader", "dataflow.developer", "logging.logWriter", "workflows.invoker"):
        assert f"roles/{role}" in text
    assert not re.search(r"roles/(owner|editor|viewer|storage\.admin)\b", json.dumps(terraform))
    accounts = resources(terraform, "google_service_account")
    assert accounts.keys() == {"worker", "workflow", "scheduler"}
    used = json.dumps(terraform["resource"])
    assert all(f"google_service_account.{name}.member" in used for name in accounts)
    (acts,) = resources(terraform, "google_service_account_iam_member").values()
    assert acts["role"] == "roles/iam.serviceAccountUser" and ".worker." in acts["service_account_id"]


def test_every_variable_is_described_and_used(terraform: dict[str, Any]) -> None:
    text = TERRAFORM.read_text()
    for each in terraform["variable"]:
        ((name, body),) = ((name, body) for name, body in each.items() if not name.startswith("__"))
        assert body["description"] and f"var.{name}" in text


@pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not installed")
def test_it_is_formatted() -> None:
    done = subprocess.run(["terraform", "fmt", "-check", "-diff", str(SCHEDULE)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
