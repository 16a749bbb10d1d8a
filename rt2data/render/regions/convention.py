"""The base of all notations for boxes and points, and the grids that numbers are rounded to."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

Size = tuple[int, int]
"""Width and height of an image, in pixels."""
Coords = tuple[float, ...]
"""Box: x0, y0, x1, y1; point: x, y; in fractions of the image."""


class Marked(NamedTuple):
    """A box or a point with the size of its image."""

    coords: Coords
    label: str
    size: Size

    @property
    def is_box(self) -> bool:
        """Whether this is a box (four numbers) and not a point (two)."""
        return len(self.coords) == 4


class Convention(ABC):
    """How one model family writes boxes and points.

    A number is rounded to a step of `units`, so a box of w x h units is recovered with an IoU of at least (1 - 1/w) * (1 - 1/h),
    and a point within half a unit. A box narrower than half a unit is widened to one.
    """

    name: ClassVar[str]
    boxes: ClassVar[bool] = True
    """Whether it can write boxes; all families can write points."""
    marks: ClassVar[tuple[str, ...]] = ()
    """Marks that are single tokens in the family's vocabulary."""

    @abstractmethod
    def units(self, size: Size) -> Size:
        """Steps from edge to edge of an image, across and down. Raises ValueError for an image that the family does not accept."""

    @abstractmethod
    def render(self, regions: Sequence[Marked]) -> str:
        """A list of boxes and points as text. Raises ValueError for an image that the family does not accept."""

    @abstractmethod
    def parse(self, text: str, size: Size) -> list[Marked]:
        """All boxes and points in a text about an image of this size, inverse of `render`. Raises ValueError if malformed."""

    def facts(self) -> dict[str, Any]:
        """Everything that determines the text, as JSON values."""
        return {"family": self.name}

    def steps(self, region: Marked) -> list[int]:
        """The numbers of a region in steps of `units`, in the order of `coords`."""
        across, down = self.units(region.size)
        if not region.is_box:
            x, y = region.coords
            return [nearest(x, across), nearest(y, down)]
        x0, y0, x1, y1 = region.coords
        (left, right), (top, bottom) = _apart(x0, x1, across), _apart(y0, y1, down)
        return [left, top, right, bottom]

    def marked(self, steps: Sequence[float], label: str, size: Size) -> Marked:
        """Inverse of `steps`. Raises ValueError unless there are two or four numbers."""
        if len(steps) not in (2, 4):
            raise ValueError(f"{len(steps)} numbers are neither a box nor a point")
        units = self.units(size) * 2
        return Marked(tuple(step / unit for step, unit in zip(steps, units, strict=False)), label, size)


def nearest(value: float, units: int) -> int:
    """The nearest step; halves round up."""
    return min(int(value * units + 0.5), units)


def _apart(low: float, high: float, units: int) -> tuple[int, int]:
    """Two different steps, so that a box has an extent."""
    start, stop = nearest(low, units), nearest(high, units)
    if start < stop:
        return start, stop
    return (start, start + 1) if start < units else (start - 1, start)
