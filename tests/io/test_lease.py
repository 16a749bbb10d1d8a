"""Leases: one holder at a time; a job's workers keep the lease of a launcher that is gone."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from rt2data.beam.failure import told
from rt2data.beam.local import RunId, find_run
from rt2data.errors import LockedError, SourceChangedError
from rt2data.io import lease, location
from rt2data.io.lease import Claim, held_claims, leased, release, renew_for_job

pytest.importorskip("obstore", reason="the extra `cloud` is not installed")

from tests.objects.here import used_here
from tests.objects.stand_in import StandIn, stand_in

DEAD = 2**22 + 1
"""No process has this number."""


@pytest.fixture(scope="module")
def store() -> Iterator[StandIn]:
    with stand_in() as found, used_here(found.env("gs")):
        yield found


@pytest.fixture
def name(store: StandIn, request: pytest.FixtureRequest) -> Path:
    return location.absolute(f"gs://bucket/{request.node.name}/.lease")


@pytest.fixture(autouse=True)
def looked_long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look at a lease is due."""
    monkeypatch.setattr(lease, "JOB_RENEWED_S", 0.0)
    monkeypatch.setattr(lease, "_renewals", {})


def said(name: Path) -> dict[str, Any]:
    """What a lease says; read again where it was renewed meanwhile."""
    for _ in range(20):
        with suppress(SourceChangedError):
            found: dict[str, Any] = json.loads(location.read_bytes(name))
            return found
    raise AssertionError(f"{name} changes all the time")


def change(name: Path, **values: Any) -> None:
    location.write_whole(name, json.dumps(said(name) | values).encode())


def launched(name: Path) -> Claim:
    """The claim of a launcher that was killed."""
    with ExitStack() as stack:
        stack.enter_context(leased(name, "it"))
        (claim,) = held_claims()
        content = location.read_bytes(name)
    location.write_whole(name, content)
    change(name, process=DEAD)
    return claim


def test_one_holder(name: Path) -> None:
    refused = pytest.raises(LockedError, match=r"another build is writing gs://bucket/m \(process \d+ on ")
    with leased(name, "it"), refused, leased(name, "gs://bucket/m"):
        pass
    assert not location.exists(name) and held_claims() == ()
    with leased(name, "it"):
        change(name, owner="another", host="elsewhere")
    assert said(name)["owner"] == "another", "what another took is not removed"


def test_a_lease_of_a_process_that_is_gone_is_over(name: Path) -> None:
    launched(name)
    with leased(name, "it"):
        assert said(name)["process"] != DEAD


def test_workers_keep_the_lease_of_their_launcher(name: Path) -> None:
    claim = launched(name)
    renew_for_job(claim)
    assert said(name)["until"] > time.time() + 250
    with pytest.raises(LockedError, match=f"a job of process {DEAD} on"), leased(name, "it"):
        pass
    release(claim)
    with leased(name, "it"):
        pass


def test_a_job_that_ended_without_a_word_loses_its_lease(name: Path) -> None:
    renew_for_job(launched(name))
    change(name, until=time.time() - 1)
    with leased(name, "it"):
        assert not said(name)["job"]


def test_a_launcher_that_lives_renews_the_lease_of_its_job(name: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "RENEWED_S", 0.05)
    with leased(name, "it"):
        (claim,) = held_claims()
        renew_for_job(claim)
        change(name, until=time.time() + 1)
        limit = time.monotonic() + 20
        while said(name)["until"] < time.time() + 50 and time.monotonic() < limit:
            time.sleep(0.05)
        assert said(name)["job"] and said(name)["until"] > time.time() + 50
    assert not location.exists(name)


def test_a_job_whose_lease_another_has_taken_ends(name: Path, tmp_path: Path) -> None:
    claim = launched(name)
    with leased(name, "it"):
        run = find_run(RunId("a", str(tmp_path / "failure.json"), (claim,)))
        with pytest.raises(LockedError, match="another build took over"):
            run.look()
        assert isinstance(told(tmp_path / "failure.json"), LockedError), "the other workers end too"
        release(claim)
        assert location.exists(name)


def test_the_job_of_a_template_takes_the_lease_that_its_launcher_released(name: Path) -> None:
    claim = launched(name)
    release(claim)
    renew_for_job(claim)
    assert said(name)["job"] and said(name)["owner"] == claim.owner
    release(claim)
    renew_for_job(claim)
    assert not location.exists(name), "a worker that is late does not take it again"


def test_looking_costs_few_requests(name: Path, store: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = launched(name)
    monkeypatch.setattr(lease, "JOB_RENEWED_S", 20.0)
    store.reset()
    for _ in range(100):
        find_run(RunId("b", "", (claim,))).look()
    assert sum(store.counters().requests.values()) <= 6
    lease._renewals.clear()  # as in another worker
    renew_for_job(claim)
    assert store.counters().requests["put"] == 1, "it was renewed just now"


def test_a_store_that_fails_stops_no_worker(name: Path, store: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    claim = launched(name)
    store.put(f"{name.parent.name}/.lease", b"damaged")
    renew_for_job(claim)
    renew_for_job(Claim("gs://nothing/.lease", "me"))


def test_claims_are_those_around_the_caller(name: Path) -> None:
    """Two builds in one process know their own."""
    from threading import Thread

    others: list[tuple[Claim, ...]] = []
    with leased(name, "it"), leased(name.with_name(".other"), "it"):
        assert [claim.name for claim in held_claims()] == [str(name), str(name.with_name(".other"))]
        thread = Thread(target=lambda: others.append(held_claims()))
        thread.start()
        thread.join()
    assert others == [()] and held_claims() == ()


def test_a_claim_travels(name: Path) -> None:
    """Pickled with the graph, and used in a process that never took it."""
    claim = launched(name)
    code = f"from rt2data.io.lease import *; renew_for_job(Claim({claim.name!r}, {claim.owner!r}))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert said(name)["job"]
