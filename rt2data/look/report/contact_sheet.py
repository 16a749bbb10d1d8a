"""A sheet of images with their prompts and targets."""

from __future__ import annotations

import io
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from rt2data.images.ready import ImageFault, ImageRule, make_ready
from rt2data.read.text import clean_text
from rt2data.records import Kind

SIDE = 224  # side of an image's box
GAP = 16
FONT, SMALL = 14, 12  # pixels
LINE, TAG = 18, 20
PROMPT_LINES, TARGET_LINES = 4, 3
AS_JPEG = ImageRule(png="jpeg")
MAX_CHARS = 600
MAX_TILES = 400
MARK = b"tEXtSoftware\0rt2data"
"""A chunk near the start of every sheet."""
COLORS = {"robot": (37, 99, 190), "web": (176, 84, 10)}
PAPER, BOX, EDGE, INK, FAINT = (255, 255, 255), (238, 239, 242), (216, 218, 223), (40, 42, 48), (130, 134, 142)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Drawing = ImageDraw.ImageDraw


@dataclass(frozen=True, slots=True)
class Tile:
    """One image on a sheet, and the text under it."""

    image: bytes | memoryview | NDArray[np.uint8]  # encoded, or RGB pixels uint8[height, width, 3]
    source: str
    kind: Kind
    prompt: str
    target: str
    note: str = ""  # next to the source's tag: camera and step, epoch, ...
    more: int = 0  # other images of the example


def contact_sheet(tiles: Sequence[Tile], columns: int | None = None, title: str = "") -> bytes:
    """A PNG of all tiles in reading order, at most 400. The same tiles give the same bytes.

    Images keep their proportions; if one cannot be decoded, the reason is shown. Text is wrapped, and shortened with dots if too
    long. Raises ValueError if there are no tiles.
    """
    if not tiles:
        raise ValueError("no tiles to draw")
    tiles = tiles[:MAX_TILES]
    drawn = [_draw_tile(tile) for tile in tiles]
    across = columns or _columns(len(tiles))
    rows = [drawn[start : start + across] for start in range(0, len(drawn), across)]
    heights = [max(tile.height for tile in row) for row in rows]
    head = GAP + (FONT + GAP if title else 0)
    sheet = Image.new("RGB", (GAP + across * (SIDE + GAP), head + sum(heights) + GAP * len(rows)), PAPER)
    if title:
        _write(ImageDraw.Draw(sheet), (GAP, GAP), _fitted(_plain(title), _font(FONT), sheet.width - 2 * GAP), _font(FONT), INK)
    top = head
    for row, height in zip(rows, heights, strict=True):
        for column, tile in enumerate(row):
            sheet.paste(tile, (GAP + column * (SIDE + GAP), top))
        top += height + GAP
    return _png(sheet)


def _columns(tiles: int) -> int:
    """The number of columns: one row for up to six tiles, else whatever leaves the fewest places empty."""
    return tiles if tiles <= 6 else min((6, 5, 4), key=lambda columns: -tiles % columns)


def _draw_tile(tile: Tile) -> Image.Image:
    """Image, tag, prompt and target, one below the other."""
    prompt = wrap(tile.prompt, _font(FONT), SIDE, PROMPT_LINES)
    # The font's space after a 1 is so narrow that `1 50` would read as `150`.
    target = wrap(tile.target, _font(FONT), SIDE, TARGET_LINES, gap="  " if tile.kind == "robot" else " ")
    made = Image.new("RGB", (SIDE, SIDE + 8 + TAG + 4 + LINE * (len(prompt) + len(target))), PAPER)
    made.paste(_boxed(tile.image), (0, 0))
    draw = ImageDraw.Draw(made)
    draw.rectangle((0, 0, SIDE - 1, SIDE - 1), outline=EDGE)
    if tile.more:
        _draw_more(draw, f"+{tile.more}")
    top = SIDE + 8
    _draw_tag(draw, top, tile)
    top += TAG + 4
    for lines, color in ((prompt, INK), (target, COLORS[tile.kind])):
        for line in lines:
            _write(draw, (0, top), line, _font(FONT), color)
            top += LINE
    return made


def _draw_more(draw: Drawing, text: str) -> None:
    """Draw a text in the lower right corner of the image."""
    left = SIDE - 12 - _font(SMALL).getlength(text)
    draw.rounded_rectangle((left, SIDE - TAG, SIDE - 4, SIDE - 4), radius=4, fill=INK)
    _write(draw, (left + 4, SIDE - TAG + 1), text, _font(SMALL), PAPER)


def _draw_tag(draw: Drawing, top: int, tile: Tile) -> None:
    """Draw the source's name on the colour of its side (robot or web), and the note."""
    font = _font(SMALL)
    name = _fitted(_plain(tile.source), font, SIDE - 16)
    right = font.getlength(name) + 12
    draw.rounded_rectangle((0, top, right, top + TAG - 3), radius=4, fill=COLORS[tile.kind])
    _write(draw, (6, top + 1), name, font, PAPER)
    room = SIDE - right - 8
    if room > 3 * SMALL:
        _write(draw, (right + 8, top + 1), _fitted(_plain(tile.note), font, room), font, FAINT)


def _boxed(image: bytes | memoryview | NDArray[np.uint8]) -> Image.Image:
    """The whole image, centred in its box."""
    box = Image.new("RGB", (SIDE, SIDE), BOX)
    try:
        found = decoded(image) if len(image) else None
    except ImageFault as fault:
        _write(
            ImageDraw.Draw(box),
            (GAP, SIDE // 2 - FONT),
            _fitted(str(fault.reason), _font(FONT), SIDE - 2 * GAP),
            _font(FONT),
            FAINT,
        )
        return box
    if found is None:
        _write(ImageDraw.Draw(box), (GAP, SIDE // 2 - FONT), "no image", _font(FONT), FAINT)
        return box
    scale = SIDE / max(found.size)
    size = max(1, round(found.width * scale)), max(1, round(found.height * scale))
    found = found.resize(size, Image.Resampling.LANCZOS)
    box.paste(found, ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    return box


def decoded(image: bytes | memoryview | NDArray[np.uint8], side: int = SIDE) -> Image.Image:
    """The image in RGB, scaled down to little more than `side` square if larger. Raises ImageFault."""
    ready = make_ready(image, AS_JPEG, decode=False)
    encoded = ready.data
    if encoded is None:
        assert not isinstance(image, np.ndarray)  # pixels have no encoded bytes
        encoded = bytes(image)
    try:
        return Image.fromarray(simplejpeg.decode_jpeg(encoded, "RGB", min_height=side, min_width=side))
    except ValueError as error:
        raise ImageFault("corrupt_image", str(error)) from None


def wrap(text: str, font: Font, width: float, lines: int, gap: str = " ") -> list[str]:
    """At most `lines` lines, each within a width in pixels, with `gap` between words; the last ends in dots if text was left
    out.
    """
    found = [""]
    for word in _plain(text).split():
        for part in _parts(word, font, width):
            longer = f"{found[-1]}{gap}{part}".lstrip()
            if font.getlength(longer) <= width:
                found[-1] = longer
            else:
                found.append(part)
    if len(found) > lines:
        found = [*found[: lines - 1], _fitted(gap.join(found[lines - 1 :]), font, width)]
    return found


def _parts(word: str, font: Font, width: float) -> list[str]:
    """A word, split if it is wider than a line."""
    if font.getlength(word) <= width:
        return [word]
    fits = max(1, int(len(word) * width / font.getlength(word)) - 2)
    return [word[start : start + fits] for start in range(0, len(word), fits)]


def _fitted(text: str, font: Font, width: float) -> str:
    """One line within a width, ending in dots if shortened."""
    if font.getlength(text) <= width:
        return text
    fits = bisect_left(range(len(text)), True, key=lambda end: font.getlength(text[:end].rstrip() + "...") > width)
    return text[: max(fits - 1, 0)].rstrip() + "..."


def _plain(text: str) -> str:
    """Text without control characters, shortened to MAX_CHARS."""
    return "".join(c for c in clean_text(text[:MAX_CHARS]) if c.isprintable())


def _write(draw: Drawing, at: tuple[float, float], text: str, font: Font, color: tuple[int, int, int]) -> None:
    draw.text(at, text, fill=color, font=font)


def _font(size: int) -> Font:
    return ImageFont.load_default(size)


def _png(sheet: Image.Image) -> bytes:
    out = io.BytesIO()
    about = PngInfo()
    about.add_text("Software", "rt2data")
    sheet.save(out, "PNG", compress_level=6, pnginfo=about)
    return out.getvalue()
