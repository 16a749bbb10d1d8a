"""How numbers lie, from their exact counts."""

from __future__ import annotations

import numpy as np

from rt2data.look.stats.model import Spread
from rt2data.tally.counts import Counts, quantiles_of


def spread(found: Counts) -> Spread:
    """How numbers lie, from their counts."""
    if not len(found):
        return Spread()
    values = found.keys.astype(np.float64)
    total = float(np.dot(values, found.counts))
    p05, p50, p95, p99 = quantiles_of(values, found.counts, (0.05, 0.5, 0.95, 0.99))
    ends = {"min": float(values[0]), "max": float(values[-1])}
    return Spread(count=found.total, total=total, mean=total / found.total, p05=p05, p50=p50, p95=p95, p99=p99, **ends)
