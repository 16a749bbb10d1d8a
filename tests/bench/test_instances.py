"""`make bench`: a gigabyte of COCO's instances joined by image, beside orjson, which gets a smaller file: it holds all it reads."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import instances
from tests.bench.test_build import bench_folder
from tests.conftest import ROOT

__all__ = ["bench_folder"]
pytestmark = pytest.mark.bench
BYTES = 1 << 30


def took(way: str, path: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.instances", way, str(path)]
    found: dict[str, float] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout)
    return found


def test_a_gigabyte_of_boxes_in_flat_memory(bench_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("orjson")
    few, many = instances.write(tmp_path / "small.json", BYTES // 8), instances.write(tmp_path / "large.json", BYTES)
    plain, ours, little = (
        took("whole", tmp_path / "small.json"),
        took("drafts", tmp_path / "large.json"),
        took("drafts", tmp_path / "small.json"),
    )
    assert (plain["count"], ours["count"]) == (few.images, many.images)
    rate, other = many.images / ours["seconds"], few.images / plain["seconds"]
    print(
        f"\n{many.images:,} images with {many.boxes:,} boxes: {rate:,.0f} examples/s, {rate / other:.2f} of orjson's {other:,.0f}; "
        f"peak {ours['peak_mb']:,.0f} MB, {little['peak_mb']:,.0f} MB for an eighth; orjson takes {plain['peak_mb']:,.0f} MB"
    )
    assert ours["peak_mb"] < little["peak_mb"] + 120  # the index is mapped: 38 bytes a box
