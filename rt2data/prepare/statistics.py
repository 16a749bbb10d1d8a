"""Per-dimension statistics of actions and states: `DimStats`, computed from column sums in `tally`, stored in `stats.json`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rt2data.errors import DataError
from rt2data.read.action_space import MAX_LEVELS, too_narrow
from rt2data.records import F32
from rt2data.tally.columns import Column, read_columns

Vector = tuple[float, ...]
FEW = 8
"""With at most this many distinct values, a dimension's min and max are sound bounds: flags, pulses, relative grippers."""
QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
"""The quantiles a prepared store keeps, ascending."""
VECTORS = ("mean", "std", "min", "max", "q01", "q99")
OPTIONAL = ("q10", "q50", "q90")


@dataclass(frozen=True, slots=True)
class DimStats:
    """Statistics of `count` rows in D dimensions, float64. std is of the population (ddof 0), quantiles are linear."""

    count: int
    mean: Vector
    std: Vector
    min: Vector
    max: Vector
    q01: Vector
    q99: Vector
    rare: tuple[Vector, ...] = ()
    """For each dimension that varies although q01 equals q99: its distinct values, ascending, if at most FEW; else empty. Empty if
    there is no such dimension."""
    q10: Vector = ()  # this and the next two are empty if unknown
    q50: Vector = ()
    q90: Vector = ()

    @property
    def size(self) -> int:
        """D, the number of dimensions."""
        return len(self.mean)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; `from_json` reads them back unchanged."""
        found = {name: list(getattr(self, name)) for name in (*VECTORS, *OPTIONAL)}
        rare = [list(values) for values in self.rare]
        return {"count": self.count} | {name: values for name, values in found.items() if values} | ({"rare": rare} if rare else {})

    def few_valued(self, i: int) -> bool:
        """Whether dimension i, whose quantiles coincide, has few values that 256 bins between its min and max can distinguish."""
        values = self.rare[i] if self.rare else ()
        return len(values) > 1 and min(np.diff(values)) * MAX_LEVELS >= values[-1] - values[0]

    @classmethod
    def from_json(cls, found: Any) -> DimStats:
        """Raises DataError naming what is missing or not a number."""
        if not isinstance(found, dict) or not isinstance(found.get("count"), int):
            raise DataError("statistics have no count")
        vectors = {name: _vector(found, name) for name in (*VECTORS, *(name for name in OPTIONAL if name in found))}
        if len({len(vector) for vector in vectors.values()}) != 1:
            raise DataError("statistics differ in their number of dimensions")
        return cls(count=found["count"], **vectors, rare=_rare(found))


def summarize(rows: F32) -> DimStats:
    """Statistics of f32[N, D] in memory; raises the same errors as `summarize_parts`."""
    if rows.ndim != 2:
        raise ValueError(f"rows of numbers have shape [N, D], not {rows.shape}")
    return summarize_parts(lambda: [rows])


def summarize_parts(parts: Callable[[], Iterable[F32]]) -> DimStats:
    """Statistics of all rows of the parts, f32[N, D] each; memory is bounded by one part.

    `parts` is called twice and must give the same each time. Minimum, maximum and quantiles are exact (np.quantile, linear); mean
    and std are summed in the order of the parts. Raises DataError for no rows, ValueError for NaN or Inf.
    """
    columns = read_columns(parts, tuple(QUANTILES.values()), FEW)
    if not columns:
        raise DataError("no rows are left to take statistics of")
    if any(column.not_finite for column in columns):
        raise ValueError("NaN or Inf in statistics")
    rare = tuple(_few_values(column) for column in columns)
    return stats_of(columns, QUANTILES, rare if any(rare) else ())


def stats_of(columns: Sequence[Column], quantiles: Iterable[str], rare: tuple[Vector, ...] = ()) -> DimStats:
    """All dimensions combined; `quantiles` names those that the columns hold, in order."""
    vectors = {name: tuple(getattr(column, name) for column in columns) for name in ("mean", "std", "min", "max")}
    vectors |= {name: tuple(column.quantiles[at] for column in columns) for at, name in enumerate(quantiles)}
    return DimStats(count=columns[0].count, **vectors, rare=rare)


def _few_values(column: Column) -> Vector:
    """The `DimStats.rare` entry of one dimension."""
    still = column.min != column.max and too_narrow(column.quantiles[0], column.quantiles[-1])
    return column.values if still and len(column.values) <= FEW else ()


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
