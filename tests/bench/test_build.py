"""`make bench`: how fast and how large a build is, as a fraction of copying the same bytes. Prints; asserts only exactness.

RT2DATA_BENCH_DIR says where the data goes (several times RT2DATA_BENCH_GB, by default 2), RT2DATA_BENCH_ROUNDS how often.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest

from rt2data.seal.manifest import read_manifest
from tests.bench.generate import write_corpus, write_log
from tests.bench.measure import Run, copy_and_sync, middle, run

pytestmark = pytest.mark.bench
GIGABYTES = float(os.environ.get("RT2DATA_BENCH_GB", "2"))
ROUNDS = int(os.environ.get("RT2DATA_BENCH_ROUNDS", "3"))


@pytest.fixture(scope="module")
def bench_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the generated data lies; kept between runs where it is named."""
    named = os.environ.get("RT2DATA_BENCH_DIR")
    folder = Path(named) if named else tmp_path_factory.mktemp("bench")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def log_of(folder: Path, gigabytes: float, picture: int, cameras: int = 1) -> Path:
    """A generated robot log, made once."""
    place = folder / f"log-{gigabytes:g}GB-{cameras}x{picture // 1000}KB"
    if not (place / "done").exists():
        shutil.rmtree(place, ignore_errors=True)
        write_log(place, int(gigabytes * 1e9), picture, cameras=cameras)
        (place / "done").touch()
    return place / "bench_log" / "1.0.0"


def recipe(folder: Path, log: Path, web: Path | None = None, settings: str = "") -> Path:
    """A fresh folder with a recipe over the log, with more settings of it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    lines = [f"robot_frac: {0.5 if web else 1}", "store: store"]
    lines += [f"robot: {{log: {{kind: rlds, path: {log}, action_space: widowx_bridge{settings}}}}}"]
    if web:
        parts = f"questions: {web}/questions.json, annotations: {web}/annotations.json, image_dirs: {web}/images"
        lines += [f"web: {{qa: {{kind: vqav2, {parts}}}}}"]
    (folder / "mixture.yaml").write_text("\n".join(lines))
    return folder


def build(folder: Path, *options: str) -> Run:
    """One build through the command; the output is thrown away before the next."""
    for name in ("mixture", ".mixture.partial"):
        shutil.rmtree(folder / name, ignore_errors=True)
    return run([sys.executable, "-m", "rt2data", "build-mixture", "--quiet", *options], folder)


def measured(folder: Path, title: str) -> dict[str, float]:
    """First builds, re-mixes and copies in turns; medians of MB/s and fractions."""
    rows: dict[str, list[float]] = {"first": [], "remix": [], "cp": []}
    peaks = []
    for _ in range(ROUNDS):
        shutil.rmtree(folder / "store", ignore_errors=True)
        first = build(folder)
        again = build(folder, "--seed", "1")
        manifest = read_manifest(folder / "mixture")
        size = manifest.bytes / 1e6
        rows["first"].append(size / first.seconds)
        rows["remix"].append(size / again.seconds)
        rows["cp"].append(size / copy_and_sync(folder / "mixture", folder / "copy"))
        peaks += [first.peak_rss, again.peak_rss]
        print(f"\n  {title}: first {first}  re-mix {again}")
    found = {name: middle(values) for name, values in rows.items()}
    found |= {"peak_rss_mb": max(peaks) / 1e6, "output_mb": size, "examples": manifest.examples}
    print(
        f"\n{title}: output {size:,.0f} MB, {manifest.examples:,} examples\n"
        f"  cp + fsync   {found['cp']:8,.0f} MB/s\n"
        f"  first build  {found['first']:8,.0f} MB/s  {found['first'] / found['cp']:.2f} of cp\n"
        f"  re-mix       {found['remix']:8,.0f} MB/s  {found['remix'] / found['cp']:.2f} of cp\n"
        f"  peak memory  {found['peak_rss_mb']:8,.0f} MB (RSS of the whole process tree)"
    )
    return found


@pytest.mark.parametrize("picture", [50_000, 20_000])
def test_build_speed(bench_folder: Path, picture: int) -> None:
    place = recipe(bench_folder / f"build-{picture}", log_of(bench_folder, GIGABYTES, picture))
    found = measured(place, f"{GIGABYTES:g} GB of {picture // 1000} KB pictures")
    assert found["examples"] == read_manifest(place / "mixture").plan.sources[0].rows
    _keep(bench_folder, f"build-{picture}", found)


def test_mixture_speed(bench_folder: Path) -> None:
    corpus = bench_folder / "corpus"
    if not corpus.exists():
        write_corpus(corpus, 4000, 50_000)
    place = recipe(bench_folder / "build-mixed", log_of(bench_folder, GIGABYTES, 50_000), corpus)
    _keep(bench_folder, "mixed", measured(place, "half robot, half web"))


def test_wide_speed(bench_folder: Path) -> None:
    """Three cameras and chunks of 16 actions: three images to an example, 4 GB or more of output."""
    log = log_of(bench_folder, max(GIGABYTES, 4), 50_000, cameras=3)
    place = recipe(bench_folder / "build-wide", log, settings=", cameras: all, horizon: 16")
    _keep(bench_folder, "wide", measured(place, "three cameras, horizon 16"))


def test_memory_does_not_grow(bench_folder: Path) -> None:
    peaks = {}
    for gigabytes in (1, 4):
        place = recipe(bench_folder / f"memory-{gigabytes}", log_of(bench_folder, gigabytes, 50_000))
        first, again = build(place), build(place, "--seed", "1")
        peaks[gigabytes] = max(first.peak_rss, again.peak_rss) / 1e6
        print(f"\n{gigabytes} GB: first build {first.peak_rss / 1e6:,.0f} MB, re-mix {again.peak_rss / 1e6:,.0f} MB")
        shutil.rmtree(place)
    print(f"growth from 1 to 4 GB: {peaks[4] / peaks[1] - 1:+.1%}")
    _keep(bench_folder, "memory", {f"{g} GB": p for g, p in peaks.items()})


def test_remix_needs_no_pictures_made_again(bench_folder: Path) -> None:
    place = recipe(bench_folder / "resize", log_of(bench_folder, GIGABYTES, 50_000))
    text = (place / "mixture.yaml").read_text()
    (place / "mixture.yaml").write_text(text.replace("kind: rlds", "kind: rlds, images: {resize: 224}"))
    first, again = build(place), build(place, "--robot-frac", "1", "--seed", "1")
    print(f"\nresize 224: first build {first.seconds:.1f} s, re-mix {again.seconds:.1f} s: {first.seconds / again.seconds:.1f} x")
    _keep(bench_folder, "resize", {"first_s": first.seconds, "remix_s": again.seconds})


def _keep(folder: Path, name: str, figures: dict[str, float]) -> None:
    """All figures in one file, for whoever compares."""
    path = folder / "figures.json"
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps(known | {name: figures}, indent=2))
