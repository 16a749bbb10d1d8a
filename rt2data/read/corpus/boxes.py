"""Boxes and points as corpora write them, converted to fractions of the image once it is read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np

from rt2data.images.ready import read_header
from rt2data.read.corpus.draft import Draft, RowFault
from rt2data.read.corpus.facts import CLIPPED, CUT, OUTSIDE, SMALL, WORDS
from rt2data.read.corpus.vqa_layouts import filled
from rt2data.records import Frame, Image, Region

BoxStyle = Literal["xywh", "xyxy", "xywh_norm", "xyxy_norm", "xyxy_1000"]
"""The numbers of a box: the upper left corner (x, y), then width and height or the lower right corner; in pixels, from 0 to 1
(`norm`), or from 0 to 1000."""
PointStyle = Literal["pixels", "norm", "percent", "per_1000"]
Order = Literal["left_to_right", "top_to_bottom", "given"]

REGION = "<region>"
_UNITS: dict[str, float] = {"xywh_norm": 1, "xyxy_norm": 1, "xyxy_1000": 1000, "norm": 1, "percent": 100, "per_1000": 1000}
"""The number that stands for the full width or height; styles not listed are in pixels."""
_FAR = 1e9
_SLACK = 0.01  # pixels beyond the image that count as rounding


class Spot(NamedTuple):
    """A box of four numbers or a point of two, as written in a corpus."""

    coords: tuple[float, ...]
    style: str  # BoxStyle or PointStyle
    label: str = ""


@dataclass(frozen=True, slots=True)
class Choice:
    """Which regions an example keeps, and in which order."""

    min_side: float  # pixels of the file
    most: int
    cut: bool  # whether the largest stay if there are more; else the example is dropped
    order: Order


@dataclass(frozen=True, slots=True)
class Boxed(Draft):
    """An example whose boxes are converted once its image is read. Without `answers`, `answer` is the template of the answer, with
    {regions}, {count} and {label}.
    """

    spots: tuple[Spot, ...] = ()
    choice: Choice = Choice(0, 100, False, "given")
    size: tuple[int, int] | None = None  # of the image, according to the corpus
    label: str = ""
    answer: str = "{regions}"
    absent: str | None = None  # the answer if there are no regions

    @property
    def shown_answers(self) -> tuple[str, ...]:
        """The answers; if they are regions, the boxes and points as written in the corpus."""
        return self.answers or tuple(f"{spot.label} [{_listed(spot)}]".strip() for spot in self.spots)

    def with_images(self, images: tuple[Image, ...]) -> Draft:
        """The draft with regions in fractions. Raises RowFault: size_differs, bad_box, bad_point, no_regions, too_many_regions."""
        size = self._measured(images)
        regions, facts = chosen(self.spots, size, self.choice)
        facts.update(self.facts)
        if not regions and self.absent is None:
            raise nothing_left(facts)
        places = " ; ".join([REGION] * len(regions))
        said = {"regions": places, "count": str(len(regions)), "label": self.label}
        answers = self.answers or (filled(self.answer, said) if regions else self.absent or "",)
        found = Draft(self.question.replace(REGION, places), answers, (), self.pictures, self.turn)
        return replace(found, regions=tuple(regions), frame=self.frame, facts=tuple(facts.elements()))

    def _measured(self, images: tuple[Image, ...]) -> tuple[int, int]:
        """The size of the only image, which the corpus must not contradict. Raises RowFault, ImageFault."""
        if len(images) != 1:
            raise RowFault("ambiguous_images", f"boxes in one of {len(images)} images")
        size = size_of(images[0], self.frame)
        if self.size is not None and self.size != size:
            raise RowFault("size_differs", _differs(self.size, size))
        return size


@dataclass(frozen=True, slots=True)
class Captioned(Boxed):
    """A caption whose phrases have boxes: a phrase that keeps boxes is their label; other phrases are plain text."""

    pieces: tuple[tuple[str, tuple[Spot, ...]], ...] = ()

    @property
    def shown_answers(self) -> tuple[str, ...]:
        """The caption."""
        return ("".join(text for text, _ in self.pieces),)

    def with_images(self, images: tuple[Image, ...]) -> Draft:
        """The draft with regions in fractions. Raises the same errors as `Boxed`."""
        size, facts, said = self._measured(images), Counter(self.facts), ""
        regions = list[Region]()
        for text, spots in self.pieces:
            found, lost = chosen(spots, size, self.choice)
            said += " ; ".join([REGION] * len(found)) or text
            regions += found
            facts += lost
        if not regions:
            raise nothing_left(facts)
        if len(regions) > self.choice.most:
            raise RowFault("too_many_regions", f"{len(regions)}", wanted=True)
        draft = Draft(self.question, (said,), (), self.pictures, self.turn, tuple(regions), self.frame)
        return replace(draft, facts=tuple(facts.elements()))


def nothing_left(facts: Counter[str]) -> RowFault:
    """Why an example has no regions."""
    said = ", ".join(f"{facts[name]} {words}" for name, words in WORDS.items() if facts[name])
    return RowFault("no_regions", said or "nothing is marked", wanted=not facts[OUTSIDE])


def size_of(image: Image, frame: Frame) -> tuple[int, int]:
    """The image's width and height, in the frame in which its boxes are measured. Raises ImageFault."""
    content = image.content()
    if isinstance(content, np.ndarray):
        return content.shape[1], content.shape[0]
    header = read_header(content)
    across = frame == "upright" and header.orientation >= 5
    return (header.height, header.width) if across else (header.width, header.height)


def chosen(spots: Sequence[Spot], size: tuple[int, int], choice: Choice) -> tuple[list[Region], Counter[str]]:
    """The regions of an image to keep, and counts of what happened to the others. Raises RowFault."""
    facts: Counter[str] = Counter()
    found = [region for spot in spots if (region := _region(spot, size, choice.min_side, facts))]
    if len(found) > choice.most:
        if not choice.cut:
            raise RowFault("too_many_regions", f"{len(found)}", wanted=True)
        facts[CUT] += len(found) - choice.most
        largest = sorted(range(len(found)), key=lambda at: -_area(found[at]))[: choice.most]
        found = [found[at] for at in sorted(largest)]
    return _ordered(found, choice.order), facts


def _region(spot: Spot, size: tuple[int, int], min_side: float, facts: Counter[str]) -> Region | None:
    coords = fractions(spot, size)
    if len(coords) == 2:
        if not all(0 <= each <= 1 for each in coords):
            raise RowFault("bad_point", f"{_listed(spot)} is outside of an image of {size[0]}x{size[1]}")
        return Region(0, coords, spot.label)
    inside = tuple(min(max(each, 0.0), 1.0) for each in coords)
    width, height = ((inside[at + 2] - inside[at]) * size[at] for at in (0, 1))
    gone = [(coords[at + 2] <= 0 or coords[at] >= 1) and coords[at] < coords[at + 2] for at in (0, 1)]
    if any(gone) or min(width, height) <= 0 or min(width, height) < min_side:
        facts[OUTSIDE if any(gone) else SMALL] += 1
        return None
    beyond = max(abs(one - other) * size[at % 2] for at, (one, other) in enumerate(zip(inside, coords, strict=True)))
    facts[CLIPPED] += beyond > _SLACK
    return Region(0, inside, spot.label)


def fractions(spot: Spot, size: tuple[int, int]) -> tuple[float, ...]:
    """Corners or a point as fractions of width and height; they may lie outside 0 to 1. Raises RowFault: bad_box."""
    unit = _UNITS.get(spot.style)
    across, down = (unit, unit) if unit else size
    if len(spot.coords) == 2:
        return spot.coords[0] / across, spot.coords[1] / down
    x, y, right, bottom = spot.coords
    if spot.style.startswith("xywh"):
        right, bottom = x + right, y + bottom
    if right < x or bottom < y:
        raise RowFault("bad_box", f"{_listed(spot)} ends before it begins: is it {spot.style}?")
    return x / across, y / down, right / across, bottom / down


def _ordered(found: list[Region], order: Order) -> list[Region]:
    if order == "given":
        return found
    first, second = (0, 1) if order == "left_to_right" else (1, 0)
    return sorted(found, key=lambda region: (region.coords[first], region.coords[second]))


def _area(region: Region) -> float:
    x0, y0, x1, y1 = region.coords if region.is_box else region.coords * 2
    return (x1 - x0) * (y1 - y0)


def numbers(value: Any, count: int) -> tuple[float, ...]:
    """The value as `count` finite numbers. Raises RowFault: bad_box, bad_point."""
    if not (is_numbers(value) and len(value) == count and all(abs(each) < _FAR for each in value)):
        raise RowFault("bad_box" if count == 4 else "bad_point", f"{str(value)[:60]} is not {count} numbers")
    return tuple(map(float, value))


def parsed(value: Any) -> Any:
    """A value in which numbers and lists of numbers, written as text in text tables, are parsed."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def is_numbers(value: Any) -> bool:
    """Whether a value is a list of numbers."""
    return isinstance(value, list | tuple) and bool(value) and all(type(each) in (int, float) for each in value)


def _listed(spot: Spot) -> str:
    return ", ".join(f"{each:.6g}" for each in spot.coords)


def _differs(said: tuple[int, int], size: tuple[int, int]) -> str:
    turned = ": EXIF turns it, and the boxes may be of the upright image: set `frame: upright`" if said == size[::-1] else ""
    return f"the corpus says {said[0]}x{said[1]}, the file has {size[0]}x{size[1]}{turned}"
