"""`make bench`: ways of feeding a trainer on one core, and their memory: `load`, DataLoader over it, webdataset, tfds with
tf.data.
"""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.bench.loading import BUFFER, SIDE, WAYS
from tests.bench.measure import Run, middle, run
from tests.bench.test_build import GIGABYTES, ROUNDS, _keep, bench_folder, build, log_of, recipe

__all__ = ["bench_folder"]
pytestmark = pytest.mark.bench
SECONDS = 8


@pytest.mark.parametrize("picture", [50_000, 20_000])
def test_loading_speed(bench_folder: Path, picture: int) -> None:
    """Pictures of 50 KB are 384 pixels wide, those of 20 KB 256."""
    log = log_of(bench_folder, GIGABYTES, picture)
    paths = dict.fromkeys(WAYS, _built(bench_folder / f"loading-{picture}", log)) | {"tfds": log, "tfds_lanczos": log}
    paths["load_small"] = _built(bench_folder / f"loading-small-{picture}", log, f", images: {{resize: {SIDE}}}")
    ways = [way for way in WAYS if way != "torch" or find_spec("torch")]
    found = {way: [_fed(way, paths[way], bench_folder) for _ in range(ROUNDS)] for way in ways}
    rates = {way: middle([rate for rate, _ in runs]) for way, runs in found.items()}
    memory = {way: middle([taken.peak_pss / 1e6 for _, taken in runs]) for way, runs in found.items()}
    print(f"\n{picture // 1000} KB pictures to {SIDE} x {SIDE} on one core; tfds shuffles {BUFFER:,} encoded steps:")
    for way in ways:
        times = f"{rates[way] / rates['tfds']:5.1f} x tfds, memory {memory[way] / memory['tfds']:.2f} of it"
        print(f"  {way:14} {rates[way]:8,.0f} examples/s {memory[way]:8,.0f} MB   {times}   {WAYS[way].__doc__}")
    figures = {f"{way}_per_s": rates[way] for way in ways} | {f"{way}_mb": memory[way] for way in ways}
    _keep(bench_folder, f"loading-{picture}", figures)


def _built(place: Path, log: Path, more: str = "") -> Path:
    """A mixture of the log, built once."""
    if not (place / "mixture" / "manifest.json").exists():
        asked = recipe(place, log) / "mixture.yaml"
        asked.write_text(asked.read_text().replace("widowx_bridge", "widowx_bridge" + more))
        build(place)
    return place / "mixture"


def _fed(way: str, path: Path, folder: Path) -> tuple[float, Run]:
    rate = folder / "rate.json"
    taken = run([sys.executable, "-m", "tests.bench.loading", way, str(path), str(SECONDS), str(rate)], Path(__file__).parents[2])
    return float(json.loads(rate.read_text())), taken
