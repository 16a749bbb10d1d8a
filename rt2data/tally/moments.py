"""Mean, standard deviation and covariance of columns of numbers, added with the parallel formula.

Chan, Golub, LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances", equation 2.1. All float64.
Squares are of distances from the mean, to avoid subtracting large numbers from each other.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from rt2data.order import I64
from rt2data.tally.sums import Sum

F64 = NDArray[np.float64]


def _none() -> F64:
    return np.empty(0, np.float64)


def _no_counts() -> I64:
    return np.empty(0, np.int64)


class Moments(Sum, frozen=True, eq=False):
    """Sums of D columns. NaN and Inf are counted and excluded from all other figures. Zero has no columns."""

    count: I64 = msgspec.field(default_factory=_no_counts)  # int64[D], finite values
    not_finite: I64 = msgspec.field(default_factory=_no_counts)
    zeros: I64 = msgspec.field(default_factory=_no_counts)
    mean: F64 = msgspec.field(default_factory=_none)  # float64[D]; 0 for a column without finite values
    squares: F64 = msgspec.field(default_factory=_none)  # sum of squared distances from the mean
    min: F64 = msgspec.field(default_factory=_none)  # inf for a column without finite values
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
        """float64[D]: of the population (ddof 0)."""
        found: F64 = np.sqrt(self.squares / np.maximum(self.count, 1))
        return found


def moments(values: NDArray[Any]) -> Moments:
    """Moments of the columns of [N, D]; one column at a time is float64."""
    if not len(values):
        return Moments()
    columns = [_column(column) for column in np.ascontiguousarray(values.T)]
    return Moments(*(np.array(field) for field in zip(*columns, strict=True)))


def _column(column: NDArray[Any]) -> tuple[int, int, int, float, float, float, float]:
    """The fields of Moments for one column [N]."""
    exact = np.array(column, np.float64)
    finite = np.isfinite(exact)
    if not finite.all():
        exact = exact[finite]
    n, lost = len(exact), len(column) - len(exact)
    if not n:
        return 0, lost, 0, 0.0, 0.0, np.inf, -np.inf
    low, high, zeros, mean = exact.min(), exact.max(), n - np.count_nonzero(exact), exact.mean()
    exact -= mean
    return n, lost, int(zeros), float(mean), float(np.square(exact, out=exact).sum()), float(low), float(high)


class Covariance(Sum, frozen=True, eq=False):
    """Co-moments of P pairs of columns (x, y)."""

    count: int = 0
    x: F64 = msgspec.field(default_factory=_none)  # means, float64[P]
    y: F64 = msgspec.field(default_factory=_none)
    xx: F64 = msgspec.field(default_factory=_none)  # sums of products of distances from the means, float64[P]
    yy: F64 = msgspec.field(default_factory=_none)
    xy: F64 = msgspec.field(default_factory=_none)

    def __add__(self, other: Covariance) -> Covariance:
        if not self.count or not other.count:
            return self if self.count else other
        count = self.count + other.count
        part, weight = other.count / count, self.count * other.count / count
        dx, dy = other.x - self.x, other.y - self.y
        return Covariance(
            count,
            self.x + dx * part,
            self.y + dy * part,
            self.xx + other.xx + dx * dx * weight,
            self.yy + other.yy + dy * dy * weight,
            self.xy + other.xy + dx * dy * weight,
        )

    @property
    def correlation(self) -> F64:
        """Pearson's correlation, float64[P]; 0 if either column is constant."""
        scale = np.sqrt(self.xx) * np.sqrt(self.yy)
        with np.errstate(divide="ignore", invalid="ignore"):
            found: F64 = np.clip(np.where(scale > 0, self.xy / scale, 0.0), -1, 1)
        return found


def covariance(x: NDArray[Any], y: NDArray[Any] | None = None) -> Covariance:
    """Every column of x [N, D] with every column of y [N, S]: pair i * S + j. Without y, the columns of x with each other.

    Rows with NaN or Inf are excluded. Products are summed by einsum, not BLAS: the number of threads must not change the last bits.
    """
    good = np.isfinite(x).all(axis=1) & (True if y is None else np.isfinite(y).all(axis=1))
    if not good.any():
        return Covariance()
    a, a_mean = _centered(x, good)
    b, b_mean = (a, a_mean) if y is None else _centered(y, good)
    products = np.einsum("in,jn->ij", a, b)
    if y is None:
        a_squares = b_squares = np.diag(products)
    else:
        a_squares, b_squares = (np.einsum("pn,pn->p", each, each) for each in (a, b))
    means = np.repeat(a_mean, len(b)), np.tile(b_mean, len(a))
    squares = np.repeat(a_squares, len(b)), np.tile(b_squares, len(a))
    return Covariance(a.shape[1], *means, *squares, products.ravel())


def _centered(values: NDArray[Any], good: NDArray[np.bool_]) -> tuple[F64, F64]:
    """The good rows' columns, float64[D, n] contiguous, minus their means, float64[D]."""
    columns = np.array((values if good.all() else values[good]).T, np.float64, order="C")
    mean = columns.mean(axis=1)
    columns -= mean[:, None]
    return columns, mean
