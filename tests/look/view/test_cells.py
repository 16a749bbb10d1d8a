"""Half blocks: every pixel is there, in its colour, and a line leaves nothing behind."""

from __future__ import annotations

import io
import re
from base64 import b64decode

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from rt2data.look.view import cells
from rt2data.look.view.pictures import as_png, encoded, pixels
from tests.contract.toy import jpeg

Pixels = NDArray[np.uint8]


@st.composite
def pictures(draw: st.DrawFn) -> Pixels:
    """uint8[2h, w, 3], of few colours or many."""
    height, width, most = draw(st.integers(1, 4)), draw(st.integers(1, 9)), draw(st.sampled_from([1, 2, 255]))
    seed = draw(st.integers(0, 2**32 - 1))
    return np.random.default_rng(seed).integers(0, most + 1, (2 * height, width, 3), dtype=np.uint8)


def painted(line: str) -> list[tuple[str, str]]:
    """What a terminal paints: foreground and background of each cell, by its own reading of the escape sequences."""
    front, back, found = "", "", []
    for codes, block in re.findall(r"\x1b\[([0-9;]*)m|(▀)", line):
        if block:
            found.append((front, back))
        for ground, color in re.findall(r"(38|48);(2;\d+;\d+;\d+|5;\d+)", codes):
            front, back = (color, back) if ground == "38" else (front, color)
    return found


@given(pictures())
def test_a_terminal_paints_every_pixel(picture: Pixels) -> None:
    lines = cells.lines(picture, "true")
    assert all(line.endswith("\x1b[0m") for line in lines)
    told = [[[[int(n) for n in color.split(";")[1:]] for color in cell] for cell in painted(line)] for line in lines]
    expected = np.stack([picture[::2], picture[1::2]], axis=2)
    assert np.array_equal(np.array(told), expected)


@given(pictures())
def test_the_256_colours_are_the_nearest(picture: Pixels) -> None:
    flat = picture.reshape(-1, 3).astype(int)
    cube = np.array([[r, g, b] for r in cells.LEVELS for g in cells.LEVELS for b in cells.LEVELS])
    found = cells.nearest(picture.reshape(-1, 3))
    best = ((flat[:, None] - cube) ** 2).sum(2).min(1)
    assert np.array_equal(((flat - cube[found - 16]) ** 2).sum(1), best)
    assert [len(painted(line)) for line in cells.lines(picture, "256")] == [picture.shape[1]] * (len(picture) // 2)


@given(pictures())
def test_without_colours_there_is_no_escape(picture: Pixels) -> None:
    lines = cells.lines(picture, "none")
    assert [len(line) for line in lines] == [picture.shape[1]] * (len(picture) // 2)
    assert set("".join(lines)) <= set(cells.SHADES)


def test_shades_go_from_black_to_white() -> None:
    ramp = np.repeat(np.linspace(0, 255, 10).round().astype(np.uint8)[None, :, None], 3, axis=2).repeat(2, axis=0)
    assert cells.lines(ramp, "none") == [cells.SHADES]


@pytest.mark.parametrize(("width", "height"), [(40, 20), (20, 40), (1, 2), (200, 200)])
def test_a_picture_fits_its_box(width: int, height: int) -> None:
    shown = pixels(jpeg(1, side=64), width, height)
    assert shown.dtype == np.uint8 and shown.shape[2] == 3
    assert shown.shape[0] <= height and shown.shape[1] <= width and shown.shape[0] % 2 == 0
    assert max(shown.shape[0] / height, shown.shape[1] / width) > 0.9


def test_pictures_are_shown_as_they_are() -> None:
    raw = np.zeros((4, 6, 3), np.uint8)
    assert encoded(jpeg(1)) == ("jpg", jpeg(1))
    assert encoded(as_png(raw)) == ("png", as_png(raw))
    assert encoded(raw)[0] == "jpg"


def test_kitty_gets_the_whole_picture() -> None:
    png = as_png(np.random.default_rng(0).integers(0, 255, (60, 60, 3), dtype=np.uint8))
    parts = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", cells.kitty(png, 6, 3))
    assert "c=6" in parts[0][0] and "r=3" in parts[0][0]
    assert [keys[-1] for keys, _ in parts] == [*"1" * (len(parts) - 1), "0"] and len(parts) > 1
    assert all(len(part) <= 4096 for _, part in parts)
    assert Image.open(io.BytesIO(b64decode("".join(part for _, part in parts)))).size == (60, 60)


@pytest.mark.parametrize(
    ("environ", "speaks"),
    [
        ({"KITTY_WINDOW_ID": "1", "TERM": "xterm-256color"}, True),
        ({"TERM": "xterm-kitty"}, True),
        ({"TERM": "xterm-256color"}, False),
        ({"KITTY_WINDOW_ID": "1", "TERM": "tmux-256color"}, False),
        ({"KITTY_WINDOW_ID": "1", "TERM": "xterm-kitty", "TMUX": "x"}, False),
        ({}, False),
    ],
)
def test_who_speaks_kitty(environ: dict[str, str], speaks: bool) -> None:
    assert cells.speaks_kitty(environ) is speaks
