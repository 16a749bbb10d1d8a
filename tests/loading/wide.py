"""Toy sources for a wide mixture: robots of 7, 4 and 2 dimensions with two cameras, conversations about 0, 1 and 3 images."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np

from rt2data.read.source import RobotSource, WebSource
from rt2data.records import Example, Image, Reject, Step, Turn, Unit
from tests.contract.toy import jpeg

TABLE = {"wide_robot": "tests.loading.wide:WideRobot", "talk": "tests.loading.wide:Talk"}
LENGTHS = (1, 3, 9, 6)
"""Steps of each robot's episodes."""


class WideRobot(RobotSource):
    """A few episodes; the camera `wrist` is missing from every third step."""

    kind: Literal["wide_robot"] = "wide_robot"
    dims: int
    side: int = 32

    def files(self) -> list[str]:
        return []

    def units(self) -> list[Unit]:
        return [Unit(i, f"episode-{i}", "train") for i in range(len(LENGTHS))]

    def read(self, unit: Unit) -> Iterator[Step | Example | Reject]:
        steps = LENGTHS[unit.index]
        actions = np.random.default_rng(10 * self.dims + unit.index).uniform(-0.1, 0.1, (steps, self.dims)).astype(np.float32)
        for step in range(steps):
            seed = 10_000 * self.dims + 100 * unit.index + 2 * step
            cameras = ("front",) if step % 3 == 2 else ("front", "wrist")
            yield Step(
                episode=f"e{unit.index}",
                step=step,
                steps=steps,
                split=unit.split,
                instruction="push the block",
                action=actions[step],
                images=tuple(Image(camera, jpeg(seed + i, self.side)) for i, camera in enumerate(cameras)),
                state=actions[step, :3] if self.dims == 7 else None,
                is_first=step == 0,
                is_last=step == steps - 1,
                timestamp=0.25 * step if self.dims == 4 else None,
            )

    def describe(self) -> dict[str, Any]:
        return {"episodes": len(LENGTHS)}


class Talk(WebSource):
    """Conversations about 0, 1 and 3 images, in one, two and one exchanges."""

    kind: Literal["talk"] = "talk"

    def files(self) -> list[str]:
        return []

    def units(self) -> list[Unit]:
        return [Unit(0, "talks", "train")]

    def read(self, unit: Unit) -> Iterator[Step | Example | Reject]:
        for number in range(9):
            images = tuple(Image(f"image_{i}", jpeg(500 + 10 * number + i)) for i in range((0, 1, 3)[number % 3]))
            turns = [Turn("user", "<image>\n" * len(images) + f"Which is number {number}?"), Turn("assistant", "The first.")]
            if len(images) == 1:
                turns += [Turn("user", "And then?"), Turn("assistant", "None.")]
            yield Example(f"t{number}", f"g{number}", unit.split, images=images, turns=tuple(turns))

    def describe(self) -> dict[str, Any]:
        return {"conversations": 9}
