"""Merges the rows of many units, which are written already: `python -m tests.bench.merging FOLDER`; CPU seconds on stdout."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import msgspec

from rt2data.prepare.gather import gather_orders, gather_rows, merge_orders
from rt2data.prepare.runs import write_run
from rt2data.prepare.unit import UnitSummary


def merge(folder: Path, units: list[UnitSummary]) -> int:
    """The number of rows."""
    runs = [write_run(order) for order in merge_orders("arm", folder, units)]
    return sum(gather_rows(order).rows for order in gather_orders("arm", folder, units, runs))


if __name__ == "__main__":
    place = Path(sys.argv[1])
    written = msgspec.json.decode((place / "units.json").read_bytes(), type=list[UnitSummary])
    start = time.process_time()
    merge(place, written)
    print(time.process_time() - start)
