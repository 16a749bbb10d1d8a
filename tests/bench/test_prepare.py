"""`make bench`: preparing many small files against one large file, merging rows of many units, sealing stores of two sizes."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree

import msgspec
import numpy as np
import pytest

from rt2data.io.tfrecord.framing import frame
from rt2data.prepare.begin import staging_folder
from tests.bench.generate import describe, episode, pictures
from tests.bench.measure import Run, middle, run
from tests.bench.rowfiles import write_fragments, write_store
from tests.bench.test_build import ROUNDS
from tests.conftest import ROOT

pytestmark = pytest.mark.bench
STORE_MB = 300
"""What sealing a store may take, whatever its number of rows."""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """A folder that does not stay: these are large."""
    yield tmp_path
    rmtree(tmp_path)


def write_files(folder: Path, files: int, episodes: int) -> Path:
    """A log of so many files with so many episodes each, of small images."""
    version = folder / "bench_log" / "1.0.0"
    version.mkdir(parents=True)
    base, rng = pictures(5000), np.random.default_rng(0)
    for number in range(files):
        with (version / f"bench_log-train.tfrecord-{number:05d}-of-{files:05d}").open("wb") as file:
            for inside in range(episodes):
                file.write(frame(episode(base, number * episodes + inside, rng)))
    describe(version, [episodes] * files)
    return version


PREPARE = """
import sys
from pathlib import Path
from rt2data.build import Preparation, prepare_plainly
from rt2data.prepare.begin import begin, store_folder
from rt2data.read.rlds.source import RLDS

source = RLDS(path=sys.argv[1], action_space="widowx_bridge")
folder = store_folder(Path(sys.argv[2]), "log", source)
prepare_plainly(Preparation("log", source, folder, tuple(begin("log", source, folder))))
"""


def cpu_seconds(command: list[str]) -> tuple[float, Run]:
    """CPU seconds of a command, its children's too."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = run(command, ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done


@pytest.mark.parametrize("episodes", [1000, 3000])
def test_small_files_beside_one_large_file(place: Path, episodes: int) -> None:
    logs = {"one file": write_files(place / "one", 1, episodes), "a file each": write_files(place / "many", episodes, 1)}
    seconds: dict[str, list[float]] = {name: [] for name in logs}
    for number in range(ROUNDS):
        for name, log in logs.items():
            seconds[name].append(cpu_seconds([sys.executable, "-c", PREPARE, str(log), str(place / f"store-{number}")])[0])
    one, many = (middle(each) for each in seconds.values())
    print(f"\n{episodes:,} episodes: {one:.1f} CPU s in one file, {many:.1f} CPU s in a file each: {many / one:.2f} times")
    assert many <= 1.5 * one


def test_merging_is_linear_in_units(place: Path) -> None:
    each = {}
    for units in (200, 800, 3200):
        folder = place / f"{units}"
        (folder / "units.json").write_bytes(msgspec.json.encode(write_fragments(folder, units, 1000)))
        done = subprocess.run([sys.executable, "-m", "tests.bench.merging", str(folder)], cwd=ROOT, capture_output=True, check=True)
        each[units] = float(done.stdout) / units
        print(f"\n{units:,} units x 1,000 rows merged: {float(done.stdout):.1f} CPU s")
        rmtree(folder)
    assert each[3200] < 1.5 * each[200]


def test_sealing_does_not_grow(place: Path) -> None:
    peaks = {}
    for rows in (1_000_000, 6_000_000):
        store = place / f"{rows}" / "store"
        written = write_store(place / f"{rows}" / "written", rows, dims=14, state=False)
        shutil.copytree(written, staging_folder(store), copy_function=os.link)
        seconds, done = cpu_seconds([sys.executable, "-m", "tests.bench.sealing", str(store)])
        peaks[rows] = done.peak_rss / 1e6
        print(f"\n{rows:,} x 14 rows sealed: {seconds:.1f} CPU s, {peaks[rows]:,.0f} MB")
        rmtree(place / f"{rows}")
    assert max(peaks.values()) < STORE_MB
