"""The conversions of actions and states that a recipe requests, applied to each episode before any other check. Each rule is a
class.

Logs of the same kind of robot differ in what a number means: a gripper may open at 1 or at -1; some logs give poses, others changes
of pose. A list of rules, applied in order, converts one to the other. `standardize.conversions` applies them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from rt2data.errors import UsageError
from rt2data.settings import Settings, frozen_lists

_RANGE = re.compile(r"(-?\d*):(-?\d*)")


def _as_dims(value: Any) -> Any:
    return (value,) if isinstance(value, int | str) else frozen_lists(value)


Dim = int | Annotated[str, Field(min_length=1, max_length=64)]
Dims = Annotated[tuple[Dim, ...], Field(min_length=1), BeforeValidator(_as_dims, json_schema_input_type=Dim | list[Dim])]
"""Dimensions by number (-1 is the last), by range (`0:3`, `-2:`) or by their name in the action space."""
Side = Literal["action", "state"]
ROTATIONS = {"quaternion_xyzw": 4, "quaternion_wxyz": 4, "rpy": 3, "axis_angle": 3, "r6": 6, "r6_columns": 6, "matrix": 9}
"""Ways to write a rotation, and how many numbers each takes. `rpy` rotates about the fixed x, y and z axes in that order; `r6` is
the first two rows of the matrix, `r6_columns` its first two columns, `matrix` all rows."""
Rotation = Annotated[str, Field(pattern=rf"^({'|'.join(ROTATIONS)}|euler_([xyz]{{3}}|[XYZ]{{3}}))$")]
"""One of `ROTATIONS`, or angles about axes in a given order: `euler_zyx` about fixed axes, `euler_ZYX` about axes that rotate with
the body."""


def rotation_width(way: str) -> int:
    """How many numbers a rotation takes."""
    return ROTATIONS.get(way, 3)


def positions(dims: Sequence[int | str], width: int, names: Sequence[str] = ()) -> list[int]:
    """Indices of dimensions, out of `width`. `names` are the names of all dimensions, or empty.

    Raises UsageError if one does not exist or is named twice.
    """
    found = list(chain.from_iterable(_positions(dim, width, names) for dim in dims))
    if len(set(found)) < len(found):
        raise UsageError(f"a conversion names a dimension twice: {', '.join(map(str, dims))}")
    return found


def _positions(dim: int | str, width: int, names: Sequence[str]) -> Sequence[int]:
    if isinstance(dim, str) and dim in names:
        return [names.index(dim)]
    span = _RANGE.fullmatch(dim) if isinstance(dim, str) else None
    if span:
        found: Sequence[int] = range(width)[slice(*(int(edge) if edge else None for edge in span.groups()))]
    else:
        found = [dim % width] if isinstance(dim, int) and -width <= dim < width else []
    if not found:
        known = f", called {', '.join(names)}" if names else ""
        raise UsageError(f"a conversion names dimension {dim}, and there are {width}{known}")
    return found


class Rule(Settings):
    """One rule of `conversions`."""

    rule: str

    def width(self, before: int, names: Sequence[str] = ()) -> int:
        """How many numbers an action has after this rule. Raises UsageError as `positions` does."""
        return before


class OfDims(Rule):
    """A rule for some dimensions of the action, or of the state."""

    dims: Dims
    """The dimensions it applies to: numbers, ranges such as `0:3`, or names."""
    of: Side = "action"
    """Whether these are dimensions of the action or of the state."""

    def width(self, before: int, names: Sequence[str] = ()) -> int:
        """Unchanged; the dimensions must exist."""
        if self.of == "action":
            positions(self.dims, before, names)
        return before


class Select(OfDims):
    """Keep these dimensions, in this order."""

    rule: Literal["select"]

    def width(self, before: int, names: Sequence[str] = ()) -> int:
        """The number of dimensions named."""
        return len(positions(self.dims, before, names)) if self.of == "action" else before


class Scale(OfDims):
    """Multiply."""

    rule: Literal["scale"]
    by: float
    """The factor."""


class Offset(OfDims):
    """Add."""

    rule: Literal["offset"]
    by: float
    """The number added."""


class Clip(OfDims):
    """Clip values to two bounds. Clipped values are counted."""

    rule: Literal["clip"]
    low: float
    """The smallest value."""
    high: float
    """The largest value."""


class Negate(OfDims):
    """Change the sign."""

    rule: Literal["negate"]


class Invert(OfDims):
    """`1 - x`: swaps 0 and 1."""

    rule: Literal["invert"]


class Threshold(OfDims):
    """Replace a number by one of two values, depending on whether it is above a threshold."""

    rule: Literal["threshold"]
    at: float = 0.5
    """The threshold."""
    above: float = 1
    """The value for numbers above the threshold."""
    below: float = 0
    """The value for all other numbers."""


class Binarize(OfDims):
    """A gripper value between open (1) and closed (0) becomes the open or closed state it reaches next, computed backwards from the
    end of the episode.

    If an episode ends in between, its final steps keep the last value. Values in between are counted.
    """

    rule: Literal["binarize"]
    open: float = 0.95
    """Above this it is open."""
    closed: float = 0.05
    """Below this it is closed."""


class RelativeToAbsolute(OfDims):
    """Convert a gripper's changes (below 0 opens, above 0 closes, 0 does nothing) to its resulting position: 1 open, 0 closed.

    Before the first change, the position is the opposite of the one after it. In an episode without changes the gripper is open;
    such episodes are counted.
    """

    rule: Literal["relative_to_absolute"]
    dead: float = 0.1
    """Numbers up to this magnitude are not changes."""


class Rotate(OfDims):
    """Convert a rotation to another representation. The result starts at the first dimension of the original; the number of
    dimensions may change.
    """

    rule: Literal["rotation"]
    source: Rotation
    """The representation in the log."""
    target: Rotation
    """The representation to convert to."""

    def width(self, before: int, names: Sequence[str] = ()) -> int:
        """Raises UsageError if the rotation has a different number of dimensions."""
        if self.of != "action":
            return before
        self.places(before, names)
        return before - rotation_width(self.source) + rotation_width(self.target)

    def places(self, width: int, names: Sequence[str] = ()) -> list[int]:
        """Indices of the rotation in an action or state of this width. Raises UsageError if their number does not match."""
        found, needed = positions(self.dims, width, names), rotation_width(self.source)
        if len(found) != needed:
            raise UsageError(f"a rotation as {self.source} has {needed} numbers, and the conversion names {len(found)}")
        return found


class OfMotion(Rule):
    """A rule that combines the action and the state, dimension by dimension."""

    dims: Dims
    """Dimensions of the action."""
    state: Dims | None = None
    """The corresponding dimensions of the state, if they do not have the same indices."""
    angles: Dims | None = None
    """Which of `dims` are angles, in radians."""
    wrap: bool = False
    """Whether to replace a rotation of more than half a turn by the shorter one. Such rotations are counted either way."""

    def width(self, before: int, names: Sequence[str] = ()) -> int:
        """Unchanged; the dimensions must exist."""
        positions(self.dims, before, names), positions(self.angles or (), before, names)
        return before


class DeltaFromState(OfMotion):
    """The action becomes the change of state: the next step's state minus this step's. The last step, which has no next, is
    dropped.
    """

    rule: Literal["delta_from_state"]


class DeltaFromAbsolute(OfMotion):
    """The action is a target: subtract the measured state from it, or the previous target."""

    rule: Literal["delta_from_absolute"]
    against: Literal["state", "previous"] = "state"
    """`state`: the state of the same step; `previous`: the action of the previous step (the first step is dropped)."""


class AbsoluteFromDelta(OfMotion):
    """The action is a change: add it to the state, or to the sum of all earlier changes."""

    rule: Literal["absolute_from_delta"]
    against: Literal["state", "previous"] = "state"
    """`state`: the state of the same step; `previous`: the state of the first step plus all changes since."""


class Skip(Rule):
    """Keep every k-th step. Of the actions in each interval the last one is kept, since for targets it is where the robot ends
    up.
    """

    rule: Literal["skip"]
    every: Annotated[int, Field(ge=2, le=1000)]
    """k: one step out of this many is kept."""
    sum: Dims | None = None
    """Dimensions that are changes: they are summed over each interval."""

    def width(self, before: int, names: Sequence[str] = ()) -> int:
        """Unchanged; the dimensions must exist."""
        positions(self.sum or (), before, names)
        return before


class Turns(Settings):
    """Dimensions of an action that form a small rotation: rotations are composed, not summed."""

    dims: Dims
    """The dimensions of one rotation, in radians if it is written as angles."""
    written: Rotation
    """The representation of the rotation."""
    frame: Literal["base", "tool"]
    """`base`: about fixed axes; `tool`: about the axes of the rotating body, as left by the previous rotations."""

    @property
    def in_radians(self) -> bool:
        """Whether the numbers are angles."""
        return self.written in ("rpy", "axis_angle") or self.written.startswith("euler")

    def places(self, width: int, names: Sequence[str] = ()) -> list[int]:
        """Indices of the dimensions in an action of this width. Raises UsageError if their number does not match."""
        found, needed = positions(self.dims, width, names), rotation_width(self.written)
        if len(found) != needed:
            raise UsageError(f"a rotation as {self.written} has {needed} numbers, and `turns` names {len(found)}")
        return found


class Resample(Rule):
    """Reduce the log's rate to a lower one, using the times of the steps. Each new step is the nearest step of the log, with its
    images and state; it is left out if there is none within half a period. Of the actions up to the next new step the last one is
    kept, since for targets it is where the robot ends up.
    """

    rule: Literal["resample"]
    hz: Annotated[float, Field(gt=0, le=1000)]
    """The new rate, in steps per second."""
    from_hz: Annotated[float, Field(gt=0, le=100_000)] | None = None
    """Steps per second of the log, to use instead of its times if these are missing or wrong."""
    sum: Dims | None = None
    """Dimensions that are changes: they are summed over each interval."""
    turns: Turns | tuple[Turns, ...] = ()
    """Rotations that are changes: they are composed over each interval."""

    @model_validator(mode="after")
    def _lower(self) -> Self:
        if self.from_hz is not None and self.hz > self.from_hz:
            raise ValueError("`hz` must not be above `from_hz`: steps are left out, never made up")
        return self

    def width(self, before: int, names: Sequence[str] = ()) -> int:
        """Unchanged; the dimensions must exist, and each may be named only once."""
        self.changes(before, names)
        return before

    @property
    def rotations(self) -> tuple[Turns, ...]:
        """All of `turns`, as a tuple."""
        return (self.turns,) if isinstance(self.turns, Turns) else self.turns

    def changes(self, width: int, names: Sequence[str] = ()) -> list[int]:
        """Indices of the dimensions that are changes. Raises UsageError."""
        turned = (place for turns in self.rotations for place in turns.places(width, names))
        return positions([*positions(self.sum or (), width, names), *turned], width)


Conversion = Annotated[
    Select
    | Scale
    | Offset
    | Clip
    | Negate
    | Invert
    | Threshold
    | Binarize
    | RelativeToAbsolute
    | Rotate
    | DeltaFromState
    | DeltaFromAbsolute
    | AbsoluteFromDelta
    | Skip
    | Resample,
    Field(discriminator="rule"),
]


Conversions = Annotated[tuple[Conversion, ...], BeforeValidator(frozen_lists)]


def converted_width(rules: Sequence[Rule], width: int, names: Sequence[str] = ()) -> int:
    """How many numbers an action of `width` has after all rules. `names` are the dimension names of the action space.

    Raises UsageError if a rule names a dimension that does not exist.
    """
    for rule in rules:
        width = rule.width(width, names if len(names) == width else ())
    return width
