"""`make bench`: rows of a 1 GB corpus read, beside orjson parsing the file whole. Prints the ratio; asserts only exactness."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench import corpora
from tests.bench.measure import middle
from tests.bench.test_build import ROUNDS, _keep, bench_folder
from tests.conftest import ROOT

__all__ = ["bench_folder"]
pytestmark = pytest.mark.bench
SIZE = 1_000_000_000


def test_conversations(bench_folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "conversations.json"
    rows = corpora.write(path, SIZE)
    rounds: dict[str, list[dict[str, Any]]] = {"plain": [], "ours": []}
    for _ in range(ROUNDS):
        for way, runs in rounds.items():
            command = [sys.executable, "-m", "tests.bench.corpora", way, str(path)]
            runs.append(json.loads(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout))
            assert runs[-1]["rows"] == rows
    found = {f"{way}_{key}": middle([each[key] for each in runs]) for way, runs in rounds.items() for key in runs[0]}
    found["share"] = found["plain_cpu_us"] / found["ours_cpu_us"]
    _keep(bench_folder, "conversations", found)
    print(
        f"\n{rows:,} conversations: {found['ours_rows_per_s']:,.0f} examples/s, {found['plain_rows_per_s']:,.0f} rows/s by orjson: "
        f"{found['share']:.2f} by processor time; peak {found['ours_peak_mb']:,.0f} and {found['plain_peak_mb']:,.0f} MB"
    )
