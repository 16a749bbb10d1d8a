"""Eight launchers of one output in a bucket, round after round: one builds it, the others are told, and what is there is whole."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from multiprocessing.pool import Pool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rt2data.build import Output, Site
from rt2data.errors import LockedError, UsageError
from rt2data.io import location
from rt2data.io.generations import CURRENT, LEASE
from tests.faults.command import running
from tests.faults.conftest import RECIPE
from tests.faults.test_together import one_winner

pytest.importorskip("obstore", reason="the extra `cloud` is not installed")

from tests.objects.here import FAILING, used_here
from tests.objects.stand_in import StandIn, stand_in

pytestmark = pytest.mark.long
LAUNCHERS, FILES = 8, 5
LOST = {"done_unavailable": 0.01, "done_reset": 0.01}
"""Writes that are done and not answered."""


def manifest(folder: Path) -> Any:
    """As much of one as a site looks at."""
    found = json.loads(location.read_bytes(folder / "manifest.json"))
    return SimpleNamespace(plan=SimpleNamespace(fingerprint=found["fingerprint"]))


OUTPUT = Output(lambda *_: None, (), lambda *_: None, manifest)  # type: ignore[arg-type, return-value]


def launch(out: str, fingerprint: str, overwrite: bool) -> str:
    """What a build does with its output, without the work: how it ended."""
    site = Site(location.absolute(out), overwrite)
    try:
        with site.held():
            if site.finished(fingerprint, OUTPUT):
                return "done"
            folder = site.folder(fingerprint)
            for number in range(FILES):
                location.write_whole(folder / f"shard-{number}", f"{fingerprint} {number}".encode())
            location.write_whole(folder / "manifest.json", json.dumps({"fingerprint": fingerprint}).encode())
            site.publish(folder)
            return f"built {fingerprint}"
    except LockedError:
        return "locked"
    except UsageError:
        return "another is here"


@pytest.fixture(scope="module")
def objects() -> Iterator[StandIn]:
    with stand_in(delay_ms=2) as found:
        yield found


def find(env: dict[str, str]) -> None:
    """In a launcher: find the stand-in."""
    os.environ.update(env)


@pytest.fixture(scope="module")
def launchers(objects: StandIn) -> Iterator[Pool]:
    """Processes that each have connections of their own."""
    context, env = multiprocessing.get_context("forkserver"), objects.env("gs")
    with used_here(env), context.Pool(LAUNCHERS, find, (env,)) as pool:  # the fork server may be older than `env`
        yield pool


def same(launcher: int) -> str:
    return f"{7:032x}"


def own(launcher: int) -> str:
    return f"{launcher:012x}".ljust(32, "0")


@pytest.mark.parametrize(
    ("rounds", "fingerprint"), [(2, own), *(pytest.param(50, each, marks=pytest.mark.slow) for each in (same, own))]
)
def test_one_builds(objects: StandIn, launchers: Pool, rounds: int, fingerprint: Callable[[int], str]) -> None:
    ends = Counter[str]()
    for number in range(rounds):
        key = f"{fingerprint.__name__}-{rounds}/{number}"
        with objects.faults(**FAILING, **LOST, seed=number):
            asked = [(f"gs://bucket/{key}", fingerprint(launcher), False) for launcher in range(LAUNCHERS)]
            ended = launchers.starmap(launch, asked, chunksize=1)
        (winner,) = [end for end in ended if end.startswith("built")]
        assert {end for end in ended if end != winner} <= {"locked", "done" if fingerprint is same else "another is here"}
        is_whole(objects, key, winner.partition(" ")[2])
        ends.update(end.partition(" ")[0] for end in ended)
    assert ends["built"] == rounds and ends["locked"] > 0


@pytest.mark.slow
def test_one_after_another_replaces(objects: StandIn, launchers: Pool) -> None:
    """With --overwrite whoever comes later builds its own: what is read is always whole."""
    key = "replaced"
    for number in range(10):
        with objects.faults(**FAILING, **LOST, seed=number):
            ended = launchers.starmap(launch, [(f"gs://bucket/{key}", own(each), True) for each in range(LAUNCHERS)], chunksize=1)
        built = {end.partition(" ")[2] for end in ended if end.startswith("built")}
        fingerprint = json.loads(objects.get(f"{key}/{CURRENT}"))["generation"].ljust(32, "0")
        assert fingerprint in built or "done" in ended
        is_whole(objects, key, fingerprint)


def is_whole(objects: StandIn, key: str, fingerprint: str) -> None:
    """The current generation is of this launcher and has all its files; no lease is left."""
    generation = json.loads(objects.get(f"{key}/{CURRENT}"))["generation"]
    there = objects.list(f"{key}/")
    assert generation == fingerprint[:12] and f"{key}/{LEASE}" not in there
    assert sum(name.startswith(f"{key}/{generation}/") for name in there) == FILES + 1
    for number in range(FILES):
        assert objects.get(f"{key}/{generation}/shard-{number}") == f"{fingerprint} {number}".encode()


@pytest.mark.slow
@pytest.mark.parametrize("turn", range(3))
def test_the_real_command(turn: int, objects: StandIn, data: Path, tmp_path: Path) -> None:
    objects.upload(data, f"real-{turn}/data/")
    root = f"gs://bucket/real-{turn}"
    recipe = RECIPE.format(data=f"{root}/data").replace("store: store", f"store: {root}/store")
    objects.put(f"real-{turn}/mixture.yaml", recipe.encode())
    build = ("build-mixture", f"{root}/mixture.yaml", "-o", f"{root}/mixture", "--workers", "0")
    env = {**objects.env("gs")}
    with ExitStack() as stack, objects.faults(**FAILING, seed=turn):
        runs = [stack.enter_context(running(tmp_path, *build, env=env)) for _ in range(LAUNCHERS)]
        one_winner([run.wait(180) for run in runs])
    with running(tmp_path, "verify", f"{root}/mixture", "--workers", "0", env=env) as verify:
        verify.wait().succeeded()
    assert f"real-{turn}/mixture/{LEASE}" not in objects.list(f"real-{turn}/mixture/")
