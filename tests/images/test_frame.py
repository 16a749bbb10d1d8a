"""Regions move as pixels do: a mark in an image is found where the arithmetic says, however the image is made ready."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rt2data.images.frame import clipped, moved
from rt2data.images.ready import ImageHeader, ImageRule, make_ready
from rt2data.records import Frame
from tests.laws import tries

WIDTH, HEIGHT = 160, 96
MARK = (48, 30, 80, 62)  # x0, y0, x1, y1 in stored pixels; inside the centred square however it is turned
rules = [ImageRule(quality=100, turn=turn, flip=flip) for turn in (0, 90, 180, 270) for flip in ("none", "vertical", "horizontal")]  # type: ignore[arg-type]


def picture(orientation: int, raw: bool = False) -> bytes | np.ndarray:
    """Black with a white mark, whose upper left corner is grey: no turn or flip leaves it as it is."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    x0, y0, x1, y1 = MARK
    pixels[y0:y1, x0:x1] = 255
    if raw:
        return pixels
    exif, out = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(out, "PNG", exif=exif)
    return out.getvalue()


def seen(data: bytes | np.ndarray, rule: ImageRule) -> tuple[tuple[float, ...], ImageHeader]:
    """Where the mark is in the image as made, in fractions; and what the source was."""
    ready = make_ready(data, rule, decode=True)
    content = data if ready.data is None else ready.data
    with Image.open(io.BytesIO(content)) as opened:  # type: ignore[arg-type]
        bright = np.asarray(opened.convert("L")) > 127
    rows, columns = np.flatnonzero(bright.any(axis=1)), np.flatnonzero(bright.any(axis=0))
    height, width = bright.shape
    box = (columns[0] / width, rows[0] / height, (columns[-1] + 1) / width, (rows[-1] + 1) / height)
    return box, ready.source


def stored() -> tuple[float, ...]:
    return tuple(value / side for value, side in zip(MARK, (WIDTH, HEIGHT) * 2, strict=True))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("rule", rules, ids=lambda rule: f"{rule.turn}-{rule.flip}")
@pytest.mark.parametrize("resize", [None, 64])
def test_a_mark_is_where_the_arithmetic_says(orientation: int, rule: ImageRule, resize: int | None) -> None:
    asked = rule.model_copy(update={"resize": resize})
    box, source = seen(picture(orientation), asked)
    assert (source.width, source.height, source.orientation) == (WIDTH, HEIGHT, orientation)
    assert moved(stored(), "stored", source, asked) == pytest.approx(box, abs=0.6 / (resize or HEIGHT))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_upright_frame_is_that_of_viewers(orientation: int) -> None:
    """What was measured in the image as shown stays, whatever EXIF says."""
    box, source = seen(picture(orientation), ImageRule(quality=100))
    assert moved(box, "upright", source, ImageRule()) == box
    assert moved(stored(), "stored", source, ImageRule()) == pytest.approx(box, abs=0.6 / HEIGHT)


def test_a_jpeg_that_is_made_smaller_while_it_is_decoded() -> None:
    pixels = np.zeros((517, 1333, 3), np.uint8)
    pixels[100:401, 500:801] = 255
    out, rule = io.BytesIO(), ImageRule(resize=64)
    Image.fromarray(pixels).save(out, "JPEG", quality=95)
    box, source = seen(out.getvalue(), rule)
    there = moved((500 / 1333, 100 / 517, 801 / 1333, 401 / 517), "upright", source, rule)
    assert there == pytest.approx(box, abs=1 / 64)


def test_pixels_move_as_encoded_images_do() -> None:
    rule = ImageRule(quality=100, turn=90, resize=64)
    box, source = seen(picture(1, raw=True), rule)
    assert moved(stored(), "upright", source, rule) == pytest.approx(box, abs=0.6 / 64)


@pytest.mark.parametrize("frame", ["upright", "stored"])
@tries(60)
@given(x=st.floats(0, 1), y=st.floats(0, 1), orientation=st.integers(1, 8), rule=st.sampled_from(rules))
def test_a_corner_moves_as_a_point_does(frame: Frame, x: float, y: float, orientation: int, rule: ImageRule) -> None:
    source, resized = ImageHeader("jpeg", 333, 517, 3, orientation), rule.model_copy(update={"resize": 64})
    box = moved((x / 2, y / 2, x, y), frame, source, resized)
    corners = {moved((x / 2, y / 2), frame, source, resized), moved((x, y), frame, source, resized)}
    assert {value for corner in corners for value in corner} <= {*box}


def test_clipping() -> None:
    assert clipped((-0.5, 0.2, 0.5, 1.5)) == (0.0, 0.2, 0.5, 1.0)
    assert clipped((0.1, 0.2, 0.3, 0.4)) == (0.1, 0.2, 0.3, 0.4)
    assert clipped((-0.5, 0.2, 0.0, 1.0)) is None
    assert clipped((1.0, 0.0)) == (1.0, 0.0)
    assert clipped((1.01, 0.0)) is None
