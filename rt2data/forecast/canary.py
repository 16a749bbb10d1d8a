"""A trial run of a small part of a build: it is prepared and written in a temporary folder, with the workers that a build would
use.

Work orders of two sizes are timed, so that `timing.fit` can separate fixed costs from rates; `timing.predict` extrapolates to the
whole build.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import msgspec
from pydantic import TypeAdapter, ValidationError

from rt2data.beam.local import local_run
from rt2data.beam.pool import Pool
from rt2data.beam.run import build_of, import_beam
from rt2data.build import Preparation, Site, begin_build, finish
from rt2data.errors import DataError, UsageError
from rt2data.forecast.estimate import Range, mean_guess
from rt2data.forecast.timing import Extent, Point, Rates, Timed, Times, Took, cpu_seconds, fit, no_work, peak_bytes, predict, timed
from rt2data.io.location import is_remote
from rt2data.io.location.folders import temporary_folder
from rt2data.io.location.whole import output_errors
from rt2data.order import key64
from rt2data.plan.model import Plan
from rt2data.plan.plan import needed_sources
from rt2data.plan.recipe import Recipe
from rt2data.plan.recipe.model import ByteCount, Size, unlimited
from rt2data.prepare.begin import begin, staging_folder
from rt2data.prepare.gather import gather_orders, gather_rows, merge_orders
from rt2data.prepare.runs import write_run
from rt2data.prepare.seal import seal_store
from rt2data.prepare.store import Known, Store
from rt2data.prepare.unit import UnitOrder, prepare_unit
from rt2data.read.sample import shuffled
from rt2data.read.source import Source
from rt2data.records import Unit
from rt2data.seal.manifest import read_manifest
from rt2data.settings import parse_fraction
from rt2data.write.shard import write_shard

LEAST_READ, LEAST_WRITTEN = 128 << 20, 256 << 20
"""Minimum bytes that a canary reads and writes, if available: less is too fast to be timed."""
LARGE, SMALL = 2, 8
"""Work orders of each size per worker."""
LARGE_SHARE = Fraction(3, 4)
"""Share of the bytes read by the large work orders."""
SMALLEST = 64
"""Examples of the smallest build."""
FIXED_ERROR = 0.1
"""Relative error of fixed costs, which are measured once."""


class BuildTime(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds that a build will take."""

    seconds: Range
    phases: Times


class Canary(msgspec.Struct, frozen=True, kw_only=True):
    """The measurements of a trial run, and the prediction for the whole build."""

    asked: str
    share: float  # of the bytes that preparing reads; of the output's bytes if everything is prepared
    bytes_read: int
    bytes_written: int
    workers: int
    seconds: float
    build: BuildTime  # including preparation of unprepared sources
    remix: BuildTime  # once everything is prepared
    peak_bytes: int  # resident memory of all processes; shared pages count for each process
    cpu_s: float  # of all work orders of the build
    rates: Rates
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Amount:
    """The size of a canary: a share, or bytes."""

    asked: str
    share: Fraction | None = None
    bytes: int | None = None

    def of(self, whole: int, least: int) -> int:
        """Bytes of a whole of this size: `least` or more, never more than the whole."""
        wanted = int(whole * self.share) if self.share is not None else self.bytes or 0
        return min(max(wanted, least), whole)


def parse_amount(text: str) -> Amount:
    """`1%`, `0.01` or `64MB`. Raises UsageError."""
    try:
        share = parse_fraction(text)
    except ValueError:
        share = None
    if share is not None and 0 < share <= 1:
        return Amount(text, share=share)
    try:
        return Amount(text, bytes=TypeAdapter(ByteCount).validate_python(text))
    except ValidationError:
        raise UsageError(f"a canary of {text}", "--canary", "give a share such as 1% or a size such as 64MB") from None


def run_canary(
    recipe: Recipe,
    plan: Plan,
    known: Mapping[str, Known],
    pool: Pool,
    workers: int,
    amount: Amount,
    near: Path,
    startup_s: float = 0.0,
    pool_began: float | None = None,
) -> Canary:
    """Prepare and write a part of the plan in a temporary folder in `near`, and predict the whole. Leaves nothing behind.

    `startup_s` is the time taken by our own imports, `pool_began` the `time.perf_counter` when the pool was created. Raises the
    same errors as a build, and UsageError if the part has no row of the split.
    """
    began = time.perf_counter()
    ready = [pool.submit(timed, Timed(no_work, number)) for number in range(workers)]
    idle = max((future.result().peak_bytes for future in ready), default=0)
    workers_s = time.perf_counter() - (began if pool_began is None else pool_began) if workers else 0.0
    with output_errors(near), temporary_folder(".canary-", None if is_remote(near) else near) as folder:
        trial = Trial(recipe, plan, known, pool, workers, amount, folder)
        rates = trial.measure(startup_s, workers_s)
        return trial.result(rates, idle, time.perf_counter() - began)


@dataclass
class Trial:
    """A trial run in progress."""

    recipe: Recipe
    plan: Plan
    known: Mapping[str, Known]
    pool: Pool
    workers: int
    amount: Amount
    folder: Path
    units: dict[str, list[Unit]] = field(default_factory=dict)  # of unprepared sources
    points: dict[str, list[Point]] = field(default_factory=lambda: defaultdict(list))  # by phase; preparation: "prepare SOURCE"
    took: list[Took] = field(default_factory=list)  # of all work orders
    bytes_read: int = 0
    bytes_written: int = 0

    def measure(self, startup_s: float, workers_s: float) -> Rates:
        """Measure everything that a prediction needs."""
        list_s, import_s = _seconds(self._list), _seconds(import_beam)
        stores = {name: each for name, each in self.known.items() if isinstance(each, Store)}
        for count in (SMALL, LARGE):
            stores |= {p.name: self._prepare(p, count) for p in self._preparations(f"pieces-{count}")}
        with _too_small(self.recipe.split):
            self._write(stores, 8)
            self._write(stores, 1)
            rates = self._rates(startup_s, workers_s, list_s, import_s)
            return msgspec.structs.replace(rates, graph_s=self._smallest(rates))

    def _rates(self, startup_s: float, workers_s: float, list_s: float, import_s: float) -> Rates:
        """A line per phase; the overhead of the graph is still to be measured."""
        return Rates(
            startup_s=startup_s,
            workers_s=workers_s,
            list_s=list_s,
            import_s=import_s,
            graph_s=0.0,
            prepare={name: fit(self.points[f"prepare {name}"]) for name in self.units},
            **{phase: fit(self.points[phase]) for phase in ("gather", "statistics", "write", "seal")},
            cpu_share=sum(each.cpu_s for each in self.took) / sum(each.seconds for each in self.took),
            scatter=self._scatter(),
        )

    def _list(self) -> None:
        for p in self._preparations(""):
            self.units[p.name] = p.source.units()
            p.source.share(self.folder / f"{p.name}.shared")

    def _preparations(self, kind: str) -> list[Preparation]:
        """Preparations of unprepared sources, in a folder of this kind."""
        sources = needed_sources(self.recipe)
        fresh = [name for name in sources if not isinstance(self.known[name], Store)]
        return [Preparation(name, sources[name], self.folder / kind / name, ()) for name in fresh]

    def _carry_out(self, phase: str, work: Callable[[Any], Any], orders: Sequence[Any], amount: Callable[[Any], int]) -> list[Any]:
        """Results of all work orders, submitted at once as in a build. `amount` gives the amount of a result."""
        took = [future.result() for future in [self.pool.submit(timed, Timed(work, order)) for order in orders]]
        self.took += took
        self.points[phase] += [Point(amount(each.result), each.seconds) for each in took]
        return [each.result for each in took]

    def _prepare(self, p: Preparation, count: int) -> Store:
        """A store of `count` pieces per worker, all of similar size."""
        orders = begin(p.name, p.source, p.folder, self._pieces(p.name, p.source, count))
        sizes = {order.unit.index: order.unit.bytes for order in orders}
        units = self._carry_out(f"prepare {p.name}", prepare_unit, orders, lambda unit: sizes[unit.unit])
        staging = staging_folder(p.folder)
        runs = self._carry_out("merge", write_run, merge_orders(p.name, staging, units), lambda each: each.rows)
        rows = self._carry_out("gather", gather_rows, gather_orders(p.name, staging, units, runs), lambda each: each.rows)
        seconds = _seconds(lambda: seal_store(p.name, p.source, p.folder, units, rows))
        self.points["statistics"].append(Point(sum(each.rows for each in rows), seconds))
        self.bytes_read += sum(sizes.values())
        return Store(p.folder)

    def _pieces(self, name: str, source: Source, count: int) -> list[Unit]:
        """Pieces of one size from shuffled units, numbered from 0; from the drawn split if possible."""
        units = [unit for unit in self.units[name] if source.may_feed(unit.split, self.recipe.split)] or self.units[name]
        number = count * max(self.workers, 1)
        share = LARGE_SHARE if count == LARGE else 1 - LARGE_SHARE
        size = max(int(self.amount.of(sum(unit.bytes for unit in units), LEAST_READ) * share / number), 1)
        chosen = shuffled(units, key64("canary", self.recipe.seed, name))[:number]
        turns = zip_longest(*(source.pieces(unit, size) for unit in chosen))
        pieces = [piece for piece in chain.from_iterable(turns) if piece is not None]
        return [replace(piece, index=i) for i, piece in enumerate(pieces[:number])]

    def _write(self, stores: Mapping[str, Store], part: int) -> None:
        """Write a mixture of 1/`part` of the bytes that a canary writes."""
        shards, wanted = LARGE * max(self.workers, 1), self.amount.of(self.plan.bytes, LEAST_WRITTEN)
        examples = max(self.plan.num_examples * wanted // max(self.plan.bytes, 1) // part, shards)
        site = Site(self.folder / f"mixture-{part}")
        with site.held():
            job, orders = begin_build(site, self._smaller(examples, wanted // part // shards), stores, allow_bad=True)
            infos = self._carry_out("write", write_shard, orders, lambda info: info.bytes)
            seconds = _seconds(lambda: finish(site, site.folder(job.plan.fingerprint), job, infos))
        self.points["seal"].append(Point(job.plan.num_examples, seconds))
        self.bytes_written += read_manifest(site.out).bytes

    def _smaller(self, examples: int, shard_bytes: int) -> Recipe:
        """The recipe with another number of examples; rows may repeat, because there are few."""
        shards = self.recipe.shards.model_copy(update={"bytes": max(shard_bytes, 1)})
        return unlimited(self.recipe).model_copy(update={"size": Size(num_examples=examples), "shards": shards})

    def _smallest(self, rates: Rates) -> float:
        """The time of the smallest build through the graph, beyond its phases."""
        todo = [replace(p, units=tuple(self._one_piece(p))) for p in self._preparations("smallest")]
        ready = [(name, source) for name, source in needed_sources(self.recipe).items() if name not in self.units]
        todo += [Preparation(name, source, self.known[name].path, ()) for name, source in ready]
        site = Site(self.folder / "smallest-mixture")
        recipe = self._smaller(min(SMALLEST, self.plan.num_examples), 1 << 40)
        began = time.perf_counter()
        with site.held(), local_run(self.pool, lambda _: None) as run:
            build_of(run, recipe, site, todo, allow_bad=True)
        seconds, made = time.perf_counter() - began, read_manifest(site.out)
        extent = Extent(
            units={p.name: (len(p.units), sum(order.unit.bytes for order in p.units)) for p in todo if p.units},
            rows={p.name: 0 for p in todo},
            examples=made.examples,
            bytes=made.bytes,
            shards=1,
            workers=self.workers,
        )
        times = predict(rates, extent)
        return max(seconds - (times.total - times.start), 0.0)

    def _one_piece(self, p: Preparation) -> list[UnitOrder]:
        return begin(p.name, p.source, p.folder, self._pieces(p.name, p.source, SMALL)[:1])

    def _scatter(self) -> float:
        """How far work orders deviate from their lines, as the relative error of a sum of many."""
        found = [points for phase, points in self.points.items() if phase.startswith(("prepare", "write"))]
        lines = [(fit(points), points[-LARGE * max(self.workers, 1) :]) for points in found]  # the large ones
        return mean_guess([seconds / line(n) for line, points in lines for n, seconds in points if line(n)]).error or 0.0

    def result(self, rates: Rates, idle: int, seconds: float) -> Canary:
        """The prediction for the whole build. `idle` is the memory of an idle worker: about that of the fork server."""
        extent = Extent(
            units={name: (len(units), sum(unit.bytes for unit in units)) for name, units in self.units.items()},
            rows={s.name: s.rows for s in self.plan.sources},
            examples=self.plan.num_examples,
            bytes=self.plan.bytes,
            shards=self.plan.shards,
            workers=self.workers,
        )
        whole = sum(size for _, size in extent.units.values())
        worker = max(each.peak_bytes for each in self.took)
        return Canary(
            asked=self.amount.asked,
            share=min(self.bytes_read / whole if whole else self.bytes_written / max(self.plan.bytes, 1), 1.0),
            bytes_read=self.bytes_read,
            bytes_written=self.bytes_written,
            workers=self.workers,
            seconds=seconds,
            build=_build_time(rates, extent),
            remix=_build_time(rates, msgspec.structs.replace(extent, units={})),
            peak_bytes=peak_bytes() + (idle + worker * self.workers if self.workers else 0),
            cpu_s=cpu_seconds(rates, extent),
            rates=rates,
            notes=tuple(self._notes(whole)),
        )

    def _notes(self, whole: int) -> Iterator[str]:
        """Notes on what the trial run could not measure."""
        if max(whole, self.plan.bytes) > os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2:
            yield "the data does not fit in memory: images will be read from disk again, which a canary does not time"
        if self.workers > (os.cpu_count() or 1):
            yield "there are more workers than processors"


@contextmanager
def _too_small(split: str) -> Iterator[None]:
    """Context: if a part has no row to draw, the error advises a larger part."""
    try:
        yield
    except DataError as error:
        if "without rows" not in error.what:
            raise
        what = f"the canary is too small: it read no row of split {split} of a source"
        raise UsageError(what, error.where, "use a larger one, such as --canary 5%") from error


def _build_time(rates: Rates, extent: Extent) -> BuildTime:
    times = predict(rates, extent)
    error = (times.prepare + times.gather + times.write) * rates.scatter + (times.start + times.seal) * FIXED_ERROR
    return BuildTime(seconds=Range(times.total, times.total - error, times.total + error), phases=times)


def _seconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
