"""The scene: things of named shapes and colors, the gripper above them, and the shaded polygons they consist of.

The frame is the robot's, in metres and radians: x points from the robot towards the viewer, y to the viewer's right, z up from the
table top. Polygons are drawn in perspective.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import atan2, cos, hypot, pi, sin, sqrt
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Shape = Literal["block", "can", "ball", "mug", "bowl", "plate"]
Rgb = tuple[int, int, int]

COLORS: dict[str, Rgb] = {
    "red": (206, 30, 38), "orange": (246, 128, 18), "yellow": (250, 211, 28), "green": (38, 146, 62), "blue": (28, 88, 200),
    "purple": (122, 52, 164), "pink": (246, 138, 178), "white": (248, 248, 245), "black": (34, 34, 38), "gray": (126, 129, 134),
}  # fmt: skip
"""sRGB values of the named colors."""
TABLES: dict[str, str] = {"oak": "brown", "walnut": "brown", "stone": "gray", "linen": "white", "felt": "green", "slate": "blue"}
"""Table tops and the color a person would call them."""


class BlockSize(NamedTuple):
    """Outer radius (half the side of a block), height, and reach: how far any part is from the vertical axis. Metres."""

    radius: float
    height: float
    reach: float


SIZES: dict[Shape, BlockSize] = {
    "block": BlockSize(0.023, 0.046, 0.0325),
    "can": BlockSize(0.027, 0.088, 0.027),
    "ball": BlockSize(0.027, 0.054, 0.027),
    "mug": BlockSize(0.034, 0.072, 0.061),
    "bowl": BlockSize(0.068, 0.046, 0.068),
    "plate": BlockSize(0.082, 0.014, 0.082),
}
FLOORS: dict[Shape, float] = {"bowl": 0.008, "plate": 0.006, "block": 0.046}
"""Height of the supporting surface in or on shapes that can hold something."""
HOLDS: dict[Shape, str] = {"bowl": "in", "plate": "on", "block": "on"}
"""The preposition for each shape that can hold something."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing: the center of its foot (x, y, z) and its rotation about the vertical."""

    shape: Shape
    color: str
    x: float
    y: float
    z: float = 0.0
    yaw: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.color} {self.shape}"

    @property
    def size(self) -> BlockSize:
        return SIZES[self.shape]

    @property
    def top(self) -> float:
        """Height of its highest point, metres."""
        return self.z + self.size.height


@dataclass(frozen=True, slots=True)
class GripperPose:
    """The point between the finger tips, the gripper's rotation, and its opening: 0 closed, 1 open."""

    x: float
    y: float
    z: float
    roll: float = 0.0
    pitch: float = 0.0
    yaw: float = 0.0
    opening: float = 1.0


@dataclass(frozen=True, slots=True)
class Scene:
    """Everything an image shows. `view` names one of `solids.VIEWS`."""

    things: tuple[Thing, ...]
    table: str = "oak"
    view: str = "front"
    gripper: GripperPose | None = None


def rest_height(support: Thing) -> float:
    """The height at which a foot rests in or on `support`. Metres."""
    return support.z + FLOORS[support.shape]


def support_of(thing: Thing, things: tuple[Thing, ...]) -> Thing | None:
    """What `thing` stands in or on; None if it stands on the table."""
    for other in things:
        close = (thing.x - other.x) ** 2 + (thing.y - other.y) ** 2 < other.size.radius**2
        if other is not thing and close and other.shape in FLOORS and abs(thing.z - rest_height(other)) < 0.004:
            return other
    return None


F64 = NDArray[np.float64]
Vector = tuple[float, float, float]

LAMP: F64 = np.array([0.34, -0.44, 0.8312])  # unit vector from the table to a lamp on the viewer's left
TIN, SHELL, JOINT, PAD = (192, 196, 200), (226, 228, 232), (58, 62, 70), (40, 42, 46)
WIDEST = 0.080  # between the fingers at opening 1
SHOULDER: F64 = np.array([-0.04, 0.0, 0.14])
LINK = 0.33  # length of both upper arm and forearm
WRIST = 0.135  # from the finger tips to the wrist


class DemoCamera(NamedTuple):
    """The camera's position, the point it looks at (metres) and its field of view (radians), equal in both directions."""

    eye: Vector
    target: Vector
    field: float


VIEWS: dict[str, DemoCamera] = {
    "front": DemoCamera((0.98, 0.0, 0.62), (0.285, 0.0, 0.058), 0.56),
    "middle": DemoCamera((0.95, 0.0, 0.66), (0.30, 0.0, 0.02), 0.48),
    "left": DemoCamera((0.93, -0.22, 0.64), (0.30, 0.0, 0.02), 0.49),
    "right": DemoCamera((0.93, 0.22, 0.64), (0.30, 0.0, 0.02), 0.49),
    "high": DemoCamera((0.80, 0.0, 0.80), (0.295, 0.0, 0.02), 0.49),
}


@lru_cache(maxsize=8)
def axes(camera: DemoCamera) -> F64:
    """float64[3, 3]: the rows point right, up and forward of the camera, in the scene's frame."""
    forward = np.subtract(camera.target, camera.eye)
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right = right / np.linalg.norm(right)
    return np.array([right, np.cross(right, forward), forward])


def project(camera: DemoCamera, points: F64, pixels: int) -> F64:
    """Points float64[..., 3] -> pixel coordinates float64[..., 2] (across, down). Points must be in front of the camera."""
    right, up, forward = axes(camera)
    seen = points - np.asarray(camera.eye)
    scale = pixels / 2 / np.tan(camera.field / 2) / np.maximum(seen @ forward, 1e-3)
    return np.stack([pixels / 2 + (seen @ right) * scale, pixels / 2 - (seen @ up) * scale], axis=-1)


def circle(sides: int = 28, start: float = 0.0) -> F64:
    """float64[sides, 2]: points around a circle of radius 1."""
    turns = start + np.arange(sides) * (2 * pi / sides)
    return np.stack([np.cos(turns), np.sin(turns)], axis=1)


CIRCLE = circle()
_AROUND: F64 = np.array([point for point in product((-1.0, 0.0, 1.0), repeat=3) if any(point)])
_AROUND /= np.linalg.norm(_AROUND, axis=1, keepdims=True)


def outline(points: F64) -> F64:
    """Convex hulls of float64[..., n, 2], as their farthest points in 28 directions: float64[..., 56], x0, y0, x1, y1, ..."""
    farthest = np.argmax(points @ CIRCLE.T, axis=-2)
    return np.take_along_axis(points, farthest[..., None], axis=-2).reshape(*points.shape[:-2], -1)


def lit(color: Rgb, light: float) -> Rgb:
    """The color under this much light; above 1 it turns white."""
    red, green, blue = (min(255, round(each * min(light, 1) + 255 * max(light - 1, 0))) for each in color)
    return red, green, blue


class Polygon(NamedTuple):
    """Corners x0, y0, x1, y1, ... in pixels, and a color."""

    corners: list[float]
    color: Rgb


class Lathe(NamedTuple):
    """A surface of revolution about the vertical through `foot`; with few sides a prism.

    `profile` has (radius, height) from the outer foot inwards: rising parts are outside surfaces, falling parts inside ones.
    """

    foot: Vector
    profile: tuple[tuple[float, float], ...]
    color: Rgb
    sides: int = 28
    turn: float = 0.0

    def points(self) -> F64:
        """float64[n, 3]: the convex hull of these points contains the solid."""
        profile = np.array(self.profile)
        flat = profile[:, None, :1] * circle(self.sides, self.turn)
        height = np.broadcast_to(profile[:, None, 1:], (*flat.shape[:2], 1))
        return (np.concatenate([flat, height], axis=2) + self.foot).reshape(-1, 3)

    def polygons(self, camera: DemoCamera, pixels: int) -> Iterator[Polygon]:
        """The faces turned towards the camera, lit by the lamp; inside faces first."""
        rings = self.points().reshape(-1, self.sides, 3)[::-1]
        faces = np.stack([rings[:-1], np.roll(rings[:-1], -1, 1), np.roll(rings[1:], -1, 1), rings[1:]], axis=2)
        steps = np.diff(np.array(self.profile), axis=0)[::-1, None]
        steps = steps / np.linalg.norm(steps, axis=2, keepdims=True)
        flat = steps[..., 1:] * circle(self.sides, self.turn + pi / self.sides)
        normals = np.concatenate([flat, np.broadcast_to(-steps[..., :1], (*flat.shape[:2], 1))], axis=2)
        facing = ((np.asarray(camera.eye) - faces.mean(axis=2)) * normals).sum(axis=2) > 0
        light = 0.60 + 0.46 * np.maximum(normals[facing] @ LAMP, 0)
        for corners, each in zip(project(camera, faces[facing], pixels).tolist(), light.tolist(), strict=True):
            yield Polygon([value for corner in corners for value in corner], lit(self.color, each))


class Limb(NamedTuple):
    """A round bar along `knots` float64[k, 3]; a ball if there is only one."""

    knots: F64
    radius: float
    color: Rgb
    layers: int = 8

    def points(self) -> F64:
        """float64[n, 3]: the convex hull of these points contains the solid."""
        return (self.knots[:, None] + _AROUND * self.radius).reshape(-1, 3)

    def polygons(self, camera: DemoCamera, pixels: int) -> Iterator[Polygon]:
        """Nested discs, each brighter and nearer to the lamp."""
        right, up, _ = axes(camera)
        centers = project(camera, self.knots, pixels)
        radii = (project(camera, self.knots + right * self.radius, pixels) - centers)[:, :1]
        lamp = np.array([right @ LAMP, -(up @ LAMP)])
        parts = np.linspace(0, 1, self.layers)[:, None, None]
        discs = (centers + lamp * radii * 0.6 * parts)[:, :, None] + CIRCLE * (radii * (1 - 0.85 * parts))[..., None]
        pairs = np.concatenate([discs[:, :-1], discs[:, 1:]], axis=2) if len(self.knots) > 1 else discs
        for part, outlines in zip(parts.ravel().tolist(), outline(pairs).tolist(), strict=True):
            yield from (Polygon(corners, lit(self.color, 0.66 + 0.50 * part)) for corners in outlines)


Solid = Lathe | Limb


# Things

_BOWL = ((0.032, 0.0), (0.050, 0.011), (0.062, 0.026), (0.068, 0.046))
_BOWL_INSIDE = ((0.068, 0.046), (0.064, 0.046), (0.058, 0.028), (0.046, 0.014), (0.030, 0.008), (0.0, 0.008))
_PLATE = ((0.050, 0.0), (0.082, 0.014))
_PLATE_INSIDE = ((0.082, 0.014), (0.078, 0.014), (0.052, 0.006), (0.0, 0.006))


def solids(thing: Thing) -> tuple[list[Solid], list[Solid]]:
    """The solids of a thing: those drawn before, and those drawn after, whatever stands in it."""
    color, foot, radius, height = COLORS[thing.color], (thing.x, thing.y, thing.z), thing.size.radius, thing.size.height
    match thing.shape:
        case "block":
            wide = radius * sqrt(2)
            return [Lathe(foot, ((wide, 0.0), (wide, height), (0.0, height)), color, 4, thing.yaw + pi / 4)], []
        case "ball":
            return [Limb(np.add([foot], (0, 0, radius)), radius, color, 14)], []
        case "can":
            side, low, high = Lathe(foot, ((radius, 0.004), (radius, height - 0.005)), color), height - 0.002, height - 0.005
            lid = Lathe(foot, ((radius, high), (radius, height), (radius - 0.003, height), (radius - 0.004, low), (0.0, low)), TIN)
            return [Lathe(foot, ((radius, 0.0), (radius, 0.004)), TIN), side, lid], []
        case "mug":
            return _mug(thing, foot, color), []
        case "bowl":
            return [Lathe(foot, _BOWL_INSIDE, color)], [Lathe(foot, _BOWL, color)]
        case "plate":
            return [Lathe(foot, _PLATE_INSIDE, color)], [Lathe(foot, _PLATE, color)]


def _mug(thing: Thing, foot: Vector, color: Rgb) -> list[Solid]:
    """A cup with a round handle."""
    radius, height = thing.size.radius, thing.size.height
    inner, arc = radius - 0.004, np.linspace(-1.75, 1.75, 12)
    cup = Lathe(foot, ((radius, 0.0), (radius, height), (inner, height), (inner, 0.006), (0.0, 0.006)), color)
    out, rise = radius + 0.003 + 0.019 * np.cos(arc), height * 0.51 + 0.019 * np.sin(arc)
    handle = Limb(np.stack([out * cos(thing.yaw), out * sin(thing.yaw), rise], axis=1) + foot, 0.005, color, 3)
    return [cup, handle] if cos(thing.yaw) > 0 else [handle, cup]


# The robot: two links in a vertical plane from a shoulder behind the table to the wrist, and a gripper of two fingers


def robot(gripper: GripperPose) -> list[Limb]:
    """The arm with its gripper at the given pose. At yaw 0 the fingers close along y."""
    turn, tip = rotation(gripper.roll, gripper.pitch, gripper.yaw), np.array([gripper.x, gripper.y, gripper.z])

    def bar(radius: float, color: Rgb, *knots: tuple[float, float]) -> Limb:
        """A limb along points of the hand, given as (across, up from the tips)."""
        return Limb(np.array([tip + turn @ (0.0, across, up) for across, up in knots]), radius, color)

    wrist = tip + turn @ (0.0, 0.0, WRIST)
    elbow = _elbow(wrist)
    arm = [
        Limb(np.array([SHOULDER * (1, 1, 0), SHOULDER]), 0.050, JOINT),
        Limb(SHOULDER[None], 0.047, SHELL),
        Limb(np.array([SHOULDER, elbow]), 0.030, SHELL),
        Limb(elbow[None], 0.036, JOINT),
        Limb(np.array([elbow, wrist]), 0.025, SHELL),
        Limb(wrist[None], 0.030, SHELL),
    ]
    away = gripper.opening * WIDEST / 2 + 0.010
    fingers = [bar(0.008, PAD, (side * away, -0.004), (side * away, 0.058)) for side in (-1, 1)]
    return [*arm, bar(0.017, JOINT, (0.0, 0.085), (0.0, WRIST)), *fingers, bar(0.015, SHELL, (-0.048, 0.068), (0.048, 0.068))]


def rotation(roll: float, pitch: float, yaw: float) -> F64:
    """float64[3, 3]: turn by roll about x, then pitch about y, then yaw about z."""
    cr, sr, cp, sp, cy, sy = cos(roll), sin(roll), cos(pitch), sin(pitch), cos(yaw), sin(yaw)
    about_x = np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])
    about_y = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    about_z = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    found: F64 = about_z @ about_y @ about_x
    return found


def _elbow(wrist: F64) -> F64:
    """Where two equal links meet, with the elbow up; the links stretch if the wrist is out of reach."""
    dx, dy, dz = (wrist - SHOULDER).tolist()
    reach, turn = hypot(dx, dy), atan2(dy, dx)
    span = hypot(reach, dz)
    rise = sqrt(max(LINK**2 - span**2 / 4, 0.0))
    out = reach / 2 - rise * dz / span
    found: F64 = np.array([out * cos(turn), out * sin(turn), dz / 2 + rise * reach / span]) + SHOULDER
    return found
