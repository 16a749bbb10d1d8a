"""What the numbers of a source look like, dimension by dimension, and the shape OpenVLA keeps that in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rt2data.errors import DataError
from rt2data.read.action_space import MAX_LEVELS, too_narrow
from rt2data.records import F32

Vector = tuple[float, ...]
FEW = 8
"""Different values up to which a dimension's least and greatest value are sound bounds: flags, pulses, relative grippers."""


@dataclass(frozen=True, slots=True)
class DimStats:
    """`count` rows summed up in D dimensions, float64. std is the population's (ddof 0), quantiles are linear."""

    count: int
    mean: Vector
    std: Vector
    min: Vector
    max: Vector
    q01: Vector
    q99: Vector
    rare: tuple[Vector, ...] = ()
    """Of each dimension that moves although its quantiles coincide: its different values, rising, if at most FEW; else none.
    Empty where there is no such dimension."""

    @property
    def size(self) -> int:
        """D."""
        return len(self.mean)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` reads them back equal."""
        found = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        rare = [list(values) for values in found.pop("rare")]
        return found | ({"rare": rare} if rare else {})

    def few_valued(self, i: int) -> bool:
        """Whether dimension i, whose quantiles coincide, has a few values, which bins between its ends keep apart."""
        values = self.rare[i] if self.rare else ()
        return len(values) > 1 and min(np.diff(values)) * MAX_LEVELS >= values[-1] - values[0]

    @classmethod
    def from_json(cls, found: Any) -> DimStats:
        """Raises DataError naming what is missing or no number."""
        if not isinstance(found, dict) or not isinstance(found.get("count"), int):
            raise DataError("statistics have no count")
        vectors = {name: _vector(found, name) for name in VECTORS}
        if len({len(vector) for vector in vectors.values()}) != 1:
            raise DataError("statistics differ in their number of dimensions")
        return cls(count=found["count"], **vectors, rare=_rare(found))


VECTORS = [field.name for field in fields(DimStats) if field.type == "Vector"]


def summarize(actions: F32) -> DimStats:
    """Statistics of the rows of f32[N, D]. One dimension is copied at a time, so memory is bounded by a few columns.

    Quantiles are np.quantile's over all rows, as OpenVLA's. Raises DataError for no rows, ValueError for NaN or Inf.
    """
    if actions.ndim != 2:
        raise ValueError(f"rows of numbers have shape [N, D], not {actions.shape}")
    if not len(actions):
        raise DataError("no rows are left to take statistics of")
    columns = [_column(actions[:, i]) for i in range(actions.shape[1])]
    figures, rare = zip(*columns, strict=True)
    vectors = dict(zip(VECTORS, zip(*figures, strict=True), strict=True))
    return DimStats(count=len(actions), **vectors, rare=rare if any(rare) else ())


def _column(column: F32) -> tuple[Vector, Vector]:
    """Mean, std, min, max, q01 and q99 of one dimension, and its few values if its quantiles coincide."""
    values = column.astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("NaN or Inf in statistics")
    low, high = np.quantile(values, [0.01, 0.99])
    found = (values.mean(), values.std(), values.min(), values.max(), low, high)
    return tuple(map(float, found)), few_values(values, low) if too_narrow(low, high) else ()


def few_values(values: NDArray[np.float64], common: float) -> Vector:
    """The different values of float64[N], most of which are `common`, rising; none where there is one or more than FEW."""
    different = np.union1d(values[values != common], common)
    return tuple(different.tolist()) if 1 < len(different) <= FEW else ()


def openvla_statistics(
    name: str,
    action: DimStats,
    mask: Sequence[bool],
    num_trajectories: int,
    proprio: DimStats | None = None,
    bounds: tuple[Sequence[float], Sequence[float]] | None = None,
) -> dict[str, Any]:
    """`dataset_statistics.json` of one source, as OpenVLA's `predict_action(unnorm_key=name)` reads it.

    `mask` bool[D] marks the dimensions it scales back from [-1, 1]. `bounds` = (lo, hi) of the codec stand in for the
    quantiles of those, so that what was encoded comes back. Without a state, proprio is zeros, as OpenVLA writes it.
    """
    if len(mask) != action.size:
        raise ValueError(f"a mask of {len(mask)} for {action.size} dimensions")
    acted = _moments(action)
    for key, ends in zip(("q01", "q99"), bounds or (), strict=False):
        acted[key] = [end if scaled else own for end, scaled, own in zip(ends, mask, acted[key], strict=True)]
    stood = _moments(proprio) if proprio else {key: [0.0] * action.size for key in acted}
    return {
        name: {
            "action": acted | {"mask": [bool(scaled) for scaled in mask]},
            "proprio": stood,
            "num_transitions": action.count,
            "num_trajectories": num_trajectories,
        }
    }


def from_openvla(published: Any, name: str) -> DimStats:
    """The action statistics of one dataset out of OpenVLA's shape. Raises DataError naming what is missing."""
    try:
        entry = published[name]
        return DimStats.from_json(entry["action"] | {"count": entry["num_transitions"]})
    except (KeyError, TypeError) as error:
        raise DataError(f"no dataset statistics of {name}: {error}") from None


def _moments(stats: DimStats) -> dict[str, list[float]]:
    return {key: list(getattr(stats, key)) for key in ("mean", "std", "max", "min", "q01", "q99")}


def _rare(found: dict[str, Any]) -> tuple[Vector, ...]:
    rows = found.get("rare", [])
    if not isinstance(rows, list) or len(rows) not in (0, len(found["mean"])):
        raise DataError("statistics: rare must be a list of one list for each dimension")
    return tuple(_vector({"rare": row}, "rare") for row in rows)


def _vector(found: dict[str, Any], name: str) -> Vector:
    values = found.get(name)
    if not isinstance(values, list) or not all(isinstance(v, int | float) and np.isfinite(v) for v in values):
        raise DataError(f"statistics: {name} must be a list of finite numbers")
    return tuple(map(float, values))
