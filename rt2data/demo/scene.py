"""What is on the table: things of named shapes and colors, and the gripper above them. Metres and radians.

The frame is the robot's: x points from the robot towards the viewer, y to the viewer's right, z up from the table top.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Shape = Literal["block", "can", "ball", "mug", "bowl", "plate"]
Rgb = tuple[int, int, int]

COLORS: dict[str, Rgb] = {
    "red": (206, 30, 38), "orange": (246, 128, 18), "yellow": (250, 211, 28), "green": (38, 146, 62), "blue": (28, 88, 200),
    "purple": (122, 52, 164), "pink": (246, 138, 178), "white": (248, 248, 245), "black": (34, 34, 38), "gray": (126, 129, 134),
}  # fmt: skip
"""sRGB of every color that has a name here."""
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
"""Height at which something stands in or on a shape that can hold it."""
HOLDS: dict[Shape, str] = {"bowl": "in", "plate": "on", "block": "on"}
"""The word for that."""


@dataclass(frozen=True, slots=True)
class Thing:
    """One thing: its foot's center (x, y, z) and its turn about the vertical."""

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
    """The point between the finger tips, its turn, and how far it is open: 0 closed, 1 open."""

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
    """What `thing` stands in or on; None where it stands on the table."""
    for other in things:
        close = (thing.x - other.x) ** 2 + (thing.y - other.y) ** 2 < other.size.radius**2
        if other is not thing and close and other.shape in FLOORS and abs(thing.z - rest_height(other)) < 0.004:
            return other
    return None
