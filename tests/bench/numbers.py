"""Statistics of a column of vectors, in a process of its own: `python numbers.py ours|numpy STORE OUT`. Writes what it found."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

from rt2data.look.stats.actions import DimensionSums, ValueSums, dimensions, sum_dimensions, sum_values
from rt2data.tally.sums import add_up
from tests.bench.rowfiles import tables


def ours(store: Path) -> dict[str, list[float]]:
    """Two passes over the files of rows, one file at a time."""
    first = add_up(DimensionSums(), (sum_dimensions(values) for values in tables(store, "action")))
    wanted = first.wanted()
    second = add_up(ValueSums(), (sum_values(values, wanted) for values in tables(store, "action")))
    found = dimensions(first, second, [str(i) for i in range(first.dims)], [""] * first.dims)
    return {name: [getattr(dim, name) for dim in found] for name in ("mean", "std", "min", "max", "q01", "q99")}


def bare(store: Path) -> dict[str, list[float]]:
    """numpy, with all of it in memory."""
    columns = np.concatenate(list(tables(store, "action"))).T
    found: dict[str, list[float]] = {name: [] for name in ("mean", "std", "min", "max", "q01", "q99")}
    for column in columns:
        values = column.astype(np.float64)
        low, high = np.quantile(values, [0.01, 0.99])
        for name, value in zip(found, (values.mean(), values.std(), values.min(), values.max(), low, high), strict=True):
            found[name].append(float(value))
    return found


def main(which: str, store: str, out: str) -> None:
    """Measure inside the process: imports are nobody's merit."""
    started = time.monotonic()
    found = {"ours": ours, "numpy": bare}[which](Path(store))
    Path(out).write_text(json.dumps({"seconds": time.monotonic() - started, "found": found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
