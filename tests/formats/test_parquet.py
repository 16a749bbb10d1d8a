"""Our Parquet files as Hugging Face's datasets sees them, and how they are laid out."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from rt2data.formats import parquet
from rt2data.formats.parquet import Parquet
from rt2data.render.fields import FIELDS
from tests.contract.test_formats import ROBOTS_OWN, content, one, read, robot_record, web_record, write
from tests.formats.conftest import examples
from tests.packages import need


@pytest.fixture(scope="module")
def loaded(mixture: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`load_dataset` of the folder's files."""
    datasets = need("datasets")
    files = str(mixture("parquet") / "train-*.parquet")
    return datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path_factory.mktemp("cache")))


@pytest.mark.trainers
def test_datasets_knows_pictures_and_shapes(mixture: Callable[[str], Path], loaded: Any) -> None:
    example, (image, _) = loaded[0], examples(mixture("parquet"))[0]
    assert example["image"].size == Image.open(io.BytesIO(image)).size
    robots = [at for at, kind in enumerate(loaded["kind"]) if kind == "robot"]
    assert loaded.select(robots).with_format("numpy")[:3]["action"].shape == (3, 7)
    assert {row["action"] is None for row in loaded.remove_columns("image") if row["kind"] == "web"} == {True}


def test_null_is_null(tmp_path: Path) -> None:
    """Not '', -1, 0 or False: readers must not take them for values."""
    placed = tuple(one(key, "jpg", b"x", make(key)) for key, make in (("w", web_record), ("r", robot_record)))
    path, _, _ = write(Parquet(), tmp_path, placed)
    web, robot = pq.read_table(path).to_pylist()
    nullable = {field.name for field in FIELDS if field.nullable}
    assert {name for name, value in web.items() if value is None} == nullable == set(ROBOTS_OWN)
    assert None not in robot.values()
    found = pq.read_schema(path)
    assert {name for name in found.names if found.field(name).nullable} == nullable | {"image"}


def test_a_row_group_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In rows and in bytes; a larger picture has one of its own."""
    monkeypatch.setattr(parquet, "GROUP_BYTES", 10_000)
    monkeypatch.setattr(parquet, "GROUP_ROWS", 4)
    sizes = [100] * 9 + [4_000] * 5 + [30_000, 10_000]
    placed = tuple(one(f"k{n}", "jpg", content(size), web_record(f"k{n}")) for n, size in enumerate(sizes))
    path, _, _ = write(Parquet(), tmp_path, placed)
    assert read(Parquet(), path) == list(placed)
    groups = pq.ParquetFile(path).metadata
    assert [groups.row_group(g).num_rows for g in range(groups.num_row_groups)] == [4, 4, 3, 2, 1, 1, 1]
