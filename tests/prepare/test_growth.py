"""A source that grows: what is new is read, and nothing else; the mixture is that of a store prepared from nothing."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rt2data.build import Site, begin_build, build_plainly, preparations, prepare_plainly
from rt2data.io.location import path_of
from rt2data.io.tfrecord.example import encode_example
from rt2data.io.tfrecord.framing import frame
from rt2data.plan.recipe import Recipe, read_recipe
from rt2data.prepare.catalog import kept_stores, remove_all, select
from rt2data.prepare.store import Store
from rt2data.prepare.units import UNITS
from rt2data.read import units as read_units
from rt2data.read.rlds import source as rlds
from tests.bench.generate import describe, pictures, unique
from tests.conftest import sha256_of

pytestmark = pytest.mark.long

STEPS = 4
TEMPLATE = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_INDEX}"
"""Without the number of files, for then each new file would give all others another name."""


class Log:
    """An RLDS log of one episode in each file, which grows."""

    def __init__(self, folder: Path, compressed: bool = False, picture_bytes: int = 5000, steps: int = STEPS) -> None:
        self.folder, self.compressed, self.steps = folder, compressed, steps
        self.pictures = pictures(picture_bytes, 4)
        self.cut_off = set[int]()  # episodes that do not end
        folder.mkdir(parents=True)

    def path(self, number: int) -> Path:
        return self.folder / f"bench_log-train.tfrecord-{number:05d}"

    def write(self, numbers: range) -> None:
        for number in numbers:
            record = frame(self._episode(number))
            self.path(number).write_bytes(gzip.compress(record, 1) if self.compressed else record)
        self.declare(max(numbers) + 1)

    def declare(self, files: int) -> None:
        describe(self.folder, [1] * files)
        info = json.loads((self.folder / "dataset_info.json").read_text())
        info["splits"][0]["filepathTemplate"] = TEMPLATE
        (self.folder / "dataset_info.json").write_text(json.dumps(info))

    def _episode(self, number: int) -> bytes:
        rng, steps, at = np.random.default_rng(number), self.steps, np.arange(self.steps)
        return encode_example(
            {
                "steps/observation/image_0": [unique(self.pictures[i % 4], number * steps + i) for i in range(steps)],
                "steps/observation/state": rng.normal(0, 1, steps * 7).astype(np.float32),
                "steps/action": rng.uniform(0.01, 0.05, steps * 7).astype(np.float32),
                "steps/language_instruction": [b"put the pan on the plate"] * steps,
                "steps/is_first": (at == 0).astype(np.int64),
                "steps/is_last": (at == steps - 1).astype(np.int64),
                "steps/is_terminal": (at == (steps if number in self.cut_off else steps - 1)).astype(np.int64),
            }
        )


@pytest.fixture
def log(tmp_path: Path) -> Log:
    made = Log(tmp_path / "log" / "1.0.0")
    made.write(range(12))
    return made


@pytest.fixture
def recipe(log: Log, tmp_path: Path) -> Callable[..., Recipe]:
    return recipe_of(log, tmp_path)


def recipe_of(log: Log, folder: Path) -> Callable[..., Recipe]:
    (folder / "mixture.yaml").write_text(
        f"robot_frac: 1\nshards: {{bytes: 50kB}}\nstore: store\n"
        f"robot: {{arm: {{kind: rlds, path: {log.folder}, action_space: widowx_bridge, filters: {{drop_last: 0}}}}}}\n"
    )
    return lambda **values: read_recipe(folder / "mixture.yaml", overrides=[f"{key}={value}" for key, value in values.items()])


@pytest.fixture
def read_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The files whose records are read."""
    seen, real = list[str](), rlds.unit_records

    def reading(unit: Any, shard: Any) -> Any:
        seen.append(Path(unit.path).name)
        return real(unit, shard)

    monkeypatch.setattr(rlds, "unit_records", reading)
    yield seen


def built(recipe: Recipe, out: Path) -> str:
    build_plainly(recipe, Site(out))
    return sha256_of(out)


def prepared(recipe: Recipe) -> Store:
    with preparations(recipe, path_of(recipe.store)) as (todo,):
        return todo.store if todo.ready else prepare_plainly(todo)


def inodes(store: Path) -> dict[int, int]:
    """Bytes of the files in a folder, by what tells a rewritten file from the same one."""
    return {path.stat().st_ino: path.stat().st_size for path in store.rglob("*") if path.is_file()}


@pytest.mark.parametrize("compressed", [False, True])
def test_only_what_is_new_is_read(tmp_path: Path, read_files: list[str], compressed: bool) -> None:
    log = Log(tmp_path / "log" / "1.0.0", compressed)
    log.write(range(12))
    recipe = recipe_of(log, tmp_path)
    built(recipe(), tmp_path / "before")
    assert len(set(read_files)) == 12
    read_files.clear()
    log.write(range(12, 13))
    grown = built(recipe(), tmp_path / "grown")
    assert set(read_files) == {log.path(12).name}
    read_files.clear()
    assert built(recipe(store=tmp_path / "another"), tmp_path / "fresh") == grown
    assert len(set(read_files)) == 13


def test_a_second_growth_reads_only_its_own(log: Log, recipe: Callable[..., Recipe], tmp_path: Path, read_files: list[str]) -> None:
    for number in range(12, 16):
        built(recipe(), tmp_path / f"out-{number}")
        read_files.clear()
        log.write(range(number, number + 1))
    grown = built(recipe(), tmp_path / "grown")
    assert set(read_files) == {log.path(15).name}
    assert built(recipe(store=tmp_path / "another"), tmp_path / "fresh") == grown


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("unit_bytes", [1, 1 << 20])
def test_a_sample_of_a_log_that_grows_is_that_of_the_grown_log(
    tmp_path: Path, read_files: list[str], compressed: bool, unit_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A unit of which all records stay in the sample is not read again."""
    monkeypatch.setattr(read_units, "UNIT_BYTES", unit_bytes)
    log = Log(tmp_path / "log" / "1.0.0", compressed)
    log.write(range(12))
    recipe, limit = recipe_of(log, tmp_path), {"robot.arm.filters.limit": 6}
    built(recipe(**limit), tmp_path / "before")
    before = {*read_files}
    assert len(before) == 6
    read_files.clear()
    log.write(range(12, 24))
    grown = built(recipe(**limit), tmp_path / "grown")
    again = {*read_files}
    read_files.clear()
    assert built(recipe(store=tmp_path / "another", **limit), tmp_path / "fresh") == grown
    now = {*read_files}
    assert len(now) == 6 and now != before and now & before
    assert again == (now - before if unit_bytes == 1 else now)


def test_headers_of_known_files_are_not_read(
    log: Log, recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rt2data.read.rlds import units

    built(recipe(), tmp_path / "before")
    log.write(range(12, 13))
    scanned, real = list[str](), units.scan
    monkeypatch.setattr(units, "scan", lambda path: scanned.append(Path(path).name) or real(path))
    built(recipe(), tmp_path / "after")
    assert set(scanned) == {log.path(12).name}


def test_a_changed_file_is_read_again_with_its_unit(
    log: Log, recipe: Callable[..., Recipe], tmp_path: Path, read_files: list[str]
) -> None:
    built(recipe(), tmp_path / "before")
    log.write(range(12, 14))
    built(recipe(), tmp_path / "between")
    read_files.clear()
    content = log.path(13).read_bytes()
    log.path(13).unlink()
    log.path(13).write_bytes(content)  # the same bytes, but that is not known
    os.utime(log.path(13), (1, 1))
    after = built(recipe(), tmp_path / "after")
    assert set(read_files) == {log.path(12).name, log.path(13).name}
    assert after == sha256_of(tmp_path / "between")


def test_a_file_that_went_away_takes_its_rows_along(
    log: Log, recipe: Callable[..., Recipe], tmp_path: Path, read_files: list[str]
) -> None:
    built(recipe(), tmp_path / "before")
    log.write(range(12, 14))
    built(recipe(), tmp_path / "between")
    log.path(13).unlink()
    log.declare(13)
    read_files.clear()
    after = built(recipe(), tmp_path / "after")
    assert set(read_files) == {log.path(12).name}
    assert built(recipe(store=tmp_path / "another"), tmp_path / "fresh") == after


def test_another_number_of_records_is_another_part(log: Log, recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    built(recipe(), tmp_path / "before")
    describe(log.folder, [1] * 11 + [2])
    info = json.loads((log.folder / "dataset_info.json").read_text())
    info["splits"][0]["filepathTemplate"] = TEMPLATE
    (log.folder / "dataset_info.json").write_text(json.dumps(info))
    with pytest.raises(Exception, match="expected 2 records, found 1"):
        built(recipe(), tmp_path / "after")


@pytest.mark.parametrize("name", ["fragment-*", "rejects-*", "unit-*", "known.parquet"])
def test_units_that_were_removed_are_made_again(
    log: Log, recipe: Callable[..., Recipe], tmp_path: Path, name: str, read_files: list[str]
) -> None:
    built(recipe(), tmp_path / "before")
    for path in (tmp_path / "store" / UNITS).rglob(name):
        path.unlink()
    log.write(range(12, 13))
    grown = built(recipe(), tmp_path / "grown")
    assert built(recipe(store=tmp_path / "another"), tmp_path / "fresh") == grown


def test_what_no_store_has_any_more_is_pruned(log: Log, recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    built(recipe(), tmp_path / "before")
    log.path(11).unlink()
    log.declare(11)
    built(recipe(), tmp_path / "after")
    root = tmp_path / "store"
    assert {each.state for each in kept_stores(root)} == {"complete", "stale"}
    remove_all(select(kept_stores(root)))
    assert [each.state for each in kept_stores(root)] == ["complete"]
    assert len(list((root / UNITS).rglob("fragment-*"))) == 1
    with preparations(recipe(), root) as todo:
        assert all(each.ready for each in todo)
    remove_all(select(kept_stores(root), everything=True))
    assert not list(root.iterdir())


def test_orders_tell_stores_apart_that_were_prepared_again(log: Log, recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    """A worker that outlives a build would go on with the versions that files had then."""
    orders = []
    for number in range(2):
        log.write(range(12))
        site = Site(tmp_path / f"out-{number}")
        with site.held(), preparations(recipe(), tmp_path / "store") as todo:
            _, found = begin_build(site, recipe(), {p.name: prepare_plainly(p) for p in todo})
            orders.append(found[0])
    assert orders[0].fingerprint == orders[1].fingerprint and orders[0].stores != orders[1].stores


@pytest.mark.slow
@pytest.mark.parametrize(("compressed", "picture_bytes", "steps"), [(False, 1000, 30), (True, 20_000, STEPS)])
def test_one_episode_more_than_ten_thousand(
    tmp_path: Path, read_files: list[str], compressed: bool, picture_bytes: int, steps: int
) -> None:
    """The store of a compressed log holds its images, any other its rows alone."""
    log = Log(tmp_path / "log" / "1.0.0", compressed, picture_bytes, steps)
    log.write(range(10_000))
    recipe = recipe_of(log, tmp_path)
    prepared(recipe())
    before = inodes(tmp_path / "store")
    read_files.clear()
    log.write(range(10_000, 10_001))
    grown = prepared(recipe())
    assert set(read_files) == {log.path(10_000).name}
    after = inodes(tmp_path / "store")
    rewritten = sum(size for inode, size in after.items() if inode not in before)
    print(f"\n{rewritten:,} of {sum(before.values()):,} bytes of the store rewritten: {rewritten / sum(before.values()):.2%}")
    assert rewritten < 0.02 * sum(before.values())
    fresh = prepared(recipe(store=tmp_path / "another"))
    assert grown.info.digest == fresh.info.digest and grown.info.splits == fresh.info.splits
    assert (grown.path / "stats.json").read_bytes() == (fresh.path / "stats.json").read_bytes()
