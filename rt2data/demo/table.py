"""The table top and the wall behind it, without anything on them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from rt2data.demo.camera import F32, Camera, rays
from rt2data.demo.shapes import Rgb

BACK = -0.20  # metres: where the table ends
WALL = -0.55  # metres: where the wall stands
DARKNESS = 0.50  # how much of the table's light a full shadow takes


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
def backdrop(name: str, camera: Camera, pixels: int) -> tuple[Image.Image, Image.Image]:
    """The empty picture in full light, and the same with the whole table in shadow. Both RGBX."""
    way, eye = rays(camera, pixels), np.asarray(camera.eye, np.float32)
    with np.errstate(divide="ignore"):
        down, back = -eye[2] / way[2], (WALL - eye[0]) / way[0]
    x, y = eye[0] + down * way[0], eye[1] + down * way[1]
    top, wall = _top(TOPS[name], x, y), _wall(eye[1] + back * way[1], eye[2] + back * way[2])
    edge = (down > 0) & (x > BACK - 0.02)
    empty = np.where(edge, top * np.where(x > BACK, np.float32(1), np.float32(0.62)), wall)
    return _image(empty), _image(np.where(edge & (x > BACK), empty * np.float32(1 - DARKNESS), empty))


def _image(color: F32) -> Image.Image:
    """RGBX of float32[3, h, w], 0 to 1."""
    return Image.fromarray(np.clip(color * 255, 0, 255).astype(np.uint8).transpose(1, 2, 0).copy()).convert("RGBX")


def _hash(a: F32, b: F32 | float = 0.0) -> F32:
    """Noise in [0, 1) that depends on two numbers only."""
    found = np.sin(a * np.float32(12.9898) + b * np.float32(78.233)) * np.float32(43758.547)
    return (found - np.floor(found)).astype(np.float32)


def _smooth(x: F32, y: F32) -> F32:
    """Value noise in [0, 1): random at whole numbers, smooth between."""
    left, low = _floor(x), _floor(y)
    right, high = left + 1, low + 1
    near = _mix(_hash(left, low), _hash(right, low), x - left)
    far = _mix(_hash(left, high), _hash(right, high), x - left)
    return _mix(near, far, y - low)


def _floor(value: F32) -> F32:
    found: F32 = np.floor(value)
    return found


def _mix(start: F32, end: F32, part: F32) -> F32:
    """From `start` to `end`, easing in and out."""
    found: F32 = start + (end - start) * (part * part * (3 - 2 * part))
    return found


def _top(top: Top, x: F32, y: F32) -> F32:
    patterns = {"planks": _planks, "speckles": _speckles, "weave": _weave}
    tone: F32 = 1 + np.float32(top.grain) * patterns[top.pattern](x, y)
    pool: F32 = np.exp(-((x - 0.30) ** 2 + (y + 0.10) ** 2) * np.float32(1.6))  # the lamp stands to the left
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
