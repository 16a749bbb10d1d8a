"""Runs: the rows of many units brought together change no row of a store, and each fragment is read once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.beam.pool import make_pool
from rt2data.beam.run import build_locally
from rt2data.build import Site, build_plainly
from rt2data.order import key64
from rt2data.plan.recipe import Recipe
from rt2data.prepare import runs
from rt2data.prepare.gather import gather_orders, gather_rows, merge_orders
from rt2data.prepare.row_table import ROWS, UNIT_ROWS, rows_table
from rt2data.prepare.runs import hash_edges, rows_files, run_name, run_orders, write_run
from rt2data.prepare.staged import staged_files
from rt2data.prepare.store import rows_file
from rt2data.prepare.unit import UnitSummary
from tests.conftest import sha256_of
from tests.laws import tries
from tests.prepare.staging import lay_out

Recipes = Callable[..., Recipe]
UNITS = st.lists(st.dictionaries(st.sampled_from(["train", "val"]), st.integers(1, 40), max_size=2), min_size=1, max_size=8)


@pytest.fixture
def merging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files of rows and small runs, however few units there are."""
    monkeypatch.setattr(runs, "DIRECT", 0)
    monkeypatch.setattr(runs, "ROWS_PER_FILE", 16)
    monkeypatch.setattr(runs, "RUN_ROWS", 50)


def write_units(folder: Path, counts: Sequence[dict[str, int]]) -> list[UnitSummary]:
    """The fragments of units with so many rows of each split."""
    files = lay_out(folder, len(counts))
    return [write_unit(files.fragment(number), number, rows) for number, rows in enumerate(counts)]


def write_unit(fragment: Path, number: int, rows: dict[str, int]) -> UnitSummary:
    names = [(split, f"u{number}-{split}-{row}") for split, count in rows.items() for row in range(count)]
    values = {
        "key": [key for _, key in names],
        "order": [key64("row", key) for _, key in names],
        "group": [f"g{number}"] * len(names),
        "split": [split for split, _ in names],
        "action": [np.full(2, row, np.float32) for row in range(len(names))],
        "digest": [key64("digest", key) for _, key in names],
        **{name: [0] * len(names) for name in ("step", "steps", "pick", "marks")},
        **{name: [[]] * len(names) for name in ("answers", "images")},
        "text": ["pick"] * len(names),
        "terminate": [False] * len(names),
    }
    columns = {name: values.get(name, [None] * len(names)) for name in ROWS.names}
    table = rows_table(columns, UNIT_ROWS)
    options = {"write_statistics": ["order"], "use_dictionary": ["split"], "write_page_checksum": True}
    pq.write_table(table, fragment, row_group_size=8, **options)
    dims = {"action_dims": (2,), "state_dims": (0,), "cameras": ()}
    return UnitSummary(name="arm", unit=number, rows=rows, rejects=(), conversions={}, bytes_read=0, blob_bytes=0, **dims)


def rows_of(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """All rows by file; the files themselves may list the names of splits in another order."""
    return {path.name: pq.read_table(path).to_pylist() for path in folder.glob("rows-*")}


@pytest.mark.slow
@pytest.mark.usefixtures("merging")
@tries(12)
@given(counts=UNITS)
def test_runs_change_no_row(counts: list[dict[str, int]], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("units")
    units = write_units(folder, counts)
    direct = [gather_rows(order) for order in gather_orders("arm", folder, units)]
    want = rows_of(folder)
    written = [write_run(order) for order in merge_orders("arm", folder, units)]
    assert [gather_rows(order) for order in gather_orders("arm", folder, units[::-1], written)] == direct
    assert rows_of(folder) == want
    assert sum(each.rows for each in direct) == sum(each.rows for each in written) == sum(map(sum, map(dict.values, counts)))


@given(st.lists(st.integers(0, 3 * runs.RUN_ROWS // 2), min_size=1, max_size=40), st.sampled_from([0, 3, 40]))
def test_runs_part_the_units_and_are_bounded(rows: list[int], direct: int) -> None:
    units = [
        UnitSummary(
            name="arm",
            unit=number,
            rows={"train": count} if count else {},
            rejects=(),
            conversions={},
            action_dims=(),
            state_dims=(),
            cameras=(),
            bytes_read=0,
            blob_bytes=0,
        )
        for number, count in enumerate(rows)
    ]
    files = rows_files({"train": sum(rows)}) if sum(rows) else {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "DIRECT", direct)
        orders = run_orders("arm", Path("x"), units, files)
    if len(units) <= direct:
        assert orders == []
        return
    assert [order.number for order in orders] == list(range(len(orders)))
    assert [unit for order in orders for unit in range(order.first, order.stop)] == list(range(len(rows)))
    for order in orders:
        assert order.rows == sum(rows[order.first : order.stop])
        assert order.rows <= runs.RUN_ROWS or sum(count > 0 for count in rows[order.first : order.stop]) == 1
    pairs = pairwise(orders)
    assert all(sum(rows[one.first : other.stop]) > runs.RUN_ROWS for one, other in pairs), "two runs that would fit in one"


@given(st.integers(1, 5000))
def test_files_share_the_hashes_equally(files: int) -> None:
    edges = hash_edges(files)
    sizes = {high - low for low, high in pairwise(edges)}
    assert (edges[0], edges[-1], len(edges)) == (0, 2**64, files + 1)
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.usefixtures("merging")
def test_each_fragment_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    units = write_units(tmp_path, [{"train": 20}] * 12)
    read = list[str]()
    real = pq.read_table

    def reading(path: str, **options: object) -> object:
        read.append(Path(path).name)
        return real(path, **options)

    monkeypatch.setattr(pq, "read_table", reading)
    monkeypatch.setattr(pq, "ParquetFile", None)  # by which files of rows are taken from fragments
    written = [write_run(order) for order in merge_orders("arm", tmp_path, units)]
    for order in gather_orders("arm", tmp_path, units, written):
        gather_rows(order)
    assert [name for name in sorted(read) if name != "files.parquet"] == [f"fragment-{number:032x}.parquet" for number in range(12)]
    assert rows_file(tmp_path, "train", 14).is_file()


@pytest.mark.usefixtures("merging")
def test_a_run_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    units = write_units(tmp_path, [{"train": 5}] * 3)
    (order,) = merge_orders("arm", tmp_path, units)
    first = write_run(order)
    staged_files(tmp_path).fragment(0).unlink()
    assert write_run(order) == first


@pytest.mark.long
def test_a_build_that_merges_gives_the_same_bytes(toy_recipe: Recipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    direct = build_plainly(toy_recipe(store=tmp_path / "store-direct"), Site(tmp_path / "direct"))
    monkeypatch.setattr(runs, "DIRECT", 0)
    monkeypatch.setattr(runs, "RUN_ROWS", 20)
    merged = list[object]()
    for name, build in {
        "plain": lambda recipe, site: build_plainly(recipe, site),
        "beam": lambda recipe, site: build_locally(recipe, site, make_pool("threads", 2), merged.append),
    }.items():
        store = tmp_path / f"store-{name}"
        built = build(toy_recipe(store=store), Site(tmp_path / name))
        assert sha256_of(tmp_path / name) == sha256_of(tmp_path / "direct")
        assert built.plan == direct.plan
        assert not list(store.rglob(run_name(0))), "runs are removed when the store is sealed"
    assert sum(isinstance(each, runs.RunSummary) for each in merged) >= 3
