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


def recipe(side: int = 32, examples: int = 200) -> str:
    """The wide mixture: three robots, each with settings of its own; images of the smallest have `side` pixels a side."""
    return f"""
robot_frac: 1/2
size: {{num_examples: {examples}}}
shards: {{bytes: 300kB}}
store: store
robot:
  seven: {{kind: wide_robot, dims: 7, action_space: widowx_bridge, cameras: all, history: [0, -2], horizon: 5}}
  four: {{kind: wide_robot, dims: 4, action_space: metaworld, cameras: [wrist, front], horizon: 3, loss_weight: 0.5}}
  two: {{kind: wide_robot, dims: 2, side: {side}, action_space: language_table}}
web: {{talk: {{kind: talk, loss_weight: 2}}}}
"""


def logged(dims: int, episode: int) -> Any:
    """The actions of an episode, f32[steps, dims]."""
    random = np.random.default_rng(10 * dims + episode)
    return random.uniform(-0.1, 0.1, (LENGTHS[episode], dims)).astype(np.float32)


def seen(dims: int, episode: int, step: int, side: int = 32) -> dict[str, bytes]:
    """The images of a step, by camera."""
    seed = 10_000 * dims + 100 * episode + 2 * step
    return {camera: jpeg(seed + i, side) for i, camera in enumerate(("front",) if step % 3 == 2 else ("front", "wrist"))}


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
        actions = logged(self.dims, unit.index)
        for step in range(steps):
            yield Step(
                episode=f"e{unit.index}",
                step=step,
                steps=steps,
                split=unit.split,
                instruction="push the block",
                action=actions[step],
                images=tuple(Image(*each) for each in seen(self.dims, unit.index, step, self.side).items()),
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
