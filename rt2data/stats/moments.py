"""Mean and spread of columns of numbers, and how columns go together, merged by the parallel formula.

Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances", equation 2.1: float64
throughout, and no square of a large number is ever taken from another.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from rt2data.order import I64
from rt2data.stats.sums import Sum

F64 = NDArray[np.float64]


def _none() -> F64:
    return np.empty(0, np.float64)


def _no_counts() -> I64:
    return np.empty(0, np.int64)


class Moments(Sum, frozen=True, eq=False):
    """Sums of D columns; what is not finite is counted and in no other figure. Without columns it is zero."""

    count: I64 = msgspec.field(default_factory=_no_counts)  # int64[D], finite ones
    not_finite: I64 = msgspec.field(default_factory=_no_counts)
    zeros: I64 = msgspec.field(default_factory=_no_counts)
    mean: F64 = msgspec.field(default_factory=_none)  # float64[D]; 0 where there are none
    squares: F64 = msgspec.field(default_factory=_none)  # of distances from the mean
    min: F64 = msgspec.field(default_factory=_none)  # inf where there are none
    max: F64 = msgspec.field(default_factory=_none)

    def __add__(self, other: Moments) -> Moments:
        if not len(self.count) or not len(other.count):
            return self if len(self.count) else other
        count = self.count + other.count
        part, apart = other.count / np.maximum(count, 1), other.mean - self.mean
        return Moments(
            count,
            self.not_finite + other.not_finite,
            self.zeros + other.zeros,
            self.mean + apart * part,
            self.squares + other.squares + apart**2 * self.count * part,
            np.minimum(self.min, other.min),
            np.maximum(self.max, other.max),
        )

    @property
    def std(self) -> F64:
        """float64[D]: of the population, ddof 0."""
        found: F64 = np.sqrt(self.squares / np.maximum(self.count, 1))
        return found


def moments(values: NDArray[Any]) -> Moments:
    """Moments of the columns of [N, D]. Columns are taken one after another: each fits a cache."""
    if not values.shape[1]:
        return Moments()
    columns = [_column(values[:, i]) for i in range(values.shape[1])]
    whole, real = (np.array([c[part] for c in columns]) for part in (0, 1))
    return Moments(*whole.astype(np.int64).T, *real.T)


def _column(column: NDArray[Any]) -> tuple[tuple[int, int, int], tuple[float, float, float, float]]:
    values = column.astype(np.float64)
    finite = np.isfinite(values)
    lost = int(len(values) - finite.sum())
    values = values[finite] if lost else values
    if not len(values):
        return (0, lost, 0), (0.0, 0.0, np.inf, -np.inf)
    mean, low, high = float(values.mean()), float(values.min()), float(values.max())
    zeros = int(len(values) - np.count_nonzero(values)) if low <= 0 <= high else 0
    values -= mean
    return (len(values), lost, zeros), (mean, float(np.dot(values, values)), low, high)


class Together(Sum, frozen=True, eq=False):
    """How pairs of columns go together: P pairs (x, y), or all pairs of D columns with each other."""

    count: int = 0
    x: F64 = msgspec.field(default_factory=_none)  # means, float64[P]
    y: F64 = msgspec.field(default_factory=_none)
    xx: F64 = msgspec.field(default_factory=_none)  # sums of products of distances from the means, float64[P]
    yy: F64 = msgspec.field(default_factory=_none)
    xy: F64 = msgspec.field(default_factory=_none)

    def __add__(self, other: Together) -> Together:
        if not self.count or not other.count:
            return self if self.count else other
        count = self.count + other.count
        part, weight = other.count / count, self.count * other.count / count
        dx, dy = other.x - self.x, other.y - self.y
        return Together(
            count,
            self.x + dx * part,
            self.y + dy * part,
            self.xx + other.xx + dx * dx * weight,
            self.yy + other.yy + dy * dy * weight,
            self.xy + other.xy + dx * dy * weight,
        )

    @property
    def correlation(self) -> F64:
        """Pearson's, float64[P]; 0 where either does not vary."""
        scale = np.sqrt(self.xx) * np.sqrt(self.yy)
        with np.errstate(divide="ignore", invalid="ignore"):
            found: F64 = np.clip(np.where(scale > 0, self.xy / scale, 0.0), -1, 1)
        return found


def together(x: NDArray[Any], y: NDArray[Any]) -> Together:
    """Column i of x [N, P] with column i of y [N, P]; rows that hold anything not finite are passed over."""
    good = np.isfinite(x).all(axis=1) & np.isfinite(y).all(axis=1)
    if not good.any():
        return Together()
    a, b = x[good].astype(np.float64), y[good].astype(np.float64)
    x_mean, y_mean = a.mean(axis=0), b.mean(axis=0)
    a, b = a - x_mean, b - y_mean
    return Together(len(a), x_mean, y_mean, *(np.einsum("np,np->p", p, q) for p, q in ((a, a), (b, b), (a, b))))


def all_together(values: NDArray[Any]) -> Together:
    """Every column of [N, D] with every column: pair i * D + j."""
    good = np.isfinite(values).all(axis=1)
    if not good.any():
        return Together()
    a = values[good].astype(np.float64)
    mean, size = a.mean(axis=0), a.shape[1]
    a -= mean
    products = a.T @ a
    own = np.diag(products)
    return Together(len(a), np.repeat(mean, size), np.tile(mean, size), np.repeat(own, size), np.tile(own, size), products.ravel())
