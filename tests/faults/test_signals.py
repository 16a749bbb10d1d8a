"""Ctrl-C and SIGTERM: what is under way is finished, the exit code says why, and the same command goes on to the same bytes."""

from __future__ import annotations

import os
import shutil
import signal
import time

import pytest

from tests.faults.command import Ended, Running, Warm, running
from tests.faults.conftest import INLINE, Place

MANY = ("--set", "size.num_examples=20000")
"""Far from done when the signal comes."""
slow = pytest.mark.slow
pytestmark = pytest.mark.usefixtures("listening")


def shards_appear(run: Running, place: Place, count: int = 3) -> None:
    """Wait until shards are being written."""
    until = time.monotonic() + 40
    while len(list(place.staging.glob("shard-*"))) < count and time.monotonic() < until:
        time.sleep(0.005)


def stopped(place: Place, ended: Ended, code: int) -> None:
    """It ended in order: the code, how to go on, nothing to be seen and no half file."""
    assert ended.code == code, ended.err
    assert "run the same command to resume" in ended.err
    assert "Traceback" not in ended.err
    assert not place.out.exists()
    assert not [name for name in place.litter() if name.endswith(".tmp")]


@pytest.mark.parametrize(
    ("number", "options"),
    [
        (signal.SIGINT, ("--workers", "2")),
        pytest.param(signal.SIGTERM, ("--workers", "2", "--pool", "threads"), marks=slow),
        pytest.param(signal.SIGTERM, ("--workers", "2"), marks=slow),
        pytest.param(signal.SIGINT, ("--workers", "2", "--pool", "threads"), marks=slow),
        pytest.param(signal.SIGINT, ("--workers", "0"), marks=slow),
        pytest.param(signal.SIGTERM, ("--workers", "0"), marks=slow),
    ],
)
def test_a_signal_stops_in_order(prepared: Place, number: int, options: tuple[str, ...]) -> None:
    with running(prepared.folder, "build-mixture", *MANY, *options) as run:
        shards_appear(run, prepared)
        sent = time.monotonic()
        run.send(number)
        ended = run.wait()
        assert time.monotonic() - sent < 8, "the grace is 5 seconds"
        assert not run.orphans()
    stopped(prepared, ended, 128 + number)
    assert list(prepared.staging.glob("info-*"))


@pytest.mark.slow
def test_it_goes_on_where_it_stopped(prepared: Place, built: Place, warm: Warm) -> None:
    for _ in range(5):  # a small build may be from an earlier run the signal comes
        with running(prepared.folder, "build-mixture", "--workers", "1") as run:
            shards_appear(run, prepared)
            run.send(signal.SIGINT)
            run.wait()
        if not prepared.out.exists():
            break
        shutil.rmtree(prepared.out)
    again = warm(prepared.folder, *INLINE)
    again.succeeded()
    assert "from an earlier run" in again.err
    assert prepared.bytes_built == built.bytes_built
    assert not prepared.litter()


@slow
def test_while_it_prepares(place: Place, built: Place, warm: Warm) -> None:
    with running(place.folder, "build-mixture", "--workers", "1") as run:
        while not list(place.folder.glob("store/units/*/unit-*.json")) and run.process.poll() is None:
            time.sleep(0.002)
        run.send(signal.SIGTERM)
        ended = run.wait()
        assert not run.orphans()
    stopped(place, ended, 143)
    warm(place.folder, *INLINE).succeeded()
    assert place.bytes_built == built.bytes_built


@slow
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=slow)])
def test_twice_is_at_once(prepared: Place, built: Place, warm: Warm, number: int) -> None:
    with running(prepared.folder, "build-mixture", "--workers", "2", *MANY) as run:
        shards_appear(run, prepared)
        run.send(number)
        assert run.process.stderr is not None
        while "stopping" not in run.process.stderr.readline():  # it has heard
            pass
        sent = time.monotonic()
        run.send(number)
        assert run.wait().code == 128 + number
        assert time.monotonic() - sent < 2
        assert not run.orphans()
    assert not prepared.out.exists()
    warm(prepared.folder, *INLINE, "--restart").succeeded()
    assert prepared.bytes_built == built.bytes_built


@slow
@pytest.mark.parametrize("seconds", [0.6, 1.8])
def test_the_terminal_sends_it_to_all(place: Place, seconds: float) -> None:
    with running(place.folder, "build-mixture", "--workers", "2", *MANY) as run:
        while not (place.folder / "store").exists() and run.process.poll() is None:
            time.sleep(0.005)
        time.sleep(seconds)
        os.killpg(run.pid, signal.SIGINT)  # a session of its own: so this is every process of the run
        ended = run.wait()
        assert not run.orphans()
    stopped(place, ended, 130)


@slow
def test_a_background_job_ignores_ctrl_c(prepared: Place, built: Place) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with running(prepared.folder, "build-mixture", "--workers", "1") as run:
        shards_appear(run, prepared)
        run.send(signal.SIGINT)
        run.wait().succeeded()
    assert prepared.bytes_built == built.bytes_built
