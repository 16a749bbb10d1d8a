"""A store that grows takes the rows of the one before it as they are, and is what one gathered from nothing would be."""

from __future__ import annotations

import json
from pathlib import Path
from shutil import rmtree

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.build import MIXTURE, Output, Site, build_plainly, rlds_output
from rt2data.errors import DataError, UsageError
from rt2data.io import location
from rt2data.io.location.folders import bytes_and_time
from rt2data.io.tables import read_parquet
from rt2data.look.diff import compare
from rt2data.look.stats.run import take_stats
from rt2data.look.stats.subject import store_subject
from rt2data.plan.episodes import RldsOptions
from rt2data.prepare import gather, grow, runs, seal
from rt2data.prepare.catalog import kept_stores, remove_all, select
from rt2data.prepare.kept_ranges import kept_ranges
from rt2data.prepare.row_places import RowPlaces, merged, read_places, write_places
from rt2data.prepare.row_table import ROWS
from rt2data.prepare.staged import STAGED
from rt2data.prepare.store import Store
from tests.conftest import sha256_of
from tests.objects.here import used_here
from tests.objects.stand_in import stand_in
from tests.prepare.test_growth import Log, prepared, recipe_of

pytestmark = pytest.mark.long

HASHES = st.lists(st.integers(0, 60), min_size=1, max_size=40)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    made = Log(tmp_path / "log" / "1.0.0")
    made.write(range(40))
    return made


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of a few rows, and few added files."""
    monkeypatch.setattr(runs, "ROWS_PER_FILE", 16)
    monkeypatch.setattr(grow, "MOST_FILES", 3)


def content(found: Store) -> dict[str, object]:
    """All that a store says, but how it came to be."""
    info = msgspec.structs.replace(found.info, grown=())
    rows = {
        split: [found.read(split, part, ROWS.names).to_pylist() for part in range(len(held.files))]
        for split, held in info.splits.items()
    }
    places = {place: stamp.path for place, stamp in enumerate(found.stamps)}
    for row in (row for parts in rows.values() for part in parts for row in part):
        for image in row["images"]:
            image["file"] = Path(places[image["file"]]).name
    rejects = read_parquet(found.path / "rejects.parquet").to_pylist()
    return {"info": info, "rows": rows, "stats": json.loads(location.read_bytes(found.path / "stats.json")), "rejects": rejects}


def files_of(found: Store) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in found.path.glob("rows-*")}


@given(own=HASHES, added=st.lists(HASHES, max_size=4), files=st.integers(1, 5))
def test_places_are_those_of_all_rows_in_order(
    own: list[int], added: list[list[int]], files: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    parts = [list(part) for part in np.array_split(np.sort(own), files)]
    places = RowPlaces.of_order(tuple(map(len, parts)))
    order = sorted(own)
    for new in map(sorted, added):
        places = merged(places, np.searchsorted(order, new))
        parts.append(new)
        order = sorted(order + new)
    path = tmp_path_factory.mktemp("places") / "added.parquet"
    write_places(path, places)
    places = read_places(path)
    file, at = places.find(np.arange(len(order)))
    assert [parts[number][place] for number, place in zip(file, at, strict=True)] == order
    assert len(set(zip(file.tolist(), at.tolist(), strict=True))) == places.rows == len(order)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("holdout", [0, 0.3])
def test_a_grown_store_is_that_of_the_whole_log(log: Log, tmp_path: Path, holdout: float) -> None:
    recipe = recipe_of(log, tmp_path)
    added, before = [], prepared(recipe(**{"robot.arm.holdout": holdout}))
    for number in range(40, 45):
        log.write(range(number, number + 1))
        grown = prepared(recipe(**{"robot.arm.holdout": holdout}))
        if number in (41, 44):  # after two of them, and after files were merged
            fresh = prepared(recipe(store=tmp_path / f"fresh-{number}", **{"robot.arm.holdout": holdout}))
            assert content(grown) == content(fresh) and not fresh.info.grown
        added.append(sum(len(grown.places(split).added) for split in grown.info.splits))
        assert added[-1] == 0 or files_of(before).items() <= files_of(grown).items()
        before = grown
    assert added == [1, 2, 3, 0, 1]


@pytest.mark.usefixtures("small")
def test_rows_are_drawn_from_all_files(log: Log, tmp_path: Path) -> None:
    recipe = recipe_of(log, tmp_path)
    prepared(recipe())
    log.write(range(40, 42))
    grown, fresh = prepared(recipe()), prepared(recipe(store=tmp_path / "fresh"))
    rows = np.random.default_rng(0).permutation(grown.info.splits["train"].rows)
    assert grown.info.grown == ("train",)
    assert grown.take("train", rows)["key"] == fresh.take("train", rows)["key"]


@pytest.mark.parametrize("output", [MIXTURE, rlds_output(RldsOptions())], ids=["mixture", "episodes"])
def test_what_is_built_is_that_of_the_whole_log(log: Log, tmp_path: Path, output: Output) -> None:
    recipe, found = recipe_of(log, tmp_path), []
    prepared(recipe())
    log.write(range(40, 41))
    assert prepared(recipe()).info.grown
    for root in ("store", "fresh"):
        build_plainly(recipe(store=tmp_path / root), Site(tmp_path / f"out-{root}"), output=output)
        found.append(sha256_of(tmp_path / f"out-{root}"))
    assert found[0] == found[1]


def test_those_who_look_see_the_same(log: Log, tmp_path: Path) -> None:
    recipe = recipe_of(log, tmp_path)
    prepared(recipe())
    log.write(range(40, 42))
    stores = [prepared(recipe(store=tmp_path / root)) for root in ("store", "fresh")]
    stats = [take_stats(store_subject(tmp_path, [each])) for each in stores]
    assert stats[0] == stats[1] and compare(*(each.path for each in stores)).equal
    kept = [kept_ranges(each) for each in stores]
    assert kept[0] == kept[1] and len(kept[0]) == 42


def test_no_new_rows(log: Log, tmp_path: Path) -> None:
    recipe = recipe_of(log, tmp_path)
    before = prepared(recipe())
    (log.folder / "features.json").write_text((log.folder / "features.json").read_text() + " ")
    grown = prepared(recipe())
    assert grown.path != before.path and files_of(before).items() <= files_of(grown).items()
    assert content(grown) == content(prepared(recipe(store=tmp_path / "fresh")))


def test_what_new_episodes_tell_of_old_ones_is_heeded(log: Log, tmp_path: Path) -> None:
    """Where some episode is no longer cut off, the flag tells success, and all rows are judged again."""
    recipe = recipe_of(log, tmp_path)
    log.cut_off |= {*range(40)}
    log.write(range(40))
    prepared(recipe())
    log.write(range(40, 41))
    again = prepared(recipe())
    assert not again.info.grown and content(again) == content(prepared(recipe(store=tmp_path / "fresh")))


@pytest.mark.parametrize("gone", ["last-store.txt", "source.json", "files.parquet"])
def test_without_the_store_before_it_is_gathered_from_nothing(log: Log, tmp_path: Path, gone: str) -> None:
    recipe = recipe_of(log, tmp_path)
    prepared(recipe())
    (path,) = (tmp_path / "store").rglob(gone)
    path.unlink()
    log.write(range(40, 41))
    again = prepared(recipe())
    assert not again.info.grown and content(again) == content(prepared(recipe(store=tmp_path / "fresh")))


def test_a_base_that_is_pruned_meanwhile(log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_of(log, tmp_path)
    before = prepared(recipe())
    log.write(range(40, 41))
    with monkeypatch.context() as patched:
        patched.setattr("rt2data.build.seal_store", lambda *arguments: (rmtree(before.path), seal.seal_store(*arguments)))
        with pytest.raises(UsageError, match="not a complete prepared store"):
            prepared(recipe())
    assert not prepared(recipe()).info.grown


def test_stores_that_share_rows_share_their_bytes(log: Log, tmp_path: Path) -> None:
    recipe = recipe_of(log, tmp_path)
    (root := tmp_path / "store").mkdir()
    prepared(recipe())
    log.write(range(40, 41))
    assert prepared(recipe()).info.grown
    on_disk = {path.stat().st_ino: path.stat().st_size for path in root.glob("arm-*/*")}
    listed = sum(bytes_and_time(each.path)[0] for each in kept_stores(root))
    assert sum(on_disk.values()) - 10 <= listed <= sum(on_disk.values())
    remove_all(select(kept_stores(root)))
    (left,) = kept_stores(root)
    assert content(Store(left.path)) == content(prepared(recipe(store=tmp_path / "fresh")))


def test_two_rows_of_one_key_are_refused(log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = recipe_of(log, tmp_path)
    prepared(recipe())
    real = pq.read_table(next((tmp_path / "store").rglob("rows-train-00000.parquet")))

    def twice(order: gather.GatherOrder) -> pa.Table:
        return real.slice(3, 1)

    log.write(range(40, 41))
    monkeypatch.setattr(gather, "judge_ends", lambda table, against: twice(table))
    with pytest.raises(DataError, match="two rows of source arm have one key"):
        prepared(recipe())


def test_rows_of_one_hash_are_in_the_order_of_their_keys(log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 bits are not enough to tell 1e10 rows apart."""
    from rt2data.prepare import row_builder

    monkeypatch.setattr(row_builder, "key64", lambda *parts: np.uint64(len(str(parts[-1])) % 2))
    recipe = recipe_of(log, tmp_path)
    prepared(recipe())
    log.write(range(40, 41))
    grown = prepared(recipe())
    assert grown.info.grown and content(grown) == content(prepared(recipe(store=tmp_path / "fresh")))


@pytest.mark.parametrize("fails", ["write_stamps", "summarize_parts", "tasks_table", "write_whole"])
def test_sealing_is_tried_again(log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    recipe = recipe_of(log, tmp_path)
    values = {"robot.arm.filters.drop_last": 1}
    prepared(recipe(**values))
    log.write(range(40, 41))
    sealing, seal_store, tries = getattr(seal, fails), seal.seal_store, []

    def failing(*arguments: object, **options: object) -> object:
        tries.append(fails)
        if len(tries) == 1:
            raise RuntimeError("the worker is gone")
        return sealing(*arguments, **options)

    def twice(*arguments: object) -> object:
        try:
            return seal_store(*arguments)  # type: ignore[arg-type]
        except RuntimeError:
            return seal_store(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(seal, fails, failing)
    monkeypatch.setattr("rt2data.build.seal_store", twice)
    grown = prepared(recipe(**values))
    assert len(tries) > 1 and grown.info.grown and not (grown.path / STAGED).exists()
    monkeypatch.undo()
    assert content(grown) == content(prepared(recipe(store=tmp_path / "fresh", **values)))


@pytest.mark.parametrize("scheme", ["gs", "s3"])
def test_an_object_store_copies_the_rows_itself(log: Log, tmp_path: Path, scheme: str) -> None:
    pytest.importorskip("obstore", reason="the extra `cloud` is not installed")
    with stand_in() as objects, used_here(objects.env(scheme)):
        recipe = recipe_of(log, tmp_path)
        before = prepared(recipe(store=objects.uri(scheme, f"{scheme}-store")))
        log.write(range(40, 41))
        objects.reset()
        grown = prepared(recipe(store=objects.uri(scheme, f"{scheme}-store")))
        assert grown.info.grown and objects.counters().requests["copy"] >= 1
        sent = {path.name for path in before.row_files("train")}
        assert sent < {path.name for path in grown.row_files("train")}
        assert content(grown) == content(prepared(recipe(store=tmp_path / "fresh")))
