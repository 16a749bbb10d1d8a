"""Rotations converted between representations, with scipy."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from rt2data.read.conversions import rotation_width
from rt2data.records import F32

if TYPE_CHECKING:
    from scipy.spatial.transform import Rotation

F64 = NDArray[np.float64]
SMALLEST = 1e-8
"""A shorter quaternion or matrix column has no direction."""


def rewritten(values: F32, source: str, target: str) -> F32:
    """Rotations [T, n] converted from `source` to `target`: [T, m]. A row that is not a rotation becomes NaN.

    Both are representations in `read.conversions.ROTATIONS`, or Euler angles.
    """
    return _rewritten(values.astype(np.float64), source, target).astype(np.float32)


def composed(values: F32, starts: NDArray[np.intp], way: str, frame: Literal["base", "tool"]) -> F32:
    """Turns [T, n] combined into one turn from each start to the next: [len(starts), n].

    A single turn keeps its numbers; a combination with a row that is not a rotation becomes NaN.
    """
    each = _rewritten(values.astype(np.float64), way, "matrix").reshape(-1, 3, 3)
    lengths = np.diff(starts, append=len(values))
    turned = each[starts]
    for behind in range(1, int(lengths.max())):
        longer = np.flatnonzero(lengths > behind)
        turn = each[starts[longer] + behind]
        turned[longer] = turn @ turned[longer] if frame == "base" else turned[longer] @ turn
    found = _rewritten(turned.reshape(-1, 9), "matrix", way).astype(np.float32)
    return np.where(lengths[:, None] == 1, values[starts], found)


def _rewritten(given: F64, source: str, target: str) -> F64:
    found = np.full((len(given), rotation_width(target)), np.nan)
    valid = np.flatnonzero(np.isfinite(given).all(axis=1) & _has_direction(given, source))
    if len(valid):
        found[valid] = _write(_read(given[valid], source), target)
    return found


def _has_direction(given: F64, source: str) -> NDArray[np.bool_]:
    """bool[T]: whether a row determines a rotation at all."""
    if source.startswith("quaternion"):
        return _length(given) > SMALLEST
    if source in ("r6", "r6_columns", "matrix"):
        first, second = _pair(given, source)
        return _length(np.cross(first, second)) > SMALLEST
    return np.ones(len(given), np.bool_)


def _length(rows: F64) -> F64:
    """[T]: length of each row."""
    return np.asarray(np.linalg.norm(rows, axis=1), np.float64)


def _pair(given: F64, source: str) -> tuple[F64, F64]:
    """The first two rows [T, 3] of the matrix, or its first two columns."""
    if source == "r6_columns":
        return given[:, 0::2], given[:, 1::2]
    return given[:, 0:3], given[:, 3:6]


def _read(given: F64, source: str) -> Rotation:
    from scipy.spatial.transform import Rotation

    match source:
        case "quaternion_xyzw":
            return Rotation.from_quat(given)
        case "quaternion_wxyz":
            return Rotation.from_quat(given[:, [1, 2, 3, 0]])
        case "axis_angle":
            return Rotation.from_rotvec(given)
        case "matrix":
            return Rotation.from_matrix(given.reshape(-1, 3, 3))
        case "r6" | "r6_columns":
            return Rotation.from_matrix(_completed(*_pair(given, source), by_columns=source == "r6_columns"))
    return Rotation.from_euler(_order(source), given)


def _completed(first: F64, second: F64, by_columns: bool) -> F64:
    """[T, 3, 3] from two rows (or columns), made perpendicular and of length 1."""
    x = first / np.linalg.norm(first, axis=1, keepdims=True)
    rest = second - (x * second).sum(axis=1, keepdims=True) * x
    y = rest / np.linalg.norm(rest, axis=1, keepdims=True)
    return np.stack([x, y, np.cross(x, y)], axis=2 if by_columns else 1)


def _write(rotation: Rotation, target: str) -> F64:
    match target:
        case "quaternion_xyzw" | "quaternion_wxyz":
            found = np.asarray(rotation.as_quat(), np.float64)
            return found[:, [3, 0, 1, 2]] if target == "quaternion_wxyz" else found
        case "axis_angle":
            return np.asarray(rotation.as_rotvec(), np.float64)
        case "matrix" | "r6" | "r6_columns":
            return _rows(np.asarray(rotation.as_matrix(), np.float64), target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # at gimbal lock one of the equal triples is returned
        return np.asarray(rotation.as_euler(_order(target)), np.float64)


def _rows(matrix: F64, target: str) -> F64:
    """[T, 3, 3] as [T, 9], or as [T, 6]: two rows one after the other; or two columns, row by row."""
    kept = matrix if target == "matrix" else matrix[:, :2] if target == "r6" else matrix[:, :, :2]
    return kept.reshape(len(matrix), -1)


def _order(way: str) -> str:
    """The axes of Euler angles, as scipy names them."""
    return "xyz" if way == "rpy" else way.removeprefix("euler_")
