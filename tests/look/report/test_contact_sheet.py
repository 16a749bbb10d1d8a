"""A contact sheet is clean, the same every time, and shows untrusted words and broken images without harm."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFont

from rt2data.look.report.contact_sheet import BOX, COLORS, GAP, PAPER, SIDE, Tile, contact_sheet, wrap
from tests.contract.toy import jpeg
from tests.laws import tries

FONT = ImageFont.load_default(14)


def sheet(*tiles: Tile, title: str = "") -> np.ndarray:
    made = Image.open(io.BytesIO(contact_sheet(tiles, title=title)))
    assert made.format == "PNG" and made.mode == "RGB"
    return np.asarray(made)


def tile(image: bytes | np.ndarray | None = None, prompt: str = "pick up the cup", target: str = "1 50 253", **more: str) -> Tile:
    values = {"source": "arm", "kind": "robot"} | more
    return Tile(jpeg(1) if image is None else image, prompt=prompt, target=target, **values)  # type: ignore[arg-type]


def pixels(width: int, height: int, color: tuple[int, int, int]) -> np.ndarray:
    return np.full((height, width, 3), color, np.uint8)


def test_the_same_tiles_give_the_same_bytes() -> None:
    tiles = [tile(jpeg(n), prompt=f"step {n}") for n in range(7)]
    assert contact_sheet(tiles, title="demo") == contact_sheet(tiles, title="demo")
    assert contact_sheet(tiles) != contact_sheet(tiles[::-1])


def test_images_keep_their_proportions_and_are_centred() -> None:
    wide = sheet(tile(pixels(200, 100, (255, 0, 0))))
    box = wide[GAP : GAP + SIDE, GAP : GAP + SIDE]
    red = (box[:, SIDE // 2, 0] > 200) & (box[:, SIDE // 2, 1] < 60)
    assert abs(int(red.sum()) - SIDE // 2) <= 2
    assert abs(int(np.flatnonzero(red).mean()) - SIDE // 2) <= 2
    assert tuple(box[5, SIDE // 2]) == BOX


def test_tags_say_robot_or_web() -> None:
    robot, web = sheet(tile()), sheet(tile(kind="web"))
    for image, kind, other in ((robot, "robot", "web"), (web, "web", "robot")):
        assert (image.reshape(-1, 3) == COLORS[kind]).all(axis=1).any()
        assert not (image.reshape(-1, 3) == COLORS[other]).all(axis=1).any()


@pytest.mark.parametrize(("tiles", "columns"), [(1, 1), (6, 6), (8, 4), (12, 6), (15, 5), (24, 6)])
def test_few_places_stay_empty(tiles: int, columns: int) -> None:
    assert sheet(*[tile()] * tiles).shape[1] == GAP + columns * (SIDE + GAP)


def test_every_text_shows_in_its_tile() -> None:
    short, long = sheet(tile(prompt="go")), sheet(tile(prompt="put the spoon on the towel and then close the drawer below it"))
    assert long.shape[0] > short.shape[0]
    assert (sheet(tile(prompt="go"), title="where it lies")[:GAP] == PAPER).all()


@pytest.mark.parametrize(
    "image", [b"", b"<html>no</html>", jpeg(3)[:60], b"\xff\xd8\xff" + bytes(200), np.zeros((0, 4, 3), np.uint8)]
)
def test_a_image_that_is_none_leaves_its_box_with_a_word_in_it(image: bytes | np.ndarray) -> None:
    found = sheet(tile(image))[GAP : GAP + SIDE, GAP : GAP + SIDE]
    assert ((found == BOX).all(axis=2).mean() > 0.9) and not (found == BOX).all()


def test_words_from_data_cannot_steer_or_grow() -> None:
    clean = contact_sheet([tile(prompt="open the drawer", source="arm")])
    assert contact_sheet([tile(prompt="open\x1b the\x07 \u202edrawer\x00", source="a\x1brm")]) == clean
    assert sheet(tile(prompt="word " * 100_000, target="9" * 1_000_000, source="s" * 500, note="n" * 500)).shape[0] < 2 * SIDE


@tries(60)
@given(st.text(max_size=300), st.integers(1, 5), st.sampled_from([80.0, 224.0]))
def test_lines_fit(text: str, lines: int, width: float) -> None:
    found = wrap(text, FONT, width, lines)
    assert 1 <= len(found) <= lines
    assert all(FONT.getlength(line) <= width or len(line) <= 3 for line in found)
    assert all(c.isprintable() for line in found for c in line)


@tries(60)
@given(st.lists(st.text("abcdefghij", min_size=1, max_size=6), max_size=12))
def test_nothing_is_cut_without_dots(words: list[str]) -> None:
    whole, cut = wrap(" ".join(words), FONT, SIDE, 99), wrap(" ".join(words), FONT, SIDE, 2)
    assert " ".join(whole).split() == words
    assert cut == whole if len(whole) <= 2 else cut[-1].endswith("...")


def test_no_tile_and_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="no tiles"):
        contact_sheet([])
    monkeypatch.setattr("rt2data.look.report.contact_sheet.MAX_TILES", 3)
    grey = tile(pixels(4, 4, (9, 9, 9)))
    assert sheet(*[grey] * 9).shape == sheet(*[grey] * 3).shape


def test_real_images(shared_data: Path) -> None:
    paths = sorted((shared_data / "coco_web" / "val2017").glob("*.jpg"))[:4]
    made = sheet(*[tile(path.read_bytes(), kind="web") for path in paths])
    assert made[GAP : GAP + SIDE].std() > 20
