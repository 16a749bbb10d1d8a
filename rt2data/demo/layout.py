"""Where things stand: drawn at random, apart from each other and in plain view."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import hypot, pi
from random import Random
from typing import TypeVar

from rt2data.demo.render import in_frame, visible
from rt2data.demo.scene import COLORS, TABLES, Scene, Shape, Thing, rest_height, support_of
from rt2data.errors import InternalError

T = TypeVar("T")


class CrowdedError(Exception):
    """There was no free place left, or something would be hidden: draw again."""


@dataclass(frozen=True, slots=True)
class Area:
    """The part of the table where middles of things may lie, metres: x from and to, y from and to."""

    x: tuple[float, float]
    y: tuple[float, float]

    def holds(self, x: float, y: float) -> bool:
        return self.x[0] <= x <= self.x[1] and self.y[0] <= y <= self.y[1]


def draw(make: Callable[[], T], tries: int = 300) -> T:
    """What `make` gives at its first success."""
    for _ in range(tries):
        try:
            return make()
        except CrowdedError:
            continue
    raise InternalError("no scene could be laid out")


def apart(x: float, y: float, reach: float, others: Iterable[Thing], gap: float) -> bool:
    """Whether something of this reach at (x, y) leaves a gap to everything else. Metres."""
    return all(hypot(x - other.x, y - other.y) >= reach + other.size.reach + gap for other in others)


def stand(rng: Random, shape: Shape, color: str, others: Sequence[Thing], gap: float, area: Area) -> Thing:
    """A thing on a free place of the table. Raises CrowdedError."""
    thing = Thing(shape, color, 0.0, 0.0, 0.0, random_yaw(rng, shape))
    for _ in range(60):
        x, y = rng.uniform(*area.x), rng.uniform(*area.y)
        if apart(x, y, thing.size.reach, others, gap):
            return Thing(shape, color, x, y, 0.0, thing.yaw)
    raise CrowdedError


def stand_on(rng: Random, shape: Shape, color: str, support: Thing) -> Thing:
    """A thing in or on another."""
    return Thing(shape, color, support.x, support.y, rest_height(support), random_yaw(rng, shape))


def random_yaw(rng: Random, shape: Shape) -> float:
    """A turn that shows what a thing is: a mug's handle does not point away from the viewer."""
    return rng.uniform(-1.7, 1.7) if shape == "mug" else rng.uniform(-pi / 5, pi / 5)


def colors_for(table: str) -> list[str]:
    """Colours that stand out on this table."""
    return [color for color in COLORS if color != TABLES[table]]


def require_plain_view(scene: Scene, least: float = 0.85) -> None:
    """Raises CrowdedError unless all things lie inside the picture and at least this share of each shows.

    What holds another thing may show less.
    """
    if not in_frame(scene):
        raise CrowdedError
    holding = {support_of(thing, scene.things) for thing in scene.things}
    for thing, seen in zip(scene.things, visible(scene), strict=True):
        if seen < (0.5 if thing in holding else least):
            raise CrowdedError
