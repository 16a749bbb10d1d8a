"""`make bench`: reading the shards with webdataset, beside reading the same examples with tensorflow-datasets and tf.data."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.measure import middle
from tests.bench.test_build import GIGABYTES, ROUNDS, _keep, bench_folder, build, log_of, recipe

__all__ = ["bench_folder"]
pytestmark = pytest.mark.bench
SECONDS = 8


@pytest.mark.parametrize("mode", ["raw", "decode"])
def test_read_speed(bench_folder: Path, mode: str) -> None:
    log = log_of(bench_folder, GIGABYTES, 50_000)
    place = recipe(bench_folder / "read", log)
    build(place)
    found: dict[str, list[float]] = {"shards": [], "steps": []}
    for _ in range(ROUNDS):
        found["shards"].append(_rate("shards", place / "mixture", mode))
        found["steps"].append(_rate("steps", log, mode))
    ours, theirs = middle(found["shards"]), middle(found["steps"])
    print(f"\n{mode}: webdataset {ours:,.0f} examples/s, tfds + tf.data {theirs:,.0f} examples/s: {ours / theirs:.1f} x")
    _keep(bench_folder, f"read-{mode}", {"webdataset": ours, "tfds": theirs})


def _rate(kind: str, path: Path, mode: str) -> float:
    script = Path(__file__).with_name("reading.py")
    command = [sys.executable, str(script), kind, str(path), mode, str(SECONDS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout.splitlines()[-1])["examples_per_s"])
