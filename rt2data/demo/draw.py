"""Draws a scene with Pillow, from far to near, at twice the size, then scales it down for smooth edges."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from rt2data.demo.scene import (
    COLORS,
    LAMP,
    VIEWS,
    DemoCamera,
    Lathe,
    Polygon,
    Rgb,
    Scene,
    Solid,
    Thing,
    axes,
    lit,
    outline,
    project,
    robot,
    solids,
    support_of,
)

PIXELS, SCALE = 256, 2
U8 = NDArray[np.uint8]
BACK, NEAR, SIDE = -0.20, 0.75, 3.0  # metres: where the table ends, and two edges outside of every image
WALL: Rgb = (186, 191, 199)
TOPS: dict[str, Rgb] = {
    "oak": (203, 165, 118), "walnut": (146, 101, 68), "stone": (168, 170, 173), "linen": (226, 224, 218),
    "felt": (112, 158, 118), "slate": (112, 142, 178),
}  # fmt: skip
WOODEN = ("oak", "walnut")
BOARD = 0.105  # metres


def render(scene: Scene, pixels: int = PIXELS) -> U8:
    """uint8[pixels, pixels, 3], RGB. The same scene always gives the same image."""
    camera, large = VIEWS[scene.view], pixels * SCALE
    light, dark = _table(scene.table, camera, large)
    image = Image.composite(dark, light, _shadows(scene, camera, pixels).resize(light.size, Image.Resampling.NEAREST))
    draw = ImageDraw.Draw(image)
    for _, polygon in _polygons(scene, camera, large):
        draw.polygon(polygon.corners, fill=polygon.color)
    return np.asarray(image.reduce(SCALE))


def in_frame(scene: Scene, margin: float = 0.015) -> bool:
    """Whether every thing is inside the image, at least this share of its width away from the border."""
    points = np.concatenate([each.points() for thing in scene.things for part in solids(thing) for each in part])
    seen = project(VIEWS[scene.view], points, 1)
    return bool((seen > margin).all() and (seen < 1 - margin).all())


def visible(scene: Scene, pixels: int = 128) -> tuple[float, ...]:
    """For each thing, the visible share of its outline, 0 to 1."""
    owners = Image.new("L", (pixels, pixels))
    alone = [Image.new("1", (pixels, pixels)) for _ in scene.things]
    for thing, polygon in _polygons(Scene(scene.things, scene.table, scene.view), VIEWS[scene.view], pixels):
        ImageDraw.Draw(owners).polygon(polygon.corners, fill=thing + 1)
        ImageDraw.Draw(alone[thing]).polygon(polygon.corners, fill=1)
    shown = np.bincount(np.asarray(owners).ravel(), minlength=len(alone) + 1)[1:]
    return tuple(int(count) / max(int(np.asarray(own).sum()), 1) for count, own in zip(shown, alone, strict=True))


def _polygons(scene: Scene, camera: DemoCamera, pixels: int) -> Iterator[tuple[int, Polygon]]:
    """All polygons, each with the number of its thing, or -1 for the robot. The far things and parts come first."""
    groups: list[tuple[float, Iterable[tuple[int, Polygon]]]] = []

    def add(center: NDArray[np.float64], drawn: Iterable[tuple[int, Polygon]]) -> None:
        groups.append((float((center - camera.eye) @ axes(camera)[2]), drawn))

    for number, thing in enumerate(scene.things):
        if support_of(thing, scene.things) is None:
            add(np.array([thing.x, thing.y, thing.z + thing.size.height / 2]), _stacked(number, scene, camera, pixels))
    for part in robot(scene.gripper) if scene.gripper else ():
        add(part.knots.mean(axis=0), ((-1, each) for each in part.polygons(camera, pixels)))
    for _, group in sorted(groups, key=lambda group: -group[0]):
        yield from group


def _stacked(number: int, scene: Scene, camera: DemoCamera, pixels: int) -> Iterator[tuple[int, Polygon]]:
    """A thing with whatever stands in or on it drawn between its back and front."""
    thing = scene.things[number]
    behind, before = _drawn(thing, camera, pixels)
    yield from ((number, polygon) for polygon in behind)
    for other, held in enumerate(scene.things):
        if support_of(held, scene.things) is thing:
            if thing.shape != "block":
                disc, dark = ((held.size.radius * 1.25, 1e-4), (0.0, 1e-4)), lit(COLORS[thing.color], 0.62)  # its shadow
                shadow = Lathe((held.x, held.y, held.z), disc, dark).polygons(camera, pixels)
                yield from ((number, polygon) for polygon in shadow)
            yield from _stacked(other, scene, camera, pixels)
    yield from ((number, polygon) for polygon in before)


@lru_cache(maxsize=256)
def _drawn(thing: Thing, camera: DemoCamera, pixels: int) -> tuple[list[Polygon], list[Polygon]]:
    behind, before = ([each for solid in part for each in solid.polygons(camera, pixels)] for part in solids(thing))
    return behind, before


def _shadows(scene: Scene, camera: DemoCamera, pixels: int) -> Image.Image:
    """How dark the table is, 0 to 255: soft, and weaker below the robot, which is higher up."""
    mask = Image.new("L", (pixels, pixels))
    of_robot = [_shadow(part, camera, pixels) for part in robot(scene.gripper)] if scene.gripper else []
    of_things = [each for thing in scene.things for each in _shadows_of(thing, camera, pixels)]
    for outlines, strength, blur in ((of_robot, 130, 3), (of_things, 235, 1.5)):
        draw = ImageDraw.Draw(mask)
        for corners in outlines:
            draw.polygon(corners, fill=strength)
        mask = mask.filter(ImageFilter.BoxBlur(blur))
    return mask


@lru_cache(maxsize=256)
def _shadows_of(thing: Thing, camera: DemoCamera, pixels: int) -> list[list[float]]:
    return [_shadow(solid, camera, pixels) for part in solids(thing) for solid in part]


def _shadow(solid: Solid, camera: DemoCamera, pixels: int) -> list[float]:
    """Corners of a solid's shadow on the table."""
    points = solid.points()
    found: list[float] = outline(project(camera, points - np.maximum(points[:, 2:], 0) * LAMP / LAMP[2], pixels)).tolist()
    return found


@lru_cache(maxsize=32)
def _table(name: str, camera: DemoCamera, pixels: int) -> tuple[Image.Image, Image.Image]:
    """The empty image in full light, and the same in shadow."""
    image = Image.new("RGB", (pixels, pixels), WALL)
    for low, high, color in _boards(name) if name in WOODEN else [(BACK, NEAR, TOPS[name])]:
        corners = np.array([(low, -SIDE, 0), (low, SIDE, 0), (high, SIDE, 0), (high, -SIDE, 0)])
        ImageDraw.Draw(image).polygon(project(camera, corners, pixels).ravel().tolist(), fill=color)
    edge = project(camera, np.array([(BACK, -SIDE, 0), (BACK, SIDE, 0), (BACK, SIDE, -0.02), (BACK, -SIDE, -0.02)]), pixels)
    ImageDraw.Draw(image).polygon(edge.ravel().tolist(), fill=lit(TOPS[name], 0.6))
    gradient = Image.radial_gradient("L").resize((2 * pixels, 2 * pixels))
    around = gradient.crop((pixels // 2, pixels // 3, pixels * 3 // 2, pixels * 4 // 3))
    image = Image.composite(image.point(lambda value: value * 0.80), image, around)
    return image, image.point(lambda value: value * 0.52)


def _boards(name: str) -> Iterator[tuple[float, float, Rgb]]:
    """Strips along y, from x to x: boards of different tones, with grain and a dark seam each."""
    rng = Random(name)
    for number in range(10):
        start, tone = BACK + number * BOARD, rng.uniform(0.90, 1.04)
        yield start, start + BOARD, lit(TOPS[name], tone)
        for _ in range(9):
            at = start + rng.uniform(0, BOARD)
            yield at, at + rng.uniform(0.001, 0.004), lit(TOPS[name], tone * rng.uniform(0.93, 0.99))
        yield start, start + 0.002, lit(TOPS[name], 0.72)
