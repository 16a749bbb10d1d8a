"""Light: one soft lamp to the viewer's left, the sky, highlights, and the shadows that things cast on the table."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from rt2data.demo.camera import F32, F64, Camera, project
from rt2data.demo.shapes import Part, Rgb, hull_of

LAMP: F64 = np.array([0.34, -0.44, 0.8312])  # of length 1: from the table to the lamp
SKY, SUN = np.float32(0.53), np.float32(0.60)
RAYS = 14  # points of the lamp that shadows are drawn from
SOFT = 0.13  # radius of the lamp, as a part of its distance

U32 = NDArray[np.uint32]
Sphere = tuple[float, float, float, float]  # centre and radius, metres


def _linear(color: Rgb) -> F32:
    found: F32 = ((np.array(color, np.float32) / 255) ** np.float32(2.2)).astype(np.float32)
    return found


_TO_SRGB: U32 = np.clip((np.arange(2048) / 1023) ** (1 / 2.2) * 255 + 0.5, 0, 255).astype(np.uint32)


def albedo(part: Part, along: F32) -> F32:
    """Linear colours float32[3, h, w]; `along` is the height float32[h, w] in the part's own frame."""
    color = np.broadcast_to(_linear(part.color)[:, None, None], (3, *along.shape))
    for band in part.bands:
        color = np.where((along >= band.low) & (along <= band.high), _linear(band.color)[:, None, None], color)
    return color


def shade(part: Part, normal: F32, place: F32, view: F64, blockers: Sequence[Sphere]) -> U32:
    """Colours uint32[h, w] of a part's surface: the bytes of an RGBX pixel, red lowest.

    `normal` float32[3, h, w] lies in the part's frame, `place` float32[3, h, w] in the scene's; `view` points from the surface to
    the eye. `blockers` are balls that take its light.
    """
    half = LAMP + view
    own = part.axes.T
    facing = _cosine(own @ LAMP, normal)
    shine = _cosine(own @ (half / np.linalg.norm(half)), normal) ** np.float32(38)
    sky = SKY * (np.float32(0.82) + np.float32(0.18) * _cosine(own[:, 2], normal)) * _near_table(place[2])
    lit, open_sky = _unblocked(place, LAMP, blockers)
    along = _dot(own[2], place - np.array(part.place, np.float32)[:, None, None])
    light = sky * open_sky + SUN * facing * lit
    color = albedo(part, along) * light + np.float32(part.gloss) * shine * lit
    red, green, blue = _TO_SRGB[np.clip(color * 1023, 0, 2047).astype(np.int16)]
    found: U32 = red | green << 8 | blue << 16
    return found


def _dot(vector: F64, field: F32) -> F32:
    x, y, z = vector.astype(np.float32)
    found: F32 = x * field[0] + y * field[1] + z * field[2]
    return found


def _cosine(vector: F64, normal: F32) -> F32:
    """Cosine of the angle between, at least 0; a number even where a ray missed and the normal is none."""
    found: F32 = np.fmin(np.fmax(_dot(vector, normal), np.float32(0)), np.float32(1))
    return found


def _near_table(height: F32) -> F32:
    """The sky a surface sees: less of it close to the table."""
    found: F32 = np.float32(0.66) + np.float32(0.34) * np.clip(height / np.float32(0.035), 0, 1)
    return found


def _unblocked(place: F32, lamp: F64, blockers: Sequence[Sphere]) -> tuple[F32, F32]:
    """How much of the lamp and of the sky reach each place, 0 to 1, past the given balls."""
    lit, sky = np.ones_like(place[0]), np.ones_like(place[0])
    for x, y, z, radius in blockers:
        way = np.array([x, y, z], np.float32)[:, None, None] - place
        far = (way * way).sum(axis=0)
        along = _dot(lamp, way)
        off = np.sqrt(np.maximum(far - along * along, 0)) / np.float32(radius)
        lit = lit * (1 - np.clip((np.float32(1.15) - off) / np.float32(0.4), 0, 1) * (along > 0))
        sky = sky * (1 - np.float32(0.55) * np.clip(np.float32(radius**2) / far, 0, 1) ** 2)
    return lit, sky


@lru_cache(maxsize=1)
def _lamp_points() -> F64:
    """float64[RAYS, 3]: directions to points spread evenly over the lamp's disc (a sunflower)."""
    k = np.arange(RAYS) + 0.5
    away, turn = SOFT * np.sqrt(k / RAYS), k * 2.399963
    side = np.cross(LAMP, (0.0, 0.0, 1.0)) / np.linalg.norm(np.cross(LAMP, (0.0, 0.0, 1.0)))
    found: F64 = LAMP + (away * np.cos(turn))[:, None] * side + (away * np.sin(turn))[:, None] * np.cross(LAMP, side)
    return found


_AROUND: F64 = np.stack([np.cos(np.arange(28) * 2 * np.pi / 28), np.sin(np.arange(28) * 2 * np.pi / 28)])

Outline = list[float]  # x0, y0, x1, y1, ...


@lru_cache(maxsize=512)
def outlines(part: Part, camera: Camera, pixels: int) -> tuple[Outline, ...]:
    """For each point of the lamp, the pixels around the part's shadow on the table."""
    hull, lamp = hull_of(part), _lamp_points()
    height = np.maximum(hull[:, 2], 0)
    slope = lamp[:, :2] / lamp[:, 2:]
    flat = hull[None, :, :2] - height[None, :, None] * slope[:, None, :]
    ground = np.concatenate([flat, np.zeros((*flat.shape[:2], 1))], axis=2)
    seen = project(camera, ground.reshape(-1, 3), pixels).reshape(RAYS, -1, 2)
    outer = np.argmax(seen @ _AROUND, axis=1)
    return tuple(np.take_along_axis(seen, outer[..., None], axis=1).reshape(RAYS, -1).tolist())


def shadows(parts: Sequence[Part], camera: Camera, pixels: int) -> Image.Image:
    """Grey picture of how dark the table is, 255 where no light of the lamp arrives."""
    cast = [outlines(part, camera, pixels) for part in parts]
    total = np.zeros((pixels, pixels), np.uint16)
    for k in range(RAYS):
        image = Image.new("L", (pixels, pixels))
        draw = ImageDraw.Draw(image)
        for outline in cast:
            draw.polygon(outline[k], fill=255)
        total += np.asarray(image)
    return Image.fromarray((total // RAYS).astype(np.uint8)).filter(ImageFilter.BoxBlur(1.2))
