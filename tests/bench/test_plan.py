"""`make bench`: what a canary foretells beside what a build takes, and how long a plan takes. Prints; asserts only exactness."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from rt2data.seal.manifest import read_manifest
from tests.bench.generate import write_corpus
from tests.bench.measure import middle
from tests.bench.test_build import GIGABYTES, ROUNDS, bench_folder, build, log_of, recipe

__all__ = ["bench_folder"]
pytestmark = pytest.mark.bench


def plan(folder: Path, *options: str) -> tuple[dict[str, Any], float]:
    """What a plan says, and how long it took to say it."""
    started = time.monotonic()
    command = [sys.executable, "-m", "rt2data", "plan", "--json", "--quiet", *options]
    said = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    return json.loads(said), time.monotonic() - started


def compare(place: Path, title: str) -> None:
    """Canaries, first builds and re-mixes in turns; the medians side by side."""
    rows: dict[str, list[float]] = {
        name: [] for name in ("scan", "canary", "told", "first", "told_remix", "remix", "told_mb", "mb")
    }
    for _ in range(ROUNDS):
        shutil.rmtree(place / "store", ignore_errors=True)
        estimate, scan = plan(place)
        found, took = plan(place, "--canary", "1%")
        told = found["canary"]
        first = build(place)
        again = build(place, "--seed", "1")
        peak = max(first.peak_rss, again.peak_rss) / 1e6
        figures = (scan, took, told["build"]["seconds"]["value"], first.seconds, told["remix"]["seconds"]["value"], again.seconds)
        for name, value in zip(rows, (*figures, told["peak_bytes"] / 1e6, peak), strict=True):
            rows[name].append(value)
        print(f"\n  {title}: load {os.getloadavg()[0]:.1f}; told {told['build']['phases']}, took {first.seconds:.1f} s")
        kept = read_manifest(place / "mixture")
        assert kept.examples == estimate["num_examples"]
        assert abs(kept.bytes / estimate["bytes"] - 1) < 0.02
    found = {name: middle(values) for name, values in rows.items()}
    print(f"\n{title}: a plan of nothing prepared {found['scan']:.1f} s, with a canary of 1 % {found['canary']:.1f} s")
    for what, told, took in (
        ("first build, s", "told", "first"),
        ("re-mix, s", "told_remix", "remix"),
        ("peak, MB", "told_mb", "mb"),
    ):
        print(f"  {what:<15} told {found[told]:6.1f}  took {found[took]:6.1f}  {found[told] / found[took] - 1:+.0%}")


def test_a_canary_beside_a_build(bench_folder: Path) -> None:
    compare(recipe(bench_folder / "plan", log_of(bench_folder, GIGABYTES, 50_000)), f"{GIGABYTES:g} GB of 50 KB pictures")


def test_a_canary_beside_a_mixed_build(bench_folder: Path) -> None:
    corpus = bench_folder / "corpus"
    if not corpus.exists():
        write_corpus(corpus, 4000, 50_000)
    compare(recipe(bench_folder / "plan-mixed", log_of(bench_folder, GIGABYTES, 50_000), corpus), "half robot, half web")
