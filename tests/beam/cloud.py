"""As much of Google Cloud as jobs of Dataflow need, on this machine: a bucket, a service for jobs, and one that launches templates.

A job that is submitted is really run: its staged graph, by Beam's in-memory runner, in this process, which knows nothing else. And
a template: the main of its pipeline, with the options that Dataflow's launcher gives. There the bucket is a mounted folder.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import google_crc32c
import pytest

from rt2data.io.installation import pipelines
from tests.faults import command

NEEDED = {"google.cloud.storage": "google-cloud-storage", "google.cloud.dataflow_v1beta3": "google-cloud-dataflow-client"}


def missing() -> list[str]:
    """Distributions that Beam's Dataflow runner needs and does not find."""
    found = []
    for module, distribution in NEEDED.items():
        try:
            there = find_spec(module) is not None
        except ModuleNotFoundError:
            there = False
        found += [] if there else [distribution]
    return found


needs_cloud = pytest.mark.skipif(
    bool(missing()), reason=f"Beam's Dataflow runner needs {' and '.join(missing())}, not installed here"
)

TIME = "2026-01-01T00:00:00Z"
Answer = tuple[int, dict[str, Any] | bytes, dict[str, str]]


ENDED = {"JOB_STATE_DONE", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED"}
BUCKET = "gs://some-bucket/"


class Cloud(ThreadingHTTPServer):
    """Objects by name in one bucket, and jobs by id. What a template's pipeline writes is in `folder`, its mounted bucket."""

    daemon_threads = True

    def __init__(self, folder: Path, runs: bool = True, pool: str = "") -> None:
        """Without `runs` a job begins and never ends. `pool` is the address of workers; else this process does the work."""
        super().__init__(("localhost", 0), Request)
        self.folder, self.runs, self.pool = folder, runs, pool
        self.objects: dict[str, bytes] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://localhost:{self.server_port}"

    def object(self, name: str) -> dict[str, Any]:
        """What the bucket tells of an object."""
        content = self.objects[name]
        sums = {"md5Hash": hashlib.md5(content).digest(), "crc32c": google_crc32c.value(content).to_bytes(4, "big")}
        told = {"name": name, "bucket": "some-bucket", "size": str(len(content)), "generation": "1", "updated": TIME}
        return told | {key: base64.b64encode(value).decode() for key, value in sums.items()}

    def submit(self, job: dict[str, Any]) -> dict[str, Any]:
        """Take a job and run it; where one of its name is active, that one is the answer, as from Dataflow."""
        if active := self.active(job["name"]):
            return active
        self._add(job, "JOB_STATE_RUNNING")
        if self.runs:
            Thread(target=self._run, args=(job,), daemon=True).start()
        return job

    def active(self, name: str) -> dict[str, Any] | None:
        """The job of this name that has not ended."""
        return next((job for job in self.jobs.values() if job["name"] == name and job["currentState"] not in ENDED), None)

    def _add(self, job: dict[str, Any], state: str) -> None:
        job |= {"id": f"job-{len(self.jobs)}", "createTime": TIME, "currentState": state}
        self.jobs[job["id"]] = job

    def _run(self, job: dict[str, Any]) -> None:
        (graph,) = (content for name, content in self.objects.items() if name.endswith("/pipeline.pb"))
        try:
            run_graph(graph, self.pool)
            job["currentState"] = "JOB_STATE_DONE"
        except Exception as error:
            job |= {"currentState": "JOB_STATE_FAILED", "error": str(error)}

    def launch(self, asked: dict[str, Any]) -> Answer:
        """Launch a template, if what is asked fits its metadata."""
        from google.cloud.dataflow_v1beta3.types import LaunchFlexTemplateParameter

        wanted = LaunchFlexTemplateParameter.from_json(json.dumps(asked.pop("launchParameter")), ignore_unknown_fields=False)
        spec = json.loads(self.objects[wanted.container_spec_gcs_path.removeprefix(BUCKET)])
        wrong = faults(spec["metadata"], dict(wanted.parameters)) + [f"unknown: {name}" for name in asked]
        if wrong or self.active(wanted.job_name):
            return 400 if wrong else 409, {"error": {"message": ", ".join(wrong) or "a job of this name is active"}}, {}
        job = {"name": wanted.job_name}
        self._add(job, "JOB_STATE_QUEUED")
        Thread(target=self._launch, args=(job, spec["image"], wanted), daemon=True).start()
        return 200, {"job": job}, {}

    def _launch(self, job: dict[str, Any], image: str, wanted: Any) -> None:
        """What the launcher does in the template's image, which is named as its main is; then what Dataflow does."""
        where, environment = f"launches/{job['id']}/job_object", wanted.environment
        beam = {
            "runner": "DataflowRunner",
            "project": "some-project",
            "region": "us-central1",
            "job_name": wanted.job_name,
            "temp_location": environment.temp_location,
            "staging_location": environment.staging_location,
            "sdk_container_image": environment.sdk_container_image,
            "service_account_email": environment.service_account_email,
            "template_location": BUCKET + where,
        }
        given = {name: value.replace(BUCKET, f"{self.folder}/") for name, value in wanted.parameters.items()} | beam
        words = [sys.executable, str(pipelines() / image), *(f"--{name}={value}" for name, value in given.items()), "--no_auth"]
        here = command.environment({"STORAGE_EMULATOR_HOST": self.url, "NO_GCE_CHECK": "true"})
        done = subprocess.run(words, cwd=self.folder, env=here, capture_output=True, text=True, timeout=120)
        if done.returncode:
            job |= {"currentState": "JOB_STATE_FAILED", "error": done.stderr}
        else:
            job |= {"currentState": "JOB_STATE_RUNNING", "staged": json.loads(self.objects[where])}
            self._run(job)


@contextmanager
def cloud_at(folder: Path, runs: bool = True, pool: str = "") -> Iterator[Cloud]:
    """A cloud for a while."""
    folder.mkdir(exist_ok=True)
    found = Cloud(folder, runs, pool)
    yield found
    found.shutdown()
    found.server_close()


def faults(metadata: dict[str, Any], given: dict[str, str]) -> list[str]:
    """What Dataflow refuses: parameters that a template does not name, lacks, or of another form."""
    known = {each["name"]: each for each in metadata["parameters"]}
    missing = [name for name, each in known.items() if not each["isOptional"] and name not in given]
    odd = [name for name in given if any(not re.fullmatch(regex, given[name]) for regex in known.get(name, {}).get("regexes", []))]
    return [f"unknown: {name}" for name in given.keys() - known] + [f"bad: {name}" for name in (*missing, *odd)]


def run_graph(content: bytes, pool: str = "") -> None:
    """Run a graph that was translated for Dataflow; its containers are the workers of a pool, or this process."""
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.portability.api import beam_runner_api_pb2, endpoints_pb2
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    endpoint = endpoints_pb2.ApiServiceDescriptor(url=pool)
    where = beam_runner_api_pb2.ExternalPayload(endpoint=endpoint).SerializeToString()
    graph = beam_runner_api_pb2.Pipeline.FromString(content)
    for environment in graph.components.environments.values():
        assert environment.urn == "beam:env:docker:v1"
        environment.urn, environment.payload = ("beam:env:external:v1", where) if pool else ("beam:env:embedded_python:v1", b"")
    FnApiRunner().run_via_runner_api(graph, PipelineOptions([])).wait_until_finish()


class Request(BaseHTTPRequestHandler):
    """One request of google-cloud-storage or google-cloud-dataflow-client."""

    protocol_version = "HTTP/1.1"
    server: Cloud

    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        """Look something up."""
        routes: dict[str, Callable[..., Answer]] = {
            r"/storage/v1/b/[^/]+": self._bucket,
            r"/storage/v1/b/[^/]+/o/(.+)": self._object,
        }
        self._answer(routes | {r"/v1b3/.+/jobs/([^/]+)": self._job, r"/v1b3/.+/jobs/([^/]+)/messages": self._messages})

    def do_POST(self) -> None:
        """Begin an upload, submit a job."""
        routes: dict[str, Callable[..., Answer]] = {r"/upload/storage/v1/b/[^/]+/o": self._begin, r"/v1b3/.+/jobs": self._submit}
        self._answer(routes | {r"/v1b3/projects/some-project/locations/us-central1/flexTemplates:launch": self._launch})

    def do_PUT(self) -> None:
        """Upload, cancel a job."""
        self._answer({r"/upload/storage/v1/b/[^/]+/o": self._upload, r"/v1b3/.+/jobs/([^/]+)": self._update})

    def _answer(self, routes: dict[str, Callable[..., Answer]]) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        found = ((act, match) for pattern, act in routes.items() if (match := re.fullmatch(pattern, path)))
        act, match = next(found, (_nothing, re.fullmatch("", "")))
        code, value, headers = act(*map(unquote, match.groups() if match else ()))
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        kind = "application/octet-stream" if isinstance(value, bytes) else "application/json"
        self.send_response(code)
        for name, text in (headers | {"Content-Type": kind, "Content-Length": str(len(content))}).items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(content)

    def _bucket(self) -> Answer:
        return 200, {"name": "some-bucket", "location": "US-CENTRAL1", "softDeletePolicy": {"retentionDurationSeconds": "0"}}, {}

    def _object(self, name: str) -> Answer:
        if "alt=media" in self.path:
            written = self.server.folder / name
            return (200, written.read_bytes(), {}) if written.is_file() else _nothing()
        return (200, self.server.object(name), {}) if name in self.server.objects else _nothing()

    def _begin(self) -> Answer:
        name = quote(json.loads(self.body)["name"], safe="")
        return 200, {}, {"Location": f"{self.server.url}{urlsplit(self.path).path}?name={name}"}

    def _upload(self) -> Answer:
        name = parse_qs(urlsplit(self.path).query)["name"][0]
        self.server.objects[name] = self.body
        return 200, self.server.object(name), {}

    def _submit(self) -> Answer:
        return 200, self.server.submit(json.loads(self.body)), {}

    def _launch(self) -> Answer:
        return self.server.launch(json.loads(self.body))

    def _update(self, name: str) -> Answer:
        from google.cloud.dataflow_v1beta3.types import JobState

        job = self.server.jobs[name]
        job["currentState"] = JobState(json.loads(self.body)["requestedState"]).name
        return 200, job, {}

    def _messages(self, name: str) -> Answer:
        said = self.server.jobs[name].get("error")
        message = {"id": "1", "time": TIME, "messageText": said, "messageImportance": "JOB_MESSAGE_ERROR"}
        return 200, {"jobMessages": [message] if said else []}, {}

    def _job(self, name: str) -> Answer:
        return 200, self.server.jobs[name], {}


def _nothing(*_: str) -> Answer:
    return 404, {"error": {"code": 404, "message": "not found"}}, {}
