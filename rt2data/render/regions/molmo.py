"""Molmo (Deitke et al. 2024, arXiv:2409.17146): points in percent, no boxes: `<point x="12.5" y="20.0" alt="cat">cat</point>`.

Consecutive points with the same label share one tag: `<points x1="12.5" y1="20.0" x2=... alt="cats">cats</points>`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape, unescape
from itertools import groupby
from typing import ClassVar

from rt2data.render.regions.convention import Convention, Marked, Size

_TAG = re.compile(r'<points? (?P<numbers>(?:[xy][0-9]*="[0-9.]+" )+)alt="(?P<label>[^"]*)">')
_NUMBER = re.compile(r'"([0-9.]+)"')


class Molmo(Convention):
    """Percent with one decimal place."""

    name: ClassVar[str] = "molmo"
    boxes: ClassVar[bool] = False

    def units(self, size: Size) -> Size:
        """A thousand each way: tenths of a percent."""
        return 1000, 1000

    def render(self, regions: Sequence[Marked]) -> str:
        """A tag for each run of equal labels. Raises ValueError for a box."""
        if any(region.is_box for region in regions):
            raise ValueError("Molmo has no way of writing a box")
        return " ".join(self._tag(label, list(group)) for label, group in groupby(regions, key=lambda region: region.label))

    def _tag(self, label: str, points: list[Marked]) -> str:
        name, alt = "points" if len(points) > 1 else "point", escape(label)
        numbers = []
        for number, point in enumerate(points, start=1):
            suffix = number if len(points) > 1 else ""
            x, y = (step / 10 for step in self.steps(point))
            numbers.append(f'x{suffix}="{x:.1f}" y{suffix}="{y:.1f}"')
        return f'<{name} {" ".join(numbers)} alt="{alt}">{alt}</{name}>'

    def parse(self, text: str, size: Size) -> list[Marked]:
        """All points of all tags. Raises ValueError if a tag has an x without a y."""
        found = list[Marked]()
        for tag in _TAG.finditer(text):
            steps = [float(number) * 10 for number in _NUMBER.findall(tag["numbers"])]
            pairs = zip(steps[::2], steps[1::2], strict=True)
            found += [self.marked(pair, unescape(tag["label"]), size) for pair in pairs]
        return found
