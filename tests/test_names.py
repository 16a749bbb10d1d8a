"""Open X's names are names of sources: whole in statistics, manifests and records, in a form that fits in keys and datasets."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rt2data
from rt2data.build import Site, build_plainly, rlds_output
from rt2data.errors import UsageError
from rt2data.formats.base import FORMATS, make_format, members_of
from rt2data.io.tfrecord.directory import tfds_name
from rt2data.look.inspect import recognize
from rt2data.look.verify import verify
from rt2data.plan.episodes import RldsOptions
from rt2data.plan.recipe import Recipe, RecipeError, parse_recipe, read_recipe
from rt2data.prepare.catalog import kept_stores
from rt2data.records import SOURCE, key_name
from rt2data.render.record import decode_record
from tests.contract import toy

OPEN_X = (
    "fractal20220817_data",
    "nyu_franka_play_dataset_converted_externally_to_rlds",
    "cmu_playing_with_food",
    "berkeley_autolab_ur5",
    "stanford_hydra_dataset_converted_externally_to_rlds",
    "utokyo_xarm_pick_and_place_converted_externally_to_rlds",
    "DROID-100",
)
LONG = "nyu_franka_play_dataset_converted_externally_to_rlds"
WEB = "COCO-Captions_2017"
KEY = re.compile(r"[A-Za-z0-9_-]{1,90}")
names = st.from_regex(SOURCE, fullmatch=True)


@pytest.fixture
def recipe(tmp_path: Path, toy_sources: None) -> Callable[..., Recipe]:
    """Toy data under an Open X name and one with capitals and a hyphen."""
    toy.write_robot(tmp_path / "robot"), toy.write_web(tmp_path / "web")
    (tmp_path / "mixture.yaml").write_text(f"""
robot_frac: 0.5
store: store
size: {{num_examples: 120}}
robot: {{{LONG}: {{kind: toy_robot, path: robot, action_space: widowx_bridge}}}}
web: {{{WEB}: {{kind: toy_web, path: web}}}}
""")
    return lambda *overrides: read_recipe(tmp_path / "mixture.yaml", overrides=overrides)


def outline(*robots: str) -> str:
    sources = "\n".join(f"  {name}: {{kind: rlds, path: x, action_space: widowx_bridge}}" for name in robots)
    return f"robot_frac: 1\nrobot:\n{sources}\n"


def parsed(*robots: str, more: str = "") -> Recipe:
    return parse_recipe(outline(*robots) + more, "mixture.yaml", Path("/here"))


def test_names_of_open_x_are_taken_as_they_are() -> None:
    assert tuple(parsed(*OPEN_X).robot) == OPEN_X
    assert tuple(parsed("x" * 64).robot) == ("x" * 64,)


@pytest.mark.parametrize("name", ["x" * 65, "1st", "_x", "-x", "a.b", "a/b", "ä", "''"])
def test_other_names_are_not(name: str) -> None:
    with pytest.raises(RecipeError, match="the name must be a letter, then up to 63 letters, digits, _ or -"):
        parsed(name)


@given(names)
def test_names_in_keys(name: str) -> None:
    short = key_name(name)
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,31}", short)
    assert short == name or len(name) > 32 or "-" in name
    key = f"{short}-{'k' * 48}-r{10**6 - 1}"
    assert KEY.fullmatch(key) and len(f"{key}.json") <= 100
    assert re.fullmatch(r"[a-z][a-z0-9_]*", tfds_name(name))


def test_names_that_were_names_before_stay_in_keys() -> None:
    for name in ("bridge", "a" * 32, "x_1"):
        assert key_name(name) == name
    assert key_name(LONG) == "nyu_franka_play_dataset_" + key_name(LONG)[-8:]


@pytest.mark.parametrize(
    ("pair", "why"),
    [
        (("bridge", "Bridge"), "differ in case only"),
        ((LONG, LONG.upper()), "differ in case only"),
        ((LONG, key_name(LONG)), "give the same keys"),
    ],
)
def test_names_that_are_too_much_alike(pair: tuple[str, str], why: str) -> None:
    with pytest.raises(RecipeError, match=rf"mixture.yaml:4:3 robot.{pair[1]}: .*{why}"):
        parsed(*pair)


@pytest.mark.parametrize("name", ["Statistics", "SHA256SUMS", "note-000000"])
def test_names_of_what_is_in_every_output(name: str) -> None:
    assert parsed(name)
    with pytest.raises(RecipeError, match="must not be"):
        parsed(name, more="shards: {materialize: once}\n")


@pytest.mark.parametrize("form", [*FORMATS, "once"])
def test_a_mixture(form: str, recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    asked = ("shards.materialize=once",) if form == "once" else (f"shards.format={form}",)
    manifest = build_plainly(recipe(*asked), Site(tmp_path / "out"))
    assert verify(tmp_path / "out").faults == ()
    assert set(manifest.totals) == {LONG, WEB} and set(manifest.statistics) == {LONG}
    assert list(json.loads((tmp_path / "out" / "dataset_statistics.json").read_text())) == [LONG]
    assert {store.name for store in kept_stores(tmp_path / "store")} == {LONG, WEB}
    members = [
        member
        for shard in manifest.shards
        for member in members_of(make_format(manifest.plan.format), tmp_path / "out" / shard.name)
    ]
    begins = {(decode_record(member.record).source, member.key.partition("-")[0]) for member in members}
    assert begins == {(LONG, key_name(LONG)), (WEB, key_name(WEB))}
    assert len({member.key for member in members}) == len(members) == sum(shard.examples for shard in manifest.shards)
    if form in ("webdataset", "once"):
        assert {example["source"] for example in rt2data.load(tmp_path / "out", decode=None)} == {LONG, WEB}
        with tarfile.open(tmp_path / "out" / manifest.shards[0].name) as tar:
            assert max(len(name) for name in tar.getnames()) <= 100


def test_a_store_is_found_whatever_its_name(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    first = build_plainly(recipe(), Site(tmp_path / "out"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*.parquet")}
    assert build_plainly(recipe("seed=1"), Site(tmp_path / "again")).rejects == first.rejects
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*.parquet")} == before


def test_datasets_of_tfds_have_names_of_theirs_and_it_is_told(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    manifest = build_plainly(recipe(), Site(tmp_path / "rlds"), output=rlds_output(RldsOptions()))
    named = {dataset.source: dataset for dataset in manifest.plan.datasets}
    assert named[LONG].dataset == f"{LONG}_rlds" and not any("is called" in said for said in named[LONG].warnings)
    assert named[WEB].dataset == "coco_captions_2017_rlds"
    assert any("the dataset is called coco_captions_2017_rlds" in said for said in named[WEB].warnings)


def test_datasets_that_would_have_one_name(tmp_path: Path, toy_sources: None) -> None:
    toy.write_robot(tmp_path)
    sources = "".join(f"  {name}: {{kind: toy_robot, path: ., action_space: widowx_bridge}}\n" for name in ("a-b", "a_b"))
    recipe = parse_recipe(f"robot_frac: 1\nstore: store\nrobot:\n{sources}", "x", tmp_path)
    with pytest.raises(UsageError, match=r"two datasets would have one name.*--name"):
        build_plainly(recipe, Site(tmp_path / "rlds"), output=rlds_output(RldsOptions()))


def test_a_dataset_is_suggested_under_its_own_name(shared_data: Path) -> None:
    case = shared_data.parent / "cases" / "oxe_long_name" / LONG
    if not case.is_dir():
        pytest.skip("no dataset of a long name")
    assert recognize(case).suggestion().startswith(f"robot:\n  {LONG}:\n")
