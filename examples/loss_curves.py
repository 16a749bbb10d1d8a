"""Both losses over steps, as an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

NAMES = {"robot": "action tokens", "web": "VQA tokens"}
COLORS = {"robot": (31, 90, 180), "web": (200, 80, 20)}
INK, GRID = (60, 60, 60), (225, 225, 225)
LEFT, RIGHT, UPPER, LOWER = 70, 150, 60, 70
"""Margins in pixels: numbers, names of the curves, title, steps."""
FINE = 3
"""Drawn so many times larger, then scaled down: lines become smooth."""

Losses = dict[str, list[float]]


@dataclass(frozen=True)
class Chart:
    """Steps to the right, loss upwards from 0 to `top`."""

    pen: ImageDraw.ImageDraw
    size: tuple[int, int]
    steps: int
    top: float

    def at(self, step: float, loss: float) -> tuple[float, float]:
        """Where on the image."""
        across = (self.size[0] - LEFT - RIGHT) * step / max(self.steps - 1, 1)
        up = (self.size[1] - UPPER - LOWER) * loss / self.top
        return FINE * (LEFT + across), FINE * (self.size[1] - LOWER - up)

    def say(self, text: str, where: tuple[float, float], anchor: str, color: tuple[int, int, int] = INK, size: int = 15) -> None:
        """Text, `anchor` as Pillow names it."""
        self.pen.text(where, text, fill=color, anchor=anchor, font=ImageFont.load_default(FINE * size))

    def axes(self, title: str) -> None:
        """Grid, numbers and what they are."""
        for loss in range(int(self.top) + 1):
            self.pen.line([self.at(0, loss), self.at(self.steps - 1, loss)], fill=GRID, width=FINE)
            self.say(f"{loss} ", self.at(0, loss), "rm")
        for step in range(0, self.steps, max(self.steps // 5, 1)):
            self.say(str(step), (self.at(step, 0)[0], self.at(0, 0)[1] + 8 * FINE), "ma")
        self.say("steps", (self.at((self.steps - 1) / 2, 0)[0], FINE * (self.size[1] - 18)), "ms")
        self.say(title, (FINE * 24, FINE * 34), "ls", size=19)

    def curve(self, name: str, losses: Sequence[float], unigram: float, color: tuple[int, int, int]) -> None:
        """A loss, its name at its end, and its baseline, dashed."""
        smooth = [float(np.mean(losses[max(i - 4, 0) : i + 1])) for i in range(len(losses))]
        self.pen.line([self.at(step, loss) for step, loss in enumerate(smooth)], fill=color, width=2 * FINE, joint="curve")
        for dash in np.linspace(0, self.steps - 1, 61)[:-1:2].tolist():
            self.pen.line([self.at(dash, unigram), self.at(dash + self.steps / 60, unigram)], fill=color, width=FINE)
        self.say(f"  {name}", self.at(self.steps - 1, smooth[-1]), "lm", color)
        self.say(f"  unigram {unigram:.2f}", self.at(self.steps - 1, unigram), "lm", color)


def draw_losses(losses: Losses, unigram: Mapping[str, float], path: Path, size: tuple[int, int] = (900, 520)) -> None:
    """A PNG of each loss in `losses`, means of five steps, and the unigram baseline it has to beat, in nats per token."""
    large = Image.new("RGB", (FINE * size[0], FINE * size[1]), "white")
    chart = Chart(ImageDraw.Draw(large), size, max(map(len, losses.values())), max(max(found) for found in losses.values()))
    chart.axes("Loss in nats per loss token; dashed: the best guess without image and prompt")
    for kind in unigram:
        chart.curve(NAMES[kind], losses[kind], unigram[kind], COLORS[kind])
    large.resize(size, Image.Resampling.LANCZOS).save(path)
