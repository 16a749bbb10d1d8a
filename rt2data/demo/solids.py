"""Where a ray meets a solid: box, ball, cylinder, tube and shell, each in its own frame.

Every `hit` takes an origin float64[3] and directions float32[3, h, w] and gives the ray length float32[h, w] (inf where it
misses) and the outward normal float32[3, h, w] (of length about 1; anything where it misses).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rt2data.demo.camera import F32, F64

Hit = tuple[F32, F32]
Mask = NDArray[np.bool_]
Choice = tuple[F32, Mask, F32]  # ray length, where it counts, normal
MISS = np.float32(np.inf)


class Solid(Protocol):
    """A closed surface around the origin of its own frame."""

    def hit(self, origin: F64, rays: F32) -> Hit:
        """Where rays meet it first."""

    def hull(self) -> F64:
        """float64[n, 3]: points whose convex hull holds it."""


@lru_cache(maxsize=256)
def _ring(radius: float, z: float, count: int = 20) -> F64:
    turn = np.arange(count) * (2 * np.pi / count)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), np.full(count, z)], axis=1)


def _roots(a: F32, b: F32, c: float) -> tuple[F32, F32]:
    """Both roots of a t^2 + 2 b t + c, the nearer first; NaN where there are none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        root = np.sqrt(b * b - a * np.float32(c))
        return (-b - root) / a, (-b + root) / a


def _flat(origin: F64, rays: F32, z: float) -> tuple[F32, F32]:
    """Ray length to the plane at height z, and the squared distance from the axis there."""
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.float32(z - origin[2]) / rays[2]
        x, y = np.float32(origin[0]) + t * rays[0], np.float32(origin[1]) + t * rays[1]
    return t, x * x + y * y


def _up(like: F32, sign: float | F32 = 1.0) -> F32:
    normal = np.zeros_like(like)
    normal[2] = sign
    return normal


def _at(origin: F64, rays: F32, t: F32) -> F32:
    found: F32 = origin.astype(np.float32)[:, None, None] + rays * t
    return found


@dataclass(frozen=True, slots=True)
class Box:
    """Half sides x, y, z; `bevel` is how far from an edge the normal turns over it, so that edges catch the light."""

    half: tuple[float, float, float]
    bevel: float = 0.003

    def hit(self, origin: F64, rays: F32) -> Hit:
        half = np.array(self.half, np.float32)[:, None, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            one, two = (
                (-half - origin.astype(np.float32)[:, None, None]) / rays,
                (half - origin.astype(np.float32)[:, None, None]) / rays,
            )
        near, far = np.minimum(one, two), np.maximum(one, two).min(axis=0)
        enter = near.max(axis=0)
        t = np.where(enter <= far, enter, MISS)
        return t, self._normal(_at(origin, rays, np.where(enter <= far, enter, 0)), half)

    def _normal(self, place: F32, half: F32) -> F32:
        over = (np.abs(place) - half + np.float32(self.bevel)) / np.float32(self.bevel)
        lean = np.clip(over, 0, 1) ** 2
        normal: F32 = np.sign(place) * np.where(over > 0.999, np.float32(1), lean * np.float32(0.7))
        normal /= np.sqrt((normal * normal).sum(axis=0) + np.float32(1e-9))
        return normal

    def hull(self) -> F64:
        return np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]) * self.half


@dataclass(frozen=True, slots=True)
class Ball:
    """A sphere."""

    radius: float

    def hit(self, origin: F64, rays: F32) -> Hit:
        a, b = (rays * rays).sum(axis=0), np.tensordot(origin.astype(np.float32), rays, 1)
        near, _ = _roots(a, b, float(origin @ origin) - self.radius**2)
        t = np.where(near > 0, near, MISS)
        return t, _at(origin, rays, np.where(near > 0, near, 0)) / np.float32(self.radius)

    def hull(self) -> F64:
        tilts = np.linspace(-np.pi / 2, np.pi / 2, 7)
        return np.concatenate([_ring(self.radius * np.cos(a), self.radius * np.sin(a), 12) for a in tilts])


def _side(radius: float, origin: F64, rays: F32) -> tuple[F32, F32]:
    a = rays[0] ** 2 + rays[1] ** 2
    b = np.float32(origin[0]) * rays[0] + np.float32(origin[1]) * rays[1]
    return _roots(a, b, float(origin[0] ** 2 + origin[1] ** 2) - radius**2)


def _round_normal(place: F32, radius: float, sign: float = 1.0) -> F32:
    normal = place * np.float32(sign / radius)
    normal[2] = 0
    return normal


@dataclass(frozen=True, slots=True)
class Cylinder:
    """A round bar along z, closed at both ends."""

    radius: float
    half: float

    def hit(self, origin: F64, rays: F32) -> Hit:
        side, _ = _side(self.radius, origin, rays)
        on_side = np.abs(np.float32(origin[2]) + side * rays[2]) <= self.half
        end = 1.0 if origin[2] > 0 else -1.0
        cap, off = _flat(origin, rays, end * self.half)
        on_cap = (off <= self.radius**2) & (abs(origin[2]) > self.half)
        t = np.where(on_cap, cap, np.where(on_side, side, MISS))
        place = _at(origin, rays, np.where(np.isfinite(t), t, 0))
        return t, np.where(on_cap, _up(rays, end), _round_normal(place, self.radius))

    def hull(self) -> F64:
        return np.concatenate([_ring(self.radius, -self.half), _ring(self.radius, self.half)])


@dataclass(frozen=True, slots=True)
class Tube:
    """A pipe along z. With a `floor` (height above the lower end) it is a cup. What lies at x < `cut` is left away."""

    radius: float
    inner: float
    half: float
    floor: float | None = None
    cut: float = -np.inf

    def hit(self, origin: F64, rays: F32) -> Hit:
        end = 1.0 if origin[2] > 0 else -1.0
        outer, _ = _side(self.radius, origin, rays)
        _, inner = _side(self.inner, origin, rays)
        cap, off = _flat(origin, rays, end * self.half)
        enters = off < self.inner**2
        choices: list[Choice] = [
            (outer, self._within(outer, origin, rays), _round_normal(_at(origin, rays, outer), self.radius)),
            (cap, (off <= self.radius**2) & ~enters, _up(rays, end)),
            (inner, enters & self._within(inner, origin, rays), _round_normal(_at(origin, rays, inner), self.inner, -1)),
        ]
        if self.floor is not None:
            flat, near = _flat(origin, rays, self.floor - self.half)
            choices.append((flat, enters & (near <= self.inner**2), _up(rays)))
        return _nearest(choices, [self._kept(t, origin, rays) for t, _, _ in choices])

    def _within(self, t: F32, origin: F64, rays: F32) -> Mask:
        found: Mask = np.abs(np.float32(origin[2]) + t * rays[2]) <= self.half
        return found

    def _kept(self, t: F32, origin: F64, rays: F32) -> Mask:
        found: Mask = np.float32(origin[0]) + t * rays[0] >= self.cut
        return found

    def hull(self) -> F64:
        points = np.concatenate([_ring(self.radius, -self.half), _ring(self.radius, self.half)])
        points[:, 0] = np.maximum(points[:, 0], self.cut)
        return points


@dataclass(frozen=True, slots=True)
class Shell:
    """A bowl standing on z = 0: a sphere of `radius` touching z = `sink` below, cut at `top`, with a flat `floor` inside."""

    radius: float
    thick: float
    top: float
    floor: float
    sink: float = 0.0

    def hit(self, origin: F64, rays: F32) -> Hit:
        middle = np.array([0.0, 0.0, self.radius + self.sink])
        outer, _ = self._sphere(self.radius, origin - middle, rays)
        _, inner = self._sphere(self.radius - self.thick, origin - middle, rays)
        rim, off = _flat(origin, rays, self.top)
        flat, _ = _flat(origin, rays, self.floor)
        height = np.float32(origin[2]) + outer * rays[2]
        enters, lands = off < self._reach(self.thick), np.float32(origin[2]) + inner * rays[2] < self.floor
        return _nearest([
            (outer, (height >= 0) & (height <= self.top), _at(origin - middle, rays, outer) / np.float32(self.radius)),
            (rim, (off <= self._reach(0)) & ~enters, _up(rays)),
            (inner, enters & ~lands, _at(origin - middle, rays, inner) / np.float32(self.thick - self.radius)),
            (flat, enters & lands, _up(rays)),
        ])  # fmt: skip

    def _reach(self, inset: float) -> float:
        """Squared radius of the rim, `inset` from the outside."""
        return (self.radius - inset) ** 2 - (self.top - self.radius - self.sink) ** 2

    @staticmethod
    def _sphere(radius: float, origin: F64, rays: F32) -> tuple[F32, F32]:
        b = np.tensordot(origin.astype(np.float32), rays, 1)
        return _roots((rays * rays).sum(axis=0), b, float(origin @ origin) - radius**2)

    def hull(self) -> F64:
        foot = np.sqrt(max(self.radius**2 - (self.radius + self.sink) ** 2, 1e-6))
        return np.concatenate([_ring(np.sqrt(self._reach(0)), self.top), _ring(foot, 0.0)])


def _nearest(choices: list[Choice], kept: list[Mask] | None = None) -> Hit:
    """Of (length, valid, normal) the nearest valid one for each ray."""
    best, normal = np.full_like(choices[0][0], MISS), np.zeros_like(choices[0][2])
    for k, (t, valid, its_normal) in enumerate(choices):
        nearer = valid & (t < best) if kept is None else valid & kept[k] & (t < best)
        best = np.where(nearer, t, best)
        normal = np.where(nearer, its_normal, normal)
    return best, normal
