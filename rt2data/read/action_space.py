"""What the numbers of an action mean. Each robot has a TOML file, in schemas/actions or of your own."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from rt2data.errors import DataError, UsageError
from rt2data.io import location
from rt2data.io.installation import schemas
from rt2data.io.words import choose, did_you_mean
from rt2data.read.toml_files import read_toml
from rt2data.records import F32

OF_STATISTICS = ("q01q99", "minmax")
ENDLESS = 1e37  # beyond this float32 arithmetic cannot scale
MAX_LEVELS = 255  # values of a discrete dimension: one fewer than bins, so that every codec can tell them apart
STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]{0,63}$")]
Words = Annotated[str, Field(max_length=500)]
Span = tuple[float, float]


def too_narrow(lo: float, hi: float) -> bool:
    """True if `lo` and `hi` are too close to scale in float32, or with OpenVLA's 1e-8 in the denominator."""
    return not hi - lo > 1e-6 * max(1.0, abs(lo), abs(hi))


def _bounds(found: Any) -> Span | str:
    if isinstance(found, str) and found in OF_STATISTICS:
        return found
    if not isinstance(found, list | tuple) or len(found) != 2:
        raise ValueError('must be [lo, hi], "q01q99" or "minmax"')
    if any(isinstance(end, bool) or not isinstance(end, int | float) for end in found):
        raise ValueError("must be two numbers")
    lo, hi = (float(end) for end in found)
    if too_narrow(lo, hi) or not max(abs(lo), abs(hi)) < ENDLESS:
        raise ValueError(f"must be finite, the first well below the second, got [{lo:g}, {hi:g}]")
    return lo, hi


@dataclass(frozen=True, slots=True)
class Dim:
    """One number of an action.

    `bounds` are the limits of the encoded range, in `unit`, or the statistics to take them from: "q01q99" (the 1 % and 99 %
    quantiles) or "minmax". A gripper states which value means `open` and which `closed`; a terminate dimension which value
    `terminates` and which `continues`. Raises ValueError if fields contradict each other.
    """

    __pydantic_config__ = STRICT

    name: Name
    kind: Literal["continuous", "discrete", "binary"] = "continuous"
    bounds: Annotated[Span | Literal["q01q99", "minmax"], BeforeValidator(_bounds)] = "q01q99"
    unit: Words = ""
    open: float | None = None
    closed: float | None = None
    terminates: int | None = None
    continues: int | None = None

    def __post_init__(self) -> None:
        self._check_pair("open", self.open, "closed", self.closed)
        self._check_pair("terminates", self.terminates, "continues", self.continues)
        if self.kind != "continuous" and self.span is None:
            raise ValueError(f"a {self.kind} dimension needs bounds = [lo, hi]")
        if self.kind == "discrete" and self.span is not None:
            _check_levels(*self.span)
        if self.ends and self.kind != "discrete":
            raise ValueError('a dimension that terminates must have kind = "discrete"')
        if self.ends and self.grips:
            raise ValueError("one dimension cannot be both the gripper and terminate")

    def _check_pair(self, a: str, first: float | None, b: str, second: float | None) -> None:
        if first is None and second is None:
            return
        if first is None or second is None or first == second:
            raise ValueError(f"{a} and {b} must both be given, and differ")
        if self.span is not None and not all(self.span[0] <= end <= self.span[1] for end in (first, second)):
            raise ValueError(f"{a} and {b} must be within the bounds")

    @property
    def span(self) -> Span | None:
        """The fixed bounds, or None if they come from statistics."""
        return None if isinstance(self.bounds, str) else self.bounds

    @property
    def grips(self) -> bool:
        """True for a gripper."""
        return self.open is not None

    @property
    def ends(self) -> bool:
        """True for a terminate dimension."""
        return self.terminates is not None


def _check_levels(lo: float, hi: float) -> None:
    if not (lo.is_integer() and hi.is_integer() and hi - lo < MAX_LEVELS):
        raise ValueError(f"a discrete dimension needs whole bounds with at most {MAX_LEVELS} values")


def to_polarity(values: Any, source_open: Literal[-1, 0, 1], dim: Dim) -> F32:
    """Convert gripper values (any shape) of a source whose open value is `source_open` to the convention of `dim`, in float32.

    The conventions are (-1 open, 1 closed), (0 open, 1 closed) and (1 open, 0 closed); values in between are interpolated. Raises
    UsageError if `dim` is not a gripper.
    """
    if dim.open is None or dim.closed is None:
        raise UsageError(f"gripper_open is given, but dimension {dim.name} does not say which values are open and closed")
    found: F32 = np.asarray(values, np.float32)
    source_closed = 0 if source_open == 1 else 1
    if (dim.open, dim.closed) == (source_open, source_closed):
        return found
    slope = (dim.closed - dim.open) / (source_closed - source_open)
    return np.asarray(dim.open + (found.astype(np.float64) - source_open) * slope, np.float32)


__all__ = ["ActionSpace", "Dim", "find_space", "load_space", "space_names", "to_polarity"]

MAX_DIMS = 1024


# Action space

ControlMode = Literal[
    "delta_eef", "absolute_eef", "velocity_eef", "delta_joint", "absolute_joint", "velocity_joint", "velocity_body"
]
Rotation = Literal["rpy", "axis_angle", "quaternion", "r6"]
GripperMode = Literal["absolute", "relative", "effort"]


@dataclass(frozen=True, slots=True)
class ActionSpace:
    """The numbers of one robot's action, in order, with their rate and frame.

    `control_mode` is what they command, apart from gripper and terminate: the end effector's x, y, z and then a rotation written as
    `rotation` says, or the joints in order. `gripper_mode` says whether a gripper's number is a target, a change or a force. None
    of the three is guessed: if a space does not state one, it is unknown.

    A space of any size has no `dims`, only a pattern, `each`, which `sized` repeats. Raises ValueError if fields contradict each
    other.
    """

    __pydantic_config__ = STRICT

    name: Name
    dims: Annotated[tuple[Dim, ...], Field(alias="dim", max_length=MAX_DIMS)] = ()
    each: Dim | None = None
    title: Words = ""
    source: Words = ""
    control_hz: Annotated[float, Field(gt=0)] | None = None
    frame: Words = ""
    control_mode: ControlMode | None = None
    rotation: Rotation | None = None
    gripper_mode: GripperMode | None = None

    def __post_init__(self) -> None:
        if bool(self.dims) == (self.each is not None):
            raise ValueError("give either [[dim]], once for each dimension, or [each], the one that is repeated")
        if self.each and (self.each.grips or self.each.ends):
            raise ValueError("a dimension that is repeated cannot be the gripper or terminate")
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise ValueError(f"two dimensions have the same name: {', '.join(twice)}")
        if sum(dim.ends for dim in self.dims) > 1:
            raise ValueError("only one dimension terminates and continues")
        if self.gripper_mode and not self.grippers:
            raise ValueError("gripper_mode is given, but no dimension says open and closed")

    @property
    def size(self) -> int | None:
        """D, or None for a space of any size."""
        return len(self.dims) or None

    @property
    def names(self) -> tuple[str, ...]:
        """The D names."""
        return tuple(dim.name for dim in self.dims)

    @property
    def grippers(self) -> tuple[int, ...]:
        """Positions of the grippers (a robot with two arms has two)."""
        return tuple(i for i, dim in enumerate(self.dims) if dim.grips)

    @property
    def gripper(self) -> int | None:
        """Position of the gripper, or None unless there is exactly one."""
        return self.grippers[0] if len(self.grippers) == 1 else None

    @property
    def terminate(self) -> int | None:
        """Position of the terminate dimension, or None."""
        return next((i for i, dim in enumerate(self.dims) if dim.ends), None)

    @property
    def changes(self) -> tuple[int, ...]:
        """Positions of the numbers that are changes (deltas), according to the modes."""
        moves = (self.control_mode or "").startswith("delta_")
        grips = self.gripper_mode == "relative"
        return tuple(i for i, dim in enumerate(self.dims) if not dim.ends and (grips if dim.grips else moves))

    @property
    def normalised(self) -> NDArray[np.bool_]:
        """bool[D]: the dimensions whose bounds come from the statistics."""
        return np.array([dim.span is None for dim in self.dims], bool)

    def sized(self, n: int) -> ActionSpace:
        """This space with n dimensions. Raises DataError if it has a different number, or n is not between 1 and 1024."""
        if not 1 <= n <= MAX_DIMS or self.size not in (None, n):
            raise DataError(
                f"actions have {n} dimensions, action space {self.name} has {self.size or f'1 to {MAX_DIMS}'}",
                do="name the action space this source has",
            )
        if self.each is None:
            return self
        dims = tuple(replace(self.each, name=f"{self.each.name}_{i}") for i in range(n))
        return replace(self, dims=dims, each=None)

    def ended(self, actions: NDArray[np.floating]) -> NDArray[np.bool_]:
        """bool[N]: which of the actions [N, D] end the task, according to the terminate dimension, rounded as codecs round it.

        All False if the space has no terminate dimension.
        """
        own = self.terminate
        if own is None:
            return np.zeros(len(actions), np.bool_)
        dim = self.dims[own]
        found: NDArray[np.bool_] = np.rint(np.clip(actions[:, own], *(dim.span or (None, None)))) == dim.terminates
        return found

    def check(self, actions: F32) -> NDArray[np.intp]:
        """Positions of the rows of f32[N, D] that hold NaN or Inf. Raises ValueError for another shape."""
        if actions.ndim != 2 or self.size not in (None, actions.shape[1]):
            raise ValueError(f"actions of shape {actions.shape} for action space {self.name} of size {self.size}")
        return np.flatnonzero(~np.isfinite(actions).all(axis=1))


def load_space(name_or_path: str | Path) -> ActionSpace:
    """The action space with this name in schemas/actions, or in a .toml file of your own.

    Raises UsageError, naming the file and each mistake in it with its key.
    """
    path = find_space(str(name_or_path))
    try:
        return SPACE.validate_json(json.dumps(read_toml(path, "action space"), default=str))
    except ValidationError as error:
        mistakes = "; ".join(map(_mistake, error.errors(include_url=False)))
        raise UsageError(f"not an action space: {mistakes}", str(path), "see schemas/actions for examples") from None


def find_space(name_or_path: str) -> Path:
    """The TOML file for a name or a path. Raises UsageError if no action space has that name."""
    if name_or_path.endswith(".toml"):
        return location.path_of(name_or_path)
    names = space_names()
    if name_or_path not in names:
        raise UsageError(
            f"no action space is called {name_or_path!r}",
            do=choose(name_or_path, names, ", or the path of a .toml file"),
        )
    return _folder() / f"{name_or_path}.toml"


def space_names() -> list[str]:
    """Names of the action spaces that come with rt2data, sorted."""
    return sorted(Path(each.name).stem for each in location.children(_folder()) if each.name.endswith(".toml"))


SPACE: TypeAdapter[ActionSpace] = TypeAdapter(ActionSpace)
"""Validates an ActionSpace and writes it as plain JSON values, with the keys of its TOML."""


def _folder() -> Path:
    return schemas() / "actions"


def _mistake(error: ErrorDetails) -> str:
    """One pydantic error as a line: `dim[2].bounds: must be two numbers`."""
    path = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]]
    place = "".join(path).lstrip(".")
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        known = [field.name for field in fields(Dim if len(path) > 1 else ActionSpace)]
        known = ["dim" if name == "dims" else name for name in known]
        return f"unknown key {place}; {did_you_mean(str(error['loc'][-1]), known)}".rstrip("; ")
    said = error["msg"].removeprefix("Value error, ")
    return f"{place}: {said}" if place else said
