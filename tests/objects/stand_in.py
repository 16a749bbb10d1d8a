"""A stand-in for S3 and Google Cloud Storage on loopback, in a process of its own, and a test's hold on it.

    with stand_in() as store:
        store.put("a/b", b"...")                                    # in the bucket "bucket"
        subprocess.run([...], env=os.environ | store.env("gs"))     # gs://bucket/a/b for whatever uses obstore
        with store.faults(unavailable=0.1, seed=3): ...
        store.counters().requests["get"]

By hand: `python -m tests.objects.stand_in --folder F --port 0` prints its port and serves until it is stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from tests.objects.api import OWN
from tests.objects.buckets import Folder, Memory
from tests.objects.connection import Connection
from tests.objects.counters import Counters
from tests.objects.faults import Faults
from tests.objects.front import Front, Settings

HERE = "127.0.0.1"
ROOT = Path(__file__).parents[2]
BUCKET = "bucket"


class Stored(NamedTuple):
    """What a store tells of an object."""

    size: int
    etag: str
    generation: int


@dataclass
class StandIn:
    """A test's hold on a running server. What it asks is neither counted nor late nor faulty."""

    port: int
    process: int
    """The server's process id, to look at or to kill."""
    settings: Settings

    def env(self, scheme: str) -> dict[str, str]:
        """What a process needs in its environment to find `gs` or `s3` here."""
        url = f"http://{HERE}:{self.port}"
        google = {"GOOGLE_BASE_URL": url, "GOOGLE_BEARER_TOKEN": "stand-in"}
        keys = {"AWS_ACCESS_KEY_ID": "stand-in", "AWS_SECRET_ACCESS_KEY": "stand-in", "AWS_REGION": "us-east-1"}
        amazon = {"AWS_ENDPOINT_URL": url, "AWS_ALLOW_HTTP": "true"} | keys
        return {"gs": google, "s3": amazon}[scheme] | {"NO_PROXY": HERE, "no_proxy": HERE}

    def uri(self, scheme: str, key: str = "", bucket: str = BUCKET) -> str:
        return f"{scheme}://{bucket}/{key}"

    def put(self, key: str, content: bytes, bucket: str = BUCKET) -> None:
        """Write an object, whether it is there or not."""
        self._ask("PUT", f"object/{bucket}/{quote(key)}", content)

    def get(self, key: str, bucket: str = BUCKET) -> bytes:
        """An object's content. Raises `KeyError`."""
        return self._ask("GET", f"object/{bucket}/{quote(key)}")

    def replace(self, key: str, content: bytes, bucket: str = BUCKET) -> None:
        """Write an object that is there. Raises `KeyError`."""
        self.get(key, bucket)
        self.put(key, content, bucket)

    def delete(self, key: str, bucket: str = BUCKET) -> None:
        """Remove an object. Raises `KeyError`."""
        self.get(key, bucket)
        self._ask("DELETE", f"object/{bucket}/{quote(key)}")

    def list(self, prefix: str = "", bucket: str = BUCKET) -> dict[str, Stored]:
        """Objects by key, in order."""
        told = self._json("GET", f"objects/{bucket}?prefix={quote(prefix)}")
        return {key: Stored(*values) for key, values in told.items()}

    def upload(self, folder: Path, prefix: str = "", bucket: str = BUCKET) -> None:
        """Write every file of a folder; the prefix goes before its path in the folder as it is."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                self.put(prefix + path.relative_to(folder).as_posix(), path.read_bytes(), bucket)

    def unfinished(self, bucket: str = BUCKET) -> Sequence[str]:
        """Keys of uploads in parts that are neither completed nor aborted."""
        return tuple(self._json("GET", f"uploads/{bucket}"))

    def counters(self) -> Counters:
        return Counters.of(self._json("GET", "counters"))

    def reset(self) -> None:
        """Set the counters to zero."""
        self._ask("DELETE", "counters")

    def set(self, **changes: Any) -> None:
        """Change `Settings` from now on; faults are drawn as from the start."""
        self.settings = replace(self.settings, **changes)
        self._ask("PUT", "settings", json.dumps(asdict(self.settings)).encode())

    @contextmanager
    def faults(self, **shares: Any) -> Iterator[None]:
        """Have the faults of `Faults`, and those only, for a while."""
        before = self.settings.faults
        self.set(faults=Faults(**shares))
        try:
            yield
        finally:
            self.set(faults=before)

    def _json(self, method: str, target: str) -> Any:
        return json.loads(self._ask(method, target))

    def _ask(self, method: str, target: str, body: bytes | None = None) -> bytes:
        connection = HTTPConnection(HERE, self.port, timeout=60)
        try:
            connection.request(method, OWN + target, body)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status == 404:
            raise KeyError(f"{target}: {content.decode()}")
        if answer.status >= 300:
            raise RuntimeError(f"{method} {target}: {answer.status} {content.decode()}")
        return content


@contextmanager
def stand_in(
    folder: Path | None = None, *, buckets: Sequence[str] = (BUCKET,), denied: Sequence[str] = (), **settings: Any
) -> Iterator[StandIn]:
    """A server while the block runs; objects are in memory, or files in a folder. `settings` are those of `Settings`.

    Buckets must be named to be there; those that are `denied` answer 403.
    """
    asked = Settings(**settings)
    named = [*(f"--bucket={name}" for name in buckets), *(f"--denied={name}" for name in denied)]
    command = [sys.executable, "-m", __name__, *named, f"--settings={json.dumps(asdict(asked))}", "--with-parent"]
    command += [f"--folder={folder.absolute()}"] if folder else []
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout
        try:
            yield StandIn(int(process.stdout.readline()), process.pid, asked)
        finally:
            process.kill()


async def serve(front: Front, port: int, with_parent: bool) -> None:
    """Print the port, then serve; with a parent, until it closes stdin, as it does when it dies."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(front), HERE, port, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    if with_parent:
        await loop.run_in_executor(None, sys.stdin.read)
    else:
        await server.serve_forever()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.objects.stand_in")
    parser.add_argument("--folder", type=Path, help="keep objects as FOLDER/BUCKET/KEY; without it, in memory")
    parser.add_argument("--port", type=int, default=0, help="0: any free port; it is printed")
    parser.add_argument("--bucket", action="append", default=[], help=f"a bucket to make; without any, {BUCKET}")
    parser.add_argument("--denied", action="append", default=[], help="a bucket that answers 403")
    parser.add_argument("--settings", type=json.loads, default={}, help='as JSON: {"delay_ms": 30, "faults": {"reset": 0.1}}')
    parser.add_argument("--with-parent", action="store_true", help="stop when stdin is closed")
    asked = parser.parse_args(arguments)
    place = Folder(asked.folder) if asked.folder else Memory()
    front = Front.start(place, asked.bucket or [BUCKET], asked.denied, Settings.of(asked.settings))
    asyncio.run(serve(front, asked.port, asked.with_parent))


if __name__ == "__main__":
    main()
