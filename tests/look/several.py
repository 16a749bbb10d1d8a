"""A small mixture with all that the record can hold: two cameras, history, chunks, conversations of 0, 1 and 3 images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from rt2data.build import Site, build_plainly
from rt2data.plan.recipe import read_recipe
from rt2data.read.source import SOURCES, RobotSource, Suggestion, WebSource
from rt2data.records import Example, Image, Reject, Step, Turn, Unit
from rt2data.settings import PathStr
from tests.contract.toy import jpeg

HORIZON, STEPS, EPISODES = 4, 5, 3
TABLE = {"two_cameras": "tests.look.several:TwoCameras", "talks": "tests.look.several:Talks"}
RECIPE = f"""
robot_frac: 1/2
store: store
robot:
  arm:
    kind: two_cameras
    path: raw
    action_space: widowx_bridge
    cameras: all
    horizon: {HORIZON}
    history: [-1, 0]
    loss_weight: 0.3
web: {{talks: {{kind: talks, path: raw}}}}
"""
TALKS: dict[str, tuple[int, tuple[Turn, ...]]] = {
    "none": (0, (Turn("user", "who are you?"), Turn("assistant", "a robot"))),
    "one": (
        1,
        (
            Turn("system", "be brief"),
            Turn("user", "<image>\nwhat is this?"),
            Turn("assistant", "a cup", False),
            Turn("user", "where?"),
            Turn("assistant", "on the table"),
        ),
    ),
    "three": (3, (Turn("user", "<image><image> and <image>: which is red?"), Turn("assistant", "the second"))),
}


class TwoCameras(RobotSource):
    """Short episodes, seen by two cameras."""

    kind: Literal["two_cameras"] = "two_cameras"
    path: PathStr

    @classmethod
    def recognize(cls, path: Path) -> Suggestion | None:
        return None

    def files(self) -> list[str]:
        return [self.path]

    def units(self) -> list[Unit]:
        return [Unit(0, self.path, "train")]

    def read(self, unit: Unit) -> Iterator[Step | Example | Reject]:
        for episode in range(EPISODES):
            actions = np.random.default_rng(episode).normal(0, 0.01, (STEPS, 7)).astype(np.float32)
            for step in range(STEPS):
                yield Step(
                    episode=f"e{episode}",
                    step=step,
                    steps=STEPS,
                    split="train",
                    instruction="lift it",
                    action=actions[step],
                    images=tuple(Image(name, jpeg(100 * i + 10 * episode + step)) for i, name in enumerate(("front", "wrist"))),
                    is_first=step == 0,
                    is_last=step == STEPS - 1,
                    timestamp=step / 5,
                )

    def describe(self) -> dict[str, Any]:
        return {}


class Talks(WebSource):
    """The conversations above, and a question with answers."""

    kind: Literal["talks"] = "talks"
    path: PathStr

    @classmethod
    def recognize(cls, path: Path) -> Suggestion | None:
        return None

    def files(self) -> list[str]:
        return [self.path]

    def units(self) -> list[Unit]:
        return [Unit(0, self.path, "train")]

    def read(self, unit: Unit) -> Iterator[Step | Example | Reject]:
        for number, (key, (count, turns)) in enumerate(TALKS.items()):
            images = tuple(Image("image", jpeg(1000 * (number + 1) + i)) for i in range(count))
            yield Example(key, key, "train", images=images, turns=turns)
        yield Example("asked", "asked", "train", "How many?", ("two", "2"), (Image("image", jpeg(7)),))

    def describe(self) -> dict[str, Any]:
        return {}


@contextmanager
def kinds_known() -> Iterator[None]:
    """Meanwhile recipes may name them."""
    with pytest.MonkeyPatch.context() as patch:
        for name, place in TABLE.items():
            patch.setitem(SOURCES, name, place)
        yield


def build(folder: Path) -> Path:
    """The mixture in a folder; its recipe is in `mixture.yaml`, its stores are in `store`."""
    (folder / "raw").mkdir(parents=True)
    (folder / "mixture.yaml").write_text(RECIPE)
    with kinds_known():
        build_plainly(read_recipe(folder / "mixture.yaml"), Site(folder / "mixture"))
    return folder / "mixture"
