"""`materialize: once`: every drawn row is written once, by source, and the weights say exactly how often it is to be read."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

import rt2data
from rt2data.beam.pool import make_pool
from rt2data.beam.run import build_locally
from rt2data.build import Site, begin_build, build_plainly, preparations, prepare_plainly
from rt2data.cli.build import show_plan
from rt2data.errors import UsageError
from rt2data.formats.base import BLENDED, FORMATS, BlendFormat, make_format
from rt2data.look.inspect.mixture import InspectedMixture
from rt2data.look.stats.mixture import mixture_stats
from rt2data.look.verify import verify
from rt2data.look.verify.manifest import manifest_faults
from rt2data.plan.layout import ShardLayout, make_parts, part_weights
from rt2data.plan.recipe import Recipe, RecipeError, read_recipe
from rt2data.plan.recipe.cross_checks import contradictions
from rt2data.plan.recipe.document import parse
from rt2data.read.source import SOURCES
from rt2data.render.record import decode_record
from rt2data.seal.blend import WEIGHTS, alone
from rt2data.seal.manifest import Manifest, read_manifest
from rt2data.write.shard import write_shard
from tests.contract import toy
from tests.formats.conftest import examples
from tests.formats.test_mixtures import contents, cut, flip, remove

pytestmark = pytest.mark.long

Read = Callable[..., Recipe]
ONCE = ("shards.materialize=once", "size.num_examples=500")
"""333 draws of 48 robot rows, 167 of 9 web rows."""


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Read]:
    """A recipe over toy data, which is prepared once; overrides change it."""
    folder = tmp_path_factory.mktemp("once")
    robot, web = toy.write_robot(folder / "robot"), toy.write_web(folder / "web")
    (folder / "mixture.yaml").write_text(
        f"robot_frac: 2/3\nshards: {{bytes: 60kB}}\nstore: store\n"
        f"robot: {{arm: {{kind: toy_robot, path: {robot}, action_space: widowx_bridge}}}}\n"
        f"web: {{qa: {{kind: toy_web, path: {web}}}}}\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, place in toy.TABLE.items():
            patch.setitem(SOURCES, name, place)
        yield lambda *overrides: read_recipe(folder / "mixture.yaml", overrides=overrides)


@pytest.fixture(scope="module", params=BLENDED)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def out(name: str, read: Read, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Not to be changed."""
    found = tmp_path_factory.mktemp("built") / name
    build_plainly(read(f"shards.format={name}", *ONCE), Site(found))
    return found


@pytest.fixture(scope="module")
def repeats(read: Read, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same examples, repeats and all."""
    found = tmp_path_factory.mktemp("built") / "repeats"
    build_plainly(read("size.num_examples=500"), Site(found))
    return found


@pytest.fixture
def copy(out: Path, tmp_path: Path) -> Path:
    """To be damaged."""
    return Path(shutil.copytree(out, tmp_path / "copy"))


# What is written


def test_every_row_is_there_once_by_source_as_repeats_have_it_in_their_first_epoch(out: Path, repeats: Path) -> None:
    first: dict[str, list[Any]] = {"arm": [], "qa": []}
    for image, record in examples(repeats):
        if not record.epoch:
            first[record.source].append((image, record))
    assert examples(out) == first["arm"] + first["qa"]
    assert [len(rows) for rows in first.values()] == [48, 9]


def test_it_checks_out(out: Path) -> None:
    found = verify(out)
    assert found.faults == ()
    assert (found.examples, found.epochs) == (57, {"arm": (48,), "qa": (9,)})
    assert found.robot_frac == 333 / 500
    assert found.notes == (
        "each row was written once: the robot share is that of the weights, all other figures are of the rows as written",
    )


def test_what_is_never_drawn_is_not_written(name: str, read: Read, tmp_path: Path) -> None:
    few = ("shards.materialize=once", "robot_frac=1/2", "size.num_examples=20")
    build_plainly(read(f"shards.format={name}", *few), Site(tmp_path / "out"))
    assert verify(tmp_path / "out").faults == ()
    assert Counter(record.source for _, record in examples(tmp_path / "out")) == {"arm": 10, "qa": 9}


def test_the_manifest_and_the_weights_are_exact(out: Path) -> None:
    manifest, weights = read_manifest(out), json.loads((out / WEIGHTS).read_text())
    plan = manifest.plan
    assert plan.materialize == manifest.recipe["shards"]["materialize"] == "once"
    assert [(part.source, part.examples, part.weight) for part in plan.parts or ()] == [("arm", 48, 2), ("qa", 9, 1)]
    assert (manifest.examples, plan.num_examples, manifest.robot_frac) == (57, 500, 333 / 500)
    assert weights["num_examples"] == 500
    arm, qa = weights["sources"]["arm"], weights["sources"]["qa"]
    assert (arm["share"], arm["draws"], arm["rows"], arm["epochs"]) == ("2/3", 333, 48, "111/16")
    assert (qa["share"], qa["draws"], qa["rows"], qa["epochs"]) == ("1/3", 167, 9, "167/9")


def test_token_fractions_are_those_of_what_is_read(read: Read, tmp_path: Path) -> None:
    """Where each row is drawn equally often, the very ones that repeats have."""
    sized = ("robot_frac=16/19", "size.num_examples=114")
    once = build_plainly(read(*sized, "shards.materialize=once"), Site(tmp_path / "once"))
    repeats = build_plainly(read(*sized), Site(tmp_path / "repeats"))
    assert (once.examples, repeats.examples) == (57, 114)
    for which in ("robot_frac", "token_frac", "loss_token_frac"):
        assert getattr(once, which) == getattr(repeats, which)


@given(st.lists(st.fractions(min_value=Fraction(1, 1000), max_value=1000), min_size=1, max_size=9))
def test_weights_are_the_shares_and_have_no_common_factor(found: list[Fraction]) -> None:
    whole = sum(found)
    sources: Any = [SimpleNamespace(share=str(share / whole)) for share in found]
    weights = part_weights(sources)
    assert [Fraction(weight, sum(weights)) for weight in weights] == [share / whole for share in found]
    assert np.gcd.reduce(np.array(weights, object)) == 1


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(1, 500), st.integers(1, 9)), min_size=1, max_size=5))
def test_shards_of_the_parts_hold_every_draw_once(found: list[tuple[int, int, int]]) -> None:
    sources: Any = [SimpleNamespace(name=f"s{n}", draws=d, rows=r, share="1") for n, (d, r, _) in enumerate(found)]
    parts = make_parts(sources, [min(shards, draws, rows) for draws, rows, shards in found])
    plan: Any = SimpleNamespace(parts=parts, shards=sum(part.shards for part in parts))
    layout = ShardLayout(plan)
    held = np.array([layout.counts(index) for index in range(plan.shards)])
    assert layout[plan.shards].tolist() == held.sum(0).tolist()
    assert held.sum(0).tolist() == [min(draws, rows) for draws, rows, _ in found]
    assert ((held > 0).sum(1) == 1).all()
    assert (np.diff(held.argmax(1)) >= 0).all()


def test_each_part_is_a_dataset_by_itself(out: Path, name: str) -> None:
    form = make_format(name)
    for part, count in zip(alone(read_manifest(out)), (48, 9), strict=True):
        shards = part.dataset.shards
        found = [decode_record(m.record) for shard in shards for m in form.read(out / part.folder / shard.name)]
        assert [record.source for record in found] == [part.folder] * count
        assert listed(out / part.folder) == {shard.name: shard.examples for shard in shards}


def listed(folder: Path) -> dict[str, int]:
    """Examples of each shard, as the index of the format's own readers has them."""
    if (folder / "index.json").is_file():
        shards = json.loads((folder / "index.json").read_text())["shards"]
        return {shard["raw_data"]["basename"]: shard["samples"] for shard in shards}
    found: dict[str, int] = json.loads((folder / ".nv-meta" / ".info.json").read_text())["shard_counts"]
    return found


# Same bytes


def test_the_same_bytes_for_any_number_of_workers_and_with_beam(name: str, read: Read, tmp_path: Path, out: Path) -> None:
    pool = make_pool("processes", 2)
    try:
        build_locally(read(f"shards.format={name}", *ONCE), Site(tmp_path / "pool"), pool)
    finally:
        pool.close()
    assert contents(tmp_path / "pool") == contents(out)


def test_an_interrupted_build_goes_on_to_the_same_bytes(name: str, read: Read, tmp_path: Path, out: Path) -> None:
    recipe, site = read(f"shards.format={name}", *ONCE), Site(tmp_path / "again")
    with site.held(), preparations(recipe, recipe.store_folder) as todo:
        _, orders = begin_build(site, recipe, {p.name: prepare_plainly(p) for p in todo})
        write_shard(orders[0])
        write_shard(orders[-1])
        (site.staging / "arm" / ".half.1.tmp").write_bytes(b"half")
    assert not (site.staging / "arm" / ".half.1.tmp").exists()
    build_plainly(recipe, site)
    assert contents(tmp_path / "again") == contents(out)


def test_repeats_say_nothing_of_it(repeats: Path) -> None:
    """So their bytes and fingerprints are those of before."""
    told = (repeats / "manifest.json").read_text()
    assert "materialize" not in told and "parts" not in told
    assert not (repeats / WEIGHTS).exists()


# What is wrong is noticed


def test_whatever_happens_to_a_file_is_noticed(out: Path, tmp_path: Path) -> None:
    """To every file one thing, by turns."""
    for file, damage in zip(sorted(contents(out).keys() - {"manifest.json"}), cycle((flip, cut, remove)), strict=False):
        copy = Path(shutil.copytree(out, tmp_path / "damaged"))
        damage(copy / file)
        assert verify(copy).ok == (file == "README.md"), f"{damage.__name__} {file}"
        shutil.rmtree(copy)


def said(out: Path) -> str:
    return "\n".join(map(str, verify(out).faults))


def edit(out: Path, change: Callable[[dict[str, Any]], None]) -> None:
    manifest = json.loads((out / "manifest.json").read_text())
    change(manifest)
    (out / "manifest.json").write_text(json.dumps(manifest))


def test_weights_that_are_not_the_plans_are_named_even_when_sealed(copy: Path) -> None:
    content = (copy / WEIGHTS).read_bytes().replace(b'"weight": 2', b'"weight": 3')
    (copy / WEIGHTS).write_bytes(content)
    edit(copy, lambda m: m["files"][WEIGHTS].update(bytes=len(content), xxh3_128=xxhash.xxh3_128_hexdigest(content)))
    assert said(copy) == f"{WEIGHTS}: does not agree with the plan"
    edit(copy, lambda m: m["files"].pop(WEIGHTS))
    assert f"files: do not list {WEIGHTS}" in said(copy)


@pytest.mark.parametrize(
    "change",
    [
        lambda plan: plan["parts"][0].update(weight=3),
        lambda plan: plan["parts"][1].update(examples=8),
        lambda plan: plan["parts"][1].update(shards=2),
        lambda plan: plan["parts"][1].update(shards=0),
        lambda plan: plan["parts"].reverse(),
        lambda plan: plan["parts"].pop(),
        lambda plan: plan.update(format="tfds"),
        lambda plan: plan["sources"][0].update(share="1/0"),
        lambda plan: plan["sources"][0].update(draws=0),
        lambda plan: plan.pop("parts"),
        lambda plan: plan.pop("materialize"),
    ],
)
def test_parts_that_do_not_follow_from_the_plan_are_named(out: Path, change: Callable[[dict[str, Any]], None]) -> None:
    values = json.loads((out / "manifest.json").read_text())
    change(values["plan"])
    faults = [str(fault) for fault in manifest_faults(msgspec.convert(values, Manifest))]
    assert "manifest.json: plan.parts: they are not those of its sources, shares and draws" in faults


def test_a_part_cannot_lead_out_of_the_folder(copy: Path) -> None:
    edit(copy, lambda m: m["plan"]["parts"][0].update(source="../copy/arm"))
    found = verify(copy)
    assert found.examples == 0 and not found.ok


def test_what_cannot_be_is_refused(read: Read, tmp_path: Path) -> None:
    for other in FORMATS.keys() - set(BLENDED):
        with pytest.raises(RecipeError, match=f"whose readers mix by weight, not for {other}"):
            read(f"shards.format={other}", "shards.materialize=once")
    with pytest.raises(RecipeError, match="did you mean 'once'"):
        read("shards.materialize=onec")
    with pytest.raises(UsageError, match="source qa would not be drawn at all"):
        build_plainly(read("shards.materialize=once", "robot_frac=0.9", "size.num_examples=2"), Site(tmp_path / "out"))


def test_a_source_must_not_have_the_name_of_another_folder() -> None:
    text = "robot_frac: 0\nweb: {statistics: {kind: toy_web, path: x}}\nshards: {materialize: %s}\n"
    found = [[each.message for each in contradictions(parse(text % how, "here").value, Path("/"))] for how in ("repeats", "once")]
    assert found == [[], ["the name must not be statistics with materialize once: every output has a file or folder of that name"]]


def test_formats_that_can_are_those_of_the_table() -> None:
    assert tuple(name for name in FORMATS if name != "arrayrecord" and isinstance(make_format(name), BlendFormat)) == BLENDED


# Reading and looking


def test_load_mixes_as_a_build_with_repeats_does(read: Read, repeats: Path, tmp_path: Path) -> None:
    """The same number of each source in every block of 16, and each row as often, give or take one."""
    build_plainly(read(*ONCE), Site(tmp_path / "out"))
    here = [example["key"] for example in rt2data.load(tmp_path / "out", decode=None, shuffle=False)]
    assert len(here) == 500
    robot = np.array([key.startswith("arm-") for key in here])
    exact = np.minimum(np.arange(16, 516, 16), 500) * 333 / 500
    assert (np.abs(np.cumsum(robot)[np.minimum(np.arange(15, 515, 16), 499)] - exact) < 1).all()
    seen, there = Counter(here), Counter(record.key.partition("-r")[0] for _, record in examples(repeats))
    assert seen.keys() == there.keys()
    assert {key[:3]: sorted({seen[k] for k in seen if k[:3] == key[:3]}) for key in seen} == {"arm": [6, 7], "qa-": [18, 19]}
    assert [key for key in here if key.startswith("qa-")][:9] == [r.key for _, r in examples(tmp_path / "out") if r.source == "qa"]


@pytest.mark.parametrize("world", [1, 3])
def test_load_goes_on_where_it_was_for_any_number_of_ranks(read: Read, tmp_path: Path, world: int) -> None:
    build_plainly(read(*ONCE), Site(tmp_path / "out"))

    def keys(**options: Any) -> list[str]:
        return [example["key"] for example in rt2data.load(tmp_path / "out", decode=None, seed=5, **options)]

    whole = Counter(keys(epochs=2))
    ranks = [keys(rank=rank, world=world, epochs=2, remainder="keep") for rank in range(world)]
    assert sum(map(Counter, ranks), Counter[str]()) == whole
    mixture = rt2data.load(tmp_path / "out", decode=None, seed=5, epochs=2, world=world, remainder="keep")
    assert [example["key"] for example in islice(mixture, 100)] == ranks[0][:100]
    rest = rt2data.load(tmp_path / "out", decode=None, seed=5, epochs=2, world=world, remainder="keep", state=mixture.state_dict())
    assert [example["key"] for example in rest] == ranks[0][100:]


def test_inspect_shows_weights_and_pictures_of_every_source(out: Path) -> None:
    sight = InspectedMixture(out)
    facts = sight.facts()
    assert facts["weights"] == {"arm": 2, "qa": 1}
    assert [source["share"] for source in facts["sources"].values()] == [333 / 500, 167 / 500]
    assert {tile.source for tile in sight.tiles(6)} == {"arm", "qa"}


def test_the_plan_shows_what_is_written(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_plan(read_manifest(out).plan)
    shown = capsys.readouterr().out
    assert "500 examples (333 robot = 66.6000% (asked 2/3))" in shown
    assert "each row is written once, 57 in total; repeats are weights: arm 2, qa 1" in shown


def test_the_card_shows_how_to_mix(out: Path, name: str) -> None:
    card = (out / "README.md").read_text()
    assert "57 examples in" in card and "66.6000% of what is read by weight are robot steps" in card
    compile(code(out), "card", "exec")
    assert {"webdataset": "], [2, 1]), 500)", "mds": "proportion=2"}[name] in code(out)


def code(out: Path) -> str:
    return (out / "README.md").read_text().split("```python\n")[1].split("```")[0]


def test_croissant_lists_the_shards_of_each_part(out: Path) -> None:
    sets = json.loads((out / "croissant.json").read_text())["distribution"]
    assert [each["@id"] for each in sets] == ["arm-shards", "qa-shards"]
    matched = [found.relative_to(out).as_posix() for each in sets for found in out.glob(each["includes"])]
    assert sorted(matched) == sorted(shard.name for shard in read_manifest(out).shards)


def test_random_mix_reads_the_shares_as_the_card_says(read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The card's own code, with webdataset's reader: within 5 standard deviations of the binomial."""
    pytest.importorskip("webdataset")
    build_plainly(read("shards.materialize=once", "size.num_examples=900"), Site(tmp_path / "out"))
    monkeypatch.chdir(tmp_path / "out")
    random.seed(7)  # RandomMix draws by Python's own generator
    seen: list[str] = []
    exec(code(tmp_path / "out") + "    seen.append(record['source'])\n", {"seen": seen})
    assert len(seen) == 900
    assert abs(seen.count("arm") / 900 - 2 / 3) < 5 * (2 / 9 / 900) ** 0.5


def test_statistics_are_of_what_is_read(out: Path) -> None:
    """Shares and tokens by weight; no order is told, which is the readers'."""
    found = mixture_stats(read_manifest(out))
    assert (found.examples, [share.examples for share in found.shares]) == (500, [333, 167])
    assert [share.unique for share in found.shares] == [48, 9]
    assert (found.windows, found.running, found.shard_worst) == ((), (), 0.0)
    tokens = [share.tokens for share in found.shares]
    assert tokens[0] / sum(tokens) == pytest.approx(read_manifest(out).token_frac, abs=1e-4)
