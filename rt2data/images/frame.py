"""Transforms a box or point as its image is prepared: rotated, flipped and cropped by the same rules.

If libjpeg scaled an image down while decoding, the crop is known to half a pixel of the decoded image, which is at least as large
as the result.
"""

from __future__ import annotations

from collections.abc import Callable

from rt2data.images.headers import ImageHeader
from rt2data.images.ready import ImageRule, ViewRule
from rt2data.records import Frame

Points = list[tuple[float, float]]
Move = Callable[[float, float], tuple[float, float]]

_TURNS: dict[int, Move] = {
    90: lambda x, y: (1 - y, x),
    180: lambda x, y: (1 - x, 1 - y),
    270: lambda x, y: (y, 1 - x),
}
"""Clockwise rotations."""


def moved(coords: tuple[float, ...], frame: Frame, source: ImageHeader, rule: ImageRule) -> tuple[float, ...]:
    """Convert a box or point from `frame` of the source image to the image that `make_ready` produces by `rule`.

    Cropped parts lie outside 0 to 1.
    """
    points: Points = [*zip(coords[::2], coords[1::2], strict=True)]
    if frame == "stored":
        points = [_upright(x, y, source.orientation) for x, y in points]
    points = [_cropped(*_viewed(x, y, rule), *_size(source, rule), rule) for x, y in points]
    if len(points) == 1:
        return points[0]
    columns, rows = zip(*points, strict=True)
    return min(columns), min(rows), max(columns), max(rows)


def clipped(coords: tuple[float, ...]) -> tuple[float, ...] | None:
    """The part of a box inside 0 to 1; None if there is none, or a point is outside."""
    if len(coords) == 2:
        return coords if all(0 <= value <= 1 for value in coords) else None
    x0, y0, x1, y1 = (min(max(value, 0.0), 1.0) for value in coords)
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def _upright(x: float, y: float, orientation: int) -> tuple[float, float]:
    """Apply an EXIF orientation: transpose, then flip."""
    if orientation >= 5:
        x, y = y, x
    return (1 - x if orientation in (2, 3, 6, 7) else x), (1 - y if orientation in (3, 4, 7, 8) else y)


def _viewed(x: float, y: float, rule: ViewRule) -> tuple[float, float]:
    if rule.turn:
        x, y = _TURNS[rule.turn](x, y)
    return (1 - x if rule.flip == "horizontal" else x), (1 - y if rule.flip == "vertical" else y)


def _size(source: ImageHeader, rule: ViewRule) -> tuple[int, int]:
    """Width and height after uprighting and rotation."""
    across = (source.orientation >= 5) != (rule.turn in (90, 270))
    return (source.height, source.width) if across else (source.width, source.height)


def _cropped(x: float, y: float, width: int, height: int, rule: ImageRule) -> tuple[float, float]:
    """A point relative to the largest centred square, if the rule crops to one."""
    if rule.resize is None:
        return x, y
    side = min(width, height)
    return (x * width - (width - side) / 2) / side, (y * height - (height - side) / 2) / side
