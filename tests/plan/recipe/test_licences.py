"""Licences are read when a recipe is: what SPDX does not know, and what is not allowed, is told at its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from rt2data.plan.recipe import Recipe, RecipeError, canonical, from_canonical, parse_recipe
from rt2data.plan.recipe.licences import fault, permits

RECIPE = """\
robot_frac: 0
allow_licenses: {allowed}
web:
  one: {{kind: vqav2, questions: q, annotations: a, image_dirs: [i]{one}}}
  two: {{kind: vqav2, questions: q, annotations: a, image_dirs: [i]{two}}}
"""


def read(allowed: str = "[]", one: str = "", two: str = "", *overrides: str) -> Recipe:
    text = RECIPE.format(allowed=allowed, one=f", license: {one}" if one else "", two=f", license: {two}" if two else "")
    return parse_recipe(text, "m.yaml", Path("/"), overrides)


def refused(*given: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        read(*given)
    assert caught.value.code == 2
    return [line for line in caught.value.lines if line.startswith("m.yaml")]


@pytest.mark.parametrize(
    ("expression", "allowed", "met"),
    [
        ("MIT", ["MIT"], True),
        ("mit", ["MIT"], True),
        ("MIT AND CC-BY-4.0", ["MIT"], False),
        ("MIT AND CC-BY-4.0", ["CC-BY-4.0", "MIT"], True),
        ("MIT OR CC-BY-NC-4.0", ["MIT"], True),
        ("(MIT OR CC-BY-NC-4.0) AND CC0-1.0", ["MIT"], False),
        ("CC-BY-NC-4.0", ["CC-BY-4.0"], False),  # names that begin alike are different licences
        ("GPL-2.0-only WITH Classpath-exception-2.0", ["GPL-2.0-only"], False),
        ("GPL-2.0-only WITH Classpath-exception-2.0", ["GPL-2.0-only WITH Classpath-exception-2.0"], True),
        ("LicenseRef-lab", ["LicenseRef-lab"], True),
    ],
)
def test_what_an_expression_permits(expression: str, allowed: list[str], met: bool) -> None:
    assert fault(expression) is None
    assert permits(expression, allowed) is met


@pytest.mark.parametrize("expression", ["MIT AND", "MIT MIT", "(MIT", "OR MIT", "MIT WITH Apache-2.0"])
def test_what_is_no_expression(expression: str) -> None:
    found = fault(expression)
    assert found
    assert "no SPDX expression" in found[0]


def test_any_licence_may_be_used_unless_the_recipe_says_which() -> None:
    recipe = read(one="CC-BY-NC-4.0")
    assert recipe.allow_licenses == ()
    assert b"allow_licenses" not in canonical(recipe)


def test_each_source_whose_licence_is_not_allowed_has_one_line() -> None:
    assert read("[MIT, CC-BY-4.0]", "CC-BY-4.0", "MIT").allow_licenses == ("MIT", "CC-BY-4.0")
    assert refused("[CC-BY-4.0]", "CC-BY-NC-4.0") == [
        "m.yaml:4:78 web.one.license: CC-BY-NC-4.0 is not allowed, only CC-BY-4.0",
        "m.yaml:5:3 web.two: has no `license`, and only CC-BY-4.0 may be used",
    ]
    assert read("[MIT]", "MIT", "", "web.two.weight=0")  # what is not drawn needs no licence


def test_what_spdx_does_not_know_is_told_with_what_was_meant() -> None:
    assert refused("[]", "CC-BY-40") == [
        "m.yaml:4:78 web.one.license: CC-BY-40 is not on SPDX's list: for a licence of your own write LicenseRef-NAME, "
        "did you mean 'CC-BY-4.0'?"
    ]
    (wrong,) = refused("[MIT AND CC-BY-4.0]", "MIT", "MIT")
    assert wrong == "m.yaml:2:18 allow_licenses[0]: names several licences: list each by itself"


def test_a_recipe_of_a_finished_mixture_is_not_judged_again() -> None:
    recipe = read(one="MIT")
    assert from_canonical(canonical(recipe).replace(b"MIT", b"Old")).sources["one"].license == "Old"
