"""A toy robot log and a toy corpus: what it takes to add a source. One file, and one line in the table for each class."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image as Pillow

from rt2data.io import location
from rt2data.io.location import path_of
from rt2data.read.source import RobotSource, Suggestion, WebSource
from rt2data.records import Example, Image, Place, Region, Reject, Step, Turn, Unit
from rt2data.settings import PathStr

TABLE = {"toy_robot": "tests.contract.toy:ToyRobot", "toy_web": "tests.contract.toy:ToyWeb"}

REGIONS = {"toy_regions": "tests.contract.toy:ToyRegions"}
"""A corpus with boxes and points, for tests of those."""


def jpeg(seed: int, side: int = 32) -> bytes:
    """A small JPEG of its own for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 255, (side, side, 3), dtype=np.uint8)
    out = io.BytesIO()
    Pillow.fromarray(pixels).save(out, "JPEG", quality=80)
    return out.getvalue()


def write_robot(folder: Path, episodes: int = 6, steps: int = 8) -> Path:
    """One file of JPEGs end to end for each episode."""
    folder.mkdir(parents=True, exist_ok=True)
    for episode in range(episodes):
        (folder / f"{episode:03d}.bin").write_bytes(b"".join(_framed(jpeg(1000 * episode + step)) for step in range(steps)))
    return folder


def write_web(folder: Path, pictures: int = 9) -> Path:
    """One JPEG for each question."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(pictures):
        (folder / f"{number:04d}.jpg").write_bytes(jpeg(90_000 + number))
    return folder


def _named(folder: str | Path, ending: str) -> list[str]:
    """Files of a folder with this ending, in order; none where there is no folder."""
    if not location.is_folder(folder):
        return []
    return sorted(str(path_of(entry.path)) for entry in location.children(folder) if entry.name.endswith(ending))


def _framed(content: bytes) -> bytes:
    return len(content).to_bytes(4, "little") + content


class ToyRobot(RobotSource):
    """Episodes of random pictures and smooth actions."""

    kind: Literal["toy_robot"] = "toy_robot"
    path: PathStr

    @classmethod
    def recognize(cls, path: Path) -> Suggestion | None:
        return Suggestion({"path": str(path)}, path.name) if _named(path, ".bin") else None

    def files(self) -> list[str]:
        return _named(self.path, ".bin")

    def units(self) -> list[Unit]:
        return [Unit(i, path, "train", bytes=location.stat(path).size) for i, path in enumerate(self.files())]

    def read(self, unit: Unit) -> Iterator[Step | Example | Reject]:
        content, pictures, at = location.read_bytes(unit.path), [], 0
        while at < len(content):
            length = int.from_bytes(content[at : at + 4], "little")
            pictures.append(Image("front", content[at + 4 : at + 4 + length], Place(unit.path, at + 4, length)))
            at += 4 + length
        actions = np.random.default_rng(unit.index).normal(0, 0.01, (len(pictures), 7)).astype(np.float32)
        actions[:, 6] = np.arange(len(pictures)) % 2
        for step, image in enumerate(pictures):
            yield Step(
                episode=f"e{unit.index:03d}",
                step=step,
                steps=len(pictures),
                split=unit.split,
                instruction=f"lift block {unit.index % 3}",
                action=actions[step],
                images=(image,),
                state=actions[step] * 2,
                is_first=step == 0,
                is_last=step == len(pictures) - 1,
            )

    def describe(self) -> dict[str, Any]:
        return {"episodes": len(self.files())}


class ToyWeb(WebSource):
    """A question about each picture."""

    kind: Literal["toy_web"] = "toy_web"
    path: PathStr

    @classmethod
    def recognize(cls, path: Path) -> Suggestion | None:
        return Suggestion({"path": str(path)}, path.name) if _named(path, ".jpg") else None

    def files(self) -> list[str]:
        return _named(self.path, ".jpg")

    def units(self) -> list[Unit]:
        return [Unit(0, self.path, "train", stop=len(self.files()))]

    def read(self, unit: Unit) -> Iterator[Step | Example | Reject]:
        for number, path in enumerate(self.files()):
            content = location.read_bytes(path)
            image = Image("image", content, Place(path, 0, len(content)))
            yield Example(f"q{number:04d}", f"i{number // 2}", unit.split, f"How many? {number % 4}", ("two", "two", "2"), (image,))

    def describe(self) -> dict[str, Any]:
        return {"questions": len(self.files())}


class ToyRegions(WebSource):
    """Boxes and points of each picture: asked for, named in a question, and in a conversation with words between them."""

    kind: Literal["toy_regions"] = "toy_regions"
    path: PathStr
    boxes: bool = True

    def files(self) -> list[str]:
        return _named(self.path, ".jpg")

    def units(self) -> list[Unit]:
        return [Unit(number, path, "train") for number, path in enumerate(self.files())]

    def read(self, unit: Unit) -> Iterator[Step | Example | Reject]:
        content = location.read_bytes(unit.path)
        image = Image("image", content, Place(unit.path, 0, len(content)))
        key, about = f"r{unit.index:04d}", (f"i{unit.index}", unit.split)
        cat, dog = self._region(unit.index, "cat"), self._region(unit.index + 1, "dog")
        point = Region(0, (0.25, 0.5 + unit.index / 1000), "paw")
        yield Example(f"{key}-find", *about, "detect cat ; dog", ("<region> ; <region>",), (image,), regions=(cat, dog))
        yield Example(f"{key}-what", *about, "What is in <region>?", ("a cat", "cat", "cat"), (image,), regions=(cat,))
        turns = (
            Turn("user", "<image>\nWhere is a paw?"),
            Turn("assistant", "Here: <region>\n<region>", loss=False),
            Turn("user", "And of <region>?"),
            Turn("assistant", "There is none."),
        )
        yield Example(f"{key}-talk", *about, images=(image,), turns=turns, regions=(point, point, dog))
        yield Example(f"{key}-none", *about, "Is <region> a word here?", ("yes",), (image,))

    def _region(self, number: int, label: str) -> Region:
        low = 0.1 + number % 7 / 100
        return Region(0, (low, low / 2, low + 0.5, 0.9) if self.boxes else (low, 0.5), label)

    def describe(self) -> dict[str, Any]:
        return {"pictures": len(self.files())}
