"""kill -9 at any moment of a build over an object store: the old output is there, or the new one, and the same command goes on."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from rt2data.io.generations import CURRENT
from tests.faults.command import Warm, running
from tests.faults.conftest import INLINE, RECIPE, make_place
from tests.faults.test_crashes import kill, workers

pytest.importorskip("obstore", reason="the extra `cloud` is not installed")

from tests.objects.stand_in import StandIn, stand_in

pytestmark = pytest.mark.slow
SIZE = ("--set", "size.num_examples=600")
CHANGES = 420
"""Changes of names on the disk in a first build, about: each object is a temporary file before."""
SEEDS = (0, 1)
Hashes = dict[str, str]


@pytest.fixture(scope="module")
def expected(warm: Warm, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[int, Hashes]:
    """The files of each mixture as it should be, but for the manifest, which holds paths."""
    found = {}
    for seed in SEEDS:
        place = make_place(tmp_path_factory.mktemp("near") / "here", data)
        warm(place.folder, *INLINE, *SIZE, "--set", f"seed={seed}").succeeded()
        files = (path for path in place.out.rglob("*") if path.is_file() and path.name != "manifest.json")
        found[seed] = {str(path.relative_to(place.out)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    return found


@dataclass(frozen=True)
class Victim:
    """An output in a bucket whose builds are killed."""

    objects: StandIn
    scheme: str
    folder: Path
    expected: Mapping[int, Hashes]

    @property
    def env(self) -> dict[str, str | None]:
        return {**self.objects.env(self.scheme)}

    def build(self, seed: int) -> tuple[str, ...]:
        root = self.objects.uri(self.scheme)
        words = ("build-mixture", f"{root}mixture.yaml", "-o", f"{root}mixture", "--overwrite")
        return *words, *SIZE, "--set", f"seed={seed}"

    def whole(self) -> int | None:
        """The seed of the output that is read. Fails where it lacks anything, or has anything that it should not."""
        if f"mixture/{CURRENT}" not in self.objects.list("mixture/"):
            return None
        prefix = f"mixture/{json.loads(self.objects.get(f'mixture/{CURRENT}'))['generation']}/"
        found = {key.removeprefix(prefix): hashlib.sha256(self.objects.get(key)).hexdigest() for key in self.objects.list(prefix)}
        assert found.pop("manifest.json")
        (seed,) = (seed for seed, files in self.expected.items() if files == found)
        return seed

    def forget(self, dice: random.Random) -> None:
        """Remove generations that are not read, so that a build has to write; now and then the store too."""
        known = json.loads(self.objects.get(f"mixture/{CURRENT}"))
        kept = (f"mixture/{known['generation']}/", f"mixture/{CURRENT}")
        gone = [key for key in self.objects.list("mixture/") if not key.startswith(kept)]
        for key in gone + (list(self.objects.list("store/")) if dice.random() < 0.5 else []):
            self.objects.delete(key)


@pytest.fixture(params=["gs", "s3"])
def victim(request: pytest.FixtureRequest, data: Path, tmp_path: Path, expected: Mapping[int, Hashes]) -> Iterator[Victim]:
    with stand_in() as objects:
        objects.upload(data, "data/")
        root = objects.uri(request.param)
        recipe = RECIPE.format(data=f"{root}data").replace("store: store", f"store: {root}store")
        objects.put("mixture.yaml", recipe.encode())
        yield Victim(objects, request.param, tmp_path, expected)


@pytest.mark.parametrize("turn", range(3))
def test_the_driver_is_killed(victim: Victim, warm: Warm, turn: int) -> None:
    """25 times; the build that is not killed in time is whole too."""
    dice, kills, seed, last = random.Random(f"{victim.scheme}/{turn}"), 0, 0, None
    while kills < 25:
        ended = warm(victim.folder, *victim.build(seed), "--workers", "0", env=victim.env, die_at=dice.randrange(1, CHANGES))
        assert ended.code in (0, -9), ended.err
        kills += ended.code != 0
        seen = victim.whole()
        assert seen in (last, seed) and (ended.code or seen == seed)
        if seen == seed:
            last, seed = seed, 1 - seed
            victim.forget(dice)
    warm(victim.folder, *victim.build(seed), "--workers", "0", env=victim.env).succeeded()
    assert victim.whole() == seed


@pytest.mark.parametrize("turn", range(5))
def test_real_processes_are_killed(victim: Victim, warm: Warm, turn: int) -> None:
    """Five of the driver or of a worker: without it, a build goes on with the worker's orders."""
    dice, seed, last = random.Random(f"{victim.scheme}/real/{turn}"), 0, None
    for _ in range(5):
        with running(victim.folder, *victim.build(seed), "--workers", "2", env=victim.env) as run:
            while not (found := workers(run)) and run.process.poll() is None:
                time.sleep(0.005)
            time.sleep(dice.uniform(0, 2))
            dies = dice.choice([run.pid, *found])
            kill(dies)
            ended = run.wait()
            assert not run.orphans()
        assert ended.code == 0 or dies == run.pid, ended.err
        seen = victim.whole()
        assert seen in (last, seed) and (ended.code or seen == seed)
        if seen == seed:
            last, seed = seed, 1 - seed
            victim.forget(dice)
    warm(victim.folder, *victim.build(seed), "--workers", "0", env=victim.env).succeeded()
    assert victim.whole() == seed
