"""Stores on the shelf: listed as they are, pruned only when told to, never while a build prepares them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rt2data.build import Site, build_plainly
from rt2data.cli.store import StoreRoot, list_stores, prune, rejects
from rt2data.errors import DataError, UsageError
from rt2data.io.publish import exclusively
from rt2data.plan.recipe import Recipe
from rt2data.prepare.catalog import find_store, kept_stores, read_rejects, select
from rt2data.prepare.store import REJECTS
from rt2data.settings import default_store_root
from tests.look.inspect.test_inspect import HOSTILE, is_inert

pytestmark = pytest.mark.long

Recipes = Callable[..., Recipe]


@pytest.fixture
def shelf(toy_recipe: Recipes, tmp_path: Path) -> Path:
    """Two complete stores."""
    build_plainly(toy_recipe(), Site(tmp_path / "out"))
    return tmp_path / "store"


def states(shelf: Path) -> dict[str, str]:
    return {kept.name: kept.state for kept in kept_stores(shelf)}


def leave_behind(shelf: Path) -> Path:
    """What a killed build leaves."""
    folder = shelf / ".late-0123456789abcdef.partial"
    folder.mkdir()
    (folder / "unit-00000.json").write_text("{}")
    return folder


def test_stores_are_listed(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arm, qa = kept_stores(shelf)
    assert (arm.name, arm.state, arm.kind, arm.source, arm.splits, arm.rows) == (
        "arm",
        "complete",
        "robot",
        "toy_robot",
        {"train": 48},
        48,
    )
    assert qa.rows == 9
    own = [path for folder in (arm.path, *shelf.glob("units/arm-*")) for path in folder.iterdir()]
    assert arm.bytes == sum(path.stat().st_size for path in own)
    assert arm.age_days < 1
    list_stores(StoreRoot(shelf), as_json=False)
    assert "toy_robot" in capsys.readouterr().out
    list_stores(StoreRoot(shelf), as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert [store["state"] for store in told["stores"]] == ["complete", "complete"]
    assert kept_stores(shelf / "nowhere") == []


def test_states(shelf: Path, tmp_path: Path) -> None:
    leave_behind(shelf)
    next((tmp_path / "web").iterdir()).unlink()
    (shelf / "old-0123456789abcdef").mkdir()
    assert states(shelf) == {"arm": "complete", "late": "partial", "old": "damaged", "qa": "stale"}
    (stale,) = [kept for kept in kept_stores(shelf) if kept.state == "stale"]
    assert "1 files changed or gone" in stale.why


def test_nothing_of_others_is_touched(shelf: Path) -> None:
    for name in ("thesis", "arm", "1rm-0123456789abcdef", ".partial"):
        (shelf / name).mkdir()
    (shelf / "real-0123456789abcdef").symlink_to(shelf / "thesis")
    (shelf / "file-0123456789abcdef").write_text("a file")
    assert set(states(shelf)) == {"arm", "qa"}
    prune(StoreRoot(shelf), (), everything=True, older=None, yes=True, as_json=False)
    assert {path.name for path in shelf.iterdir() if path.is_dir()} == {
        "thesis",
        "arm",
        "1rm-0123456789abcdef",
        ".partial",
        "real-0123456789abcdef",
    }


def test_what_is_pruned(shelf: Path, tmp_path: Path) -> None:
    leave_behind(shelf)
    next((tmp_path / "web").iterdir()).unlink()
    kept = kept_stores(shelf)
    arm = next(store for store in kept if store.name == "arm")
    for path in arm.path.iterdir():
        os.utime(path, (1, 1))
    assert [store.name for store in select(kept)] == ["late", "qa"]
    assert [store.name for store in select(kept_stores(shelf), older_days=365)] == ["arm", "late", "qa"]
    assert [store.name for store in select(kept, everything=True)] == ["arm", "late", "qa"]
    assert [store.name for store in select(kept, ["arm"])] == ["arm"]
    assert select(kept, [arm.path.name]) == select(kept, [str(arm.path)]) == select(kept, ["arm"])
    with pytest.raises(UsageError, match="no store is called nobody"):
        select(kept, ["arm", "nobody"])


def test_a_dry_run_removes_nothing(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left = leave_behind(shelf)
    prune(StoreRoot(shelf), (), everything=False, older=None, yes=False, as_json=False)
    assert "nothing was removed; add --yes" in capsys.readouterr().out
    assert left.is_dir()
    prune(StoreRoot(shelf), (), everything=False, older=None, yes=True, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert [store["name"] for store in told["removed"]] == ["late"]
    assert not left.exists()
    assert states(shelf) == {"arm": "complete", "qa": "complete"}
    prune(StoreRoot(shelf), (), everything=False, older=None, yes=True, as_json=False)
    assert "nothing to prune" in capsys.readouterr().err


def test_a_store_that_grows_is_left_alone(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    left = leave_behind(shelf)
    with exclusively(shelf / ".late-0123456789abcdef.lock", "late"):
        prune(StoreRoot(shelf), (), everything=False, older=None, yes=True, as_json=False)
    assert left.is_dir()
    assert "a build is preparing it" in capsys.readouterr().err


def test_a_pruned_store_is_prepared_again(shelf: Path, toy_recipe: Recipes, tmp_path: Path) -> None:
    prune(StoreRoot(shelf), ["arm"], everything=False, older=None, yes=True, as_json=True)
    assert states(shelf) == {"qa": "complete"}
    build_plainly(toy_recipe(), Site(tmp_path / "again"))
    assert states(shelf) == {"arm": "complete", "qa": "complete"}


def test_stores_are_found_by_name_and_path(shelf: Path, toy_recipe: Recipes, tmp_path: Path) -> None:
    arm = find_store(shelf, "arm")
    assert find_store(shelf, arm.name) == find_store(shelf, str(arm)) == arm
    with pytest.raises(UsageError, match="no store is called"):
        find_store(shelf, "nobody")
    build_plainly(toy_recipe(robot__arm__filters__drop_first=1), Site(tmp_path / "other"))
    with pytest.raises(UsageError, match="2 stores are called 'arm'"):
        find_store(shelf, "arm")


def test_rejects_with_their_reasons(shelf: Path, toy_recipe: Recipes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rejects(StoreRoot(shelf), "arm", as_json=False)
    assert "nothing was dropped" in capsys.readouterr().err
    build_plainly(toy_recipe(robot__arm__filters__drop_first=2, robot__arm__filters__drop_last=0), Site(tmp_path / "other"))
    prune(StoreRoot(shelf), [find_first(shelf)], everything=False, older=None, yes=True, as_json=True)
    capsys.readouterr()
    rejects(StoreRoot(shelf), "arm", as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["by_reason"] == [{"reason": "first_step", "count": 12, "fault": False}]
    assert len(told["rejects"]) == 6 and sum(each["count"] for each in told["rejects"]) == 12
    rejects(StoreRoot(shelf), "arm", as_json=False)
    printed = capsys.readouterr().out
    assert "as the recipe asks" in printed and "episode e000 steps 0 to 1" in printed


def find_first(shelf: Path) -> str:
    """The folder of the arm's store that lost nothing."""
    return next(kept.path.name for kept in kept_stores(shelf) if kept.name == "arm" and not read_rejects(kept.path))


def test_rejects_are_inert_and_bounded(shelf: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arm = find_store(shelf, "arm")
    rows = [{"reason": text, "where": text, "detail": text * 50, "fault": True, "count": 1} for text in HOSTILE * 5]
    pq.write_table(pa.Table.from_pylist(rows, schema=REJECTS), arm / "rejects.parquet")
    rejects(StoreRoot(shelf), "arm", as_json=False)
    printed = capsys.readouterr().out
    assert is_inert(printed)
    assert "and 20 more: --json gives all" in printed
    assert "[/]" in printed and "[bold red]x[/bold red]" in printed
    (arm / "rejects.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="cannot be read"):
        read_rejects(arm)


def test_rejects_of_an_unfinished_store_are_not_told(shelf: Path, toy_recipe: Recipes) -> None:
    (arm,) = [kept.path for kept in kept_stores(shelf) if kept.name == "arm"][:1]
    (arm / "source.json").write_text("{junk")
    with pytest.raises(UsageError, match="not a complete prepared store"):
        rejects(StoreRoot(shelf), str(arm), as_json=False)


def test_the_shelf_is_where_builds_put_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RT2DATA_STORE", str(tmp_path))
    assert default_store_root() == tmp_path
    monkeypatch.delenv("RT2DATA_STORE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_store_root() == tmp_path / ".cache" / "rt2data" / "store"
