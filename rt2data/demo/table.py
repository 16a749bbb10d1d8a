"""The table top and the wall behind it, without anything on them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rt2data.demo.camera import F32, Camera, rays
from rt2data.demo.shapes import Rgb

U8 = NDArray[np.uint8]
BACK = -0.20  # metres: where the table ends
WALL = -0.55  # metres: where the wall stands


@dataclass(frozen=True, slots=True)
class Top:
    """A table top: its colour, how strongly it is grained, and whether it is woven, planked or speckled."""

    color: Rgb
    grain: float
    pattern: str


TOPS: dict[str, Top] = {
    "oak": Top((203, 165, 118), 0.075, "planks"),
    "walnut": Top((146, 101, 68), 0.11, "planks"),
    "stone": Top((168, 170, 173), 0.035, "speckles"),
    "linen": Top((226, 224, 218), 0.022, "weave"),
    "felt": Top((112, 158, 118), 0.03, "weave"),
    "slate": Top((112, 142, 178), 0.03, "speckles"),
}


@lru_cache(maxsize=32)
def backdrop(name: str, camera: Camera, pixels: int) -> tuple[U8, NDArray[np.bool_]]:
    """The empty picture uint8[pixels, pixels, 3], and where in it the table lies (shadows fall only there)."""
    way, eye = rays(camera, pixels), np.asarray(camera.eye, np.float32)
    with np.errstate(divide="ignore"):
        down, back = -eye[2] / way[2], (WALL - eye[0]) / way[0]
    x, y = eye[0] + down * way[0], eye[1] + down * way[1]
    on_table = (down > 0) & (x > BACK)
    across, up = eye[1] + back * way[1], eye[2] + back * way[2]
    found = np.where(on_table, _top(TOPS[name], x, y), _wall(across, up))
    edge = (x > BACK - 0.02) & ~on_table & (down > 0)
    found = np.where(edge, _top(TOPS[name], x, y) * np.float32(0.62), found)
    picture = np.clip(found * 255, 0, 255).astype(np.uint8).transpose(1, 2, 0).copy()
    picture.setflags(write=False)
    return picture, on_table


def _hash(a: F32, b: F32 | float = 0.0) -> F32:
    """Noise in [0, 1) that depends on two numbers only."""
    found = np.sin(a * np.float32(12.9898) + b * np.float32(78.233)) * np.float32(43758.547)
    return (found - np.floor(found)).astype(np.float32)


def _smooth(x: F32, y: F32) -> F32:
    """Value noise in [0, 1): random at whole numbers, smooth between."""
    fx, fy = x - np.floor(x), y - np.floor(y)
    fx, fy = fx * fx * (3 - 2 * fx), fy * fy * (3 - 2 * fy)
    ix, iy = np.floor(x), np.floor(y)
    low = _hash(ix, iy) * (1 - fx) + _hash(ix + 1, iy) * fx
    high = _hash(ix, iy + 1) * (1 - fx) + _hash(ix + 1, iy + 1) * fx
    found: F32 = low * (1 - fy) + high * fy
    return found


def _top(top: Top, x: F32, y: F32) -> F32:
    patterns = {"planks": _planks, "speckles": _speckles, "weave": _weave}
    tone = 1 + np.float32(top.grain) * patterns[top.pattern](x, y)
    pool = np.exp(-((x - 0.30) ** 2 + (y + 0.10) ** 2) * np.float32(1.6))  # the lamp stands to the left
    shade = np.float32(0.80) + np.float32(0.22) * pool
    color = np.array(top.color, np.float32)[:, None, None] / 255
    found: F32 = color * tone * shade
    return found


def _planks(x: F32, y: F32) -> F32:
    """Boards along y, each with a tone of its own, rings stretched along it and a seam."""
    board = np.floor(x / np.float32(0.105) + np.float32(0.35))
    inside = x / np.float32(0.105) + np.float32(0.35) - board
    bend = _smooth(y * 5 + board * 17, x * 22)
    rings = np.sin((inside * 9 + bend * 2.6 + _hash(board) * 6) * np.float32(2 * np.pi) * np.float32(0.8))
    fine = _smooth(y * 14 + board * 31, x * 420) - np.float32(0.5)
    seam = np.exp(-((np.minimum(inside, 1 - inside) / np.float32(0.016)) ** 2))
    found: F32 = rings * np.float32(0.45) + fine * np.float32(0.9) + (_hash(board, 3.0) - np.float32(0.5)) * 1.6 - seam * 2.8
    return found


def _speckles(x: F32, y: F32) -> F32:
    found: F32 = (_smooth(x * 320, y * 320) - np.float32(0.5)) * 1.6 + (_smooth(x * 18, y * 18) - np.float32(0.5)) * 1.5
    return found


def _weave(x: F32, y: F32) -> F32:
    threads = np.sin(x * np.float32(1500)) * np.sin(y * np.float32(1500))
    found: F32 = threads * np.float32(0.6) + (_smooth(x * 12, y * 12) - np.float32(0.5)) * 1.6
    return found


def _wall(across: F32, up: F32) -> F32:
    """A plain wall, lit from above on the left."""
    light = np.float32(0.62) + np.float32(0.10) * np.clip(up + 0.6, 0, 1) - np.float32(0.05) * np.clip(across, -1, 1)
    tint = np.array([0.98, 1.0, 1.03], np.float32)[:, None, None]
    found: F32 = tint * light
    return found
