"""A pinhole camera: rays through pixels, and points onto pixels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
Vector = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Camera:
    """Where the eye is, what it looks at (metres) and its field of view (radians), the same both ways."""

    eye: Vector
    target: Vector
    field: float


VIEWS: dict[str, Camera] = {
    "front": Camera((0.98, 0.0, 0.62), (0.285, 0.0, 0.058), 0.56),
    "middle": Camera((0.95, 0.0, 0.66), (0.30, 0.0, 0.02), 0.48),
    "left": Camera((0.93, -0.22, 0.64), (0.30, 0.0, 0.02), 0.49),
    "right": Camera((0.93, 0.22, 0.64), (0.30, 0.0, 0.02), 0.49),
    "high": Camera((0.80, 0.0, 0.80), (0.295, 0.0, 0.02), 0.49),
}


@lru_cache(maxsize=8)
def axes(camera: Camera) -> F64:
    """float64[3, 3]: the rows point right, up and forward of the camera, in the scene's frame."""
    forward = np.subtract(camera.target, camera.eye)
    forward = forward / np.linalg.norm(forward)
    right = np.cross(forward, (0.0, 0.0, 1.0))
    right = right / np.linalg.norm(right)
    found = np.array([right, np.cross(right, forward), forward])
    found.setflags(write=False)
    return found


@lru_cache(maxsize=8)
def rays(camera: Camera, pixels: int) -> F32:
    """float32[3, pixels, pixels]: a direction through each pixel's centre, of length 1 along the camera's forward axis."""
    right, up, forward = axes(camera)
    across = ((np.arange(pixels) + 0.5) / pixels * 2 - 1) * np.tan(camera.field / 2)
    sideways, upwards = right[:, None, None] * across[None, None, :], up[:, None, None] * across[None, :, None]
    found: F32 = (forward[:, None, None] + sideways - upwards).astype(np.float32)
    found.setflags(write=False)
    return found


def project(camera: Camera, points: F64, pixels: int) -> F64:
    """Points float64[n, 3] -> pixel coordinates float64[n, 2] (across, down). Points must lie in front of the camera."""
    right, up, forward = axes(camera)
    seen = points - np.asarray(camera.eye)
    scale = pixels / 2 / np.tan(camera.field / 2) / np.maximum(seen @ forward, 1e-3)
    return np.stack([pixels / 2 + (seen @ right) * scale, pixels / 2 - (seen @ up) * scale], axis=1)
