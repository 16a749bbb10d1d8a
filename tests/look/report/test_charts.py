"""Charts: sound SVG that a screen reader can name, in proportion, from any numbers."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markupsafe import Markup

from rt2data.look.report import charts
from rt2data.look.report.charts import HIGH, WIDE, Part, Tick, drawing, plot, short
from rt2data.look.stats.model import Camera, EncodedDimension
from tests.laws import tries
from tests.look.report import made

SVG = "{http://www.w3.org/2000/svg}"
quick = tries(40)
counts = st.lists(st.integers(0, 10**9), min_size=1, max_size=256)
odd = st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.floats(-3, 3))


def parsed(markup: Markup) -> ET.Element:
    """The drawing in some markup, as any XML reader takes it; it names itself first."""
    found = re.search(r"<svg.*</svg>", markup, re.DOTALL)
    assert found, markup
    root = ET.fromstring(found[0].replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1))
    assert root.get("role") == "img"
    assert [child.tag for child in root][:2] == [SVG + "title", SVG + "desc"]
    assert root[0].text and root[1].text
    return root


def paths(markup: Markup, look: str) -> list[str]:
    return [p.attrib["d"] for p in parsed(markup).iter(SVG + "path") if look in p.attrib["class"].split()]


def numbers(shape: str) -> list[float]:
    found = [float(text) for text in re.findall(r"-?\d+(?:\.\d+)?", shape)]
    assert all(math.isfinite(value) for value in found)
    return found


def test_a_drawing_names_itself_and_nothing_in_its_words_is_markup() -> None:
    root = parsed(drawing(Markup(), "<b>&'\"", "]]> <script>\x1b\u202e", 10, 10))
    assert root[0].text == "<b>&'\"" and root[1].text == "]]> <script>"


def test_words_of_axes_are_escaped_and_stay_inside() -> None:
    found = plot(Markup(), x=[Tick(0, "<i>"), Tick(0.5, "b"), Tick(1, "c")])
    assert "<i>" not in found and "&lt;i&gt;" in found
    assert re.findall(r'class="(\w*)" style="left:([\d.]+)%"', found) == [("first", "0"), ("", "50"), ("last", "100")]


@given(st.floats(-1e6, 1e6))
def test_coordinates_are_short_and_right(value: float) -> None:
    assert abs(float(short(value)) - value) <= 0.005001 and "e" not in short(value)


@quick
@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=9))
def test_pieces_of_a_bar_have_the_proportions_of_their_values(values: Sequence[float]) -> None:
    found = charts.stacked("asked", [Part(f"s{n}", "robot", value) for n, value in enumerate(values)])
    drawn = [numbers(shape) for shape in paths(found, "piece")]
    total = sum(values)
    widths = [WIDE * value / total for value in values if total and WIDE * value / total]
    assert [shape[2] for shape in drawn] == pytest.approx(widths, abs=0.02)
    assert sum(shape[2] for shape in drawn) == pytest.approx(WIDE if total else 0, abs=0.2)


@quick
@given(counts)
def test_a_skyline_has_the_heights_of_its_values(values: Sequence[int]) -> None:
    top = max(values)
    shape = charts.skyline([float(value) for value in values], float(top))
    if not top:
        assert shape == ""
        return
    heights, at = np.zeros(len(values)), 0
    level = 0.0
    for go, place, high in re.findall(r"(H)(\d+)(?:V([\d.]+))?", shape.removesuffix(f"V{HIGH}z")):
        assert go == "H"
        heights[at : int(place)] = level
        at, level = int(place), HIGH - float(high) if high else level
    assert heights == pytest.approx(np.array(values) / top * HIGH, abs=0.006)


@quick
@given(counts, st.floats(0, 1), st.floats(0, 1))
def test_bins_show_what_was_clipped_and_only_that(values: Sequence[int], low: float, high: float) -> None:
    coded = msgspec.structs.replace(made.coded("x", np.zeros(3)), bins=tuple(values), clipped_low=low, clipped_high=high)
    found = charts.bins(coded, "m")
    assert len(paths(found, "clip")) == (low > 0) + (high > 0)
    assert len(paths(found, "robot")) == any(values)


def test_a_lone_bin_does_not_hide_the_others() -> None:
    coded = msgspec.structs.replace(made.coded("x", np.zeros(3)), bins=(10_000, 100, 1))
    (shape,) = paths(charts.bins(coded, "m"), "robot")
    assert [HIGH - float(high) for high in re.findall(r"V([\d.]+)H", shape)][:3] == pytest.approx([100, 10, 1], abs=0.01)


def test_bounds_and_zero_are_on_the_axis() -> None:
    coded = msgspec.structs.replace(made.coded("x", np.zeros(3)), lo=-0.05, hi=0.05)
    found = charts.bins(coded, "m")
    assert "−0.05" in found and "0.05 m" in found and '"left:50%">0<' in found.replace("style=", "")
    assert '"left:50%"' not in charts.bins(msgspec.structs.replace(coded, lo=0.01), "m")


@quick
@given(
    st.lists(st.tuples(st.integers(0, 500), st.integers(0, 10**7)), max_size=64, unique_by=lambda bar: bar[0]), st.integers(1, 900)
)
def test_lengths_stay_in_their_room_with_their_limit(bars: list[tuple[int, int]], limit: int) -> None:
    found = charts.lengths("tokens", sorted(bars), "web", "tokens", limit)
    if not bars:
        assert found == ""
        return
    for shape in paths(found, "web"):
        for left, _, up, width, down in (numbers(bar)[:5] for bar in shape.split("z")[:-1]):
            assert 0 <= left <= WIDE and width > 0 and left + width <= WIDE + 0.1
            assert 0 <= -up <= HIGH and down == -up
    (line,) = paths(found, "limit")
    assert line


@quick
@given(st.lists(st.tuples(st.integers(0, 10**7), odd), max_size=40), st.floats(0, 1))
def test_the_running_share_is_drawn_whatever_it_is(points: list[tuple[int, float]], asked: float) -> None:
    found = charts.running(sorted(points, key=lambda point: point[0]), asked)
    if any(n > 0 and math.isfinite(share) for n, share in points):
        (line,) = paths(found, "line")
        assert all(-0.01 <= high <= HIGH + 0.01 for high in numbers(line)[1::2])
    else:
        assert found == ""


def test_an_exact_mixture_runs_inside_its_funnel() -> None:
    points = [(16 * n, 0.5) for n in range(1, 100)]
    found = charts.running(points, 0.5)
    assert set(numbers(paths(found, "line")[0])[1::2]) == {HIGH / 2}
    assert "at most 0.00 % away" in found


@quick
@given(st.lists(odd, max_size=60), odd, odd)
def test_curves_leave_gaps_where_there_is_no_number(values: list[float], lo: float, hi: float) -> None:
    if not (math.isfinite(lo) and math.isfinite(hi)):
        lo, hi = -1.0, 1.0
    found = charts.curve(values, lo, hi, "x")
    drawn = "".join(paths(found, "line"))
    assert drawn.count("M") + drawn.count("L") == sum(map(math.isfinite, values))
    numbers(drawn)


def test_a_gap_is_a_gap() -> None:
    (line,) = paths(charts.curve([0, 1, math.nan, 1], 0, 1, "x"), "line")
    assert re.sub(r"[\d. ]", "", line) == "MLMh"


@quick
@given(st.lists(counts, min_size=1, max_size=6))
def test_a_heat_map_covers_every_bin_that_is_used_once(rows: list[list[int]]) -> None:
    coded = [msgspec.structs.replace(made.coded("x", np.zeros(3)), bins=tuple(row)) for row in rows]
    covered = np.zeros((len(rows), 256), int)
    for path in parsed(charts.heat(coded)).iter(SVG + "path"):
        for left, top, width in re.findall(r"M(\d+) (\d+)h(\d+)v9", path.attrib["d"]):
            covered[int(top) // 10, int(left) : int(left) + int(width)] += 1
    for number, row in enumerate(rows):
        assert covered[number, : len(row)].tolist() == [int(count > 0) for count in row]


def test_a_heat_map_of_nothing() -> None:
    assert charts.heat([]) == "" and charts.matrix([], []) == "" and charts.sizes([], "web") == ""


@quick
@given(st.integers(1, 8), st.randoms(use_true_random=False))
def test_correlations_are_squares_of_their_sign(size: int, random: object) -> None:
    values = [[random.choice([-1.0, -0.4, 0.0, 0.4, 1.0, math.nan]) for _ in range(size)] for _ in range(size)]  # type: ignore[attr-defined]
    found = charts.matrix([f"d{n}" for n in range(size)], values)
    for sign, wanted in (("plus", {1.0, 0.4}), ("minus", {-1.0, -0.4})):
        drawn = {(int(y) // 10, int(x) // 10) for shape in paths(found, sign) for x, y in re.findall(r"M(\d+) (\d+)h", shape)}
        assert drawn == {(y, x) for y in range(size) for x in range(size) if values[y][x] in wanted}


def test_the_strongest_pair_is_told_in_words() -> None:
    assert "x and z −0.9" in charts.matrix(["x", "y", "z"], [[1, 0.1, -0.9], [0.1, 1, 0.2], [-0.9, 0.2, 1]])


def test_frames_have_the_proportions_of_the_images() -> None:
    found = charts.sizes([made.camera()], "web")
    boxes = sorted(numbers(shape)[2:4] for shape in paths(found, "frame"))
    assert boxes == [pytest.approx([20, 20]), pytest.approx([150, 200]), pytest.approx([200, 150])]


@pytest.mark.parametrize("words", made.HOSTILE)
def test_no_name_gets_out_of_a_chart(words: str) -> None:
    coded: EncodedDimension = msgspec.structs.replace(made.coded("x", np.linspace(-1, 1, 9)), name=words)
    camera: Camera = msgspec.structs.replace(made.camera(), name=words)
    bars = ((1, 2), (2, 3))
    drawn = [
        charts.stacked(words, [Part(words, "robot", 1)]),
        charts.bins(coded, words),
        charts.lengths(words, bars, "web", words, 2),
        charts.curve([0, 1], 0, 1, words),
        charts.heat([coded]),
        charts.matrix([words, words], [[1, 0.5], [0.5, 1]]),
        charts.sizes([camera], "web"),
    ]
    for each in drawn:
        assert {e.tag.removeprefix(SVG) for e in parsed(each).iter()} <= {"svg", "title", "desc", "path"}
        assert "<script" not in each and "<img" not in each and "\x1b" not in each
