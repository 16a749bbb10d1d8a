"""`make bench`: exact statistics in bounded memory, beside numpy with all of it in memory; and the whole command."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree

import numpy as np
import pytest

from tests.bench.measure import middle, run
from tests.bench.rowfiles import write_store
from tests.bench.test_build import _keep, bench_folder
from tests.conftest import ROOT

__all__ = ["bench_folder"]
pytestmark = pytest.mark.bench
ROWS = int(os.environ.get("RT2DATA_BENCH_ROWS", "3800000"))
ROUNDS = 3


@pytest.fixture
def place(bench_folder: Path) -> Iterator[Path]:
    folder = bench_folder / "stats"
    rmtree(folder, ignore_errors=True)
    folder.mkdir()
    yield folder
    rmtree(folder)


def test_numbers_beside_numpy(bench_folder: Path, place: Path) -> None:
    """Every dimension equal to numpy's; time as a ratio, in turns."""
    store = write_store(place / "store", ROWS, dims=14, state=False)
    seconds: dict[str, list[float]] = {"ours": [], "numpy": []}
    found, peaks = {}, {}
    for _ in range(ROUNDS):
        for which, times in seconds.items():
            out = place / f"{which}.json"
            command = [sys.executable, "-m", "tests.bench.numbers", which, str(store), str(out)]
            peaks[which] = run(command, ROOT).peak_rss
            said = json.loads(out.read_text())
            times.append(said["seconds"])
            found[which] = said["found"]
    for name, ours in found["ours"].items():
        np.testing.assert_allclose(ours, found["numpy"][name], rtol=1e-6, atol=1e-9, err_msg=name)
    ratio = middle(seconds["ours"]) / middle(seconds["numpy"])
    least = min(seconds["ours"]) / min(seconds["numpy"])
    print(f"\n{ROWS:,} x 14 rows: {ratio:.2f} x numpy's time (best of each {least:.2f}), {middle(seconds['ours']):.1f} s;", end=" ")
    print(f"peak {peaks['ours'] / 1e6:,.0f} MB, numpy {peaks['numpy'] / 1e6:,.0f} MB")
    _keep(bench_folder, "stats-numbers", {"ratio": ratio, "peak": peaks["ours"], "numpy_peak": peaks["numpy"]})


def test_whole_command(bench_folder: Path, place: Path) -> None:
    """`rt2data stats` on a million rows with text and two cameras."""
    store = write_store(place / "store", 1_000_000, dims=7, cameras=2)
    done = run([sys.executable, "-m", "rt2data", "stats", str(store), "--workers", "2", "--json", "--quiet"], ROOT)
    memory = f"peak {done.peak_rss / 1e6:,.0f} MB RSS, {done.peak_pss / 1e6:,.0f} MB with shared pages once"
    print(f"\n1,000,000 rows: {done.seconds:.1f} s with 2 workers, {memory}")
    _keep(bench_folder, "stats-command", {"seconds": done.seconds, "peak": done.peak_rss, "pss": done.peak_pss})
