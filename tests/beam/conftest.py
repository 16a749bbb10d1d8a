"""Data and a recipe to run pipelines on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.beam.cloud import Cloud, cloud_at
from tests.bench.generate import STEPS, write_corpus, write_log


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[Cloud]:
    with cloud_at(tmp_path / "bucket") as found:
        yield found


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with data and a recipe, as on a disk that all workers share."""
    write_log(tmp_path / "log", 2 * STEPS * 1500, 1500)
    write_corpus(tmp_path / "web", 5, 1500)
    (tmp_path / "mixture.yaml").write_text(
        """
robot_frac: 0.5
store: store
shards: {bytes: 200kB}
robot: {arm: {kind: rlds, path: log/bench_log, action_space: widowx_bridge}}
web: {qa: {kind: vqav2, questions: web/questions.json, annotations: web/annotations.json, image_dirs: web/images}}
"""
    )
    return tmp_path
