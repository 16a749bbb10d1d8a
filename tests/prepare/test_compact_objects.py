"""Compaction in an object store: requests grow with the data, not with its square, and a change is noticed."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rt2data.build import Preparation, prepare_plainly
from rt2data.errors import SourceChangedError
from rt2data.io.location import path_of
from rt2data.io.stamps import Stamp
from rt2data.prepare import blobs, compact, runs
from rt2data.prepare.begin import begin, staging_folder, store_folder
from rt2data.prepare.compact import BlobsOrder, compact_orders
from rt2data.prepare.gather import gather_orders, gather_rows
from rt2data.prepare.store import Store, rows_file, write_stamps
from rt2data.prepare.unit import prepare_unit
from rt2data.read.rlds.source import RLDS
from rt2data.records import Compact
from tests.bench.generate import STEPS, write_log
from tests.prepare.test_compact import Use, carry_out, content_of, write_gathered

pytest.importorskip("obstore", reason="the extra `cloud` is not installed")

from tests.objects.here import used_here
from tests.objects.stand_in import StandIn, stand_in

PICTURE = 4_000


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    folder = tmp_path_factory.mktemp("logs")
    with stand_in() as found:
        for episodes in (8, 16, 32):
            write_log(folder / str(episodes), episodes * STEPS * PICTURE, PICTURE, shard_bytes=200_000)
            found.upload(folder / str(episodes), f"log-{episodes}/")
        yield found


@pytest.fixture(autouse=True)
def found_here(store: StandIn) -> Iterator[None]:
    with used_here(store.env("gs")):
        yield


def log_of(episodes: int) -> RLDS:
    path = f"gs://bucket/log-{episodes}/bench_log/1.0.0"
    return RLDS.model_validate({"kind": "rlds", "path": path, "action_space": "widowx_bridge"})


def prepared(store: StandIn, episodes: int, how: Compact) -> tuple[Store, Counter[str]]:
    """A store in the bucket, and the requests that it took."""
    source, root = log_of(episodes), path_of(f"gs://bucket/store-{episodes}-{how}")
    folder = store_folder(root, "log", source, how)
    store.reset()
    found = prepare_plainly(Preparation("log", source, folder, tuple(begin("log", source, folder)), how))
    return found, store.counters().requests


@pytest.mark.slow
def test_requests_grow_with_the_images(store: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice and four times as many: what compaction adds stays below as much more, though spills and groups meet each other."""
    monkeypatch.setattr(compact, "LEAST", 1)
    monkeypatch.setattr(compact, "PIECE", 20_000)
    monkeypatch.setattr(runs, "ROWS_PER_FILE", 40)
    added = []
    for episodes in (8, 16, 32):
        scattered, few = prepared(store, episodes, "never")
        compacted, many = prepared(store, episodes, "spill")
        assert compacted.info.digest == scattered.info.digest and compacted.info.compacted
        assert not compacted.changed_files()
        added.append(sum(many.values()) - sum(few.values()))
    assert added[1] < 2.2 * added[0] and added[2] < 2.2 * added[1], added
    left = [key for key in store.list("store-32-spill/") if "/spills-" in key]
    assert not left and not store.unfinished()


@pytest.mark.long
def test_the_same_blobs_as_on_a_disk(store: StandIn, tmp_path: Path) -> None:
    far, _ = prepared(store, 16, "spill")
    near_source = RLDS.model_validate(
        log_of(16).model_dump(mode="python") | {"path": str(tmp_path / "log" / "bench_log" / "1.0.0")}
    )
    for key in store.list("log-16/"):
        path = tmp_path / "log" / key.removeprefix("log-16/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(store.get(key))
    folder = store_folder(tmp_path / "store", "log", near_source, "spill")
    near = prepare_plainly(Preparation("log", near_source, folder, tuple(begin("log", near_source, folder)), "spill"))
    assert near.info.digest == far.info.digest
    blobs_near = {path.name: path.read_bytes() for path in folder.glob("images-*")}
    prefix = str(far.path).removeprefix("gs://bucket/") + "/"
    blobs_far = {key.removeprefix(prefix): store.get(key) for key in store.list(f"{prefix}images-")}
    assert blobs_near == blobs_far != {}


def test_an_object_that_changes_meanwhile_is_named(store: StandIn) -> None:
    """Exit 7: its version is part of every request."""
    source, root = log_of(8), path_of("gs://bucket/store-changed")
    folder = store_folder(root, "log", source, "spill")
    units = [prepare_unit(order) for order in begin("log", source, folder)]
    rows = [gather_rows(order) for order in gather_orders("log", staging_folder(folder), units)]
    key = next(key for key in store.list("log-8/") if ".tfrecord-00001" in key)
    content = store.get(key)
    store.replace(key, content[:-50] + bytes([content[-50] ^ 1]) + content[-49:])
    try:
        with pytest.raises(SourceChangedError, match="source log changed") as caught:
            carry_out(compact_orders("log", staging_folder(folder), rows))
    finally:
        store.replace(key, content)
    assert caught.value.code == 7 and key in str(caught.value.where)


def test_memory_does_not_grow_with_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A spill and the blobs of a group are larger than what is held of them."""
    size = 200_000
    monkeypatch.setattr("tests.prepare.test_compact.content_of", lambda file, part: content_of(0, part % 8)[:1] * size)
    monkeypatch.setattr("tests.prepare.test_compact.offset_of", lambda file, part: part * size)
    source, folder = tmp_path / "source", tmp_path / "s"
    folder.mkdir()
    source.write_bytes(b"".join(content_of(0, part % 8)[:1] * size for part in range(300)))
    write_stamps(folder / "files.parquet", [Stamp.of(str(source))])
    order = np.random.default_rng(0).permutation(300).tolist()
    rows = [write_gathered(folder, "train", 0, [[Use(0, part, True)] for part in order])]
    orders = compact_orders("arm", folder, rows)
    assert sum(isinstance(each, BlobsOrder) for each in orders) == 1
    tracemalloc.start()
    try:
        carry_out(orders)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 0.1 * source.stat().st_size
    assert blobs.is_compacted(blobs.read_places(folder, orders[-1].rows[0]), orders[-1].rows[0])
    assert rows_file(folder, "train", 0).exists()
