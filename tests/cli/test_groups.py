"""`plan` of 12 sources in nested groups, and the mixture that is built of it: exact draws, a tree in 80 columns, groups told."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from rt2data.build import Site, build_plainly
from rt2data.cli.plan_tables import show_outlook
from rt2data.errors import UsageError
from rt2data.forecast.forecast import PlanForecast, forecast_plan, known_sources
from rt2data.io.installation import schemas
from rt2data.look.diff.mixtures import compare_settings
from rt2data.look.stats.mixture import mixture_stats
from rt2data.look.stats.model import MixtureStats
from rt2data.look.verify.manifest import manifest_faults
from rt2data.look.verify.output import verify
from rt2data.plan.recipe import Recipe, canonical, read_recipe
from rt2data.seal.dataset_card import licences
from rt2data.seal.manifest import read_manifest
from tests.contract import toy

EPISODES = {"arm_a": 6, "arm_b": 3, "leg": 1}  # of 8 steps
PICTURES = {"okvqa": 9, "gqa": 7, "ocr": 16, "docs": 36, "signs": 9, "captions": 50, "coco": 6, "grit": 4, "chat": 10}
TEXT = """\
robot_frac: 3/5
size: {num_examples: 1009}
shards: {bytes: 200kB}
store: store
robot:
  weighting: share
  sources:
    arms:
      weight: 3
      weighting: rows
      sources:
        arm_a: {kind: toy_robot, path: arm_a, action_space: widowx_bridge, license: MIT}
        arm_b: {kind: toy_robot, path: arm_b, action_space: widowx_bridge, weight: 1/3}
    leg: {kind: toy_robot, path: leg, action_space: widowx_bridge}
web:
  vqa:
    weight: 2
    weighting: share
    sources:
      okvqa: {kind: toy_web, path: okvqa, weight: 0.25, license: CC-BY-4.0}
      gqa: {kind: toy_web, path: gqa, weight: 0.5}
      text:
        weight: 1/4
        weighting: temperature
        temperature: 2
        maximum: 25
        sources:
          ocr: {kind: toy_web, path: ocr}
          docs: {kind: toy_web, path: docs}
          signs: {kind: toy_web, path: signs, weight: 4}
  captions: {kind: toy_web, path: captions, weight: 1/3}
  boxes:
    weight: 1/2
    sources:
      coco: {kind: toy_web, path: coco}
      grit: {kind: toy_web, path: grit, weight: 2}
  chat: {kind: toy_web, path: chat}
"""


def rows() -> dict[str, int]:
    return {name: 8 * n for name, n in EPISODES.items()} | PICTURES


def shares() -> dict[str, Fraction]:
    """By hand: nothing of the package is used."""
    f = Fraction
    robot, web = f(3, 5), f(2, 5)
    vqa, captions, boxes, chat = 2 * (9 + 7 + 16 + 36 + 9), f(50, 3), f(6 + 4, 2), 10
    whole = vqa + captions + boxes + chat
    in_vqa = web * vqa / whole
    text, in_boxes = in_vqa / 4, web * boxes / whole
    return {
        "arm_a": robot * f(3, 4) * f(48, 56),
        "arm_b": robot * f(3, 4) * f(8, 56),
        "leg": robot * f(1, 4),
        "captions": web * captions / whole,
        "chat": web * chat / whole,
        "coco": in_boxes * f(6, 14),
        "docs": text * f(5, 14),  # roots of 16, 25 and 25
        "gqa": in_vqa / 2,
        "grit": in_boxes * f(8, 14),
        "ocr": text * f(4, 14),
        "okvqa": in_vqa / 4,
        "signs": text * f(5, 14),
    }


def largest_remainder(total: int) -> dict[str, int]:
    found = shares()
    counts = {name: int(total * share) for name, share in found.items()}
    rest = sorted(found, key=lambda name: total * found[name] - counts[name], reverse=True)
    return counts | {name: counts[name] + 1 for name in rest[: total - sum(counts.values())]}


@pytest.fixture(scope="module")
def recipe_file(tmp_path_factory: pytest.TempPathFactory, toys: None) -> Path:
    folder = tmp_path_factory.mktemp("groups")
    for name, count in EPISODES.items():
        toy.write_robot(folder / name, episodes=count)
    for name, count in PICTURES.items():
        toy.write_web(folder / name, pictures=count)
    (folder / "mixture.yaml").write_text(TEXT)
    return folder / "mixture.yaml"


@pytest.fixture(scope="module")
def recipe(recipe_file: Path) -> Recipe:
    return read_recipe(recipe_file, check=True)


@pytest.fixture(scope="module")
def out(recipe: Recipe, recipe_file: Path) -> Path:
    build_plainly(recipe, Site(recipe_file.parent / "mixture"))
    return recipe_file.parent / "mixture"


@pytest.fixture
def planned(recipe: Recipe, out: Path) -> PlanForecast:
    """From the stores that the build has left."""
    return forecast_plan(recipe, known_sources(recipe, recipe.store_folder))


def test_draws_epochs_repeats_and_unseen_are_exact(planned: PlanForecast) -> None:
    wanted, there = largest_remainder(1009), rows()
    assert len(planned.sources) == 12 and not planned.estimated
    for source in planned.sources:
        count, n = wanted[source.name], there[source.name]
        assert (source.rows, source.draws, Fraction(source.share)) == (n, count, shares()[source.name])
        assert (source.repeats_min, source.repeats_max) == (count // n, -(-count // n))
        assert (source.epochs, source.unseen) == (count / n, max(n - count, 0))
    places = {source.name: source.place for source in planned.sources}
    assert (places["docs"], places["chat"], places["leg"]) == ("web.vqa.text", "web", "robot")
    groups = {group.place: group for group in planned.groups or ()}
    assert groups.keys() == {"robot", "robot.arms", "web.vqa", "web.vqa.text", "web.boxes"}
    assert groups["web.vqa.text"].draws == sum(wanted[name] for name in ("ocr", "docs", "signs"))
    assert groups["web.vqa"].rows == sum(there[name] for name in ("okvqa", "gqa", "ocr", "docs", "signs"))
    assert groups["web.vqa.text"].weighting == "temperature 2, max 25"


def test_programs_get_the_same(planned: PlanForecast) -> None:
    found = json.loads(msgspec.json.encode(planned))
    jsonschema.validate(found, json.loads((schemas() / "plan.schema.json").read_text()))
    assert [each["path"] for each in found["groups"]] == [[], ["arms"], ["vqa"], ["vqa", "text"], ["boxes"]]
    assert {each["name"]: each.get("path") for each in found["sources"]}["signs"] == ["vqa", "text"]


TREE = """\
robot: share
  arms: rows
    arm_a
    arm_b
  leg
web
  boxes: rows
    coco
    grit
  vqa: share
    text: temperature 2, max 25
      docs
      ocr
      signs
    gqa
    okvqa
  captions
  chat
"""


def test_a_tree_in_80_columns(planned: PlanForecast, terminal: Callable[..., str]) -> None:
    shown = terminal(80, lambda: show_outlook(planned)).splitlines()
    table = shown[: next(at for at, line in enumerate(shown) if line.startswith("("))]
    assert all(len(line.rstrip()) <= 80 for line in table)
    assert table[0].split()[0] == "source" and {"draws", "epochs", "repeats", "unseen"} < {*table[0].split()}
    assert [re.split(r"(?<=\S)  +|$", line)[0] for line in table[1:]] == TREE.splitlines()
    docs = next(line for line in table if line.strip().startswith("docs"))
    wanted = largest_remainder(1009)["docs"]
    assert f" {wanted} " in docs and docs.split()[-1] == f"{(36 - wanted) / 36:.1%}"


def test_a_tree_of_millions_has_its_shares_in_80_columns(planned: PlanForecast, terminal: Callable[..., str]) -> None:
    def larger(each: Any) -> Any:
        return msgspec.structs.replace(each, **{name: getattr(each, name) * 10**6 for name in ("rows", "draws", "unseen")})

    sources, groups = (tuple(map(larger, each)) for each in (planned.sources, planned.groups or ()))
    large = msgspec.structs.replace(planned, sources=sources, groups=groups, num_examples=1009 * 10**6)
    shown = terminal(80, lambda: show_outlook(large)).splitlines()
    assert all(len(line.rstrip()) <= 80 for line in shown[:19])
    assert shown[0].split() == ["source", "share", "draws", "epochs", "repeats", "unseen"]


def test_reports_say_where_a_source_is(out: Path) -> None:
    found = mixture_stats(read_manifest(out))
    assert {share.source: share.place or share.kind for share in found.shares}["docs"] == "web.vqa.text"
    assert msgspec.json.decode(msgspec.json.encode(found), type=MixtureStats) == found


def test_away_from_a_terminal_every_column_is_there(planned: PlanForecast, capsys: pytest.CaptureFixture[str]) -> None:
    show_outlook(planned)
    lines = capsys.readouterr().out.splitlines()
    arm = next(line.split() for line in lines if line.strip().startswith("arm_b"))
    draws = largest_remainder(1009)["arm_b"]
    assert arm[:9] == ["arm_b", "robot", "24", "3", "1/3", f"{draws / 1009:.2%}", str(draws), f"{draws / 24:.3g}", arm[8]]


def test_the_mixture_holds_what_was_planned(out: Path, planned: PlanForecast) -> None:
    findings, manifest = verify(out), read_manifest(out)
    assert not findings.faults
    assert {name: sum(s.sources[name].examples for s in manifest.shards if name in s.sources) for name in rows()} == (
        largest_remainder(1009)
    )
    assert manifest.plan.groups == planned.groups
    assert licences(manifest) == {"arm_a": "MIT", "okvqa": "CC-BY-4.0"}
    card = (out / "README.md").read_text()
    assert "| docs | web.vqa.text | toy_web |" in card and "| chat | web | toy_web |" in card


def test_a_group_that_does_not_add_up_is_found(out: Path) -> None:
    manifest = read_manifest(out)
    first, *others = manifest.plan.groups or ()
    plan = msgspec.structs.replace(manifest.plan, groups=(msgspec.structs.replace(first, draws=first.draws + 1), *others))
    faults = [fault.where for fault in manifest_faults(msgspec.structs.replace(manifest, plan=plan))]
    assert "plan.groups.robot.draws" in faults


def test_max_epochs_of_a_source_counts_instead_of_the_recipes(recipe_file: Path, out: Path) -> None:
    def plan(*overrides: str) -> object:
        asked = read_recipe(recipe_file, overrides=overrides)
        return forecast_plan(asked, known_sources(asked, asked.store_folder))

    most = -(-largest_remainder(1009)["leg"] // 8)
    with pytest.raises(UsageError, match=r"source leg would be repeated .* times, max_epochs is 3/2 .*leg\.max_epochs"):
        plan("robot.sources.leg.max_epochs=1.5")
    plan(f"robot.sources.leg.max_epochs={most}")
    with pytest.raises(UsageError, match=r"\[max_epochs\]"):
        plan("max_epochs=2")
    with pytest.raises(UsageError, match="source arm_a would"):
        plan("max_epochs=2", f"robot.sources.leg.max_epochs={most}")


def test_recipes_are_compared_by_what_is_in_their_groups(recipe_file: Path) -> None:
    before, after = (
        json.loads(canonical(read_recipe(recipe_file, overrides=each)))
        for each in ((), ("web.vqa.sources.text.sources.ocr.weight=2", "robot.sources.leg.weight=2"))
    )
    found = compare_settings(before, after)
    assert [each.path for each in found.settings] == ["robot.sources.leg.weight", "web.vqa.sources.text.sources.ocr.weight"]
    assert not found.added and not found.removed


def test_once_has_parts_with_weights(recipe_file: Path, tmp_path: Path) -> None:
    build_plainly(read_recipe(recipe_file, overrides=["shards.materialize=once"]), Site(tmp_path / "once"))
    assert not verify(tmp_path / "once").faults
    parts = read_manifest(tmp_path / "once").plan.parts or ()
    whole = sum(part.weight for part in parts)
    assert {part.source: Fraction(part.weight, whole) for part in parts} == shares()
