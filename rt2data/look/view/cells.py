"""Pixels as lines of a terminal: two to a cell by half blocks, in as many colours as it has, or as shades of characters."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Depth = Literal["true", "256", "none"]
"""Colours a terminal has: 24 bits, the 256 of xterm, or none."""
UPPER = "▀"
RESET = "\x1b[0m"
SHADES = " .:-=+*#%@"
LEVELS = np.array([0, 95, 135, 175, 215, 255])
"""The six levels of each channel in xterm's cube of 256 colours."""
CHUNK = 4096
"""Bytes of one escape sequence of kitty's protocol."""


def lines(pixels: NDArray[np.uint8], depth: Depth) -> list[str]:
    """One string for each two rows of uint8[2h, w, 3]; it is w cells wide and leaves no colour behind."""
    if depth == "none":
        return list(_shaded(pixels))
    code = _true if depth == "true" else _cube
    return [_line(top, bottom, code) for top, bottom in zip(pixels[::2], pixels[1::2], strict=True)]


def _line(top: NDArray[np.uint8], bottom: NDArray[np.uint8], code: object) -> str:
    """Upper halves in the foreground's colour, lower ones in the background's; a colour is said again only where it changes."""
    parts, before = [], ("", "")
    assert callable(code)
    for now in zip(code(top), code(bottom), strict=True):
        said = [f"{lead};{color}" for lead, color, old in zip(("38", "48"), now, before, strict=True) if color != old]
        parts.append((f"\x1b[{';'.join(said)}m" if said else "") + UPPER)
        before = now
    return "".join(parts) + RESET


def _true(row: NDArray[np.uint8]) -> list[str]:
    return [f"2;{red};{green};{blue}" for red, green, blue in row.tolist()]


def _cube(row: NDArray[np.uint8]) -> list[str]:
    return [f"5;{number}" for number in nearest(row).tolist()]


def nearest(colors: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Numbers int64[n] of the nearest of xterm's colours 16 to 231 to uint8[n, 3]."""
    steps = np.abs(colors.astype(np.int64)[:, :, None] - LEVELS).argmin(axis=2)
    found: NDArray[np.int64] = 16 + steps @ np.array([36, 6, 1])
    return found


def _shaded(pixels: NDArray[np.uint8]) -> Iterator[str]:
    """Brightness (ITU-R BT.601) of each cell's two pixels as a character."""
    grey = (pixels.astype(np.float64) @ np.array([0.299, 0.587, 0.114])).reshape(len(pixels) // 2, 2, -1).mean(axis=1)
    for row in (grey * (len(SHADES) - 1) / 255).round().astype(int).tolist():
        yield "".join(SHADES[shade] for shade in row)


def speaks_kitty(environ: Mapping[str, str]) -> bool:
    """Whether the terminal draws pictures by kitty's protocol. Not through tmux or screen, which swallow it."""
    named = "KITTY_WINDOW_ID" in environ or environ.get("TERM", "") in ("xterm-kitty", "xterm-ghostty")
    return named and "TMUX" not in environ and not environ.get("TERM", "").startswith(("screen", "tmux"))


def kitty(png: bytes, columns: int, rows: int) -> str:
    """Escape sequences that draw a PNG over so many cells, where the cursor stands, which stays.

    Source: kitty's terminal graphics protocol, "Remote client" and "Controlling displayed image layout".
    """
    content = b64encode(png).decode()
    parts = [content[at : at + CHUNK] for at in range(0, len(content), CHUNK)]
    heads = [f"a=T,f=100,q=2,C=1,c={columns},r={rows},", *[""] * (len(parts) - 1)]
    more = [*["1"] * (len(parts) - 1), "0"]
    return "".join(f"\x1b_G{head}m={m};{part}\x1b\\" for head, m, part in zip(heads, more, parts, strict=True))


KITTY_CLEAR = "\x1b_Ga=d,q=2\x1b\\"
"""Takes all pictures away."""
