"""Every failure keeps its exit code where the workers share nothing with the launcher but the disk."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rt2data.build import Site, build_plainly
from rt2data.look.verify import verify
from rt2data.plan.recipe import read_recipe
from tests.conftest import sha256_of
from tests.faults.command import Ended, environment, rt2data

pytestmark = pytest.mark.slow

STALE = ".mixture.failure-0123.json"
Build = Callable[..., Ended]


@pytest.fixture
def build(place: Path) -> Iterator[Build]:
    """The command, on workers in another process, where some mischief may happen."""
    pools: list[subprocess.Popen[str]] = []

    def run(*options: str, mischief: tuple[str, ...] = ()) -> Ended:
        with socket.create_server(("localhost", 0)) as free:
            port = str(free.getsockname()[1])
        words = [sys.executable, "-m", "tests.beam.worker_pool", port, *mischief]
        pool = subprocess.Popen(words, cwd=place, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        pools.append(pool)
        assert pool.stdout is not None and pool.stdout.readline().startswith("ready")
        beam = ("--job_endpoint=embed", "--environment_type=EXTERNAL", f"--environment_config=localhost:{port}")
        return rt2data(place, "build-mixture", "--runner", "portable", *options, "--", *beam)

    yield run
    for pool in pools:
        pool.kill()
        pool.communicate()


def told(place: Path) -> list[str]:
    """Files of failures that were left behind."""
    return [path.name for path in place.glob(".*failure*")]


def test_workers_elsewhere_write_the_same_bytes(place: Path, build: Build) -> None:
    (place / STALE).write_text('{"error": "DataError", "code": 3, "what": "old", "where": "", "do": ""}')
    build().succeeded()
    assert verify(place / "mixture").ok
    build_plainly(read_recipe(place / "mixture.yaml", ["store=store-plain"]), Site(place / "plain"))
    assert sha256_of(place / "mixture") == sha256_of(place / "plain")
    assert told(place) == [STALE], "another run's"


def test_what_is_wrong_with_the_recipe(place: Path, build: Build) -> None:
    build("--set", "size.num_examples=5000", "--set", "max_epochs=1").failed(2, "max_epochs is 1", "draw less of it")


def test_a_side_without_rows(place: Path, build: Build) -> None:
    build("--set", "robot.arm.filters.min_steps=1000").failed(3, "the robot side", "without rows")


def test_damaged_data(place: Path, build: Build) -> None:
    build("--out", "first").succeeded()
    rows = next((place / "store").glob("arm-*/rows-train-00000.parquet"))
    content = bytearray(rows.read_bytes())
    content[len(content) // 3] ^= 1
    rows.write_bytes(content)
    build().failed(3, "damaged", rows.name, "build again")


def test_too_many_rejects(place: Path, build: Build) -> None:
    (place / "web/images/000000000001.jpg").write_bytes(b"")
    build().failed(4, "2 of 10 rows of source qa are faulty", "--allow-bad")


def test_an_output_that_cannot_be_written(place: Path, build: Build) -> None:
    build(mischief=("output",)).failed(5, "File too large", "shard-")
    build().succeeded()
    assert told(place) == []


def test_a_source_that_changes_midway(place: Path, build: Build) -> None:
    picture = "web/images/000000000003.jpg"
    build(mischief=("source", picture)).failed(7, "source qa changed", picture)
    assert not (place / "mixture").exists() and told(place) == []


def test_a_bug_is_a_bug_whatever_failed_before(place: Path, build: Build) -> None:
    (place / STALE).write_text('{"error": "DataError", "code": 3, "what": "old", "where": "", "do": ""}')
    ended = build(mischief=("bug",))
    assert ended.code == 1 and "ZeroDivisionError: a bug of a worker" in ended.err
