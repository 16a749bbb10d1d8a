"""Charts of two directions: bins by dimension, correlations, sizes of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, sqrt

from markupsafe import Markup

from rt2data.look.report.figures import percent, plain, real, whole
from rt2data.look.report.svg import NONE, drawing, join, path, short
from rt2data.look.stats.model import Camera, EncodedDimension

LEVELS = 8
"""Shades of a map: each is one path, so a map of thousands of cells stays small."""


def heat(rows: Sequence[EncodedDimension], side: str = "robot") -> Markup:
    """One strip for each dimension, one cell for each bin, darker for more; the shade is the root of the share in its row."""
    wide = max((len(row.bins) for row in rows), default=0)
    if not wide:
        return NONE
    shapes: list[list[str]] = [[] for _ in range(LEVELS + 1)]
    for number, row in enumerate(rows):
        _strip(row.bins, number * 10, shapes)
    marks = [_shade(shape, level, side) for level, shape in enumerate(shapes) if level]
    said = "; ".join(f"{plain(row.name, 60)} uses {sum(map(bool, row.bins))} of {len(row.bins)} bins" for row in rows)
    return drawing(join(marks), "Bins by dimension", said, wide, 10 * len(rows) - 1, stretch=True, look="heat")


def _strip(counts: Sequence[int], top: int, shapes: list[list[str]]) -> None:
    """Neighbours of one shade are one rectangle."""
    most = max(counts)
    levels = [_level(count / most) if most else 0 for count in counts]
    start = 0
    for at in range(1, len(levels) + 1):
        if at == len(levels) or levels[at] != levels[start]:
            shapes[levels[start]].append(f"M{start} {top}h{at - start}v9h-{at - start}z")
            start = at


def _level(share: float) -> int:
    """0 for nothing, else 1..LEVELS."""
    return max(1, min(LEVELS, round(sqrt(share) * LEVELS))) if share > 0 else 0


def _shade(shapes: Sequence[str], level: int, side: str) -> Markup:
    return path("".join(shapes), f"{side} level{level}")


def matrix(names: Sequence[str], values: Sequence[Sequence[float]]) -> Markup:
    """Correlations as squares: filled with ink where positive, with the warning colour where negative; strength is shade."""
    if not names:
        return NONE
    shapes: dict[tuple[str, int], list[str]] = {}
    for down, row in enumerate(values):
        for across, value in enumerate(row):
            if isfinite(value) and (level := min(LEVELS, round(abs(value) * LEVELS))):
                key = ("plus" if value > 0 else "minus", level)
                shapes.setdefault(key, []).append(f"M{across * 10} {down * 10}h9v9h-9z")
    marks = [_shade(shape, level, sign) for (sign, level), shape in sorted(shapes.items())]
    size = 10 * len(names) - 1
    return drawing(join(marks), "Correlation of the dimensions", _strongest(names, values), size, size, look="matrix")


def _strongest(names: Sequence[str], values: Sequence[Sequence[float]]) -> str:
    """The three pairs that go together most."""
    pairs = [(values[b][a], a, b) for b in range(len(values)) for a in range(b) if isfinite(values[b][a])]
    first = sorted(pairs, key=lambda pair: (-abs(pair[0]), pair[1:]))[:3]
    told = ", ".join(f"{plain(names[a], 60)} and {plain(names[b], 60)} {real(round(value, 3))}" for value, a, b in first)
    return f"Strongest: {told}." if told else "There is one dimension only."


def sizes(cameras: Sequence[Camera], side: str) -> Markup:
    """Frames in the proportions and relative sizes of the pictures, on a common corner."""
    every = [(w, h, count) for camera in cameras for w, h, count in camera.sizes if w > 0 and h > 0]
    if not every:
        return NONE
    merged: dict[tuple[int, int], int] = {}
    for width, height, count in every:
        merged[width, height] = merged.get((width, height), 0) + count
    scale = 200 / max(max(size) for size in merged)
    tall = max(height for _, height in merged) * scale
    marks = [_frame(w * scale, h * scale, tall, count / max(merged.values()), side) for (w, h), count in sorted(merged.items())]
    common = sorted(merged.items(), key=lambda pair: (-pair[1], pair[0]))[:5]
    total = sum(merged.values())
    said = "; ".join(f"{w} by {h}: {whole(count)} ({percent(count / total)})" for (w, h), count in common)
    return drawing(join(marks), "Sizes of the pictures", said, 204, round(tall) + 4, look="frames")


def _frame(width: float, height: float, tall: float, often: float, side: str) -> Markup:
    shape = f"M2 {short(tall + 2 - height)}h{short(width)}v{short(height)}h-{short(width)}z"
    return path(shape, f"frame {side} level{_level(often)}")
