"""kill -9 at any moment: nothing half done is seen, nobody is left behind, and the same command goes on to the same bytes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.command import Running, Warm, running
from tests.faults.conftest import INLINE, Place, make_place

pytestmark = pytest.mark.long

MANY = ("--set", "size.num_examples=3000")
"""Long enough to be hit: some 130 shards."""
CHANGES = 340
"""Changes of names in a first build, about."""
NAMES = (
    "unit-",
    "rows-train-00000",
    "source.json",
    "job.json",
    "shard-000007",
    "info-000026",
    "manifest.json",
)
AT_ONCE = ("source.json", "shard-000007")
slow = pytest.mark.slow


@pytest.fixture(scope="module")
def many(warm: Warm, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The longer mixture as it should be."""
    found = make_place(tmp_path_factory.mktemp("many") / "here", data)
    warm(found.folder, *INLINE, *MANY).succeeded()
    return found


def still_hidden(place: Place, want: Place) -> None:
    """Nothing is to be seen of an unfinished build."""
    assert not place.out.exists() or place.bytes_built == want.bytes_built


def goes_on(warm: Warm, place: Place, want: Place, *arguments: str) -> None:
    """The same command finishes, with the same bytes, and leaves nothing lying about."""
    warm(place.folder, *INLINE, *arguments).succeeded()
    assert place.bytes_built == want.bytes_built
    assert not place.litter()


@pytest.mark.parametrize("name", [name if name in AT_ONCE else pytest.param(name, marks=slow) for name in NAMES])
def test_dies_before_a_file_is_complete(place: Place, built: Place, warm: Warm, name: str) -> None:
    assert warm(place.folder, *INLINE, before={"name": name, "what": "die"}).code == -signal.SIGKILL
    still_hidden(place, built)
    goes_on(warm, place, built)


@slow
@pytest.mark.parametrize("number", sorted(random.Random(28).sample(range(1, CHANGES), 20)))
def test_dies_before_any_change_of_a_name(place: Place, built: Place, warm: Warm, number: int) -> None:
    assert warm(place.folder, *INLINE, die_at=number).code == -signal.SIGKILL
    still_hidden(place, built)
    goes_on(warm, place, built)


@slow
def test_dies_while_parts_are_removed(place: Place, built: Place, warm: Warm) -> None:
    for name in ("blobs-", "questions.arrow", "images.arrow"):  # each run goes on with what the last one left
        died = warm(place.folder, *INLINE, before={"event": "os.remove", "name": name, "what": "die"})
        assert died.code == -signal.SIGKILL
    goes_on(warm, place, built)


@slow
def test_dies_while_an_older_mixture_makes_way(prepared: Place, built: Place, warm: Warm) -> None:
    warm(prepared.folder, *INLINE, "--robot-frac", "1/3").succeeded()
    older = prepared.bytes_built
    assert warm(prepared.folder, *INLINE, "--overwrite", before={"name": "manifest.json", "what": "die"}).code == -signal.SIGKILL
    assert prepared.bytes_built == older
    late = {"event": "os.remove", "name": "shard-000003", "what": "die"}  # of the older one
    assert warm(prepared.folder, *INLINE, "--overwrite", before=late).code == -signal.SIGKILL
    assert prepared.bytes_built == built.bytes_built
    goes_on(warm, prepared, built)


def test_an_older_mixture_that_stepped_aside_comes_back(built: Place, tmp_path: Path, warm: Warm) -> None:
    place = Place(Path(shutil.copytree(built.folder, tmp_path / "here")), built.data)
    before = place.bytes_built
    place.out.rename(place.folder / ".mixture.old")  # as where two names cannot be exchanged at once
    warm(place.folder, *INLINE, "--robot-frac", "1/3").failed(2, "--overwrite")
    assert place.bytes_built == before


# The real thing: a command with worker processes, killed from outside


def begun(run: Running, place: Place) -> None:
    """Wait until the build has done something."""
    until = time.monotonic() + 30
    while not (place.folder / "store").exists() and time.monotonic() < until:
        time.sleep(0.005)
    assert run.process.poll() is None


def workers(run: Running) -> list[int]:
    """The worker processes: children of the fork server, which is a child of the main process."""
    parents = {}
    for pid in run.children():
        with suppress(OSError, IndexError):
            parents[pid] = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    return [pid for pid, parent in parents.items() if parent in parents]


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def main_is_killed(place: Place, many: Place, seconds: float) -> None:
    """Kill the main process so many seconds after it began to work; its workers follow, and nothing is to be seen."""
    with running(place.folder, "build-mixture", "--workers", "2", *MANY) as run:
        begun(run, place)
        time.sleep(seconds)
        kill(run.pid)
        run.wait()
        assert not run.orphans()
    still_hidden(place, many)


@pytest.mark.slow
def test_main_is_killed(place: Place, many: Place, warm: Warm) -> None:
    main_is_killed(place, many, 1.2)
    goes_on(warm, place, many, *MANY)


@slow
@pytest.mark.parametrize("seconds", sorted(round(random.Random(f"main/{n}").uniform(0, 4), 3) for n in range(20)))
def test_main_is_killed_at_any_time(place: Place, many: Place, warm: Warm, seconds: float) -> None:
    main_is_killed(place, many, seconds)
    goes_on(warm, place, many, *MANY)


def first_worker(run: Running) -> list[int]:
    return workers(run)[:1]


def fork_server(run: Running) -> list[int]:
    """The parent of the workers."""
    found = {Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1] for pid in workers(run)}
    return [int(pid) for pid in found]


def killed_inside(place: Place, seconds: float, victims: Callable[[Running], list[int]]) -> None:
    """Kill processes of a build once, when there are some, after so many seconds; the build goes on as if nothing had been."""
    with running(place.folder, "build-mixture", "--workers", "2", *MANY) as run:
        begun(run, place)
        while not (found := victims(run)) and run.process.poll() is None:
            time.sleep(0.005)
        time.sleep(seconds)
        for pid in found:
            kill(pid)
        run.wait().succeeded()
        assert not run.orphans()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("victims", "seconds"),
    [
        (first_worker, 0.3),
        *[pytest.param(first_worker, random.Random(f"worker/{n}").uniform(0, 2), marks=slow) for n in range(12)],
        *[pytest.param(workers, random.Random(f"both/{n}").uniform(0, 2), marks=slow) for n in range(4)],
        *[pytest.param(fork_server, random.Random(f"server/{n}").uniform(0, 2), marks=slow) for n in range(4)],
    ],
)
def test_workers_are_killed(place: Place, many: Place, victims: Callable[[Running], list[int]], seconds: float) -> None:
    killed_inside(place, seconds, victims)
    assert place.bytes_built == many.bytes_built


@slow
def test_workers_are_killed_again_and_again(place: Place) -> None:
    with running(place.folder, "build-mixture", "--workers", "2", *MANY) as run:
        started = time.monotonic()
        while run.process.poll() is None and time.monotonic() - started < 30:
            for pid in workers(run):
                kill(pid)
        ended = run.wait(5)
        assert not run.orphans()
    ended.failed(1, "the worker died 2 times", "prepare")
    assert not place.out.exists()
