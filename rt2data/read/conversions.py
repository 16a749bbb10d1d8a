"""What a recipe asks to be made of actions and states, episode by episode, before anything else is judged: one record a rule.

Logs of one kind of robot differ in what a number means: a gripper that opens at 1 or at -1, a pose where others have its change. A
list of rules, applied in order, says how to come from one to the other. `standardize.conversions` carries them out.
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
"""Ways to write a rotation, and how many numbers each takes. `rpy` turns about the fixed x, y and z axes in that order; `r6` is the
first two rows of the matrix, `r6_columns` its first two columns, `matrix` all rows."""
Rotation = Annotated[str, Field(pattern=rf"^({'|'.join(ROTATIONS)}|euler_([xyz]{{3}}|[XYZ]{{3}}))$")]
"""One of `ROTATIONS`, or angles about axes in an order: `euler_zyx` about fixed ones, `euler_ZYX` about those that move along."""


def rotation_width(way: str) -> int:
    """How many numbers a rotation has."""
    return ROTATIONS.get(way, 3)


def positions(dims: Sequence[int | str], width: int, names: Sequence[str] = ()) -> list[int]:
    """Numbers of dimensions, of `width` in all. `names` are those of all, or empty.

    Raises UsageError where one is not there, or named twice.
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
        """How many numbers an action has after it. Raises UsageError as `positions` does."""
        return before


class OfDims(Rule):
    """A rule for some dimensions of the action, or of the state."""

    dims: Dims
    """The dimensions it is for: numbers, ranges such as `0:3`, or names."""
    of: Side = "action"
    """Whether these are dimensions of the action or of the state."""

    def width(self, before: int, names: Sequence[str] = ()) -> int:
        """As before; the dimensions must be there."""
        if self.of == "action":
            positions(self.dims, before, names)
        return before


class Select(OfDims):
    """Keep these dimensions, in this order."""

    rule: Literal["select"]

    def width(self, before: int, names: Sequence[str] = ()) -> int:
        """As many as are named."""
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
    """What is added."""


class Clip(OfDims):
    """Put values beyond two bounds on the bounds. They are counted."""

    rule: Literal["clip"]
    low: float
    """The least value."""
    high: float
    """The greatest value."""


class Negate(OfDims):
    """Change the sign."""

    rule: Literal["negate"]


class Invert(OfDims):
    """`1 - x`: 0 and 1 change places."""

    rule: Literal["invert"]


class Threshold(OfDims):
    """One of two values, by whether a number is above a third."""

    rule: Literal["threshold"]
    at: float = 0.5
    """What is compared with."""
    above: float = 1
    """The value of what is above it."""
    below: float = 0
    """The value of what is not."""


class Binarize(OfDims):
    """A gripper between open (1) and closed (0) takes the one it comes to next, seen from the end of the episode backwards.

    Where an episode ends between the two, the steps at its end keep its last value. The values between are counted.
    """

    rule: Literal["binarize"]
    open: float = 0.95
    """Above this it is open."""
    closed: float = 0.05
    """Below this it is closed."""


class RelativeToAbsolute(OfDims):
    """A gripper's changes (below 0 opens, above 0 closes, 0 leaves it) as where it is then: 1 open, 0 closed.

    Before the first change it is the opposite of what that change makes of it. In an episode without any it is open: such episodes
    are counted.
    """

    rule: Literal["relative_to_absolute"]
    dead: float = 0.1
    """Up to this size a number is no change."""


class Rotate(OfDims):
    """Write a rotation in another way. It takes the place of its first dimension; the number of dimensions may change."""

    rule: Literal["rotation"]
    source: Rotation
    """How it is written in the log."""
    target: Rotation
    """How it is to be written."""

    def width(self, before: int, names: Sequence[str] = ()) -> int:
        """Raises UsageError where the rotation has another number of dimensions."""
        if self.of != "action":
            return before
        self.places(before, names)
        return before - rotation_width(self.source) + rotation_width(self.target)

    def places(self, width: int, names: Sequence[str] = ()) -> list[int]:
        """Where it is in an action or state of that width. Raises UsageError where the number of dimensions is another."""
        found, needed = positions(self.dims, width, names), rotation_width(self.source)
        if len(found) != needed:
            raise UsageError(f"a rotation as {self.source} has {needed} numbers, and the conversion names {len(found)}")
        return found


class OfMotion(Rule):
    """A rule between the action and the state, dimension by dimension."""

    dims: Dims
    """Dimensions of the action."""
    state: Dims | None = None
    """The dimensions of the state that belong to them, if not those of the same numbers."""
    angles: Dims | None = None
    """Which of `dims` are angles, in radians."""
    wrap: bool = False
    """Whether a turn of more than half a circle becomes the shorter one. Either way such turns are counted."""

    def width(self, before: int, names: Sequence[str] = ()) -> int:
        """As before; the dimensions must be there."""
        positions(self.dims, before, names), positions(self.angles or (), before, names)
        return before


class DeltaFromState(OfMotion):
    """The action is what the state then did: that of the next step less its own. The last step, which has no next, is dropped."""

    rule: Literal["delta_from_state"]


class DeltaFromAbsolute(OfMotion):
    """The action is a target: take the measured state from it, or the target before it."""

    rule: Literal["delta_from_absolute"]
    against: Literal["state", "previous"] = "state"
    """`state`: that of the same step; `previous`: the action of the step before, and the first step is dropped."""


class AbsoluteFromDelta(OfMotion):
    """The action is a change: add it to the state, or to all changes before it."""

    rule: Literal["absolute_from_delta"]
    against: Literal["state", "previous"] = "state"
    """`state`: that of the same step; `previous`: the state of the first step and all changes since."""


class Skip(Rule):
    """Keep every k-th step. Of the actions between, the last one stands, which is where a target leads."""

    rule: Literal["skip"]
    every: Annotated[int, Field(ge=2, le=1000)]
    """One step of so many is kept."""
    sum: Dims | None = None
    """Dimensions that are changes: they are added up over the steps between."""

    def width(self, before: int, names: Sequence[str] = ()) -> int:
        """As before; the dimensions must be there."""
        positions(self.sum or (), before, names)
        return before


class Turns(Settings):
    """Dimensions of an action that turn something by a little: a rotation, which composes and does not add up."""

    dims: Dims
    """The dimensions of one rotation, in radians where it is written in angles."""
    written: Rotation
    """How it is written."""
    frame: Literal["base", "tool"]
    """`base`: about axes that stand still; `tool`: about those of what turns, as the turns before have left them."""

    @property
    def in_radians(self) -> bool:
        """Whether its numbers are angles."""
        return self.written in ("rpy", "axis_angle") or self.written.startswith("euler")

    def places(self, width: int, names: Sequence[str] = ()) -> list[int]:
        """Where they are in an action of that width. Raises UsageError where the number of dimensions is another."""
        found, needed = positions(self.dims, width, names), rotation_width(self.written)
        if len(found) != needed:
            raise UsageError(f"a rotation as {self.written} has {needed} numbers, and `turns` names {len(found)}")
        return found


class Resample(Rule):
    """Go from the log's rate to a lower one, by the times of the steps. Each step of the new rate is the one of the log that is
    nearest to it, with its images and its state; one that has none within half a period is left out. Of the actions up to the next
    such step the last one stands, which is where a target leads.
    """

    rule: Literal["resample"]
    hz: Annotated[float, Field(gt=0, le=1000)]
    """Steps per second to have."""
    from_hz: Annotated[float, Field(gt=0, le=100_000)] | None = None
    """Steps per second of the log, in place of its own times: where it has none, or wrong ones."""
    sum: Dims | None = None
    """Dimensions that are changes: they are added up over the steps between."""
    turns: Turns | tuple[Turns, ...] = ()
    """Rotations that are changes: they are composed over the steps between."""

    @model_validator(mode="after")
    def _lower(self) -> Self:
        if self.from_hz is not None and self.hz > self.from_hz:
            raise ValueError("`hz` must not be above `from_hz`: steps are left out, never made up")
        return self

    def width(self, before: int, names: Sequence[str] = ()) -> int:
        """As before; the dimensions must be there, and each named once."""
        self.changes(before, names)
        return before

    @property
    def rotations(self) -> tuple[Turns, ...]:
        """All of `turns`."""
        return (self.turns,) if isinstance(self.turns, Turns) else self.turns

    def changes(self, width: int, names: Sequence[str] = ()) -> list[int]:
        """The dimensions that are changes. Raises UsageError."""
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
    """How many numbers an action of `width` has after all rules. `names` are those of the action space.

    Raises UsageError where a rule names what is not there.
    """
    for rule in rules:
        width = rule.width(width, names if len(names) == width else ())
    return width
