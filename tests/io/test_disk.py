"""Disk space is looked at before anything is written: by disk, with the figures, and with what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rt2data import build
from rt2data.build import Site, build_plainly, preparations
from rt2data.errors import OutputError
from rt2data.forecast import forecast
from rt2data.forecast.forecast import forecast_plan, known_sources, needs_of, require_store_space
from rt2data.io import disk
from rt2data.io.disk import Need, bytes_in, require_space, shortages, space_warnings
from rt2data.plan.recipe import Recipe


def leave(monkeypatch: pytest.MonkeyPatch, free: int) -> None:
    """Every disk has so many bytes free."""
    for module in (disk, forecast):
        monkeypatch.setattr(module, "free_bytes", lambda folder: free)


def test_what_goes_to_one_disk_is_added_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave(monkeypatch, 1_000_000)
    needs = Need("the output", tmp_path / "not" / "yet", 600_000), Need("the store", tmp_path, 500_000)
    require_space(needs[0])
    said = r"the output \(600.00 kB\) and the store \(500.00 kB\).* 1.10 MB are needed and 1.00 MB are free"
    with pytest.raises(OutputError, match=said) as told:
        require_space(*needs)
    assert told.value.code == 5 and "free some space" in told.value.do
    (warn,) = space_warnings(*needs)
    assert (warn.code, warn.level) == ("disk_space", "error")


def test_two_disks_are_two_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    places = {tmp_path / "a": 1, tmp_path / "b": 2}
    monkeypatch.setattr(disk, "disk_of", places.__getitem__)
    monkeypatch.setattr(disk, "free_bytes", lambda folder: 100 * places[folder])
    found = list(shortages([Need("the output", tmp_path / "a", 90), Need("the store", tmp_path / "b", 300)]))
    assert [short.where for short in found] == [str(tmp_path / "b")]


def test_a_build_that_will_not_fit_writes_no_shard(
    toy_recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = toy_recipe(size__num_examples=50)
    leave(monkeypatch, 1000)
    with pytest.raises(OutputError, match=r"the output .* will not fit"):
        build_plainly(recipe, Site(tmp_path / "out"))
    assert not (tmp_path / "out").exists() and not list(tmp_path.rglob("shard-*"))
    leave(monkeypatch, 1 << 40)
    assert build_plainly(recipe, Site(tmp_path / "out")).examples == 50


def test_what_an_unfinished_build_has_written_is_not_needed_again(
    toy_recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Need] = []
    monkeypatch.setattr(build, "require_space", lambda *needs: asked.extend(needs))
    recipe = toy_recipe(size__num_examples=50)
    site = Site(tmp_path / "out")
    site.staging.mkdir()
    (site.staging / "shard-000000.tar").write_bytes(bytes(5000))
    with preparations(recipe, recipe.store_folder.absolute()) as todo:
        stores = {p.name: build.prepare_plainly(p) for p in todo}
    job, _ = build.begin_build(site, recipe, stores)
    assert asked == [Need("the output", tmp_path / "out", job.plan.bytes - 5000)]
    assert bytes_in(tmp_path / "gone") == 0


def test_stores_that_will_not_fit_are_not_begun(
    real_recipe: Callable[..., Recipe], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the disk could hold the sources nothing is scanned; a plan says the same ahead."""
    recipe = real_recipe(f"store={tmp_path / 'store'}")
    with preparations(recipe, recipe.store_folder.absolute()) as todo:
        require_store_space(recipe, todo)
        leave(monkeypatch, 10)
        with pytest.raises(OutputError, match=r"the store .* will not fit"):
            require_store_space(recipe, todo)
    found = forecast_plan(recipe, known_sources(recipe, recipe.store_folder))
    assert [warn.code for warn in space_warnings(*needs_of(found, tmp_path / "out", recipe.store_folder))] == ["disk_space"]
    assert all(0 < each.store_bytes < each.reads for each in found.estimates.values())
