"""Servers that others wrote for tests of S3 and Azure, where they are installed: moto (`moto_server`), Azurite (`azurite-blob`).

The stand-in answers as we believe the stores do; these say whether others believe the same.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from email.utils import formatdate
from http.client import HTTPConnection
from typing import NamedTuple

import pytest

from tests.objects.stand_in import HERE, stand_in

ACCOUNT, KEY = "standin", base64.b64encode(b"stand-in").decode()
START_S = 60.0


class Server(NamedTuple):
    """A running server with an empty bucket "bucket"."""

    scheme: str
    env: Mapping[str, str]

    def uri(self, key: str) -> str:
        return f"{self.scheme}://bucket/{key}"


@contextmanager
def own(scheme: str) -> Iterator[Server]:
    """The stand-in of this repository."""
    with stand_in() as found:
        yield Server(scheme, found.env(scheme))


@contextmanager
def moto() -> Iterator[Server]:
    """S3 by moto."""
    with _serving("moto_server", "-H", HERE, "-p") as port:
        _put(port, "/bucket", {})
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
        yield Server("s3", _loopback({"AWS_ENDPOINT_URL": f"http://{HERE}:{port}"} | keys))


@contextmanager
def azurite() -> Iterator[Server]:
    """Azure's blobs by Azurite."""
    quiet = ("--silent", "--skipApiVersionCheck", "--disableTelemetry", "--inMemoryPersistence")
    with _serving("azurite-blob", *quiet, "--blobHost", HERE, "--blobPort", AZURITE_ACCOUNTS=f"{ACCOUNT}:{KEY}") as port:
        _put(port, f"/{ACCOUNT}/bucket?restype=container", _signed("bucket"))
        endpoint = f"http://{HERE}:{port}/{ACCOUNT}"
        keys = {"AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT, "AZURE_STORAGE_ACCOUNT_KEY": KEY, "AZURE_STORAGE_ENDPOINT": endpoint}
        yield Server("az", _loopback(keys))


SERVERS: dict[str, Callable[[], AbstractContextManager[Server]]] = {
    "gs": lambda: own("gs"),
    "s3": lambda: own("s3"),
    "moto": moto,
    "azurite": azurite,
}


@contextmanager
def _serving(program: str, *words: str, **env: str) -> Iterator[int]:
    """Run a server until the end of the block; its port. Skips the test where it is not installed."""
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    with socket.create_server((HERE, 0)) as free:
        port = free.getsockname()[1]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([found, *words, str(port)], env=os.environ | env, **quiet) as process:
        try:
            _wait_for(port, process)
            yield port
        finally:
            process.kill()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            socket.create_connection((HERE, port), 1).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{process.args!r} does not answer")


def _loopback(env: dict[str, str]) -> dict[str, str]:
    return env | {"NO_PROXY": HERE, "no_proxy": HERE}


def _put(port: int, target: str, headers: Mapping[str, str]) -> None:
    connection = HTTPConnection(HERE, port, timeout=60)
    connection.request("PUT", target, headers={"Content-Length": "0", **headers})
    answer = connection.getresponse()
    assert answer.status < 300, answer.read()
    connection.close()


def _signed(container: str) -> dict[str, str]:
    """Headers of the request that makes a container, signed with the account's key."""
    told = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    words = "".join(f"{name}:{value}\n" for name, value in told.items())
    text = "PUT" + "\n" * 12 + f"{words}/{ACCOUNT}/{ACCOUNT}/{container}\nrestype:container"
    signature = hmac.digest(base64.b64decode(KEY), text.encode(), hashlib.sha256)
    return told | {"Authorization": f"SharedKey {ACCOUNT}:{base64.b64encode(signature).decode()}"}
