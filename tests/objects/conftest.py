"""A stand-in, and its bucket as obstore opens it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from tests.objects.faults import Faults
from tests.objects.stand_in import StandIn, stand_in

BACKOFF = {"init_backoff": timedelta(milliseconds=2), "max_backoff": timedelta(milliseconds=10), "base": 2}
Open = Callable[..., Any]


@pytest.fixture(scope="module", params=["memory", "folder"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    folder = tmp_path_factory.mktemp("objects") if request.param == "folder" else None
    with stand_in(folder, denied=["secret"]) as running:
        yield running


@pytest.fixture
def store(server: StandIn) -> StandIn:
    """The server as new."""
    for key in server.list():
        server.delete(key)
    server.set(delay_ms=0, page=1000, faults=Faults())
    server.reset()
    return server


@pytest.fixture(params=["gs", "s3"])
def opened(request: pytest.FixtureRequest, store: StandIn, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens a bucket with obstore."""
    for name, value in store.env(request.param).items():
        monkeypatch.setenv(name, value)

    from_url = pytest.importorskip("obstore.store").from_url

    def open_bucket(bucket: str = "bucket", retries: int = 8, **client: Any) -> Any:
        retry = {"max_retries": retries, "retry_timeout": timedelta(seconds=20), "backoff": BACKOFF}
        return from_url(f"{request.param}://{bucket}/", client_options={"allow_http": True, **client}, retry_config=retry)

    return open_bucket


@pytest.fixture
def bucket(opened: Open) -> Any:
    return opened()
