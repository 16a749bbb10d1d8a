"""How images of an object store are read: the arithmetic is what the reader does, and what a plan says is why."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.cli.plan_tables import _reading as lines
from rt2data.forecast.cost import read_prices
from rt2data.forecast.reading import (
    FIRST_READS,
    Reading,
    ramp_s,
    read_storage,
    reading_cost,
    readings,
    runs_of,
    spill_requests,
)
from rt2data.io.location.ahead import _joined
from rt2data.io.location.base import Range
from rt2data.order import WINDOW
from rt2data.plan.recipe import Recipe
from rt2data.prepare.compact import AUTO_IMAGES, reads_objects
from rt2data.prepare.store import Store


@given(st.integers(500, WINDOW), st.sampled_from([2_000, 20_000, 50_000, 150_000, 400_000]))
def test_runs_are_those_that_the_reader_makes(rows: int, size: int) -> None:
    """Rows of a window drawn at random: requests within what chance makes of their number, bytes within a few percent."""
    chosen = np.random.default_rng(rows).permutation(WINDOW)[:rows]
    made = _joined([Range("gs://bucket/blob", int(at) * size, size) for at in chosen])
    found = runs_of(rows, size)
    requests = found.requests * rows
    assert len(made) == pytest.approx(requests, rel=0.1, abs=10 + 5 * requests**0.5)
    assert found.bytes * rows == pytest.approx(sum(run.whole.length for run in made), rel=0.1)


def test_a_bill_by_hand() -> None:
    """1e8 images of 50 kB by 100 workers: 1e8 GETs at $0.0004 a thousand; a copy of 5 TB."""
    reading = Reading(
        source="log",
        way="scattered",
        why="",
        images=10**8,
        image_bytes=5 * 10**12,
        scattered=10**8,
        compacted=10**6,
        stored_bytes=5 * 10**12,
    )
    storage, labour = read_storage(), read_prices().region("us-central1")
    cost = reading_cost(reading, 100, storage.regions["us-central1"], labour, storage.as_of)
    assert cost.scattered_usd == pytest.approx(40) and cost.compacted_usd == pytest.approx(0.4)
    assert cost.workers_s == pytest.approx(10**8 / 130_000)
    assert cost.bucket_s == pytest.approx(4 * 1200 + (10**8 - 1200 * 75_000) / 80_000)
    assert cost.shuffle_usd == pytest.approx(5000 * 0.011)
    assert cost.month_usd == pytest.approx(5e12 / 2**30 * 0.02)
    reads, writes = spill_requests(5e12)
    assert cost.spill_usd == pytest.approx(reads * 4e-7 + writes * 5e-6)


def test_requests_of_compaction_grow_with_the_images() -> None:
    for total in (2e12, 1e13, 3e13):
        assert spill_requests(2 * total)[0] < 2.1 * spill_requests(total)[0]


def test_a_bucket_warms_up() -> None:
    assert ramp_s(0, 100) == 0
    assert ramp_s(FIRST_READS * 1200, 100) == 1200
    assert ramp_s(1300 * 10, 1) == 10, "no faster than the worker asks"


def outlook(images: int, compact: str, known: Any = None) -> Reading:
    """What is said of a source in a bucket that is drawn once."""
    path = "gs://bucket/log"
    source = SimpleNamespace(model_dump_json=lambda: f'{{"path":"{path}"}}')
    split = SimpleNamespace(images=images, image_bytes=50_000 * images)
    drawn = SimpleNamespace(name="log", images=1.0, image_bytes=50_000)
    plan: Any = SimpleNamespace(sources=[drawn], shards=max(images // 5000, 1), num_examples=images, written=lambda _: images)
    recipe: Any = SimpleNamespace(sources={"log": source}, compact=compact)
    told = known or SimpleNamespace(info=SimpleNamespace(splits={"train": split}))
    (found,) = readings(plan, recipe, {"log": told})
    return found


@pytest.mark.parametrize(
    ("images", "compact", "way", "why"),
    [
        (AUTO_IMAGES, "auto", "scattered", "20,000,000 images, up to 20,000,000"),
        (AUTO_IMAGES + 1, "auto", "compacted", "more than 20,000,000"),
        (AUTO_IMAGES + 1, "never", "scattered", "compact is never"),
        (10_000, "spill", "compacted", "compact is spill"),
    ],
)
def test_which_way_and_why(images: int, compact: str, way: str, why: str) -> None:
    found = outlook(images, compact)
    assert found.way == way and why in found.why
    assert found.scattered == images and found.compacted < 0.05 * images
    (line,) = lines(found)
    assert f"read {way} ({found.why})" in line


def test_a_ready_store_is_read_as_it_is(tmp_path: Path) -> None:
    for compacted, way in ((True, "compacted"), (False, "scattered")):
        store = Store(tmp_path)
        split = SimpleNamespace(images=10, image_bytes=100)
        store.__dict__["info"] = SimpleNamespace(compacted=compacted, splits={"train": split})
        assert outlook(10, "auto", store).way == way


def test_nothing_is_said_of_local_sources(toy_recipe: Any) -> None:
    recipe: Recipe = toy_recipe()
    assert not any(map(reads_objects, recipe.sources.values()))
