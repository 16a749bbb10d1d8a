"""Weights, groups and published mixtures: exact shares, whatever the tree; the numbers as published; mistakes with their places."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from fractions import Fraction
from math import isqrt
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.cli.schemagen import mixture_schema
from rt2data.errors import UsageError
from rt2data.io.installation import schemas
from rt2data.order import EpochOrder, interleave
from rt2data.plan.layout import part_weights, readable_weights
from rt2data.plan.plan import draws
from rt2data.plan.recipe import Recipe, RecipeError, canonical, from_canonical, parse_recipe
from rt2data.plan.recipe.model import Group, Side, Size
from rt2data.plan.recipe.presets import load_preset, shipped_presets
from rt2data.plan.shares import lacking_notes, mixture_shares, root
from rt2data.read.standards import shipped
from tests.contract import toy
from tests.laws import tries

# Random trees. The expected shares are computed here from the trees themselves, with fractions only.

weights = st.fractions(Fraction(1, 9), 9, max_denominator=9)
rules: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.just({"weighting": "rows"}),
    st.just({"weighting": "share"}),
    st.fixed_dictionaries(
        {"weighting": st.just("temperature"), "temperature": st.just(Fraction(1)), "maximum": st.none() | st.integers(1, 200)}
    ),
)
Leaf = tuple[int, Fraction]
leaves: st.SearchStrategy[Any] = st.tuples(st.integers(1, 300), weights)
trees = st.recursive(leaves, lambda inner: st.tuples(rules, weights, st.lists(inner, min_size=1, max_size=4)), max_leaves=8).map(
    lambda tree: tree if isinstance(tree[0], dict) else ({"weighting": "rows"}, Fraction(1), [tree])
)


def built(tree: Any, source: type, prefix: str, rows: dict[str, int]) -> Any:
    """The group, with its sources numbered in `rows`."""
    if isinstance(tree[0], int):
        raise AssertionError("a source is no group")
    rule, weight, inner = tree
    members: dict[str, Any] = {}
    for at, each in enumerate(inner):
        if isinstance(each[0], int):
            name = f"{prefix}{len(rows)}"
            rows[name] = each[0]
            members[name] = source.model_construct(weight=each[1], max_epochs=None)  # type: ignore[attr-defined]
        else:
            members[f"g{prefix}{at}_{len(rows)}"] = built(each, source, prefix, rows)
    made = {"temperature": None, "maximum": None, "weights": None, **rule}
    return Group.model_construct(weight=weight, sources=members, **made)


def expected(tree: Any, share: Fraction) -> list[Fraction]:
    """Shares of the sources of a tree, in its order."""
    if isinstance(tree[0], int):
        return [share]
    rule, _, inner = tree
    rates = [_rate(rule, each) for each in inner]
    return [part for each, rate in zip(inner, rates, strict=True) for part in expected(each, share * rate / sum(rates))]


def _rows(tree: Any) -> int:
    return tree[0] if isinstance(tree[0], int) else sum(map(_rows, tree[2]))


def _rate(rule: dict[str, Any], tree: Any) -> Fraction:
    if rule["weighting"] == "share":
        return Fraction(tree[1])
    size = tree[1] * _rows(tree)
    return min(size, Fraction(rule["maximum"])) if rule.get("maximum") else Fraction(size)


def mixed(robot: Any, web: Any, share: Fraction, **values: Any) -> tuple[Recipe, dict[str, int], dict[str, Fraction]]:
    """A recipe of two trees, the rows of its sources, and the shares that they should have."""
    rows: dict[str, int] = {}
    sides = {"robot": built(robot, toy.ToyRobot, "r", rows), "web": built(web, toy.ToyWeb, "w", rows)}
    wanted = [*expected(robot, share), *expected(web, 1 - share)]
    return Recipe.model_construct(robot_frac=share, **sides, **values), rows, dict(zip(rows, wanted, strict=True))


fractions = st.fractions(Fraction(1, 50), Fraction(49, 50), max_denominator=60)


@given(robot=trees, web=trees, share=fractions, total=st.integers(1, 10**6))
def test_shares_of_any_tree_are_exact(robot: Any, web: Any, share: Fraction, total: int) -> None:
    recipe, rows, wanted = mixed(robot, web, share)
    found = mixture_shares(recipe, rows)
    assert {name: each.share for name, each in found.sources.items()} == wanted
    assert sum(wanted.values()) == 1
    for group in found.groups:
        inside = [s for s in found.sources.values() if s.source.role == group.side and s.path[: len(group.path)] == group.path]
        assert sum(s.share for s in inside) == group.share
    drawn = draws(recipe.model_copy(update={"size": Size(num_examples=total)}), rows)
    assert sum(drawn.values()) == total
    assert all(abs(drawn[name] - share * total) < 1 for name, share in wanted.items())


@tries(40)
@given(robot=trees, web=trees, share=fractions, total=st.integers(1, 3000), seed=st.integers(0, 99))
def test_every_row_comes_as_often_as_any_other(robot: Any, web: Any, share: Fraction, total: int, seed: int) -> None:
    """Floor or ceiling of the epochs of its source; and each source is never an example away from its share of its side."""
    recipe, rows, _ = mixed(robot, web, share, size=Size(num_examples=total))
    drawn = draws(recipe, rows)
    for name, count in drawn.items():
        taken = np.bincount(EpochOrder(rows[name], seed, name).draw(0, count)[0], minlength=rows[name])
        assert {*taken.tolist()} <= {count // rows[name], -(-count // rows[name])}
    sides = [[n for name, n in drawn.items() if name[0] == side] for side in "rw"]
    order = interleave(sides, seed)
    placed = np.cumsum(order[:, None] == np.arange(len(drawn)), axis=0)[15::16]
    first = len(sides[0])
    for at, end in zip(placed, range(16, total + 1, 16), strict=False):
        for part, counts in ((at[:first], sides[0]), (at[first:], sides[1])):
            whole = sum(counts)
            assert abs(Fraction(int(part.sum())) - Fraction(whole * end, total)) < 1
            assert all(abs(int(n) - Fraction(int(part.sum()) * c, whole)) < 1 for n, c in zip(part, counts, strict=True) if whole)


@tries(20)
@given(robot=trees, web=trees, share=fractions, seed=st.integers(0, 99), world=st.sampled_from([2, 4, 8]))
def test_readers_that_stride_see_the_right_shares(robot: Any, web: Any, share: Fraction, seed: int, world: int) -> None:
    """Every world-th example. A periodic order would be off by up to a half; shuffled blocks of 16 are off by chance alone, here
    within five standard deviations of drawing without replacement: 0.020, 0.034 and 0.052 for 2, 4 and 8 readers.
    """
    recipe, rows, _ = mixed(robot, web, share, size=Size(num_examples=16_384))
    drawn = draws(recipe, rows)
    order = interleave([[n for name, n in drawn.items() if name[0] == side] for side in "rw"], seed)
    bound = 5 * (0.25 * (1 - 1 / world) / (16_384 / world)) ** 0.5
    for rank in range(world):
        seen = np.bincount(order[rank::world], minlength=len(drawn)) / len(order[rank::world])
        assert np.abs(seen - np.array(list(drawn.values())) / 16_384).max() < bound


# Powers


def seqio(rows: int, weight: Fraction, temperature: float, maximum: int | None) -> float:
    """min(rows x scale, maximum) ** (1 / T), in floats."""
    size = float(rows * weight)
    return float((min(size, maximum) if maximum else size) ** (1 / temperature))


@given(
    rows=st.lists(st.integers(1, 10**9), min_size=2, max_size=6),
    weight=weights,
    temperature=st.fractions(Fraction(1, 2), 20, max_denominator=12),
    maximum=st.none() | st.integers(1, 10**9),
)
def test_temperature_is_that_of_seqio(rows: list[int], weight: Fraction, temperature: Fraction, maximum: int | None) -> None:
    sources = {f"w{at}": toy.ToyWeb.model_construct(weight=weight) for at in range(len(rows))}
    rule = {"weighting": "temperature", "temperature": temperature, "maximum": maximum}
    recipe = Recipe.model_construct(robot_frac=Fraction(0), robot={}, web=sources, **rule)
    found = mixture_shares(recipe, dict(zip(sources, rows, strict=True)))
    rates = [seqio(n, weight, float(temperature), maximum) for n in rows]
    for name, rate in zip(sources, rates, strict=True):
        assert float(found.sources[name].share) == pytest.approx(rate / sum(rates), rel=1e-12)
    assert sum(s.share for s in found.sources.values()) == 1


@given(number=st.integers(2, 10**12))
def test_roots_are_rounded_as_whole_numbers_say(number: int) -> None:
    """The square root by integers alone, to 18 significant digits, half up: a root that is no whole number is never half way."""
    assert root(Fraction(number**2), Fraction(2)) == number
    digits = len(str(isqrt(number)))
    scale = 10 ** (18 - digits)
    below = isqrt(number * scale * scale)
    nearest = below + ((2 * below + 1) ** 2 <= 4 * number * scale * scale)
    assert root(Fraction(number), Fraction(2)) == Fraction(nearest, scale)


def test_roots_do_not_depend_on_the_decimal_of_the_machine() -> None:
    """C's and Python's own decimal: `ln` and `exp` are correctly rounded in both."""
    cases = [(3, "2"), (10**9 + 7, "10/3"), (17, "1/2"), (999_999, "7/5")]
    code = (
        "import sys; sys.modules['_decimal'] = None\n"
        "import decimal, _pydecimal; assert decimal.Decimal is _pydecimal.Decimal\n"
        "from fractions import Fraction; from rt2data.plan.shares import root\n"
        f"print([str(root(Fraction(n), Fraction(t))) for n, t in {cases!r}])"
    )
    plain = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert plain.strip() == str([str(root(Fraction(n), Fraction(t))) for n, t in cases])


def test_weights_too_long_for_64_bits_are_the_draws() -> None:
    """With `materialize: once` shares become whole weights: those of a root in a root have about 120 bits."""

    def planned(share: Fraction, count: int) -> Any:
        return SimpleNamespace(share=str(share), draws=count)

    one, other = (root(Fraction(n), Fraction(2)) for n in (3, 5))
    part = one / (one + other)
    inside = [planned(part * part, 190), planned(part * (1 - part), 246), planned(1 - part, 564)]
    assert max(part_weights(inside)) >= 1 << 63
    assert readable_weights(inside) == [95, 123, 282]
    assert readable_weights([planned(Fraction(1, 3), 1), planned(Fraction(2, 3), 5)]) == [1, 2]


# A recipe with 12 sources in nested groups

NESTED = """\
robot_frac: 2/3
size: {num_examples: 100003}
robot:
  weighting: share
  sources:
    arms:
      weight: 3
      weighting: rows
      sources:
        arm_a: {kind: toy_robot, path: x, action_space: widowx_bridge}
        arm_b: {kind: toy_robot, path: x, action_space: widowx_bridge, weight: 1/3}
    leg: {kind: toy_robot, path: x, action_space: widowx_bridge}
    tail: {kind: toy_robot, path: x, action_space: widowx_bridge, weight: 0}
web:
  vqa:
    weight: 2
    weighting: share
    sources:
      okvqa: {kind: toy_web, path: x, weight: 0.25}
      gqa: {kind: toy_web, path: x, weight: 0.5}
      text:
        weight: 1/4
        weighting: temperature
        temperature: 2
        maximum: 400
        sources:
          ocr: {kind: toy_web, path: x}
          docs: {kind: toy_web, path: x}
          signs: {kind: toy_web, path: x, weight: 4}
  captions: {kind: toy_web, path: x, max_epochs: 7}
  boxes:
    weight: 1/2
    sources:
      coco: {kind: toy_web, path: x}
      grit: {kind: toy_web, path: x, weight: 2}
  chat: {kind: toy_web, path: x}
"""
ROWS = {
    "arm_a": 900,
    "arm_b": 300,
    "leg": 40,
    "okvqa": 90,
    "gqa": 70,
    "ocr": 100,
    "docs": 900,
    "signs": 36,
    "captions": 5000,
    "coco": 60,
    "grit": 45,
    "chat": 1000,
}


def nested_shares() -> dict[str, Fraction]:
    """By hand: nothing of the package is used."""
    f = Fraction
    robot, web = f(2, 3), f(1, 3)
    vqa, captions, boxes, chat = 2 * (90 + 70 + 100 + 900 + 36), 5000, f(60 + 45, 2), 1000
    whole = vqa + captions + boxes + chat
    in_vqa, text = web * vqa / whole, web * vqa / whole / 4
    return {
        "arm_a": robot * f(3, 4) * f(900, 1000),
        "arm_b": robot * f(3, 4) * f(100, 1000),
        "leg": robot * f(1, 4),
        "boxes": web * boxes / whole,
        "captions": web * captions / whole,
        "chat": web * chat / whole,
        "coco": web * boxes / whole * f(60, 150),
        "docs": text * f(20, 10 + 20 + 12),  # roots of 100, 400 and 144
        "gqa": in_vqa / 2,
        "grit": web * boxes / whole * f(90, 150),
        "ocr": text * f(10, 42),
        "okvqa": in_vqa / 4,
        "signs": text * f(12, 42),
        "text": text,
        "vqa": in_vqa,
    }


def largest_remainder(total: int, shares: dict[str, Fraction]) -> dict[str, int]:
    counts = {name: int(total * share) for name, share in shares.items()}
    rest = sorted(shares, key=lambda name: total * shares[name] - counts[name], reverse=True)
    return counts | {name: counts[name] + 1 for name in rest[: total - sum(counts.values())]}


@pytest.fixture
def nested(toys: None) -> Recipe:
    return parse_recipe(NESTED, "mixture.yaml", Path("/recipes"))


def test_twelve_sources_in_nested_groups(nested: Recipe) -> None:
    wanted = nested_shares()
    found = mixture_shares(nested, ROWS)
    assert {name: each.share for name, each in found.sources.items()} == {name: wanted[name] for name in ROWS}
    assert {group.path[-1]: group.share for group in found.groups if group.path[1:] or group.side == "web"} == {
        name: wanted[name] for name in ("vqa", "text", "boxes")
    }
    assert draws(nested, ROWS) == largest_remainder(100003, {name: wanted[name] for name in sorted(ROWS)})
    assert found.sources["docs"].path == ("vqa", "text")


def test_a_recipe_with_groups_reads_back(nested: Recipe) -> None:
    again = from_canonical(canonical(nested))
    assert again == nested and canonical(again) == canonical(nested)
    assert isinstance(again.robot, Side) and isinstance(again.web["vqa"], Group)
    assert " ".join(nested.sources) == "arm_a arm_b leg tail okvqa gqa ocr docs signs captions coco grit chat"


def test_what_is_new_leaves_no_trace_in_an_old_recipe(toys: None) -> None:
    text = "robot_frac: 0\nweb: {qa: {kind: toy_web, path: x}}"
    written = json.loads(canonical(parse_recipe(text, "m", Path("/"))))
    assert not {"temperature", "maximum"} & written.keys() and "max_epochs" not in written["web"]["qa"]
    limited = json.loads(canonical(parse_recipe(text.replace("x}", "x, max_epochs: 3/2}"), "m", Path("/"))))
    assert limited["web"]["qa"]["max_epochs"] == "3/2"


@pytest.mark.parametrize("override", ["web.vqa.sources.text.sources.ocr.weight=3", "web.vqa.weight=3", "robot.weighting=rows"])
def test_overrides_reach_into_groups(override: str, toys: None) -> None:
    recipe = parse_recipe(NESTED, "mixture.yaml", Path("/recipes"), [override])
    assert mixture_shares(recipe, ROWS).sources["ocr"].share != nested_shares()["ocr"] or "robot" in override


MISTAKES = {
    "web.ocr.weight=2": "web.ocr: there is no source of this name: it is web.vqa.sources.text.sources.ocr",
    "web.vqa.sources.oc.weight=2": "web.vqa.sources.oc: there is no source of this name: the recipe has",
    "web.vqa.weighting=rate": "web.vqa.weighting: must be 'rows', 'share' or 'temperature', got 'rate'",
    "web.vqa.weighting=temperature": "web.vqa.weighting: temperature needs a `temperature`",
    "web.vqa.temperature=2": "web.vqa.temperature: belongs to `weighting: temperature`",
    "maximum=2": "maximum: belongs to `weighting: temperature`",
    "web.vqa.sources.text.temperature=0.01": "web.vqa.sources.text.temperature: must be between 0.1 and 1000, got 1/100",
    "web.boxes.sources={}": "web.boxes.sources: has no sources: add one, or set the group's weight to 0",
    "web.boxes.sources.coco.weight=0": None,
    "web.boxes.sources.docs={kind: toy_web, path: x}": "web.boxes.sources.docs: is already the name of a source under web.vqa.text",
    "web.arms={kind: toy_web, path: x}": "web.arms: is already the name of a group under robot",
    "web.boxes.sources.longest={kind: toy_web, path: x}": "web.boxes.sources.longest: the name must not be longest",
    "web.boxes.wieght=1": "web.boxes.wieght: unknown key, did you mean 'weight'?",
    "robot.weight=1": "robot.weight: unknown key",
    "web.weighting=share": "web: has weighting among its sources: put the sources under `sources`, beside it",
    "web.boxes.sources.coco.kind=toy_robot": "web.boxes.sources.coco.kind: 'toy_robot' belongs under robot",
    "web.boxes.weights=nothing": "web.boxes.weights: no mixture is known as 'nothing'",
    "web.boxes.weights=palm-e-web": "web.boxes.sources.grit: palm-e-web has no member of this name",
    "robot.weights=rtx": "robot.weighting: rtx has a weighting of its own (rows)",
}


@pytest.mark.parametrize("override", MISTAKES)
def test_mistakes_in_groups_have_their_place(override: str, toys: None) -> None:
    wanted = MISTAKES[override]
    if wanted is None:
        assert parse_recipe(NESTED, "mixture.yaml", Path("/recipes"), [override]).web["boxes"].sources["coco"].weight == 0
        return
    with pytest.raises(RecipeError) as caught:
        parse_recipe(NESTED, "mixture.yaml", Path("/recipes"), [override])
    said = [str(mistake).partition(f"--set {override} ")[2] or str(mistake).split(" ", 1)[1] for mistake in caught.value.mistakes]
    assert any(line.startswith(wanted) for line in said), said


def test_a_group_of_nothing_but_zeros_is_a_mistake(toys: None) -> None:
    zeros = ["web.boxes.sources.coco.weight=0", "web.boxes.sources.grit.weight=0"]
    with pytest.raises(RecipeError, match=r"web\.boxes\.sources: every weight in it is 0"):
        parse_recipe(NESTED, "mixture.yaml", Path("/recipes"), zeros)
    off = parse_recipe(NESTED, "mixture.yaml", Path("/recipes"), [*zeros, "web.boxes.weight=0"])
    rows = {name: n for name, n in ROWS.items() if name not in ("coco", "grit")}
    assert mixture_shares(off, rows).sources.keys() == rows.keys()


# Published mixtures, against the numbers as published

SOUP = {
    "fractal20220817_data": "0.54087122203",
    "kuka": "0.8341046294",
    "bridge_orig": 1,
    "taco_play": 2,
    "jaco_play": 1,
    "berkeley_cable_routing": 1,
    "roboturk": 2,
    "viola": 2,
    "berkeley_autolab_ur5": 2,
    "toto": 1,
    "language_table": ".1",
    "stanford_hydra": 2,
    "austin_buds": 1,
    "nyu_franka_play": 3,
    "furniture_bench": ".1",
    "ucsd_kitchen": 2,
    "austin_sailor": 1,
    "austin_sirius": 1,
    "dlr_edan": 1,
    "iamlab_cmu_pickup_insert": 1,
    "utaustin_mutex": 1,
    "berkeley_fanuc": 2,
    "cmu_stretch": 1,
}
PLUS = SOUP | {"bc_z": ".2", "fmb_dataset": 1, "dobbe": ".2", "droid": ".06"}
PUBLISHED: dict[str, tuple[str, dict[str, Any]]] = {
    "oxe_magic_soup": ("rows", SOUP),
    "oxe_magic_soup_plus": ("rows", PLUS),
    "oxe_magic_soup_plus_minus": (
        "rows",
        {n: w for n, w in PLUS.items() if n not in ("language_table", "droid")} | {"fractal20220817_data": 1},
    ),
    "rtx": (
        "rows",
        dict(list(SOUP.items())[:10])
        | {"jaco_play": 2, "berkeley_cable_routing": 3, "roboturk": 1, "viola": 2, "berkeley_autolab_ur5": 1},
    ),
    "palm-e-web": (
        "share",
        {"webli": 100, "vq2a_cc3m": 25, "vqg_cc3m": 10, "cc3m": 25, "object_aware": 10, "okvqa": 1, "vqav2": 1, "coco": 1}
        | {"wikipedia_text": 1},
    ),
    "molmoact_robot": ("share", {"depth_and_trace": ".15", "bc_z": ".15", "bridge": ".25", "rt_1": ".40"}),
    "molmoact_web": ("share", {"demo": ".15", "vqa": ".4", "pointing": ".35", "bbox": ".1"}),
}


def test_published_mixtures_have_the_published_numbers() -> None:
    found = {each.name: (each.weighting, {m.name: m.weight for m in each.members}) for each in shipped_presets()}
    assert found == {name: (rule, {n: Fraction(w) for n, w in members.items()}) for name, (rule, members) in PUBLISHED.items()}
    assert sum(PUBLISHED["palm-e-web"][1].values()) == 191 - 6 - 8 - 3
    assert sum(map(Fraction, PUBLISHED["molmoact_web"][1].values())) == 1
    assert sum(map(Fraction, PUBLISHED["molmoact_robot"][1].values())) == Fraction("0.95")


def test_members_of_open_x_are_known_datasets_by_name_or_alias() -> None:
    known = {name for each in shipped() for name in (each.name, *each.match.names)}
    for preset in shipped_presets():
        if preset.weighting == "rows":
            assert [m.name for m in preset.members if not known & {m.name, *m.aliases}] == []


WITH_PRESET = """\
robot_frac: 1
size: {num_examples: 1000}
robot:
  weights: oxe-magic-soup
  sources:
    Bridge-Dataset: {kind: toy_robot, path: x, action_space: widowx_bridge}
    kuka: {kind: toy_robot, path: x, action_space: widowx_bridge}
    viola: {sources: {viola_a: {kind: toy_robot, path: x, action_space: widowx_bridge}}}
"""


def test_a_published_mixture_gives_weights_by_name_and_alias(toys: None) -> None:
    recipe = parse_recipe(WITH_PRESET, "mixture.yaml", Path("/recipes"))
    shares = mixture_shares(recipe, {"Bridge-Dataset": 60, "kuka": 100, "viola_a": 5})
    kuka = Fraction("0.8341046294") * 100
    whole = 60 + kuka + 2 * 5
    assert {n: s.share for n, s in shares.sources.items()} == {
        "Bridge-Dataset": 60 / whole,
        "kuka": kuka / whole,
        "viola_a": 10 / whole,
    }
    (note,) = lacking_notes(shares)
    assert note.level == "note" and note.what.startswith("20 of 23 members of oxe_magic_soup are not under robot: fractal2022")
    assert all(name in note.what for name in SOUP if name not in ("bridge_orig", "kuka", "viola"))


@pytest.mark.parametrize(
    ("old", "new", "wanted"),
    [
        ("kuka:", "kuko:", r"robot\.sources\.kuko: oxe_magic_soup has no member of this name.*did you mean 'kuka'"),
        ("kuka: {", "kuka: {weight: 1, ", r"robot\.sources\.kuka\.weight: oxe_magic_soup gives it the weight 4170523147/5"),
        ("kuka:", "bridge_orig:", r"robot\.sources\.bridge_orig: is bridge_orig of oxe_magic_soup, and so is Bridge-Dataset"),
        ("oxe-magic-soup", "oxe_magic_sup", "no mixture is known as 'oxe_magic_sup'.*did you mean oxe_magic_soup"),
    ],
)
def test_what_a_published_mixture_does_not_have_is_one_mistake(old: str, new: str, wanted: str, toys: None) -> None:
    with pytest.raises(RecipeError, match=wanted) as caught:
        parse_recipe(WITH_PRESET.replace(old, new), "mixture.yaml", Path("/recipes"))
    assert len(caught.value.mistakes) == 1


def test_groups_of_molmoact_take_roots(toys: None) -> None:
    text = """\
robot_frac: 0
web:
  weights: molmoact_web
  sources:
    vqa: {sources: {okvqa: {kind: toy_web, path: x}, gqa: {kind: toy_web, path: x}}}
    pointing: {kind: toy_web, path: x}
"""
    shares = mixture_shares(parse_recipe(text, "m", Path("/")), {"okvqa": 100, "gqa": 400, "pointing": 7}).sources
    assert [shares[name].share for name in ("okvqa", "gqa", "pointing")] == [Fraction(40, 225), Fraction(80, 225), Fraction(35, 75)]


def test_a_mixture_of_ones_own(tmp_path: Path, toys: None) -> None:
    text = 'name = "mine"\ntitle = "t"\nsource = "s"\nweighting = "share"\nmembers = [{name = "a", weight = 0.1}, %s]\n'
    (tmp_path / "mine.toml").write_text(text % '{name = "b", weight = 0.2}')
    recipe = "robot_frac: 0\nweb: {weights: ./mine.toml, sources: {a: {kind: toy_web, path: x}, b: {kind: toy_web, path: x}}}"
    shares = mixture_shares(parse_recipe(recipe, "m", tmp_path), {"a": 1, "b": 100}).sources
    assert [shares[name].share for name in "ab"] == [Fraction(1, 3), Fraction(2, 3)]
    for twice in (
        '{name = "A", weight = 1}',
        '{name = "b", weight = 1, aliases = ["a"]}',
        '{name = "b", weight = 1, aliases = ["B"]}',
    ):
        (tmp_path / "mine.toml").write_text(text % twice)
        with pytest.raises(RecipeError, match="is given twice"):
            parse_recipe(recipe, "m", tmp_path)
    (tmp_path / "mine.toml").write_text((text % "").replace("0.1", "0"))
    with pytest.raises(UsageError, match=r"members\.0\.weight: .*must be above 0"):
        load_preset(str(tmp_path / "mine.toml"))


def test_mixtures_fit_their_schema() -> None:
    check = jsonschema.Draft202012Validator(mixture_schema())
    files = sorted((schemas() / "mixtures").glob("*.toml"))
    assert {path.stem for path in files} == set(PUBLISHED)
    for path in files:
        check.validate(tomllib.loads(path.read_text()))
