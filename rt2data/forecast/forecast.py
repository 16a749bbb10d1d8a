"""From measured rates to the time of a whole build. Pure.

A build costs what the smallest build costs, and then so much for each unit, row, byte, shard and example beyond it. Fixed costs are
measured by building almost nothing; the others by work orders of two sizes, so that a small part stands for the whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from heapq import heapify, heapreplace
from statistics import median
from typing import NamedTuple

import msgspec
import numpy as np

from rt2data.prepare.merge_rows import ROWS_PER_FILE


class Line(msgspec.Struct, frozen=True):
    """Seconds of one work order: so many for each, and so many for each byte (or row) of it."""

    each: float
    per: float

    def __call__(self, amount: float) -> float:
        return self.each + self.per * amount


class Point(NamedTuple):
    """One timed work order."""

    amount: float
    seconds: float
    cpu_s: float


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """What a trial run measured, in seconds."""

    startup_s: float  # imports of our own
    workers_s: float  # until the first worker answers, while the sources are listed
    import_s: float  # of Beam, while the workers are at work
    list_s: float  # units of the sources found
    smallest_s: float  # a build of almost nothing, first and
    smallest_remix_s: float  # again from the same stores
    prepare: dict[str, Line]  # by source, of a unit by bytes
    prepare_cpu: dict[str, Line]
    gather_row_s: float
    gather_fragment_s: float  # each file of rows looks into the rows of every unit
    seal_row_s: float  # statistics of a store
    write: Line  # of a shard by bytes
    write_cpu: Line
    seal_example_s: float
    scatter: float  # relative error of the sum of many orders, from how much single ones differ


class Extent(msgspec.Struct, frozen=True, kw_only=True):
    """How large a build is."""

    units: dict[str, tuple[int, ...]]  # bytes of the units of each source that is not prepared
    rows: dict[str, int]
    examples: int
    bytes: int
    shards: int
    workers: int  # 0: one process does everything, one thing after another


class Times(msgspec.Struct, frozen=True):
    """Seconds of the phases of a build, one after another."""

    start: float  # imports, workers, sources listed, Beam's import: as far as no order is carried out meanwhile
    prepare: float
    gather: float
    write: float
    seal: float  # and all that a build of any size needs

    @property
    def total(self) -> float:
        return self.start + self.prepare + self.gather + self.write + self.seal


def fit(points: Sequence[Point], cpu: bool = False) -> Line:
    """The line through the medians of the smaller half and of the larger half; through nothing where all are of one size."""
    chosen = sorted((p.amount, p.cpu_s if cpu else p.seconds) for p in points)
    middle = (chosen[0][0] + chosen[-1][0]) / 2
    small = [c for c in chosen if c[0] <= middle]
    large = [c for c in chosen if c[0] > middle] or small
    (x0, y0), (x1, y1) = ([median(each) for each in zip(*half, strict=True)] for half in (small, large))
    if x1 < 1.5 * x0 or x1 == x0:  # too much alike to tell one from the other
        return Line(0.0, y1 / x1) if x1 else Line(y1, 0.0)
    slope = max((y1 - y0) / (x1 - x0), 0.0)
    return Line(max(y1 - slope * x1, 0.0), min(slope, y1 / x1))


def solve(first: tuple[float, float, float], second: tuple[float, float, float]) -> tuple[float, float]:
    """Two rates a, b >= 0 with x a + y b = seconds, of two equations (x, y, seconds); the nearest where there are none."""
    matrix, seconds = np.array([first[:2], second[:2]]), np.array([first[2], second[2]])
    found = np.linalg.lstsq(matrix, seconds, rcond=None)[0]
    if (found >= 0).all():
        return float(found[0]), float(found[1])
    alone = [max(float(column @ seconds / max(column @ column, 1e-300)), 0.0) for column in matrix.T]
    rests = [float(np.abs(matrix[:, i] * alone[i] - seconds).sum()) for i in range(2)]
    return (alone[0], 0.0) if rests[0] <= rests[1] else (0.0, alone[1])


def makespan(seconds: Iterable[float], workers: int) -> float:
    """How long a pool takes for orders that are taken up in turn by whoever is free."""
    free = [0.0] * max(workers, 1)
    heapify(free)
    for each in seconds:
        heapreplace(free, free[0] + each)
    return max(free)


def first_build(rates: Rates, extent: Extent) -> Times:
    """A build that prepares what is not prepared yet."""
    units = [rates.prepare[name](size) for name, sizes in extent.units.items() for size in sizes]
    prepare = makespan(units, extent.workers)
    start, prepare = _begun(rates, extent, prepare, sum(units))
    fixed = rates.smallest_s if extent.units else rates.smallest_remix_s
    return Times(start, prepare, _gather(rates, extent), _write(rates, extent), fixed + rates.seal_example_s * extent.examples)


def remix(rates: Rates, extent: Extent) -> Times:
    """A build from prepared stores: shards are written while Beam is imported."""
    shard = rates.write(extent.bytes / extent.shards)
    start, write = _begun(
        msgspec.structs.replace(rates, list_s=0.0), extent, makespan([shard] * extent.shards, extent.workers), shard * extent.shards
    )
    return Times(start, 0.0, 0.0, write, rates.smallest_remix_s + rates.seal_example_s * extent.examples)


def _begun(rates: Rates, extent: Extent, span: float, work: float) -> tuple[float, float]:
    """Start and first work: workers begin when they are there, while Beam is imported beside them."""
    if not extent.workers:
        return rates.startup_s + rates.list_s + rates.import_s, work
    waiting = max(rates.workers_s - rates.list_s, 0.0)
    together = max(rates.import_s, waiting + span, (rates.import_s + work) / extent.workers)
    return rates.startup_s + rates.list_s + together - span, span


def _gather(rates: Rates, extent: Extent) -> float:
    """Rows of each prepared source in keyed order, and their statistics."""
    found = 0.0
    for name, units in extent.units.items():
        files = max(1, -(-extent.rows[name] // ROWS_PER_FILE))
        each = rates.gather_row_s * extent.rows[name] / files + rates.gather_fragment_s * len(units)
        found += makespan([each] * files, extent.workers) + rates.seal_row_s * extent.rows[name]
    return found


def _write(rates: Rates, extent: Extent) -> float:
    return makespan([rates.write(extent.bytes / extent.shards)] * extent.shards, extent.workers)


def cpu_seconds(rates: Rates, extent: Extent) -> float:
    """Processor time of all work orders: what is paid for where machines are rented."""
    prepare = sum(rates.prepare_cpu[name](size) for name, sizes in extent.units.items() for size in sizes)
    return (
        prepare
        + _gather(rates, msgspec.structs.replace(extent, workers=1))
        + rates.write_cpu(extent.bytes / extent.shards) * extent.shards
    )
