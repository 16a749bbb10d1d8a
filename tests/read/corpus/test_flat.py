"""Memory does not grow with a corpus: a large row group of images, and COCO's captions and boxes of a gigabyte."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.bench import instances
from tests.read.corpus.writing import HELD

pytestmark = pytest.mark.slow

READ = """
import sys
from pathlib import Path
from rt2data.read.corpus.captions import Captions
from rt2data.read.corpus.grounding import Grounding
from rt2data.records import Example
from dataclasses import replace

def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("RssAnon")) // 1024

data, shared, kind = sys.argv[1:]
source = {"captions": Captions, "grounding": Grounding}[kind](data=(data,))
units = source.units()
if shared:
    source.share(Path(shared))
most = rows = 0
for unit in units:
    for number, record in enumerate(source.read(replace(unit, shared=shared))):
        rows += 1
        if number % 50 == 0:
            most = max(most, peak())
print(len(units), rows, most)
"""


def measured(data: Path, shared: str = "", kind: str = "captions") -> tuple[int, int, int]:
    """Units, records, and the most memory in MB that was the process's own, in a process that reads them all."""
    command = [sys.executable, "-c", READ, str(data), shared, kind]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=900)
    units, rows, most = map(int, told.stdout.split())
    return units, rows, most


def write_parquet(path: Path, images: int, group: int, batch: int) -> Path:
    """Images of 300 kB in row groups of `group` rows; the writer looks every `batch` rows whether a page is full."""
    random = np.random.default_rng(1)
    with pq.ParquetWriter(path, HELD, write_batch_size=batch) as writer:
        for start in range(0, images, group):
            named = range(start, min(start + group, images))
            rows = [{"image": {"bytes": random.bytes(300_000), "path": None}, "caption": f"image {n}"} for n in named]
            writer.write_table(pa.Table.from_pylist(rows, HELD), row_group_size=group)
    return path


@pytest.mark.parametrize(("group", "batch"), [(1000, 8), (100, 1024)], ids=["one row group", "row groups as datasets has them"])
def test_300_mb_of_images_take_no_more_than_3(group: int, batch: int, tmp_path: Path) -> None:
    _, rows, least = measured(write_parquet(tmp_path / "small.parquet", 10, 10, batch))
    assert rows == 10
    _, rows, most = measured(write_parquet(tmp_path / "large.parquet", 1000, group, batch))
    assert rows == 1000
    assert most - least < 100


def write_large_coco(path: Path, images: int, each: int) -> int:
    """Captions in an order of their own. Returns the size in bytes."""
    with path.open("w") as file:
        file.write('{"info": {"year": 2017}, "images": [')
        for number in range(images):
            file.write(f'{", " if number else ""}{{"id": {number}, "file_name": "{number:012d}.jpg", "height": 480, "width": 640}}')
        file.write('], "annotations": [')
        for number in range(images * each):
            image = number * 7919 % images
            words = f"a caption of image {image}, number {number}, that is as long as those of people are in most cases"
            file.write(f'{", " if number else ""}{{"image_id": {image}, "id": {number}, "caption": "{words}"}}')
        file.write("]}")
    return path.stat().st_size


def test_captions_of_a_gigabyte_are_joined_in_flat_memory(tmp_path: Path) -> None:
    write_large_coco(tmp_path / "small.json", 2000, 5)
    _, rows, least = measured(tmp_path / "small.json", str(tmp_path / "few"))
    assert rows == 2000 + 1
    size = write_large_coco(tmp_path / "large.json", 1_350_000, 5)
    assert size > 900 << 20
    started = time.monotonic()
    units, rows, most = measured(tmp_path / "large.json", str(tmp_path / "many"))
    print(f"{size >> 20} MB: {time.monotonic() - started:.0f} s, {units} units, {most} MB, {least} MB for a small one")
    assert rows == 1_350_000 + units
    assert most - least < 60


def test_boxes_of_a_gigabyte_are_joined_in_flat_memory(tmp_path: Path) -> None:
    few = instances.write(tmp_path / "small.json", 1 << 20)
    _, rows, least = measured(tmp_path / "small.json", str(tmp_path / "few"), "grounding")
    assert rows == few.images + 1
    many = instances.write(tmp_path / "large.json", 1 << 30)
    started = time.monotonic()
    units, rows, most = measured(tmp_path / "large.json", str(tmp_path / "many"), "grounding")
    print(f"{many}: {time.monotonic() - started:.0f} s, {units} units, {most} MB, {least} MB for a small one")
    assert rows == many.images + units
    assert most - least < 60
