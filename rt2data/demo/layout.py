"""Creates random scenes in which everything is visible: table tops for questions, and tasks for the robot."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from math import atan2, cos, hypot, pi, sin
from random import Random
from typing import Literal, NamedTuple, TypeVar

from rt2data.demo.draw import in_frame, visible
from rt2data.demo.scene import COLORS, SIZES, TABLES, Scene, Shape, Thing, rest_height, support_of
from rt2data.errors import InternalError

T = TypeVar("T")


class CrowdedError(Exception):
    """No free place is left, or something would be hidden: try again."""


class Area(NamedTuple):
    """Where centers of things may be, metres: x from and to, y from and to."""

    x: tuple[float, float]
    y: tuple[float, float]

    def holds(self, x: float, y: float) -> bool:
        return self.x[0] <= x <= self.x[1] and self.y[0] <= y <= self.y[1]


def _first(make: Callable[[], T], tries: int = 300) -> T:
    """The result of the first successful call of `make`."""
    for _ in range(tries):
        try:
            return make()
        except CrowdedError:
            continue
    raise InternalError("no scene could be laid out")


def _apart(x: float, y: float, reach: float, others: Iterable[Thing], gap: float) -> bool:
    """Whether a thing with this reach at (x, y) leaves a gap to everything else. Metres."""
    return all(hypot(x - other.x, y - other.y) >= reach + other.size.reach + gap for other in others)


def _stand(rng: Random, shape: Shape, color: str, others: Sequence[Thing], gap: float, area: Area) -> Thing:
    """A thing on a free place of the table. Raises CrowdedError."""
    thing = Thing(shape, color, 0.0, 0.0, 0.0, _random_yaw(rng, shape))
    for _ in range(60):
        x, y = rng.uniform(*area.x), rng.uniform(*area.y)
        if _apart(x, y, thing.size.reach, others, gap):
            return replace(thing, x=x, y=y)
    raise CrowdedError


def _random_yaw(rng: Random, shape: Shape) -> float:
    """A rotation that keeps a thing recognizable: a mug's handle does not point away from the camera."""
    return rng.uniform(-1.7, 1.7) if shape == "mug" else rng.uniform(-pi / 5, pi / 5)


def _colors_for(table: str) -> list[str]:
    """Colors that stand out on this table."""
    return [color for color in COLORS if color != TABLES[table]]


def _require_plain_view(scene: Scene, least: float = 0.85) -> None:
    """Raises CrowdedError unless all things are inside the image and at least this share of each shows.

    Things that hold another may show less.
    """
    if not in_frame(scene):
        raise CrowdedError
    holding = {support_of(thing, scene.things) for thing in scene.things}
    for thing, seen in zip(scene.things, visible(scene), strict=True):
        if seen < (0.5 if thing in holding else least):
            raise CrowdedError


# Scenes for questions: three to seven things, some in or on others

SHAPES: tuple[Shape, ...] = ("block", "block", "can", "can", "ball", "ball", "mug", "bowl", "plate")
HELD: dict[Shape, tuple[Shape, ...]] = {
    "bowl": ("ball", "block", "can"),
    "plate": ("block", "can", "ball"),
    "block": ("block",),
}
CHANCE: dict[Shape, float] = {"bowl": 0.6, "plate": 0.6, "block": 0.15}
TABLE = Area((0.15, 0.45), (-0.20, 0.20))
MOST = 7
ANGLES = ("high", "left", "middle", "right")  # of solids.VIEWS


def draw_scene(rng: Random) -> Scene:
    """A scene without a robot, in which everything is visible and can be named."""
    return _first(lambda: _scene(rng))


def _scene(rng: Random) -> Scene:
    table = rng.choice(sorted(TABLES))
    colors = rng.sample(_colors_for(table), rng.choice((4, 5, 6)))  # few colors, so that some occur twice
    things: list[Thing] = []
    for _ in range(rng.choice((3, 4, 5, 5, 6))):
        taken = {thing.shape for thing in things if thing.shape in ("bowl", "plate", "mug")}  # at most one of each
        shape = rng.choice([shape for shape in SHAPES if shape not in taken])
        thing = _stand(rng, shape, rng.choice(colors), things, 0.016, TABLE)
        things.append(thing)
        if len(things) < MOST and rng.random() < CHANCE.get(shape, 0.0):
            things.append(_held(rng, thing, colors))
    if not 3 <= len(things) <= MOST:
        raise CrowdedError
    scene = Scene(tuple(things), table, rng.choice(ANGLES))
    _require_plain_view(scene)
    return scene


def _held(rng: Random, support: Thing, colors: list[str]) -> Thing:
    """A thing of another color in or on `support`."""
    shape, color = rng.choice(HELD[support.shape]), rng.choice([c for c in colors if c != support.color])
    return Thing(shape, color, support.x, support.y, rest_height(support), _random_yaw(rng, shape))


# Tasks for the robot: a scene, an instruction, and where the named thing must be at the end

Family = Literal["in", "next", "on", "push", "stack"]
FAMILIES: tuple[Family, ...] = ("in", "next", "on", "push", "stack")

WORKSPACE = Area((0.19, 0.43), (-0.165, 0.165))
FINGER_GAP = 0.046  # metres between things, so that a finger fits
BESIDE = 0.034  # metres between things that are next to each other
RUN_UP = 0.060  # metres behind a thing where its push begins
TOUCH = 0.006  # metres left between a pushed thing and what it is pushed to
TASK_TABLES = ("oak", "stone", "oak", "walnut", "slate")

INSTRUCTIONS: dict[Family, tuple[str, ...]] = {
    "in": ("put the {x} in the {y}", "place the {x} inside the {y}", "pick up the {x} and put it in the {y}"),
    "next": ("move the {x} next to the {y}", "put the {x} beside the {y}", "set the {x} down next to the {y}"),
    "on": ("put the {x} on the {y}", "place the {x} on the {y}", "pick up the {x} and set it on the {y}"),
    "push": ("push the {x} to the {y}", "slide the {x} over to the {y}", "push the {x} up to the {y}"),
    "stack": ("stack the {x} on the {y}", "put the {x} on top of the {y}", "pick up the {x} and stack it on the {y}"),
}
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
    """Move the target, `scene.things[0]`, to `goal`, which is named after the anchor, `scene.things[1]`."""

    family: Family
    scene: Scene
    goal: Thing
    instruction: str

    @property
    def target(self) -> Thing:
        return self.scene.things[0]


def draw_task(rng: Random, family: Family) -> Task:
    """A task of this family in a scene where it can be done."""
    return _first(lambda: _task(rng, family))


def _task(rng: Random, family: Family) -> Task:
    table = rng.choice(TASK_TABLES)
    colors = rng.sample(_colors_for(table), 5)
    side = 0.13 if family in ("in", "on") else 0.10
    anchor = _stand(rng, rng.choice(ANCHORS[family]), colors[0], (), FINGER_GAP, Area((0.22, 0.40), (-side, side)))
    target = _stand(rng, rng.choice(MOVED[family]), colors[1], (anchor,), FINGER_GAP, WORKSPACE)
    target, goal = _GOALS.get(family, _on_top)(rng, target, anchor)
    things = [target, anchor]
    for color in colors[2 : 2 + rng.choice((1, 2, 2, 3))]:
        things.append(_bystander(rng, color, things, goal, family))
    scene = Scene(tuple(things), table)
    _require_plain_view(scene)
    _require_plain_view(replace(scene, things=(goal, *things[1:])), 0.7)
    return Task(family, scene, goal, rng.choice(INSTRUCTIONS[family]).format(x=target.name, y=anchor.name))


def _on_top(rng: Random, target: Thing, anchor: Thing) -> tuple[Thing, Thing]:
    """Place the target in or on the anchor; a block is stacked squarely on a block."""
    yaw = anchor.yaw if anchor.shape == "block" else rng.uniform(-0.3, 0.3)
    return target, replace(target, x=anchor.x, y=anchor.y, z=rest_height(anchor), yaw=yaw)


def _beside(rng: Random, target: Thing, anchor: Thing) -> tuple[Thing, Thing]:
    """To the viewer's left or right of the anchor, on the target's own side."""
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
    in_reach = WORKSPACE.holds(target.x - RUN_UP * cos(turn), target.y - RUN_UP * sin(turn))
    if abs(dy) < 1.3 * abs(dx) or not 0.075 < way - short < 0.17 or not in_reach:
        raise CrowdedError
    target = replace(target, yaw=square_turn(turn))
    return target, replace(target, x=anchor.x - short * cos(turn), y=anchor.y - short * sin(turn))


_GOALS: dict[Family, Callable[[Random, Thing, Thing], tuple[Thing, Thing]]] = {"next": _beside, "push": _pushed}


def square_turn(turn: float) -> float:
    """The equivalent rotation of something with four equal sides, between -pi/4 and pi/4."""
    return (turn + pi / 4) % (pi / 2) - pi / 4


def _bystander(rng: Random, color: str, things: list[Thing], goal: Thing, family: Family) -> Thing:
    """A thing not involved in the task, out of the way of moving things."""
    shape: Shape = rng.choice(("block", "can", "ball", "mug", "bowl"))
    thing = _stand(rng, shape, color, (*things, goal), FINGER_GAP, Area((0.17, 0.44), (-0.18, 0.18)))
    if family == "push" and not _off_the_path(thing, things[0], goal):
        raise CrowdedError
    return thing


def _off_the_path(thing: Thing, start: Thing, goal: Thing) -> bool:
    """Whether a push to `goal` that begins behind `start` passes clear of `thing`."""
    early = RUN_UP / hypot(goal.x - start.x, goal.y - start.y)
    parts = (-early + (1 + early) * k / 12 for k in range(13))
    points = ((start.x + (goal.x - start.x) * part, start.y + (goal.y - start.y) * part) for part in parts)
    return all(_apart(x, y, 0.034, (thing,), 0.02) for x, y in points)
