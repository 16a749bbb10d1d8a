"""As much of Google Cloud as a submission to Dataflow needs, on this machine: a bucket to stage files in, and a service for jobs.

A job that is submitted is really run: its staged graph, by Beam's in-memory runner, in this process, which knows nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

import google_crc32c

TIME = "2026-01-01T00:00:00Z"
Answer = tuple[int, dict[str, Any], dict[str, str]]


class Cloud(ThreadingHTTPServer):
    """Objects by name in one bucket, and jobs by id."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("localhost", 0), Request)
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
        """Take a job and run it."""
        job |= {"id": f"job-{len(self.jobs)}", "createTime": TIME, "currentState": "JOB_STATE_RUNNING"}
        self.jobs[job["id"]] = job
        Thread(target=self._run, args=(job,), daemon=True).start()
        return job

    def _run(self, job: dict[str, Any]) -> None:
        (graph,) = (content for name, content in self.objects.items() if name.endswith("/pipeline.pb"))
        try:
            run_graph(graph)
            job["currentState"] = "JOB_STATE_DONE"
        except Exception as error:
            job |= {"currentState": "JOB_STATE_FAILED", "error": str(error)}


def run_graph(content: bytes) -> None:
    """Run a graph that was translated for Dataflow; its containers are this process."""
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.portability.api import beam_runner_api_pb2
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    graph = beam_runner_api_pb2.Pipeline.FromString(content)
    for environment in graph.components.environments.values():
        assert environment.urn == "beam:env:docker:v1"
        environment.urn, environment.payload = "beam:env:embedded_python:v1", b""
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
        self._answer({r"/upload/storage/v1/b/[^/]+/o": self._begin, r"/v1b3/.+/jobs": self._submit})

    def do_PUT(self) -> None:
        """Upload."""
        self._answer({r"/upload/storage/v1/b/[^/]+/o": self._upload})

    def _answer(self, routes: dict[str, Callable[..., Answer]]) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path = urlsplit(self.path).path
        found = ((act, match) for pattern, act in routes.items() if (match := re.fullmatch(pattern, path)))
        act, match = next(found, (_nothing, re.fullmatch("", "")))
        code, value, headers = act(*map(unquote, match.groups() if match else ()))
        content = json.dumps(value).encode()
        self.send_response(code)
        for name, text in (headers | {"Content-Type": "application/json", "Content-Length": str(len(content))}).items():
            self.send_header(name, text)
        self.end_headers()
        self.wfile.write(content)

    def _bucket(self) -> Answer:
        return 200, {"name": "some-bucket", "location": "US-CENTRAL1", "softDeletePolicy": {"retentionDurationSeconds": "0"}}, {}

    def _object(self, name: str) -> Answer:
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

    def _messages(self, name: str) -> Answer:
        said = self.server.jobs[name].get("error")
        message = {"id": "1", "time": TIME, "messageText": said, "messageImportance": "JOB_MESSAGE_ERROR"}
        return 200, {"jobMessages": [message] if said else []}, {}

    def _job(self, name: str) -> Answer:
        return 200, self.server.jobs[name], {}


def _nothing(*_: str) -> Answer:
    return 404, {"error": {"code": 404, "message": "not found"}}, {}
