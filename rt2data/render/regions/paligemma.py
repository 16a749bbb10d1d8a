"""PaliGemma (Beyer et al. 2024, arXiv:2407.07726): `<loc0205><loc0128><loc0767><loc0512> cat ; ...`: y before x, one token each.

A number is the nearest of 1023 steps, as rounded by its training code (big_vision). Its published demonstrations read them as steps
of 1024, which differs by less than a step. Its own training has only boxes; a point is written as two tokens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar

from rt2data.render.regions.convention import Convention, Marked, Size

_ONE = re.compile(r"(?P<steps>(?:<loc[0-9]{4}>)+)(?: (?P<label>[^<]*))?")
_STEP = re.compile(r"<loc([0-9]{4})>")


class PaliGemma(Convention):
    """Box: y0, x0, y1, x1; point: y, x; then the label."""

    name: ClassVar[str] = "paligemma"
    marks: ClassVar[tuple[str, ...]] = tuple(f"<loc{step:04d}>" for step in range(1024))

    def units(self, size: Size) -> Size:
        """1023 each way."""
        return 1023, 1023

    def render(self, regions: Sequence[Marked]) -> str:
        """The regions separated by ` ; `."""
        return " ; ".join(self._one(region) for region in regions)

    def _one(self, region: Marked) -> str:
        steps = _swapped(self.steps(region))
        return ("".join(f"<loc{step:04d}>" for step in steps) + f" {region.label}").rstrip()

    def parse(self, text: str, size: Size) -> list[Marked]:
        """All boxes and points. A label ends at the `;` before the next box, or with the text."""
        found = list[Marked]()
        for match in _ONE.finditer(text):
            steps = [int(step) for step in _STEP.findall(match["steps"])]
            label = match["label"] or ""
            label = re.sub(r" ?; $", "", label) if match.end() < len(text) else label
            found.append(self.marked(_swapped(steps), label, size))
        return found


def _swapped(steps: Sequence[int]) -> list[int]:
    """Pairs swapped: y, x for x, y."""
    if len(steps) % 2:
        raise ValueError(f"{len(steps)} numbers are neither a box nor a point")
    return [each for at in range(0, len(steps), 2) for each in (steps[at + 1], steps[at])]
