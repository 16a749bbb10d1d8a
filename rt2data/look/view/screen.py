"""One example laid out on a screen of so many cells: a string for the terminal, made of pixels and words."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, NamedTuple

from rich.console import Console
from rich.text import Text

from rt2data.images.ready import ImageFault
from rt2data.look.inspect.examples import Seen
from rt2data.look.view import cells
from rt2data.look.view.pictures import as_png, pixels
from rt2data.look.view.words import lines

WIDE = 90
"""Columns from which on the words stand beside the picture."""
GAP = 2
CELL = 10, 20
"""Pixels of a cell that are drawn where the terminal draws pictures itself."""
CLEAR = "\x1b[H\x1b[2J"


@dataclass(frozen=True)
class Look:
    """What the terminal can show."""

    depth: cells.Depth = "true"
    kitty: bool = False


class Box(NamedTuple):
    """A part of the screen, in cells from 1."""

    left: int
    top: int
    width: int
    height: int


def boxes(width: int, height: int) -> tuple[Box, Box]:
    """Where the picture goes, and where the words go: beside it, or on a narrow screen below."""
    inner = max(height - 1, 2)
    if width >= WIDE:
        left = max(min(width // 2, 2 * inner), 10)
        return Box(1, 1, left, inner), Box(left + GAP + 1, 1, width - left - GAP, inner)
    top = max(inner // 2, 1)
    return Box(1, 1, width, top), Box(1, top + 1, width, max(inner - top, 1))


def frame(seen: Seen, status: str, size: tuple[int, int], look: Look) -> str:
    """The whole screen of columns x lines: picture, words, and a last line."""
    width, height = size
    picture, words = boxes(width, height)
    drawn = (cells.KITTY_CLEAR if look.kitty else "") + CLEAR + _picture(seen, picture, look)
    said = as_ansi(lines(seen, look.depth != "none"), words.width, look)[: words.height]
    drawn += "".join(f"\x1b[{words.top + i};{words.left}H{line}" for i, line in enumerate(said))
    (last,) = as_ansi([Text(status, "reverse", no_wrap=True, overflow="ellipsis")], width - 1, look)[:1]
    return f"{drawn}\x1b[{height};1H{last}"


def _picture(seen: Seen, box: Box, look: Look) -> str:
    """The picture in its box; where there is none, nothing, and where it cannot be decoded, why."""
    if seen.picture is None:
        return ""
    across, down = CELL if look.kitty else (1, 2)
    try:
        shown = pixels(seen.picture, box.width * across, box.height * down)
    except ImageFault as fault:
        return f"\x1b[{box.top};{box.left}H{fault.reason}"[: box.width + 8]
    if look.kitty:
        rows, columns = -(-shown.shape[0] // down), -(-shown.shape[1] // across)
        return f"\x1b[{box.top};{box.left}H{cells.kitty(as_png(shown), columns, rows)}"
    drawn = cells.lines(shown, look.depth)
    return "".join(f"\x1b[{box.top + i};{box.left}H{line}" for i, line in enumerate(drawn))


def as_ansi(texts: list[Text], width: int, look: Look) -> list[str]:
    """Lines wrapped to a width, each with its own colours."""
    system = {"true": "truecolor", "256": "256", "none": None}[look.depth]
    out = io.StringIO()
    colored: dict[str, Any] = {"color_system": system, "force_terminal": system is not None, "legacy_windows": False}
    console = Console(file=out, width=max(width, 4), highlight=False, **colored)
    for text in texts:
        console.print(text, soft_wrap=False, no_wrap=text.no_wrap, overflow=text.overflow)
    return out.getvalue().splitlines()
