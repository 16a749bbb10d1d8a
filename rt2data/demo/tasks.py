"""What the robot is asked to do: a scene, an instruction, and where the named thing must be in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import atan2, cos, hypot, pi, sin
from random import Random
from typing import Literal

from rt2data.demo.layout import Area, CrowdedError, apart, colors_for, draw, require_plain_view, stand
from rt2data.demo.scene import SIZES, Scene, Shape, Thing, rest_height

Family = Literal["in", "next", "on", "push", "stack"]
FAMILIES: tuple[Family, ...] = ("in", "next", "on", "push", "stack")

WORKSPACE = Area((0.19, 0.43), (-0.165, 0.165))
ROOM = 0.046  # metres kept between things, so that a finger fits
BESIDE = 0.034  # metres between things that are next to each other
RUN_UP = 0.060  # metres behind a thing where its push begins
TOUCH = 0.006  # metres left between a pushed thing and what it is pushed to
TABLES = ("oak", "stone", "oak", "walnut", "slate")

WORDINGS: dict[Family, tuple[str, ...]] = {
    "in": ("put the {x} in the {y}", "place the {x} inside the {y}", "pick up the {x} and put it in the {y}"),
    "next": ("move the {x} next to the {y}", "put the {x} beside the {y}", "set the {x} down next to the {y}"),
    "on": ("put the {x} on the {y}", "place the {x} on the {y}", "pick up the {x} and set it on the {y}"),
    "push": ("push the {x} to the {y}", "slide the {x} over to the {y}", "push the {x} up to the {y}"),
    "stack": ("stack the {x} on the {y}", "put the {x} on top of the {y}", "pick up the {x} and stack it on the {y}"),
}  # fmt: skip
MOVED: dict[Family, tuple[Shape, ...]] = {
    "in": ("block", "ball", "can"),
    "next": ("can", "block", "ball"),
    "on": ("can", "ball", "block"),
    "push": ("block", "can"),
    "stack": ("block",),
}
ANCHORS: dict[Family, tuple[Shape, ...]] = {
    "in": ("bowl",),
    "next": ("mug", "can", "ball", "block"),
    "on": ("plate",),
    "push": ("mug", "block", "can"),
    "stack": ("block",),
}


@dataclass(frozen=True, slots=True)
class Task:
    """Move `scene.things[0]` to `goal`, which is named after `scene.things[1]`."""

    family: Family
    scene: Scene
    goal: Thing
    instruction: str

    @property
    def target(self) -> Thing:
        return self.scene.things[0]

    @property
    def anchor(self) -> Thing:
        return self.scene.things[1]


def draw_task(rng: Random, family: Family) -> Task:
    """A task of this family in a scene where it can be done."""
    return draw(lambda: _task(rng, family))


def _task(rng: Random, family: Family) -> Task:
    table = rng.choice(TABLES)
    colors = rng.sample(colors_for(table), 5)
    anchor = stand(rng, rng.choice(ANCHORS[family]), colors[0], (), ROOM, _anchor_area(family))
    target = stand(rng, rng.choice(MOVED[family]), colors[1], (anchor,), ROOM, WORKSPACE)
    target, goal = _GOALS.get(family, _on_top)(rng, target, anchor)
    things = [target, anchor]
    for color in colors[2 : 2 + rng.choice((1, 2, 2, 3))]:
        things.append(_bystander(rng, color, things, goal, family))
    scene = Scene(tuple(things), table)
    require_plain_view(scene)
    require_plain_view(replace(scene, things=(goal, *things[1:])), 0.7)
    words = rng.choice(WORDINGS[family]).format(x=target.name, y=anchor.name)
    return Task(family, scene, goal, words)


def _anchor_area(family: Family) -> Area:
    return Area((0.22, 0.40), (-0.13, 0.13)) if family in ("in", "on") else Area((0.22, 0.40), (-0.10, 0.10))


def _on_top(rng: Random, target: Thing, anchor: Thing) -> tuple[Thing, Thing]:
    """In or on the anchor; a block is stacked square on a block."""
    yaw = anchor.yaw if anchor.shape == "block" else rng.uniform(-0.3, 0.3)
    return target, replace(target, x=anchor.x, y=anchor.y, z=rest_height(anchor), yaw=yaw)


def _beside(rng: Random, target: Thing, anchor: Thing) -> tuple[Thing, Thing]:
    """To the viewer's left or right of the anchor, on the side where the target stands if that is clear."""
    side = 1.0 if target.y > anchor.y else -1.0
    away = anchor.size.reach + BESIDE + target.size.radius
    goal = replace(target, x=anchor.x + rng.uniform(-0.01, 0.015), y=anchor.y + side * away, yaw=0.0)
    if not WORKSPACE.holds(goal.x, goal.y) or hypot(goal.x - target.x, goal.y - target.y) < 0.08:
        raise CrowdedError
    return target, goal


def _pushed(rng: Random, target: Thing, anchor: Thing) -> tuple[Thing, Thing]:
    """Along the line to the anchor, with a face of the target square to it."""
    dx, dy = anchor.x - target.x, anchor.y - target.y
    way, turn = hypot(dx, dy), atan2(dy, dx)
    short = anchor.size.reach + SIZES[target.shape].radius + TOUCH
    in_sight = WORKSPACE.holds(target.x - RUN_UP * cos(turn), target.y - RUN_UP * sin(turn))
    if abs(dy) < 1.3 * abs(dx) or not 0.075 < way - short < 0.17 or not in_sight:
        raise CrowdedError
    target = replace(target, yaw=square_turn(turn))
    return target, replace(target, x=anchor.x - short * cos(turn), y=anchor.y - short * sin(turn))


_GOALS: dict[Family, Callable[[Random, Thing, Thing], tuple[Thing, Thing]]] = {"next": _beside, "push": _pushed}


def square_turn(turn: float) -> float:
    """The same turn for something with four equal sides, between -pi/4 and pi/4."""
    return (turn + pi / 4) % (pi / 2) - pi / 4


def _bystander(rng: Random, color: str, things: list[Thing], goal: Thing, family: Family) -> Thing:
    """Something that takes no part, out of the way of what moves."""
    shape: Shape = rng.choice(("block", "can", "ball", "mug", "bowl"))
    thing = stand(rng, shape, color, (*things, goal), ROOM, Area((0.17, 0.44), (-0.18, 0.18)))
    if family == "push" and not _off_the_way(thing, things[0], goal):
        raise CrowdedError
    return thing


def _off_the_way(thing: Thing, start: Thing, goal: Thing) -> bool:
    """Whether a push to `goal` that begins behind `start` passes clear of `thing`."""
    early = RUN_UP / hypot(goal.x - start.x, goal.y - start.y)
    parts = (-early + (1 + early) * k / 12 for k in range(13))
    points = ((start.x + (goal.x - start.x) * part, start.y + (goal.y - start.y) * part) for part in parts)
    return all(apart(x, y, 0.034, (thing,), 0.02) for x, y in points)
