"""Table-top scenes without a robot, for the questions: three to seven things, some in or on others."""

from __future__ import annotations

from random import Random

from rt2data.demo.layout import Area, CrowdedError, colors_for, draw, require_plain_view, stand, stand_on
from rt2data.demo.scene import TABLES, Scene, Shape, Thing

SHAPES: tuple[Shape, ...] = ("block", "block", "can", "can", "ball", "ball", "mug", "bowl", "plate")
HELD: dict[Shape, tuple[Shape, ...]] = {
    "bowl": ("ball", "block", "can"),
    "plate": ("block", "can", "ball"),
    "block": ("block",),
}
CHANCE: dict[Shape, float] = {"bowl": 0.6, "plate": 0.6, "block": 0.15}
GAP = 0.016  # metres between things
TABLE = Area((0.15, 0.45), (-0.20, 0.20))
MOST = 7
ANGLES = ("high", "left", "middle", "right")  # of camera.VIEWS


def draw_scene(rng: Random) -> Scene:
    """A scene in which everything can be seen and named."""
    return draw(lambda: _scene(rng))


def _scene(rng: Random) -> Scene:
    table = rng.choice(sorted(TABLES))
    colors = rng.sample(colors_for(table), rng.choice((4, 5, 6)))  # few colours, so that some come twice
    things: list[Thing] = []
    for _ in range(rng.choice((3, 4, 5, 5, 6))):
        thing = stand(rng, _shape(rng, things), rng.choice(colors), things, GAP, TABLE)
        things.append(thing)
        if len(things) < MOST and rng.random() < CHANCE.get(thing.shape, 0.0):
            things.append(_held(rng, thing, colors))
    if not 3 <= len(things) <= MOST:
        raise CrowdedError
    scene = Scene(tuple(things), table, rng.choice(ANGLES))
    require_plain_view(scene)
    return scene


def _shape(rng: Random, things: list[Thing]) -> Shape:
    """Any shape, but one bowl, one plate and one mug at most."""
    taken = {thing.shape for thing in things if thing.shape in ("bowl", "plate", "mug")}
    return rng.choice([shape for shape in SHAPES if shape not in taken])


def _held(rng: Random, support: Thing, colors: list[str]) -> Thing:
    """Something of another colour in or on `support`."""
    return stand_on(rng, rng.choice(HELD[support.shape]), rng.choice([c for c in colors if c != support.color]), support)
