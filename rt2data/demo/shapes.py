"""What things are made of: each shape as solids with colours."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import cos, sin

import numpy as np

from rt2data.demo.camera import F64
from rt2data.demo.scene import COLORS, FLOORS, Shape, Thing
from rt2data.demo.solids import Ball, Box, Cylinder, Shell, Solid, Tube

Rgb = tuple[int, int, int]
TIN: Rgb = (192, 196, 200)


@dataclass(frozen=True, slots=True)
class Band:
    """Another colour between two heights of a solid's own frame."""

    low: float
    high: float
    color: Rgb


@dataclass(frozen=True, slots=True)
class Part:
    """A solid at `place`, its axes the columns of `turn`. `gloss` is the strength of its highlight."""

    solid: Solid
    place: tuple[float, float, float]
    turn: tuple[tuple[float, float, float], ...]
    color: Rgb
    gloss: float = 0.25
    bands: tuple[Band, ...] = ()

    @property
    def axes(self) -> F64:
        return np.array(self.turn)


@lru_cache(maxsize=512)
def hull_of(part: Part) -> F64:
    """float64[n, 3]: points of the scene whose convex hull holds this part."""
    return part.solid.hull() @ part.axes.T + part.place


def turned(yaw: float) -> tuple[tuple[float, float, float], ...]:
    """The turn about the vertical."""
    return ((cos(yaw), -sin(yaw), 0.0), (sin(yaw), cos(yaw), 0.0), (0.0, 0.0, 1.0))


def parts(thing: Thing) -> tuple[Part, ...]:
    """What a thing is made of."""
    size, color, turn = thing.size, COLORS[thing.color], turned(thing.yaw)
    middle = (thing.x, thing.y, thing.z + size.height / 2)
    half = size.height / 2
    match thing.shape:
        case "block":
            return (Part(Box((size.radius, size.radius, half)), middle, turn, color, 0.15),)
        case "can":
            return (Part(Cylinder(size.radius, half), middle, turn, color, 0.45, _tin(half)),)
        case "ball":
            return (Part(Ball(size.radius), middle, turn, color, 0.5),)
        case "mug":
            return _mug(thing)
        case "bowl" | "plate":
            return (Part(_SHELLS[thing.shape], (thing.x, thing.y, thing.z), turn, color, 0.3),)


def _tin(half: float) -> tuple[Band, ...]:
    return (Band(half - 0.005, 1.0, TIN), Band(-1.0, 0.004 - half, TIN))


def _mug(thing: Thing) -> tuple[Part, ...]:
    """A cup, and a ring standing on edge for its handle, cut off inside the wall."""
    size, color, turn = thing.size, COLORS[thing.color], turned(thing.yaw)
    half = size.height / 2
    middle = (thing.x, thing.y, thing.z + half)
    cup = Part(Tube(size.radius, size.radius - 0.004, half, floor=0.006), middle, turn, color, 0.4)
    reach = size.radius + 0.003
    ring = (thing.x + reach * cos(thing.yaw), thing.y + reach * sin(thing.yaw), thing.z + half * 1.02)
    upright = np.array(turn) @ np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    handle = Tube(0.023, 0.015, 0.006, cut=-0.006)
    return cup, Part(handle, ring, tuple(map(tuple, upright.tolist())), color, 0.4)


def _shell(rim: float, foot: float, top: float, thick: float, floor: float) -> Shell:
    """The shell through a rim of radius `rim` at height `top` and a foot of radius `foot` at height 0."""
    middle = (rim**2 + top**2 - foot**2) / (2 * top)
    radius = float(np.hypot(foot, middle))
    return Shell(radius, thick, top, floor, middle - radius)


_SHELLS: dict[Shape, Shell] = {
    "bowl": _shell(0.068, 0.032, 0.046, 0.004, FLOORS["bowl"]),
    "plate": _shell(0.082, 0.050, 0.014, 0.004, FLOORS["plate"]),
}
