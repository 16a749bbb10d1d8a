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
    """Work order: carry out another one and time it."""

    work: Callable[[Any], Any]
    order: Any

    @property
    def label(self) -> str:
        return f"timing of {getattr(self.order, 'label', self.order)}"


@dataclass(frozen=True, slots=True)
class Took:
    """The result of an order, and what it took in its worker."""

    result: Any
    seconds: float
    cpu_s: float
    peak_bytes: int  # resident memory of the worker so far


def timed(order: Timed) -> Took:
    """Carry out the order. Raises what it raises."""
    began, cpu = time.perf_counter(), time.process_time()
    result = order.work(order.order)
    return Took(result, time.perf_counter() - began, time.process_time() - cpu, peak_bytes())


def peak_bytes() -> int:
    """The most memory that was resident in this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def no_work(order: Any) -> None:
    """Shows that a worker is ready."""


class Line(msgspec.Struct, frozen=True):
    """Seconds of one work order: `fixed`, and `rate` for each byte, row or example of it."""

    fixed: float
    rate: float

    def __call__(self, amount: float) -> float:
        return self.fixed + self.rate * amount

    def total(self, orders: int, amount: float) -> float:
        """Seconds of so many orders with this amount in all."""
        return self.fixed * orders + self.rate * amount


class Point(NamedTuple):
    """One measured work order."""

    amount: float  # bytes, rows or examples
    seconds: float


def fit(points: Sequence[Point]) -> Line:
    """The line through the medians of the smaller and of the larger orders, so that a straggler does not bend it.

    Never negative. Through the origin where the orders are too alike in size to separate fixed cost from rate; 0 without points.
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
    """What a trial run measured: seconds, and a line for each phase."""

    startup_s: float  # our own imports
    workers_s: float  # until all workers answer, while the sources are listed
    list_s: float  # listing the units of the sources
    import_s: float  # importing Beam, while the workers are at work
    graph_s: float  # what a build of any size takes besides
    prepare: dict[str, Line]  # a unit of each source, by bytes
    gather: Line  # a file of rows, by rows
    statistics: Line  # a store, by rows; in one process
    write: Line  # a shard, by bytes
    seal: Line  # the mixture, by examples; in one process
    cpu_share: float  # processor time of the orders / their seconds
    scatter: float  # relative error of the sum of many orders, from how far single ones are off their line


class Extent(msgspec.Struct, frozen=True, kw_only=True):
    """The size of a build."""

    units: dict[str, tuple[int, int]]  # of each source that is not prepared: units, and their bytes
    rows: dict[str, int]
    examples: int
    bytes: int
    shards: int
    workers: int  # 0: everything in one process


class Times(msgspec.Struct, frozen=True):
    """Seconds of the phases of a build, one after another."""

    start: float  # imports, workers, listing: as far as no order is carried out meanwhile
    prepare: float
    gather: float
    write: float
    seal: float  # and what a build of any size takes

    @property
    def total(self) -> float:
        return self.start + self.prepare + self.gather + self.write + self.seal


def predict(rates: Rates, extent: Extent) -> Times:
    """Seconds of a build of this size; of a re-mix where `extent` has no units."""
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
    """Processor time of all work orders: what rented machines are paid for."""
    alone = predict(rates, msgspec.structs.replace(extent, workers=1))
    return (alone.prepare + alone.gather + alone.write) * rates.cpu_share


def _span(seconds: float, orders: int, workers: int) -> float:
    """How long a pool takes for orders of about one size."""
    rounds = -(-orders // max(workers, 1))
    return seconds / max(orders, 1) * rounds


def _start(rates: Rates, extent: Extent, first: float) -> float:
    """Seconds before the first phase, which takes `first`. Workers begin while Beam is imported in this process."""
    listing = rates.list_s if extent.units else 0.0
    if not extent.workers:
        return rates.startup_s + listing + rates.import_s
    waiting = max(rates.workers_s - listing, 0.0)
    both = max(rates.import_s, waiting + first, first + rates.import_s / extent.workers)
    return rates.startup_s + listing + both - first


def _files(rows: int) -> int:
    return max(1, -(-rows // ROWS_PER_FILE))
