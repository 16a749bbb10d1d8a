"""Qwen-VL: three generations, three notations.

- Qwen2-VL (Wang et al. 2024, arXiv:2409.12191): 0 to 1000 of the image, between marks that are tokens.
- Qwen2.5-VL (Bai et al. 2025, arXiv:2502.13923): JSON, pixels of the image as resized by its processor.
- Qwen3-VL: JSON, 0 to 1000 of the image.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from rt2data.render.regions.convention import Convention, Marked, Size

FACTOR = 28
"""Pixels per side of an image token: patches of 14, merged two by two."""
MIN_PIXELS, MAX_PIXELS = 56 * 56, 16384 * 28 * 28
"""Limits in the processor of the published Qwen2.5-VL models (their preprocessor_config.json)."""
MAX_RATIO = 200
"""The processor refuses images with a larger aspect ratio."""

_TAGGED = re.compile(
    r"(?:<\|object_ref_start\|>(?P<label>.*?)<\|object_ref_end\|>)?<\|box_start\|>(?P<numbers>[0-9(), ]+)<\|box_end\|>", re.DOTALL
)


class Qwen2(Convention):
    """`<|object_ref_start|>cat<|object_ref_end|><|box_start|>(125,200),(500,750)<|box_end|>`; a point is one pair."""

    name: ClassVar[str] = "qwen2"
    marks: ClassVar[tuple[str, ...]] = ("<|object_ref_start|>", "<|object_ref_end|>", "<|box_start|>", "<|box_end|>")

    def units(self, size: Size) -> Size:
        """A thousand each way."""
        return 1000, 1000

    def render(self, regions: Sequence[Marked]) -> str:
        """The regions one after another, delimited by their marks."""
        return "".join(self._one(region) for region in regions)

    def _one(self, region: Marked) -> str:
        steps = self.steps(region)
        pairs = ",".join(f"({x},{y})" for x, y in zip(steps[::2], steps[1::2], strict=True))
        label = f"<|object_ref_start|>{region.label}<|object_ref_end|>" if region.label else ""
        return f"{label}<|box_start|>{pairs}<|box_end|>"

    def parse(self, text: str, size: Size) -> list[Marked]:
        """All boxes and points between marks."""
        found = ((match["label"] or "", re.findall(r"[0-9]+", match["numbers"])) for match in _TAGGED.finditer(text))
        return [self.marked([int(number) for number in numbers], label, size) for label, numbers in found]


class QwenJson(Convention):
    """`[{"bbox_2d": [125, 200, 500, 750], "label": "cat"}]`; a point is a `point_2d`."""

    def render(self, regions: Sequence[Marked]) -> str:
        """A JSON list on one line."""
        return json.dumps([self._one(region) for region in regions], ensure_ascii=False)

    def _one(self, region: Marked) -> dict[str, Any]:
        numbers = {"bbox_2d" if region.is_box else "point_2d": self.steps(region)}
        return numbers | ({"label": region.label} if region.label else {})

    def parse(self, text: str, size: Size) -> list[Marked]:
        """All boxes and points of all JSON values in the text."""
        return [self.marked(each[_key(each)], each.get("label", ""), size) for each in _objects(text)]


class Qwen3(QwenJson):
    """JSON with 0 to 1000 of the image."""

    name: ClassVar[str] = "qwen3"

    def units(self, size: Size) -> Size:
        """A thousand each way."""
        return 1000, 1000


@dataclass(frozen=True)
class Qwen25(QwenJson):
    """JSON with pixels of the resized image."""

    min_pixels: int = MIN_PIXELS
    max_pixels: int = MAX_PIXELS
    name: ClassVar[str] = "qwen2.5"

    def units(self, size: Size) -> Size:
        """The image's size as resized by the processor."""
        return smart_resize(size, self.min_pixels, self.max_pixels)

    def facts(self) -> dict[str, Any]:
        """Includes the processor's limits."""
        return super().facts() | {"factor": FACTOR, "min_pixels": self.min_pixels, "max_pixels": self.max_pixels}


def smart_resize(size: Size, min_pixels: int = MIN_PIXELS, max_pixels: int = MAX_PIXELS) -> Size:
    """Width and height after resizing by Qwen2.5-VL's processor: the nearest multiples of 28, scaled to within the limits.

    Raises ValueError for an image whose sides differ by more than a factor of 200.
    """
    width, height = size
    if max(size) > MAX_RATIO * min(size):
        raise ValueError(f"an image of {width} x {height} is longer than {MAX_RATIO} to 1")
    across, down = round(width / FACTOR) * FACTOR, round(height / FACTOR) * FACTOR
    if across * down > max_pixels:
        shrink = math.sqrt(width * height / max_pixels)
        return _multiple(math.floor(width / shrink / FACTOR)), _multiple(math.floor(height / shrink / FACTOR))
    if across * down < min_pixels:
        grow = math.sqrt(min_pixels / (width * height))
        return _multiple(math.ceil(width * grow / FACTOR)), _multiple(math.ceil(height * grow / FACTOR))
    return across, down


def _multiple(count: int) -> int:
    return max(count, 1) * FACTOR


def _key(each: dict[str, Any]) -> str:
    return "bbox_2d" if "bbox_2d" in each else "point_2d"


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The objects of each JSON list or object in a text. The words between them may contain brackets too."""
    decoder, at = json.JSONDecoder(), 0
    while match := re.compile(r"[\[{]").search(text, at):
        try:
            value, at = decoder.raw_decode(text, match.start())
        except ValueError:
            at = match.end()
            continue
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict) and {"bbox_2d", "point_2d"} & each.keys():
                yield each
