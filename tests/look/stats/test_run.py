"""The whole: the same for any number of workers and by Beam, whatever the rows come from; in whole files; and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from shutil import copytree

import jsonschema
import msgspec
import numpy as np
import pytest

from rt2data.beam.pool import make_pool
from rt2data.beam.stats import stats_anywhere
from rt2data.build import Site, build_plainly
from rt2data.demo.write import write_demo
from rt2data.errors import DataError, UsageError
from rt2data.formats.base import FORMATS
from rt2data.io.installation import schemas
from rt2data.look.stats.mixture import mixture_stats
from rt2data.look.stats.model import Stats
from rt2data.look.stats.passes import RowsOrder, RowSums, sum_rows
from rt2data.look.stats.row_set import row_sets
from rt2data.look.stats.run import take_stats
from rt2data.look.stats.subject import Question, find_subject, mixture_subject, recipe_subject, store_subject
from rt2data.look.verify import verify
from rt2data.plan.recipe import Recipe, read_recipe
from rt2data.tally.sums import add_up
from tests.look.stats.stores import files_of, lay, robot_rows
from tests.look.stats.test_real import prepare
from tests.look.stats.test_sums import packed

pytestmark = pytest.mark.long

Recipes = Callable[..., Recipe]


def text_of(stats: Stats) -> bytes:
    return msgspec.json.format(msgspec.json.encode(stats), indent=2) + b"\n"


def some_store(folder: Path, episodes: int = 20) -> Path:
    """A store of several files of rows, with two splits."""
    rng, rows = np.random.default_rng(3), []
    for number in range(episodes):
        action = rng.normal(0, 0.1, (15, 7))
        split = "val" if number % 5 == 0 else "train"
        rows += robot_rows(f"e{number:02d}", action, np.cumsum(action, 0), f"task {number % 7}", split, hz=10)
    return lay(folder, files_of(rows, most=40), "widowx_bridge").path


@pytest.mark.parametrize(("kind", "workers"), [("threads", 0), ("threads", 3), ("processes", 2)])
def test_workers_change_nothing(tmp_path: Path, kind: str, workers: int) -> None:
    subject = find_subject(Question(some_store(tmp_path / "s")), tmp_path, prepare)
    heard: list[tuple[str, int, int]] = []
    pool = make_pool(kind, workers)  # type: ignore[arg-type]
    try:
        found = take_stats(subject, pool, lambda passed: heard.append((passed.name, passed.done, passed.total)))
    finally:
        pool.close()
    assert text_of(found) == text_of(take_stats(subject))
    assert heard[-1] == ("count", 8, 8) and ("sum", 10, 10) in heard


@pytest.mark.parametrize("what", ["store", "mixture", "recipe"])
def test_beam_equals_plain_python(toy_recipe: Recipes, out: Path, tmp_path: Path, what: str) -> None:
    toy_recipe()
    paths = {"recipe": tmp_path / "mixture.yaml", "mixture": out}
    question = Question(paths[what] if what in paths else some_store(tmp_path / "s"))
    stats_anywhere(
        question, tmp_path / "deep" / "stats.json", ["--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner"]
    )
    plain = take_stats(find_subject(question, tmp_path / "scratch", prepare))
    assert (tmp_path / "deep" / "stats.json").read_bytes() == text_of(plain)
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["stats.json"], "nothing else is left"


def test_a_failure_leaves_no_file(out: Path, tmp_path: Path) -> None:
    copytree(out, tmp_path / "mixture")
    shard = next((tmp_path / "mixture").glob("shard-*.tar"))
    shard.write_bytes(shard.read_bytes()[:-2000])
    with pytest.raises(DataError):
        stats_anywhere(Question(tmp_path / "mixture"), tmp_path / "deep" / "stats.json", [])
    assert list((tmp_path / "deep").iterdir()) == []


def test_a_new_file_of_rows_costs_only_itself(tmp_path: Path) -> None:
    """Earlier sums plus those of one new file are the sums of all."""
    store = lay(tmp_path / "s", files_of(robot_rows("e", np.random.default_rng(0).normal(0, 1, (90, 7))), most=30), "widowx_bridge")
    (rows,) = row_sets(store, "rt2")
    parts = [sum_rows(RowsOrder(rows, number)) for number in range(rows.files)]
    assert packed(add_up(RowSums(), parts[:2]) + parts[2]) == packed(add_up(RowSums(), parts))


# Mixtures


@pytest.mark.parametrize("form", [name for name in FORMATS if name != "arrayrecord"])
def test_a_mixture_says_what_its_stores_say(toy_recipe: Recipes, tmp_path: Path, form: str) -> None:
    """From records alone, in any format: whole epochs of a source have the same numbers as its store."""
    recipe = toy_recipe(shards__format=form)
    build_plainly(recipe, Site(tmp_path / "out"))
    mixed = take_stats(mixture_subject(tmp_path / "out", tmp_path / "scratch"))
    stores = prepare(recipe)
    stored = take_stats(recipe_subject(tmp_path / "mixture.yaml", recipe, stores))
    for here, there in zip(mixed.sources, stored.sources, strict=True):
        assert (here.name, here.rows, here.groups, here.image_bytes) == (there.name, there.rows, there.groups, there.image_bytes)
        assert here.text == there.text and here.answers == there.answers
        assert here.cameras[0].unique == there.cameras[0].unique and here.cameras[0].sizes == there.cameras[0].sizes
        if here.actions is not None and there.actions is not None:
            for ours, theirs in zip(here.actions.dims, there.actions.dims, strict=True):
                same = {name: getattr(theirs, name) for name in ("count", "min", "max", "q01", "q50", "q99", "zeros", "top")}
                assert same == {name: getattr(ours, name) for name in same}
                assert (ours.mean, ours.std) == pytest.approx((theirs.mean, theirs.std), rel=1e-12, abs=1e-15)
            assert [each.bins for each in here.actions.coded] == [each.bins for each in there.actions.coded]
            assert here.actions.terminate == there.actions.terminate == 6
    robot = {s.name: s for s in mixed.sources}["arm"]
    assert robot.tokens is not None
    assert robot.tokens.whole == {s.name: s for s in stored.sources}["arm"].tokens.whole  # type: ignore[union-attr]


def test_the_shares_are_those_that_verify_counts(out: Path, mixture: Stats) -> None:
    findings, found = verify(out), mixture.mixture
    assert found is not None
    for each in found.shares:
        total = findings.totals[each.source]
        assert (each.examples, each.loss_tokens, each.image_bytes) == (total.examples, total.target_tokens, total.image_bytes)
        assert each.tokens == total.prompt_tokens + total.target_tokens
    assert sum(each.examples for each in found.shares) == found.examples
    least, most = findings.robot_frac_shards
    assert found.shard_worst == pytest.approx(max(abs(least - 0.5), abs(most - 0.5)))
    tokens = {s.name: s.tokens for s in mixture.sources}
    for name, total in findings.totals.items():
        here = tokens[name]
        assert here is not None
        assert (here.prompt.total, here.target.total, here.whole.max) == (total.prompt_tokens, total.target_tokens, total.longest)


def test_the_running_share_is_that_of_the_records(out: Path, mixture: Stats) -> None:
    import webdataset

    kinds = []
    for path in sorted(out.glob("shard-*.tar")):
        examples = webdataset.WebDataset(str(path), shardshuffle=False)
        kinds += [json.loads(example["json"])["kind"] == "robot" for example in examples]
    assert mixture.mixture is not None
    for after, share in mixture.mixture.running:
        assert share == pytest.approx(sum(kinds[:after]) / after)
    assert mixture.mixture.running[-1][0] == len(kinds) == mixture.mixture.examples


def test_windows_are_those_of_a_plain_loop(toy_recipe: Recipes, tmp_path: Path) -> None:
    from rt2data.plan.layout import ShardLayout
    from rt2data.seal.manifest import read_manifest
    from rt2data.write.shard import shard_sources

    build_plainly(toy_recipe(robot_frac="1/3", size__num_examples=700, shards__bytes="400kB"), Site(tmp_path / "out"))
    manifest = read_manifest(tmp_path / "out")
    strayed = {64: [], 256: [], 1024: []}  # type: dict[int, list[float]]
    for index in range(manifest.plan.shards):
        robots = shard_sources(ShardLayout(manifest.plan), index) == 0
        for length, found in strayed.items():
            starts = range(0, len(robots) - length + 1, 16)
            found += [abs(float(robots[at : at + length].mean()) - 1 / 3) for at in starts]
    windows = {each.examples: each for each in mixture_stats(manifest).windows}
    assert windows.keys() == {length for length, found in strayed.items() if found} and 64 in windows
    for length, each in windows.items():
        assert each.worst == pytest.approx(max(strayed[length]))
        assert each.mean == pytest.approx(np.mean(strayed[length]))


def test_repeated_rows_count_once(mixture: Stats) -> None:
    """Nine questions, 48 examples."""
    web = {source.name: source for source in mixture.sources}["qa"]
    assert (web.rows, web.text.rows) == (9, 9)
    assert web.tokens is not None and web.tokens.whole.count == 48
    assert mixture.mixture is not None
    shares = {each.source: each for each in mixture.mixture.shares}
    assert (shares["qa"].unique, shares["qa"].unseen) == (9, 0)


# What is asked for


def test_a_recipe_says_how_long_examples_are(toy_recipe: Recipes, tmp_path: Path) -> None:
    recipe = toy_recipe(max_tokens=80)
    found = take_stats(recipe_subject(tmp_path / "mixture.yaml", recipe, prepare(recipe)))
    arm = found.sources[0]
    assert arm.tokens is not None and arm.tokens.limit == 80
    assert arm.tokens.over == arm.rows == 48
    codes = {warn.code: warn.level for warn in found.warnings}
    assert codes["over_limit"] == "error" and codes["plan"] == "error", "and the plan says that it cannot be built"


def test_splits_and_codecs(tmp_path: Path) -> None:
    place = some_store(tmp_path / "s")
    found = take_stats(find_subject(Question(place, split="val", codec="openvla"), tmp_path, prepare))
    assert [(source.split, source.actions and source.actions.codec) for source in found.sources] == [("val", "openvla/1")]
    with pytest.raises(UsageError, match="no rows of split test"):
        find_subject(Question(place, split="test"), tmp_path, prepare)
    with pytest.raises(UsageError, match="did you mean openvla"):
        find_subject(Question(place, codec="openvl"), tmp_path, prepare)


def test_a_store_with_a_recipe(toy_recipe: Recipes, tmp_path: Path) -> None:
    stores = prepare(toy_recipe())
    found = take_stats(find_subject(Question(stores["arm"].path, recipe=tmp_path / "mixture.yaml"), tmp_path, prepare))
    bare = take_stats(store_subject(stores["arm"].path, [stores["arm"]]))
    assert found.sources[0].tokens is not None and bare.sources[0].tokens is None
    assert found.what == bare.what == "store" and found.mixture is None


@pytest.mark.parametrize(("old", "new"), [('"draws": 48', '"draws": 47'), ('"format": "webdataset"', '"format": "zip"')])
def test_a_damaged_manifest_is_refused(out: Path, tmp_path: Path, old: str, new: str) -> None:
    content = (out / "manifest.json").read_text()
    assert old in content
    (tmp_path / "manifest.json").write_text(content.replace(old, new, 1))
    with pytest.raises(DataError, match="does not add up"):
        mixture_subject(tmp_path, tmp_path / "scratch")


def test_a_mixture_has_its_own_codec(out: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="remove --codec"):
        find_subject(Question(out, codec="rt2"), tmp_path, prepare)
    with pytest.raises(UsageError, match="split train, not val"):
        find_subject(Question(out, split="val"), tmp_path, prepare)


@pytest.mark.slow
def test_the_demo_raises_no_alarm(tmp_path: Path) -> None:
    write_demo(tmp_path / "demo", episodes=8, scenes=20)
    recipe = read_recipe(tmp_path / "demo" / "mixture.yaml")
    found = take_stats(recipe_subject(tmp_path / "demo" / "mixture.yaml", recipe, prepare(recipe)))
    assert [warn.what for warn in found.warnings if warn.level != "note"] == []


def test_it_is_as_its_schema_says(mixture: Stats) -> None:
    schema = json.loads((schemas() / "stats.schema.json").read_text("utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(msgspec.json.encode(mixture)), schema)
    assert msgspec.json.decode(msgspec.json.encode(mixture), type=Stats) == mixture
