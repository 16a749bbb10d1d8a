"""The rules for conversations: turns that a template can render, and a placeholder for every image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rt2data.records import Example, Region

IMAGE = "<image>"
"""Placeholder for an image in the text of a turn."""

REGION = "<region>"
"""Placeholder for a region, in an example that has any."""


def conversation_fault(example: Example) -> tuple[str, str, str] | None:
    """Reason, place and detail of what is wrong with a conversation; None if it is valid or not a conversation."""
    turns = example.turns
    if not turns:
        return None
    spoken = [turn for turn in turns if turn.role != "system"]
    order = [turn.role for turn in spoken]
    if any(turn.role == "system" for turn in turns[1:]) or order != ["user", "assistant"] * (len(spoken) // 2) or not spoken:
        return "turn_order", example.key, "roles are " + ", ".join(turn.role for turn in turns)
    if any(not turn.text.strip() for turn in spoken):
        return "blank_turn", example.key, f"turn {[not turn.text.strip() for turn in turns].index(True)}"
    if not any(turn.loss for turn in spoken if turn.role == "assistant"):
        return "no_loss", example.key, "no turn of the assistant has a loss"
    places = sum(turn.text.count(IMAGE) for turn in turns)
    if places != len(example.images):
        return "image_places", example.key, f"{places} places for {len(example.images)} images"
    return None


def region_fault(example: Example) -> tuple[str, str, str] | None:
    """Reason, place and detail of what is wrong with an example's regions; None if they are valid or there are none."""
    if not example.regions:
        return None
    for number, region in enumerate(example.regions):
        if fault := _one_fault(region, len(example.images)):
            return "bad_region", example.key, f"region {number}: {fault}"
    if any(REGION in turn.text for turn in example.turns if turn.role == "system"):
        return "region_places", example.key, "a system turn has places for regions"
    places, count = _region_places(example), len(example.regions)
    if places != {count}:
        return "region_places", example.key, f"{' or '.join(map(str, sorted(places)))} places for {count} regions"
    return None


def _region_places(example: Example) -> set[int]:
    """The number of placeholders in a conversation, or in a question with each of its answers."""
    if example.turns:
        return {sum(turn.text.count(REGION) for turn in example.turns)}
    asked = example.question.count(REGION)
    return {asked + answer.count(REGION) for answer in example.answers}


def _one_fault(region: Region, images: int) -> str:
    coords = np.array(region.coords, np.float64)
    if not 0 <= region.image < images:
        return f"it is in image {region.image} of {images}"
    if len(coords) not in (2, 4):
        return f"{len(coords)} numbers are neither a box nor a point"
    if not ((coords >= 0) & (coords <= 1)).all():
        return f"{_listed(coords)} is not within 0 and 1"
    if region.is_box and not has_area(region.coords):
        return f"{_listed(coords)} has no area"
    return f"its label {region.label[:40]!r} has < or >, which marks are made of" if {"<", ">"} & {*region.label} else ""


def _listed(coords: NDArray[np.float64]) -> str:
    return ", ".join(f"{value:.6g}" for value in coords)


def has_area(coords: Sequence[float]) -> bool:
    """Whether a box, in single precision as stored, has width and height."""
    x0, y0, x1, y1 = np.array(coords, np.float32)
    return bool(x0 < x1 and y0 < y1)


def tidy(region: Region) -> Region:
    """A region in stored form: numbers in single precision, label on one line."""
    return replace(region, coords=tuple(np.array(region.coords, np.float32).tolist()), label=" ".join(region.label.split()))
