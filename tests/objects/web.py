"""A web server and a hub on loopback, in a thread of the test: as much as `rt2data` and `huggingface_hub` ask of them.

with web() as served:
    served.files["a/b"] = b"..."                      # http://127.0.0.1:PORT/a/b
    served.commit({"data/x": b"..."})                 # hf://datasets/lab/logs/data/x
    with served.faults(cut=0.05): ...
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from functools import lru_cache
from pathlib import Path
from threading import Thread
from urllib.parse import quote

from tests.objects.api import Answer, Request
from tests.objects.connection import Connection
from tests.objects.counters import Counters
from tests.objects.faults import Dice, Faults
from tests.objects.front import Front

HERE, OTHER_HOST = "127.0.0.1", "localhost"
REPOSITORY = "datasets/lab/logs"
TOKEN, SIGNATURE = "hf_secretOfTheTest", "signatureOfTheTest"
LARGE = 1000
"""Bytes from which a file of the hub is kept elsewhere, as by LFS: it is redirected to a signed URL on another host."""


@lru_cache(maxsize=10_000)
def sha1(content: bytes) -> str:
    """As git names a blob."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@lru_cache(maxsize=10_000)
def sha256(content: bytes) -> str:
    """As LFS names a file."""
    return hashlib.sha256(content).hexdigest()


@dataclass
class Web:
    """What is served, and how; `api` of a `Front`."""

    files: dict[str, bytes] = field(default_factory=dict)
    """By path, without the first slash."""
    etag: str = "strong"
    """strong, weak or none."""
    modified: float | None = 1_000_000_000.0
    ranges: bool = True
    heeds_conditions: bool = True
    """Whether If-Match and If-Unmodified-Since are heeded."""
    token: str | None = None
    """What the hub wants to see of everybody."""
    page: int = 1000
    part_min: int = 0
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    leaks: list[str] = field(default_factory=list)
    """Requests elsewhere than at the hub that bore its token."""
    is_dead: bool = False
    """Whether nobody listens where large files are."""
    resolved: int = 0
    """How often a revision was asked for its commit."""
    port: int = 0
    front: Front = field(init=False)

    def __post_init__(self) -> None:
        self.front = Front(self)  # type: ignore[arg-type]

    @property
    def env(self) -> dict[str, str]:
        """What a process needs in its environment to find the hub here."""
        found = {"HF_ENDPOINT": f"http://{HERE}:{self.port}", "NO_PROXY": f"{HERE},{OTHER_HOST}", "HF_HUB_DISABLE_XET": "1"}
        return found | {"no_proxy": found["NO_PROXY"], "HF_TOKEN": TOKEN}

    def uri(self, path: str) -> str:
        return f"http://{HERE}:{self.port}/{path}"

    def upload(self, folder: Path, prefix: str = "") -> dict[str, bytes]:
        """Serve every file of a folder, by its path in it; what a commit of them holds."""
        found = {prefix + path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        self.files |= found
        return found

    def commit(self, files: dict[str, bytes], branch: str = "main") -> str:
        """A new commit that a branch points at."""
        name = hashlib.sha1(repr(sorted((path, sha1(content)) for path, content in files.items())).encode()).hexdigest()
        self.commits[name] = dict(files)
        self.branches[branch] = name
        return name

    @property
    def counters(self) -> Counters:
        return self.front.counters

    def reset(self) -> None:
        """Set the counters to zero."""
        self.front.counters = Counters()

    @contextmanager
    def faults(self, **shares: float) -> Iterator[None]:
        self.front.dice = Dice(Faults(**shares))  # type: ignore[arg-type]
        try:
            yield
        finally:
            self.front.dice = Dice(Faults())

    def identity(self, request: Request) -> str:
        """A read that is resumed ends where it was to end before."""
        return f"{request.method} {request.path} {request.headers.get('range', '').rpartition('-')[2]}"

    def answer(self, request: Request) -> Answer:
        first, _, rest = request.path.lstrip("/").partition("/")
        if first == "cdn":
            return self._elsewhere(request, rest)
        if first == "api" or "/resolve/" in request.path:
            return self._hub(request)
        if first == "moved":
            return Answer(302, {"Location": f"http://{OTHER_HOST}:{self.port}/{rest}"})
        if first.isdigit():
            return Answer(int(first))
        return self._file(request, self.files.get(f"{first}/{rest}" if rest else first))

    def _file(self, request: Request, content: bytes | None, tag: str | None = None) -> Answer:
        if content is None:
            return Answer(404)
        headers, etag = {}, f'"{tag or sha1(content)}"'
        if self.etag != "none":
            headers["ETag"] = etag if self.etag == "strong" else f"W/{etag}"
        if self.modified is not None:
            headers["Last-Modified"] = formatdate(self.modified, usegmt=True)
        if self.heeds_conditions and request.headers.get("if-match", etag) != etag:
            return Answer(412)
        return _part(request, content, headers) if self.ranges else _whole(request, content, headers)

    def _elsewhere(self, request: Request, digest: str) -> Answer:
        if "authorization" in request.headers:
            self.leaks.append(request.target)
        if request.query.get("signature") != SIGNATURE:
            return Answer(403)
        every = (content for files in self.commits.values() for content in files.values())
        found = next((content for content in every if sha256(content) == digest), None)
        return self._file(request, found, tag="of-another-kind")

    def _hub(self, request: Request) -> Answer:
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            return Answer(401, {"X-Error-Message": "Invalid username or password."})
        what, _, rest = request.path.lstrip("/").removeprefix("api/").removeprefix(REPOSITORY).lstrip("/").partition("/")
        revision, _, path = rest.partition("/")
        commit = self.branches.get(revision, revision)
        if commit not in self.commits or REPOSITORY not in request.path:
            return Answer(404)
        files = self.commits[commit]
        if what == "revision":
            self.resolved += 1
            return _json({"_id": "1", "id": "lab/logs", "sha": commit, "lastModified": "2024-01-02T03:04:05.000Z"})
        if what == "tree":
            return self._tree(request, files, path)
        return self._resolved(request, files.get(path))

    def _resolved(self, request: Request, content: bytes | None) -> Answer:
        self.counters.keys_read[request.path.partition("/resolve/")[2].partition("/")[2]] += 1
        if content is None or len(content) < LARGE:
            return self._file(request, content)
        if self.is_dead:
            return Answer(302, {"Location": f"http://{OTHER_HOST}:9/x?signature={SIGNATURE}"})
        to = f"http://{OTHER_HOST}:{self.port}/cdn/{sha256(content)}?signature={SIGNATURE}"
        return Answer(302, {"Location": to})

    def _tree(self, request: Request, files: dict[str, bytes], folder: str) -> Answer:
        found = _entries(files, f"{folder}/" if folder else "", request.query.get("recursive", "").lower() == "true")
        if not found:
            return Answer(404, {"X-Error-Code": "EntryNotFound"})
        start = int(request.query.get("cursor", 0))
        headers = {}
        if start + self.page < len(found):
            target = f"{quote(request.path)}?recursive={request.query.get('recursive', 'false')}&cursor={start + self.page}"
            headers["Link"] = f'<http://{HERE}:{self.port}{target}>; rel="next"'
        return _json(found[start : start + self.page], headers)


def _entries(files: dict[str, bytes], prefix: str, recursive: bool) -> list[dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    for path, content in sorted(files.items()):
        if not path.startswith(prefix):
            continue
        parts = path.removeprefix(prefix).split("/")
        for number in range(1, len(parts) if recursive else min(len(parts), 2)):
            inner = prefix + "/".join(parts[:number])
            found.setdefault(inner, {"type": "directory", "oid": "0" * 40, "size": 0, "path": inner})
        if recursive or len(parts) == 1:
            found[path] = {"type": "file", "oid": sha1(content), "size": len(content), "path": path}
            if len(content) >= LARGE:
                lfs = {"oid": sha256(content), "size": len(content), "pointerSize": 134}
                found[path] |= {"lfs": lfs, "oid": sha1(b"pointer" + content)}
    return list(found.values())


def _part(request: Request, content: bytes, headers: dict[str, str]) -> Answer:
    asked = request.headers.get("range", "")
    if not asked:
        return _whole(request, content, headers)
    first, _, last = asked.removeprefix("bytes=").partition("-")
    start, stop = int(first), min(int(last or len(content) - 1) + 1, len(content))
    if start >= len(content):
        return Answer(416)
    where = {"Content-Range": f"bytes {start}-{stop - 1}/{len(content)}"}
    return Answer(206, headers | where, content[start:stop])


def _whole(request: Request, content: bytes, headers: dict[str, str]) -> Answer:
    if request.method == "HEAD":
        return Answer(200, headers, length=len(content))
    return Answer(200, headers, content)


def _json(value: object, headers: dict[str, str] | None = None) -> Answer:
    return Answer(200, {"Content-Type": "application/json", **(headers or {})}, json.dumps(value).encode())


@contextmanager
def web() -> Iterator[Web]:
    """A server while the block runs."""
    served, loop = Web(), asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        server = asyncio.run_coroutine_threadsafe(_listening(served), loop).result()
        yield served
        loop.call_soon_threadsafe(server.close)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _listening(served: Web) -> asyncio.Server:
    server = await asyncio.get_running_loop().create_server(lambda: Connection(served.front), HERE, 0, backlog=1024)
    served.port = server.sockets[0].getsockname()[1]
    return server
