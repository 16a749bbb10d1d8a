"""Statistics of each column of vectors [N, D] at any N: one set of sums in two passes, and the figures derived from them.

The prepared store's `stats.json`, codec bounds, `rt2data stats`, the report and the trainers' files all come from these sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from rt2data.order import U64
from rt2data.records import F32
from rt2data.tally.counts import Counts
from rt2data.tally.moments import Moments, moments
from rt2data.tally.quantiles import (
    HIGH,
    QUANTILES,
    WHOLE,
    count_bins,
    count_values,
    of_dimension,
    quantiles,
    to_values,
    wanted_bins,
)
from rt2data.tally.sums import Sum, add_up


class ColumnSums(Sum, frozen=True, eq=False):
    """First pass over float32[N, D]."""

    moments: Moments = msgspec.field(default_factory=Moments)
    bins: Counts = msgspec.field(default_factory=Counts)  # of the high 16 bits

    @property
    def dims(self) -> int:
        """D."""
        return len(self.moments.count)

    def wanted(self, wanted: Sequence[float] = QUANTILES, few: int = 0) -> U64:
        """The bins whose values the second pass counts: those of the quantiles, and all bins of a column that has at most `few`."""
        bins = wanted_bins(self.bins, self.dims, wanted)
        own = [of_dimension(self.bins, i, HIGH).keys + np.uint64(i << HIGH) for i in range(self.dims)]
        return np.union1d(bins, np.concatenate([np.empty(0, np.uint64), *(each for each in own if len(each) <= few)]))


def sum_columns(values: F32) -> ColumnSums:
    """First pass over the rows of f32[N, D]."""
    return ColumnSums(moments(values), count_bins(values))


@dataclass(frozen=True)
class Column:
    """One column. NaN and Inf are counted and excluded from all other figures; without finite values those are 0."""

    count: int
    not_finite: int
    zeros: int
    mean: float
    std: float  # of the population (ddof 0)
    min: float
    max: float
    quantiles: tuple[float, ...]  # np.quantile's, linear
    counted: Counts  # keys of the values in the bins of the second pass

    @property
    def values(self) -> tuple[float, ...]:
        """All distinct values, rising; empty unless the second pass counted all of them."""
        return tuple(to_values(self.counted.keys).tolist()) if self.counted.total == self.count else ()


def column_of(sums: ColumnSums, values: Counts, i: int, wanted: Sequence[float] = QUANTILES) -> Column:
    """Column i from both passes. Raises LookupError if the second pass did not count the values the quantiles need."""
    m = sums.moments
    count = int(m.count[i])
    return Column(
        count=count,
        not_finite=int(m.not_finite[i]),
        zeros=int(m.zeros[i]),
        mean=float(m.mean[i]),
        std=float(m.std[i]),
        min=float(m.min[i]) if count else 0.0,
        max=float(m.max[i]) if count else 0.0,
        quantiles=tuple(quantiles(sums.bins, values, i, wanted)),
        counted=of_dimension(values, i, WHOLE),
    )


def read_columns(parts: Callable[[], Iterable[F32]], wanted: Sequence[float], few: int) -> list[Column]:
    """All columns of the rows of the parts, f32[N, D] each, in memory bounded by one part.

    `parts` is called twice and must return the same rows in the same order. If a column has at most `few` distinct values, they are
    all counted. Without rows there are no columns.
    """
    first = add_up(ColumnSums(), map(sum_columns, parts()))
    bins = first.wanted(wanted, few)
    values = add_up(Counts(), (count_values(part, bins) for part in parts()))
    return [column_of(first, values, i, wanted) for i in range(first.dims)]
