"""Render, then parse: a region comes back as near as the family's numbers allow, whatever the image's size."""

from __future__ import annotations

import json
import math
from fractions import Fraction

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from rt2data.errors import DataError
from rt2data.render.regions.convention import Convention, Coords, Marked, Size
from rt2data.render.regions.qwen import smart_resize
from rt2data.render.regions.table import FAMILIES, RegionSetting, RegionText, convention_of
from tests.laws import tries

CONVENTIONS = {name: RegionText(family=name).convention for name in FAMILIES}
WITH_BOXES = [found for found in CONVENTIONS.values() if found.boxes]
SIDES = {"plain": 0.02, "qwen2": 0.2, "qwen3": 0.2, "paligemma": 0.196}
"""The smallest box, as a share of the image's width and height, that comes back with an IoU of 0.99."""
PIXELS = 200
"""The same for qwen2.5, in pixels of the resized image."""
ODD = [(333, 517), (1, 1), (1, 200), (200, 1), (7, 1399), (640, 480), (8000, 41), (9999, 9998), (27, 29)]

many = tries(200)
sizes = st.sampled_from(ODD) | st.tuples(st.integers(1, 12_000), st.integers(1, 12_000))
fractions = st.floats(0, 1, width=32)
words = st.text(st.characters(exclude_characters="<>", exclude_categories=["C", "Z"]), max_size=6)
labels = st.lists(words, max_size=3).map(lambda found: " ".join(" ".join(found).split()))
boxes = st.tuples(fractions, fractions, fractions, fractions).map(
    lambda four: (min(four[0], four[2]), min(four[1], four[3]), max(four[0], four[2]), max(four[1], four[3]))
)


def iou(one: Coords, other: Coords) -> float:
    width, height = (min(one[at + 2], other[at + 2]) - max(one[at], other[at]) for at in (0, 1))
    both = max(width, 0) * max(height, 0)
    return both / (area(one) + area(other) - both)


def area(box: Coords) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def taken(size: Size) -> None:
    assume(max(size) <= 200 * min(size))


@pytest.mark.parametrize("convention", WITH_BOXES, ids=lambda found: found.name)
@many
@given(box=boxes, size=sizes, label=labels)
@example(box=(0.0, 0.0, 1.0, 1.0), size=(333, 517), label="")
@example(box=(0.99999, 0.0, 1.0, 1e-6), size=(333, 517), label="a thin one")
def test_boxes(convention: Convention, box: Coords, size: Size, label: str) -> None:
    """The bound of the docs: (1 - 1/w) * (1 - 1/h) for a box of w x h units; and something is left of the smallest."""
    taken(size)
    assume(box[0] < box[2] and box[1] < box[3])
    (found,) = convention.parse(convention.render([Marked(box, label, size)]), size)
    across, down = convention.units(size)
    width, height = (box[2] - box[0]) * across, (box[3] - box[1]) * down
    assert found.label == label and area(found.coords) > 0
    assert iou(box, found.coords) >= max(1 - 1 / width, 0) * max(1 - 1 / height, 0) - 1e-9


@pytest.mark.parametrize("name", SIDES)
@many
@given(x=fractions, y=fractions, size=sizes)
def test_the_smallest_box_that_holds(name: str, x: float, y: float, size: Size) -> None:
    side, convention = SIDES[name], CONVENTIONS[name]
    box = (x * (1 - side), y * (1 - side), x * (1 - side) + side, y * (1 - side) + side)
    (found,) = convention.parse(convention.render([Marked(box, "", size)]), size)
    assert iou(box, found.coords) >= 0.99


@many
@given(x=fractions, y=fractions, size=st.tuples(st.integers(300, 3000), st.integers(300, 3000)))
def test_the_smallest_box_in_pixels(x: float, y: float, size: Size) -> None:
    convention = CONVENTIONS["qwen2.5"]
    side = tuple(PIXELS / resized for resized in convention.units(size))
    box = (x * (1 - side[0]), y * (1 - side[1]), x * (1 - side[0]) + side[0], y * (1 - side[1]) + side[1])
    (found,) = convention.parse(convention.render([Marked(box, "", size)]), size)
    assert iou(box, found.coords) >= 0.99


@pytest.mark.parametrize("convention", WITH_BOXES, ids=lambda found: found.name)
@pytest.mark.parametrize("steps", [200, 199])
def test_the_bound_is_met(convention: Convention, steps: int) -> None:
    """A box that loses half a unit at each edge comes back as the bound says: with 200 units above 0.99, with 199 below."""
    size = (1000, 1000)
    units, _ = convention.units(size)
    low, high = 100.5 / units, (100.5 + steps - 1e-6) / units
    (found,) = convention.parse(convention.render([Marked((low, low, high, high), "", size)]), size)
    exact = (1 - 1 / steps) ** 2
    assert iou((low, low, high, high), found.coords) == pytest.approx(exact, abs=1e-6)
    assert (exact >= 0.99) == (steps == 200)


@pytest.mark.parametrize("convention", CONVENTIONS.values(), ids=lambda found: found.name)
@many
@given(points=st.lists(st.tuples(fractions, fractions), min_size=1, max_size=5), size=sizes, label=labels)
def test_points(convention: Convention, points: list[Coords], size: Size, label: str) -> None:
    """Within half a unit, and in their order."""
    taken(size)
    found = convention.parse(convention.render([Marked(point, label, size) for point in points]), size)
    assert [each.label for each in found] == [label] * len(points)
    for point, each in zip(points, found, strict=True):
        for given_, got, units in zip(point, each.coords, convention.units(size), strict=True):
            assert abs(given_ - got) * units <= 0.5 + 1e-9


@pytest.mark.parametrize("convention", WITH_BOXES, ids=lambda found: found.name)
@many
@given(found=st.lists(st.tuples(boxes | st.tuples(fractions, fractions), labels), min_size=1, max_size=5), size=sizes)
def test_lists(convention: Convention, found: list[tuple[Coords, str]], size: Size) -> None:
    """What is parsed renders to the same text: boxes and points, with and without labels, in one list."""
    taken(size)
    assume(all(len(coords) == 2 or (coords[0] < coords[2] and coords[1] < coords[3]) for coords, _ in found))
    text = convention.render([Marked(coords, label, size) for coords, label in found])
    again = convention.parse(text, size)
    assert [(len(each.coords), each.label) for each in again] == [(len(coords), label) for coords, label in found]
    assert convention.render(again) == text


BOX, POINT = Marked((0.125, 0.2, 0.5, 0.75), "cat", (640, 480)), Marked((0.125, 0.2), "paw", (640, 480))
TEXTS = {
    "plain": "cat [0.1250, 0.2000, 0.5000, 0.7500]; paw [0.1250, 0.2000]",
    "qwen2": "<|object_ref_start|>cat<|object_ref_end|><|box_start|>(125,200),(500,750)<|box_end|>"
    "<|object_ref_start|>paw<|object_ref_end|><|box_start|>(125,200)<|box_end|>",
    "qwen2.5": '[{"bbox_2d": [81, 95, 322, 357], "label": "cat"}, {"point_2d": [81, 95], "label": "paw"}]',
    "qwen3": '[{"bbox_2d": [125, 200, 500, 750], "label": "cat"}, {"point_2d": [125, 200], "label": "paw"}]',
    "paligemma": "<loc0205><loc0128><loc0767><loc0512> cat ; <loc0205><loc0128> paw",
}


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_written(name: str) -> None:
    assert CONVENTIONS[name].render([BOX, POINT]) == TEXTS[name]


def test_molmo_has_points_only() -> None:
    molmo, other = CONVENTIONS["molmo"], POINT._replace(coords=(1.0, 0.0))
    assert molmo.render([POINT]) == '<point x="12.5" y="20.0" alt="paw">paw</point>'
    assert molmo.render([POINT, other]) == '<points x1="12.5" y1="20.0" x2="100.0" y2="0.0" alt="paw">paw</points>'
    assert molmo.render([POINT, other._replace(label='"&"')]).endswith('alt="&quot;&amp;&quot;">&quot;&amp;&quot;</point>')
    with pytest.raises(ValueError, match="no way of writing a box"):
        molmo.render([BOX])


def test_json_is_found_between_words() -> None:
    text = 'See [1] and {x}: ```json\n[{"bbox_2d": [125, 200, 500, 750], "label": "cat"}]\n``` or {"point_2d": [125, 200]}.'
    assert [each.coords for each in CONVENTIONS["qwen3"].parse(text, (9, 9))] == [(0.125, 0.2, 0.5, 0.75), (0.125, 0.2)]


@pytest.mark.parametrize("name", ["qwen3", "qwen2.5"])
def test_a_malformed_box(name: str) -> None:
    with pytest.raises(ValueError, match="3 numbers"):
        CONVENTIONS[name].parse('{"bbox_2d": [1, 2, 3]}', (640, 480))


def processor(size: Size, least: int, most: int) -> Size:
    """The resized size in exact arithmetic: comparisons of squares instead of square roots."""
    sides = [Fraction(side) for side in size]
    whole = [28 * round(side / 28) for side in sides]
    pixels = whole[0] * whole[1]
    if least <= pixels <= most:
        return whole[0], whole[1]
    limit, up = (most, 0) if pixels > most else (least, 1)
    found = []
    for side in sides:
        # the largest n with n * 28 <= side * sqrt(limit / (w * h)), or the smallest with >=
        square = side * side * limit / (sides[0] * sides[1]) / 784
        n = math.isqrt(math.floor(square))
        found.append(28 * max(n + (up and n * n != square), 1))
    return found[0], found[1]


@many
@given(size=sizes, limits=st.sampled_from([(3136, 12_845_056), (3136, 1_003_520), (200_704, 1_003_520)]))
@example(size=(1, 200), limits=(3136, 12_845_056))
@example(size=(12_000, 60), limits=(3136, 12_845_056))
def test_the_resized_size(size: Size, limits: tuple[int, int]) -> None:
    taken(size)
    found = smart_resize(size, *limits)
    assert all(side % 28 == 0 and side > 0 for side in found)
    width, height = size
    exact = processor(size, *limits)
    if any(_is_square(Fraction(side * side * limit, width * height * 784)) for side in size for limit in limits):
        assert all(abs(one - other) <= 28 for one, other in zip(found, exact, strict=True))  # roots that end are a matter of floats
    else:
        assert found == exact


def _is_square(value: Fraction) -> bool:
    return all(math.isqrt(part) ** 2 == part for part in (value.numerator, value.denominator))


def test_an_image_that_is_too_long() -> None:
    with pytest.raises(ValueError, match="longer than 200 to 1"):
        CONVENTIONS["qwen2.5"].render([BOX._replace(size=(201, 1))])


@pytest.mark.parametrize("given_", [*FAMILIES, {"family": "qwen2.5", "max_pixels": 1_003_520}])
def test_facts_give_the_convention_back(given_: object) -> None:
    """As they come from a manifest."""
    convention = TypeAdapter[RegionText](RegionSetting).validate_python(given_).convention
    assert convention_of(json.loads(json.dumps(convention.facts()))).facts() == convention.facts()


@pytest.mark.parametrize("facts", [{"family": "other"}, {"family": "qwen2.5", "factor": 32}, {}])
def test_facts_of_another_release(facts: dict[str, object]) -> None:
    with pytest.raises(DataError, match="writing regions"):
        convention_of(facts)


@pytest.mark.parametrize("wrong", ["qwen", {"family": "qwen3", "max_pixels": 9}, {"family": "qwen2.5", "min_pixels": 10**8}])
def test_settings_that_make_no_sense(wrong: object) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter[RegionText](RegionSetting).validate_python(wrong)
