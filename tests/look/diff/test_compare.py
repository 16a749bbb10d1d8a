"""What changed is found and counted, and nothing else; merges are compared with plain sets, statistics with numpy."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from math import isclose, sqrt
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from rt2data.build import Site, build_plainly, preparations, prepare_plainly
from rt2data.cli.app import diff as command
from rt2data.cli.diff import diff, show
from rt2data.errors import DataError, UsageError
from rt2data.formats.base import make_format
from rt2data.io import sorted_rows
from rt2data.look.diff import Comparison, compare
from rt2data.look.diff import merge as merging
from rt2data.look.diff.comparison import shifts
from rt2data.look.diff.merge import NAMED, Entry, KeyCounts, count_keys, in_order
from rt2data.look.differences import Difference, differences, largest_first
from rt2data.look.stats.model import STATS_VERSION, Share, Stats, Warn
from rt2data.look.stats.model import MixtureStats as Mixed
from rt2data.plan.recipe import Recipe, read_recipe
from rt2data.prepare.statistics import summarize
from rt2data.prepare.store import Store
from rt2data.seal.manifest import read_manifest
from tests.contract import toy
from tests.look.inspect.test_inspect import HOSTILE, is_inert
from tests.look.view.conftest import toys_in

Recipes = Callable[..., Recipe]
trees = st.recursive(
    st.none() | st.integers(0, 3) | st.text("ab", max_size=2) | st.lists(st.integers(0, 2), max_size=2),
    lambda inner: st.dictionaries(st.text("xyz", min_size=1, max_size=1), inner, max_size=3),
    max_leaves=8,
)


# Values


@given(trees, trees, st.booleans())
def test_differences_are_all_that_differs(before: object, after: object, into_lists: bool) -> None:
    found = list(differences(before, after, into_lists=into_lists))
    assert bool(found) == (_bare(before) != _bare(after))
    assert len({change.path for change in found}) == len(found)
    assert [(c.path, c.after, c.before) for c in differences(after, before, into_lists=into_lists)] == [
        (c.path, c.before, c.after) for c in found
    ]


def _bare(tree: object) -> object:
    """A tree without its null leaves: null equals a missing key."""
    if isinstance(tree, dict):
        return {key: _bare(value) for key, value in tree.items() if value is not None}
    return tree


rows = st.dictionaries(st.tuples(st.integers(0, 5), st.text("abc", max_size=3)), st.integers(0, 1), max_size=12)


@given(rows, rows)
def test_merging_is_comparing_sets(before: dict[tuple[int, str], int], after: dict[tuple[int, str], int]) -> None:
    old, new = ([Entry(key, 0, (found[key],), key[1] or "-") for key in sorted(found)] for found in (before, after))
    found = count_keys(old, new)
    both = before.keys() & after.keys()
    assert found.same == sum(before[key] == after[key] for key in both)
    assert found.changed == len(both) - found.same
    assert (found.added, found.removed) == (len(after.keys() - before.keys()), len(before.keys() - after.keys()))
    assert found.equal == (before == after)
    assert all(len(keys) == min(NAMED, getattr(found, what)) for what, keys in found.examples.items())


@given(st.dictionaries(st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1), max_size=20), st.integers(1, 7))
def test_a_stream_is_sorted_in_runs(found: dict[int, int], run: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorted_rows, "RUN", 2 * run)
        patch.setattr(sorted_rows, "SAMPLE", 2)
        patch.setattr(merging, "BLOCK", 2)
        tuples = ((key, number, content) for number, (key, content) in enumerate(found.items()))
        entries = list(in_order(tuples, 1))
    numbers = {key: number for number, key in enumerate(found)}
    assert entries == [Entry(key, numbers[key], (found[key],)) for key in sorted(found)]


@given(st.integers(0, 2**32 - 1), st.floats(-2, 2), st.floats(0.1, 10))
def test_shifts_are_in_units_of_the_pooled_std(seed: int, by: float, scale: float) -> None:
    one = np.random.default_rng(seed).normal(0, 1, (200, 3)).astype(np.float32)
    other = one.copy()
    other[:, 1] = other[:, 1] * scale + by
    before, after = ({"action": summarize(values).to_json(), "state": None} for values in (one, other))
    found = largest_first(shifts("arm", "train", ["x", "y"], before, after))
    assert {shift.path for shift in found} <= {"arm.train.action.y"}
    for shift in found:
        std = sqrt((one[:, 1].astype(float).var() + other[:, 1].astype(float).var()) / 2)
        moved = (other[:, 1].astype(float).mean() - one[:, 1].astype(float).mean()) / std
        assert shift.moved["mean"] is not None and isclose(shift.moved["mean"], moved, rel_tol=1e-9, abs_tol=1e-12)


def test_a_constant_that_changes_comes_first() -> None:
    one, other = np.zeros((9, 2), np.float32), np.ones((9, 2), np.float32)
    one[:, 0] = other[:, 0] = np.arange(9)
    other[0, 0] = 5
    before, after = ({"action": summarize(values).to_json()} for values in (one, other))
    found = largest_first(shifts("arm", "train", [], before, after))
    assert [shift.path for shift in found] == ["arm.train.action.1", "arm.train.action.0"]
    assert found[0].moved["mean"] is None and found[0].most == float("inf")


# Recipes


def test_recipes(toy_recipe: Recipes, tmp_path: Path) -> None:
    toy_recipe()
    text = (tmp_path / "mixture.yaml").read_text()
    other = tmp_path / "other.yaml"
    other.write_text(text)
    assert compare(tmp_path / "mixture.yaml", other).equal
    changed = text.replace("robot_frac: 0.5", "robot_frac: 2/3").replace("web: {qa:", "web: {more:").replace("20kB", "30kB")
    other.write_text(changed)
    found = compare(tmp_path / "mixture.yaml", other)
    assert not found.equal
    assert {(c.path, c.before, c.after) for c in found.settings} == {("robot_frac", "1/2", "2/3"), ("shards.bytes", 20000, 30000)}
    assert (found.sources_added, found.sources_removed) == (("web.more",), ("web.qa",))


def test_a_recipe_and_what_it_would_change(toy_recipe: Recipes, tmp_path: Path) -> None:
    build_plainly(toy_recipe(), Site(tmp_path / "out"))
    recipe = tmp_path / "mixture.yaml"
    same = compare(recipe, tmp_path / "out")
    assert (same.equal, same.same_bytes) == (True, True)
    recipe.write_text(recipe.read_text().replace("robot_frac: 0.5", "robot_frac: 0.75"))
    for paths, sides in (((tmp_path / "out", recipe), ("1/2", "3/4")), ((recipe, tmp_path / "out"), ("3/4", "1/2"))):
        found = compare(*paths)
        assert (found.equal, found.same_bytes) == (False, False)
        assert (found.settings[0].before, found.settings[0].after) == sides
        assert any(change.path == "sources.arm.share" for change in found.plan)
    recipe.write_text(recipe.read_text().replace("toy_web, path", "toy_web, max_text_bytes: 99, path"))
    unprepared = compare(tmp_path / "out", recipe)
    assert unprepared.same_bytes is None and "not yet prepared" in unprepared.notes[0]


# Stores


def prepared(recipe: Recipe, name: str) -> Store:
    with preparations(recipe, recipe.store_folder) as todo:
        return next(prepare_plainly(each) for each in todo if each.name == name)


def test_stores(toy_recipe: Recipes, tmp_path: Path) -> None:
    before = prepared(toy_recipe(), "arm")
    assert compare(before.path, before.path).equal
    (tmp_path / "robot" / "005.bin").unlink()
    toy.write_robot(tmp_path / "more", episodes=8, steps=8)
    for name in ("006.bin", "007.bin"):
        (tmp_path / "more" / name).rename(tmp_path / "robot" / name)
    content = bytearray((tmp_path / "robot" / "000.bin").read_bytes())
    assert content[:4] != b"\0\0\0\0"
    first = int.from_bytes(content[:4], "little")
    (tmp_path / "robot" / "000.bin").write_bytes(_framed(toy.jpeg(77)) + bytes(content[4 + first :]))
    after = prepared(toy_recipe(robot__arm__filters="{drop_first: 0, max_steps: 99}"), "arm")
    found = compare(before.path, after.path)
    # Episodes are named by their unit: two more files and one fewer give e006, and the images of e005 and e006 are others.
    rows = found.rows["train"]
    assert (rows.added, rows.removed, rows.same + rows.changed) == (8, 0, 48)
    assert rows.changed == 9 and not found.equal
    assert (found.groups["train"].added, found.groups["train"].removed) == (1, 0)
    assert found.groups["train"].examples == {"added": ("e006",)}
    assert found.files is not None and (found.files.added, found.files.removed) == (2, 1)
    assert {change.path for change in found.settings} == {"filters.max_steps"}
    assert compare(before.path, after.path, quick=True).rows == {}
    assert {shift.path.split(".")[2] for shift in found.shifts} == {"action", "state"}
    assert [s.most for s in found.shifts] == sorted((s.most for s in found.shifts), reverse=True)
    assert "arm.train.action.x" in {shift.path for shift in found.shifts}


def _framed(content: bytes) -> bytes:
    return len(content).to_bytes(4, "little") + content


# Mixtures


def test_the_same_bytes_are_said_first(toy_recipe: Recipes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    build_plainly(toy_recipe(), Site(tmp_path / "a"))
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert diff(tmp_path / "a", tmp_path / "b", quick=False, exit_code=True, as_json=False) == 0
    assert capsys.readouterr().out.splitlines()[1] == "the same bytes, by the hashes in their manifests"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """The second has more robots, another prompt, and one changed image."""
    folder = tmp_path_factory.mktemp("two")
    with toys_in(folder) as recipe:
        build_plainly(read_recipe(recipe), Site(folder / "a"))
        (folder / "web" / "0003.jpg").write_bytes(toy.jpeg(5))
        build_plainly(read_recipe(recipe, ["robot_frac=2/3", "template=openvla"]), Site(folder / "b"))
    yield folder / "a", folder / "b"


def test_mixtures(two: tuple[Path, Path]) -> None:
    found = compare(*two)
    old, new = ({m.key: bytes(m.image) for m in _members(out)} for out in two)
    both = old.keys() & new.keys()
    assert found.examples is not None
    assert (found.examples.removed, found.examples.added) == (len(old) - len(both), len(new) - len(both))
    images = sum(old[key] != new[key] for key in both)
    assert found.examples.changed == len(both) and images > 0
    assert found.examples.fields == {"target": 0, "prompt": len(both), "ids": len(both), "image": images}
    here, there = found.examples.first["image"]
    keys = [[m.key for m in _members(out)] for out in two]
    assert keys[0][here] == keys[1][there] and old[keys[0][here]] != new[keys[0][here]]
    assert (found.equal, found.same_bytes, found.shards_equal) == (False, False, 0)
    assert {"robot_frac", "template"} == {change.path for change in found.settings}
    assert "sources.qa.digest" in {change.path for change in found.plan}
    assert "sources.arm.digest" not in {change.path for change in found.plan}
    quick = compare(*two, quick=True)
    assert quick.examples is None and quick.plan == found.plan


def _members(out: Path) -> list[object]:
    manifest = read_manifest(out)
    return [m for shard in manifest.shards for m in make_format(manifest.plan.format).read(out / shard.name)]


def test_formats_are_compared_by_what_they_hold(toy_recipe: Recipes, tmp_path: Path) -> None:
    for name in ("webdataset", "tfds"):
        build_plainly(toy_recipe(shards__format=name), Site(tmp_path / name))
    found = compare(tmp_path / "webdataset", tmp_path / "tfds")
    assert found.examples is not None and found.examples.equal and found.same_bytes is False


def test_a_damaged_shard_is_named(two: tuple[Path, Path], tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(two[0], tmp_path / "damaged"))
    shard = damaged / "shard-000000.tar"
    shard.write_bytes(shard.read_bytes()[:-512])
    with pytest.raises(DataError, match="shard-000000"):
        compare(damaged, two[1])


@pytest.mark.parametrize("quick", [False, True])
def test_shards_must_be_there_before_they_are_the_same(two: tuple[Path, Path], tmp_path: Path, quick: bool) -> None:
    damaged = Path(shutil.copytree(two[0], tmp_path / "damaged"))
    assert compare(damaged, two[0], quick).same_bytes
    shard = damaged / "shard-000000.tar"
    shard.write_bytes(shard.read_bytes()[:-512])
    with pytest.raises(DataError, match=r"bytes where the manifest says .*shard-000000"):
        compare(damaged, two[0], quick)
    shard.unlink()
    with pytest.raises(DataError, match=r"a shard is missing .*shard-000000"):
        compare(two[0], damaged, quick)


def test_rows_are_read_before_stores_are_the_same(two: tuple[Path, Path], tmp_path: Path) -> None:
    (folder,) = two[0].parent.glob("store/arm-*")
    damaged = Path(shutil.copytree(folder, tmp_path / folder.name))
    found = compare(folder, damaged)
    assert found.equal and found.rows["train"].same > 0 and not found.notes
    rows = damaged / "rows-train-00000.parquet"
    table = pq.read_table(rows)
    pq.write_table(table.slice(1), rows)
    found = compare(folder, damaged)
    assert not found.equal and (found.rows["train"].removed, found.rows["train"].same) == (1, table.num_rows - 1)
    assert compare(folder, damaged, quick=True).notes == ("rows were not compared: --quick",)
    rows.write_bytes(b"junk" * 99)
    with pytest.raises(DataError, match="a prepared store is damaged"):
        compare(folder, damaged)
    rows.unlink()
    with pytest.raises(DataError, match="a prepared store is damaged"):
        compare(folder, damaged, quick=True)


def test_what_does_not_go_together(two: tuple[Path, Path]) -> None:
    (store,) = two[0].parent.glob("store/arm-*")
    with pytest.raises(UsageError, match="a mixture and a store cannot be compared"):
        compare(two[0], store)


# Summaries


def summary(tokens: int, warnings: tuple[Warn, ...] = ()) -> Stats:
    share = {"kind": "robot", "asked": 0.5, "loss_tokens": 7, "image_bytes": 8, "epochs": 1.0, "unseen": 0, "unique": 9}
    shares = [Share(source=name, examples=9, tokens=n, **share) for name, n in (("a", tokens), ("b", 5))]  # type: ignore[arg-type]
    more = {"asked_robot": 0.5, "windows": (), "shard_worst": 0.0, "running": (), "format": "tfds", "template": "rt2"}
    names = {"codec": "rt2", "tokenizer": "byte", "seed": 0, "fingerprint": ""}
    mixed = Mixed(examples=18, shards=1, bytes=tokens * 1000, shares=tuple(shares), **more, **names)  # type: ignore[arg-type]
    about = {"tool_version": "1", "what": "mixture", "path": str(tokens), "sources": (), "leaks": ()}
    return Stats(version=STATS_VERSION, mixture=mixed, warnings=warnings, **about)  # type: ignore[arg-type]


def test_summaries(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    warn = Warn(code="dead_dimension", level="warning", source="a", what="x never moves", do="look")
    for name, stats in {"a": summary(100), "b": summary(100), "c": summary(80, (warn,)), "d": summary(1001)}.items():
        (tmp_path / f"{name}.json").write_bytes(msgspec.json.encode(stats))
    a, b, c, d = (tmp_path / f"{name}.json" for name in "abcd")
    assert compare(a, b).equal
    found = compare(a, c)
    moves = [(move.path, move.before, move.after, move.moved["share"]) for move in found.moves]
    assert moves == [("mixture.bytes", 100_000, 80_000, 0.2), ("mixture.shares.a.tokens", 100, 80, 0.2)]
    assert [change.path for change in found.figures] == ["warnings.a/dead_dimension"]
    (d.parent / "e.json").write_bytes(msgspec.json.encode(summary(1000)))
    assert compare(d, d.parent / "e.json").moves == () and not compare(d, d.parent / "e.json").equal
    assert diff(a, c, quick=False, exit_code=True, as_json=False) == 3
    assert re.search(r"mixture.shares.a.tokens +100 +80 +20.0%", capsys.readouterr().out)
    d.write_text(a.read_text().replace('"asked_robot":0.5', '"asked_robot":"half"'))
    with pytest.raises(DataError, match="not statistics of this release"):
        compare(a, d)


# The command


def test_the_command(two: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert diff(*two, quick=False, exit_code=False, as_json=False) == 0
    text = capsys.readouterr().out
    assert text.splitlines()[1].startswith("different bytes: 0 of ")
    assert "template" in text and "have another image; the first is example " in text and "\x1b" not in text
    assert diff(*two, quick=True, exit_code=True, as_json=True) == 3
    printed = json.loads(capsys.readouterr().out)
    assert (printed["what"], printed["equal"]) == ("mixtures", False)
    with pytest.raises(typer.Exit) as left:
        command(*two, quick=True, exit_code=True, json=True)
    assert left.value.exit_code == 3


@pytest.mark.parametrize("hostile", HOSTILE)
def test_differences_are_inert(hostile: str, capsys: pytest.CaptureFixture[str]) -> None:
    change = Difference(path=hostile, before=hostile, after=[hostile])
    keys = KeyCounts(added=1, examples={"added": (hostile,)})
    names = {"settings": (change,), "plan": (change,), "figures": (change,), "rejects": (change,), "notes": (hostile,)}
    found = Comparison(what="stores", before=hostile, after=hostile, equal=False, sources_added=(hostile,), files=keys, **names)  # type: ignore[arg-type]
    show(found)
    printed = capsys.readouterr()
    assert is_inert(printed.out) and is_inert(printed.err)
