"""Regions of an example are checked: numbers, images, labels, and a place in the words for each."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from rt2data.records import Example, Image, Region, Turn
from rt2data.standardize.conversation import region_fault, tidy

IMAGE = Image("image", b"")
BOX = Region(0, (0.1, 0.2, 0.5, 0.6), "cat")
ONE = Example("k", "g", "train", "where is it?", ("<region>",), (IMAGE,), regions=(BOX,))


def reason(example: Example) -> tuple[str, str]:
    found = region_fault(example)
    return ("", "") if found is None else (found[0], found[2])


@pytest.mark.parametrize(
    ("coords", "why"),
    [
        ((0.1, 0.2, 1.01, 0.6), "not within 0 and 1"),
        ((-0.1, 0.2), "not within"),
        ((math.nan, 0.2), "not within"),
        ((0.5, 0.2, 0.1, 0.6), "no area"),
        ((0.5, 0.2, 0.5, 0.6), "no area"),
        ((0.5, 0.2, 0.5 + 1e-12, 0.6), "no area"),
        ((0.5, 0.2, 0.6), "3 numbers"),
        ((), "0 numbers"),
    ],
)
def test_numbers(coords: tuple[float, ...], why: str) -> None:
    word, detail = reason(replace(ONE, regions=(replace(BOX, coords=coords),)))
    assert word == "bad_region" and detail.startswith("region 0: ") and why in detail


@pytest.mark.parametrize("coords", [(0.0, 0.0, 1.0, 1.0), (0, 0, 1, 1), (0.0, 1.0), (0.5, 0.5)])
def test_right_numbers(coords: tuple[float, ...]) -> None:
    assert region_fault(replace(ONE, regions=(replace(BOX, coords=coords),))) is None


def test_images_and_labels() -> None:
    for wrong in (replace(BOX, image=1), replace(BOX, image=-1), replace(BOX, label="<image>"), replace(BOX, label="a > b")):
        assert reason(replace(ONE, regions=(wrong,)))[0] == "bad_region"
    assert tidy(replace(BOX, label=" a\n cat ")).label == "a cat"


def test_places() -> None:
    assert region_fault(ONE) is None
    assert reason(replace(ONE, answers=("no place",))) == ("region_places", "0 places for 1 regions")
    assert reason(replace(ONE, question="<region>?")) == ("region_places", "2 places for 1 regions")
    assert reason(replace(ONE, answers=("<region>", "none"))) == ("region_places", "0 or 1 places for 1 regions")
    both = replace(ONE, question="is <region> in <region>?", answers=("yes", "no"), regions=(BOX, BOX))
    assert region_fault(both) is None


def test_places_of_a_conversation() -> None:
    turns = (Turn("system", "be brief"), Turn("user", "<image> what is <region>?"), Turn("assistant", "as <region>"))
    talk = replace(ONE, question="", answers=(), turns=turns, regions=(BOX, BOX))
    assert region_fault(talk) is None
    assert reason(replace(talk, regions=(BOX,)))[0] == "region_places"
    told = replace(talk, turns=(Turn("system", "<region>"), turns[1]))
    assert reason(told) == ("region_places", "a system turn has places for regions")


def test_without_regions_it_is_a_word() -> None:
    assert region_fault(replace(ONE, regions=())) is None
