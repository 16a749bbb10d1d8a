"""The same bytes with any number of workers of any kind, first build or later."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.generate import write_corpus
from tests.faults.command import rt2data
from tests.faults.conftest import Place, make_place

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("pool", ["processes", "threads"])
@pytest.mark.parametrize("workers", [0, 1, 2, 4])
def test_the_same_bytes(place: Place, built: Place, pool: str, workers: int) -> None:
    options = ("build-mixture", "--workers", str(workers), "--pool", pool)
    rt2data(place.folder, *options).succeeded()
    assert place.bytes_built == built.bytes_built


def test_the_same_bytes_again(prepared: Place, built: Place) -> None:
    rt2data(prepared.folder, "build-mixture", "--workers", "2").succeeded()
    assert prepared.bytes_built == built.bytes_built


def test_workers_of_a_file_system_without_direct_io(place: Place, built: Place) -> None:
    rt2data(place.folder, "build-mixture", "--workers", "2", env={"RT2DATA_DIRECT_IO": "0"}).succeeded()
    assert place.bytes_built == built.bytes_built


@pytest.mark.parametrize("turn", range(2))
def test_threads_that_take_turns_at_every_step(tmp_path: Path, data: Path, turn: int) -> None:
    """Of more files than are kept open: what one thread closes must not be what another reads."""
    shutil.copytree(data / "log", tmp_path / "data" / "log")
    write_corpus(tmp_path / "data" / "web", 500, 3000)
    place = make_place(tmp_path / "here", tmp_path / "data")
    script = "import sys; sys.setswitchinterval(1e-6); from rt2data.cli.app import main; main()"
    options = ["build-mixture", "--workers", "8", "--pool", "threads"]
    told = subprocess.run([sys.executable, "-c", script, *options], cwd=place.folder, capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stderr
    rt2data(place.folder, "verify", "--workers", "2").succeeded()
