"""A picture of a scene: one layer per part, the nearest wins, drawn large and scaled down so that edges are smooth."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rt2data.demo.camera import F32, F64, VIEWS, Camera, project, rays
from rt2data.demo.light import U32, Sphere, shade, shadows
from rt2data.demo.robot import robot_parts
from rt2data.demo.scene import Scene, Thing, support_of
from rt2data.demo.shapes import Part, hull_of, parts
from rt2data.demo.table import backdrop

PIXELS = 256
U8 = NDArray[np.uint8]
FINER = 2  # drawn this much larger, then averaged


class Layer(NamedTuple):
    """One part as seen: where in the picture, how far, and its colours."""

    rows: slice
    columns: slice
    depth: F32  # [h, w], inf where the part is not
    color: U32  # [h, w], the bytes of RGBX pixels


def render(scene: Scene, pixels: int = PIXELS) -> U8:
    """uint8[pixels, pixels, 3], RGB. The same scene always gives the same picture."""
    large, camera = pixels * FINER, VIEWS[scene.view]
    picture = np.array(_ground(scene, camera, large)).view(np.uint32)[..., 0]
    depth = np.full((large, large), np.inf, np.float32)
    for layer in _layers(scene, camera, large):
        nearer = layer.depth < depth[layer.rows, layer.columns]
        np.copyto(depth[layer.rows, layer.columns], layer.depth, where=nearer)
        np.copyto(picture[layer.rows, layer.columns], layer.color, where=nearer)
    drawn = Image.frombuffer("RGBX", (large, large), picture, "raw", "RGBX", 0, 1)
    return np.ascontiguousarray(np.asarray(drawn.reduce(FINER))[..., :3])


def in_frame(scene: Scene, margin: float = 0.015) -> bool:
    """Whether every thing lies inside the picture, this part of its width away from the border."""
    hulls = np.concatenate([hull_of(part) for thing in scene.things for part in parts(thing)])
    seen = project(VIEWS[scene.view], hulls, 1)
    return bool((seen > margin).all() and (seen < 1 - margin).all())


def visible(scene: Scene, pixels: int = 128) -> tuple[float, ...]:
    """For each thing, the share of its own outline that nothing hides, 0 to 1."""
    camera = VIEWS[scene.view]
    depth, owner = np.full((pixels, pixels), np.inf, np.float32), np.full((pixels, pixels), -1, np.int16)
    alone = []
    for index, thing in enumerate(scene.things):
        own = np.zeros((pixels, pixels), bool)
        for layer in (_layer(part, (), camera, pixels) for part in parts(thing)):
            place = (layer.rows, layer.columns)
            own[place] |= np.isfinite(layer.depth)
            nearer = layer.depth < depth[place]
            depth[place] = np.where(nearer, layer.depth, depth[place])
            owner[place] = np.where(nearer, index, owner[place])
        alone.append(max(int(own.sum()), 1))
    return tuple(float((owner == k).sum()) / size for k, size in enumerate(alone))


def _ground(scene: Scene, camera: Camera, pixels: int) -> Image.Image:
    """Wall and table with every shadow on it."""
    lit, dark = backdrop(scene.table, camera, pixels)
    casting = [part for thing in scene.things for part in parts(thing)]
    if scene.gripper is not None:
        casting += robot_parts(scene.gripper)
    shadow = shadows(casting, camera, pixels // FINER)
    return Image.composite(dark, lit, shadow.resize(lit.size, Image.Resampling.NEAREST))


def _layers(scene: Scene, camera: Camera, pixels: int) -> list[Layer]:
    found = [_layer(part, _blockers(thing, scene.things), camera, pixels) for thing in scene.things for part in parts(thing)]
    robot = robot_parts(scene.gripper) if scene.gripper is not None else ()
    return found + [_layer(part, (), camera, pixels) for part in robot]


def _blockers(thing: Thing, things: Sequence[Thing]) -> tuple[Sphere, ...]:
    """What stands in or on `thing`, as balls."""
    held = [other for other in things if other is not thing and support_of(other, (thing,)) is thing]
    return tuple((t.x, t.y, t.z + t.size.height / 2, t.size.radius * 1.1) for t in held)


@lru_cache(maxsize=256)
def _layer(part: Part, blockers: tuple[Sphere, ...], camera: Camera, pixels: int) -> Layer:
    rows, columns = _window(hull_of(part), camera, pixels)
    way, eye = rays(camera, pixels)[:, rows, columns], np.array(camera.eye)
    own = part.axes.T.astype(np.float32)
    turned = np.tensordot(own, way, 1).astype(np.float32)
    depth, normal = part.solid.hit(part.axes.T @ (eye - part.place), turned)
    place = eye.astype(np.float32)[:, None, None] + way * np.where(np.isfinite(depth), depth, 0)
    view = (eye - part.place) / np.linalg.norm(eye - part.place)
    return Layer(rows, columns, depth, shade(part, normal, place, view, blockers))


def _window(hull: F64, camera: Camera, pixels: int) -> tuple[slice, slice]:
    """The rows and columns that hold the projected hull, with a little room around it."""
    seen: NDArray[np.float64] = project(camera, hull, pixels)
    low = np.clip(np.floor(seen.min(axis=0)) - 3, 0, pixels).astype(int)
    high = np.clip(np.ceil(seen.max(axis=0)) + 3, 0, pixels).astype(int)
    return slice(low[1], high[1]), slice(low[0], high[0])
