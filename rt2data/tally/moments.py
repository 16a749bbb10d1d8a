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
from rt2data.tally.sums import Sum

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
    """Moments of the columns of [N, D]."""
    if not len(values):
        return Moments()
    if not np.isfinite(values).all():
        return _side_by_side([_finite(column[np.isfinite(column)][None], len(column)) for column in values.T])
    return _finite(values.T, len(values))


def _finite(columns: NDArray[Any], rows: int) -> Moments:
    """Of finite columns [D, n]; the others of so many rows are not finite. Sums are numpy's own: no library's with threads."""
    size, n = columns.shape
    if not n:
        none, nothing = np.zeros(size), np.zeros(size, np.int64)
        return Moments(nothing, nothing + rows, nothing, none, none, none + np.inf, none - np.inf)
    exact = np.array(columns, np.float64, order="C")
    low, high, zeros = exact.min(axis=1), exact.max(axis=1), n - np.count_nonzero(exact, axis=1)
    mean = exact.mean(axis=1)
    exact -= mean[:, None]
    squares = np.square(exact, out=exact).sum(axis=1)
    return Moments(np.full(size, n), np.full(size, rows - n), zeros.astype(np.int64), mean, squares, low, high)


def _side_by_side(parts: list[Moments]) -> Moments:
    return Moments(*(np.concatenate([getattr(part, name) for part in parts]) for name in Moments.__struct_fields__))


class Together(Sum, frozen=True, eq=False):
    """How pairs of columns go together: P pairs (x, y)."""

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


def crossed(x: NDArray[Any], y: NDArray[Any]) -> Together:
    """Every column of x [N, D] with every column of y [N, S]: pair i * S + j; rows that hold anything not finite are left out."""
    good = np.isfinite(x).all(axis=1) & np.isfinite(y).all(axis=1)
    if not good.any():
        return Together()
    (a, a_mean), (b, b_mean) = _centred(x, good), _centred(y, good)
    a_squares, b_squares = (np.einsum("pn,pn->p", each, each) for each in (a, b))
    means = np.repeat(a_mean, len(b)), np.tile(b_mean, len(a))
    squares = np.repeat(a_squares, len(b)), np.tile(b_squares, len(a))
    return Together(a.shape[1], *means, *squares, np.einsum("in,jn->ij", a, b).ravel())


def all_together(values: NDArray[Any]) -> Together:
    """Every column of [N, D] with every column: pair i * D + j."""
    good = np.isfinite(values).all(axis=1)
    if not good.any():
        return Together()
    a, mean = _centred(values, good)
    size, products = len(a), np.einsum("in,jn->ij", a, a)
    own = np.diag(products)
    means, squares = (np.repeat(mean, size), np.tile(mean, size)), (np.repeat(own, size), np.tile(own, size))
    return Together(a.shape[1], *means, *squares, products.ravel())


def _centred(values: NDArray[Any], good: NDArray[np.bool_]) -> tuple[F64, F64]:
    """The good rows' columns, float64[D, n], less their means, float64[D]. Columns lie end to end, which sums them quickly."""
    columns = np.array((values if good.all() else values[good]).T, np.float64, order="C")
    mean = columns.mean(axis=1)
    columns -= mean[:, None]
    return columns, mean
