"""Statistics of rows that lie in parts: `summarize` in memory bounded by one part, whatever their number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from rt2data.errors import DataError
from rt2data.prepare.statistics import FEW, DimStats
from rt2data.read.action_space import too_narrow
from rt2data.records import F32
from rt2data.tally.counts import Counts
from rt2data.tally.moments import Moments, moments
from rt2data.tally.quantiles import count_bins, count_values, dimension_keys, quantiles, wanted_bins
from rt2data.tally.sums import Sum, add_up

QUANTILES = (0.01, 0.99)


class _First(Sum, frozen=True, eq=False):
    moments: Moments = Moments()
    bins: Counts = Counts()


def summarize_parts(parts: Callable[[], Iterable[F32]]) -> DimStats:
    """Statistics of all rows of the parts, f32[N, D] each; `parts` is called two or three times and gives the same each time.

    Quantiles, minimum and maximum are those of `summarize` to the last bit; mean and std are merged in the order of the parts.
    Raises DataError for no rows, ValueError for NaN or Inf.
    """
    first = add_up(_First(), (_First(moments(part), count_bins(dimension_keys(part))) for part in parts()))
    known = first.moments
    if not len(known.count):
        raise DataError("no rows are left to take statistics of")
    if known.not_finite.any():
        raise ValueError("NaN or Inf in statistics")
    dims = len(known.count)
    bins = wanted_bins(first.bins, dims, QUANTILES)
    values = add_up(Counts(), (count_values(dimension_keys(part), bins) for part in parts()))
    low, high = zip(*(quantiles(first.bins, values, i, QUANTILES) for i in range(dims)), strict=True)
    mean, std, least, most = (tuple(map(float, getattr(known, name))) for name in ("mean", "std", "min", "max"))
    still = [i for i in range(dims) if least[i] != most[i] and too_narrow(low[i], high[i])]
    return DimStats(int(known.count[0]), mean, std, least, most, low, high, _rare(parts, still, dims) if still else ())


def _rare(parts: Callable[[], Iterable[F32]], still: Sequence[int], dims: int) -> tuple[tuple[float, ...], ...]:
    """`DimStats.rare`: the values of these dimensions, rising, of those that have at most FEW."""
    found: dict[int, set[float]] = {i: set() for i in still}
    for part in parts():
        for i in [i for i in still if len(found[i]) <= FEW]:
            found[i].update(np.unique(part[:, i]).tolist())
    rare = tuple(tuple(sorted(found[i])) if i in found and len(found[i]) <= FEW else () for i in range(dims))
    return rare if any(rare) else ()
