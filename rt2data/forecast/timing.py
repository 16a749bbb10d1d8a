"""The cost model of a build: work orders are timed in their workers, and each phase gets one line: seconds = fixed + rate x amount.

Workers import this, so it imports no Beam.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

import msgspec

from rt2data.prepare.runs import ROWS_PER_FILE


@dataclass(frozen=True, slots=True)
class Timed:
    """Work order: carry out another work order and time it."""

    work: Callable[[Any], Any]
    order: Any

    @property
    def label(self) -> str:
        return f"timing of {getattr(self.order, 'label', self.order)}"


@dataclass(frozen=True, slots=True)
class Took:
    """The result of a work order, and its cost in the worker."""

    result: Any
    seconds: float
    cpu_s: float
    peak_bytes: int  # resident memory of the worker so far


def timed(order: Timed) -> Took:
    """Carry out and time a work order. Raises the errors of the inner order."""
    began, cpu = time.perf_counter(), time.process_time()
    result = order.work(order.order)
    return Took(result, time.perf_counter() - began, time.process_time() - cpu, peak_bytes())


def peak_bytes() -> int:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def no_work(order: Any) -> None:
    """A no-op work order, which shows that a worker is ready."""


class Line(msgspec.Struct, frozen=True):
    """Seconds of one work order: `fixed`, plus `rate` per byte, row or example."""

    fixed: float
    rate: float

    def __call__(self, amount: float) -> float:
        return self.fixed + self.rate * amount

    def total(self, orders: int, amount: float) -> float:
        """Seconds of this many work orders with this total amount."""
        return self.fixed * orders + self.rate * amount


class Point(NamedTuple):
    """One measured work order."""

    amount: float  # bytes, rows or examples
    seconds: float


def fit(points: Sequence[Point]) -> Line:
    """The line through the medians of the smaller and of the larger orders, so that a straggler does not bend it.

    Never negative. Passes through the origin if the orders are too similar in size to separate fixed cost from rate; 0 without
    points.
    """
    if not points:
        return Line(0.0, 0.0)
    middle = (min(points).amount + max(points).amount) / 2
    small = [p for p in points if p.amount <= middle]
    large = [p for p in points if p.amount > middle] or small
    (x0, y0), (x1, y1) = ([median(each) for each in zip(*half, strict=True)] for half in (small, large))
    if x1 < 1.5 * x0 or x1 == x0:
        return Line(0.0, y1 / x1) if x1 else Line(y1, 0.0)
    rate = max((y1 - y0) / (x1 - x0), 0.0)
    return Line(max(y1 - rate * x1, 0.0), min(rate, y1 / x1))


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """The measurements of a trial run: seconds, and a line per phase."""

    startup_s: float  # our own imports
    workers_s: float  # until all workers answer, while the sources are listed
    list_s: float  # listing the units of the sources
    import_s: float  # importing Beam, while the workers are busy
    graph_s: float  # overhead of a build of any size
    prepare: dict[str, Line]  # a unit of each source, by bytes
    gather: Line  # a file of rows, by rows
    statistics: Line  # a store, by rows; in one process
    write: Line  # a shard, by bytes
    seal: Line  # the mixture, by examples; in one process
    cpu_share: float  # CPU time of the work orders / their seconds
    scatter: float  # relative error of a sum of many orders, from single orders' deviations


class Extent(msgspec.Struct, frozen=True, kw_only=True):
    """The size of a build."""

    units: dict[str, tuple[int, int]]  # of each unprepared source: units, and their bytes
    rows: dict[str, int]
    examples: int
    bytes: int
    shards: int
    workers: int  # 0: everything in one process


class Times(msgspec.Struct, frozen=True):
    """Seconds of the consecutive phases of a build."""

    start: float  # imports, workers, listing: while no work order runs
    prepare: float
    gather: float
    write: float
    seal: float  # plus the overhead of a build of any size

    @property
    def total(self) -> float:
        return self.start + self.prepare + self.gather + self.write + self.seal


def predict(rates: Rates, extent: Extent) -> Times:
    """Seconds of a build of this size; of a re-mix if `extent` has no units."""
    prepare = sum(rates.prepare[name].total(*units) for name, units in extent.units.items())
    prepare = _span(prepare, sum(count for count, _ in extent.units.values()), extent.workers)
    gather = sum(
        _span(rates.gather.total(_files(rows), rows), _files(rows), extent.workers) + rates.statistics(rows)
        for rows in map(extent.rows.__getitem__, extent.units)
    )
    write = _span(rates.write.total(extent.shards, extent.bytes), extent.shards, extent.workers)
    start = _start(rates, extent, prepare if extent.units else write)
    return Times(start, prepare, gather, write, rates.graph_s + rates.seal(extent.examples))


def cpu_seconds(rates: Rates, extent: Extent) -> float:
    """CPU time of all work orders, which determines the cost of rented machines."""
    alone = predict(rates, msgspec.structs.replace(extent, workers=1))
    return (alone.prepare + alone.gather + alone.write) * rates.cpu_share


def _span(seconds: float, orders: int, workers: int) -> float:
    """Time that a pool takes for work orders of similar size."""
    rounds = -(-orders // max(workers, 1))
    return seconds / max(orders, 1) * rounds


def _start(rates: Rates, extent: Extent, first: float) -> float:
    """Seconds before the first phase, which takes `first`. Workers start while Beam is imported in this process."""
    listing = rates.list_s if extent.units else 0.0
    if not extent.workers:
        return rates.startup_s + listing + rates.import_s
    waiting = max(rates.workers_s - listing, 0.0)
    both = max(rates.import_s, waiting + first, first + rates.import_s / extent.workers)
    return rates.startup_s + listing + both - first


def _files(rows: int) -> int:
    return max(1, -(-rows // ROWS_PER_FILE))
