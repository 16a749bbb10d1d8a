"""A trial run of a small part: it is really prepared and written, in a temporary folder, with the workers a build would use.

What is timed: work orders of two sizes, so that fixed costs and costs by size come apart, and the smallest build there is, through
the graph itself.
"""

from __future__ import annotations

import os
import time
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
from rt2data.build import Preparation, Site, begin_mix, finish
from rt2data.errors import DataError, UsageError
from rt2data.forecast.forecast import Extent, Line, Point, Rates, Times, cpu_seconds, first_build, fit, makespan, remix, solve
from rt2data.forecast.sampling import Range, mean_guess
from rt2data.forecast.timing import Timed, Took, nothing, peak_bytes, timed
from rt2data.io.location.folders import remove_folder, temporary_folder
from rt2data.io.location.whole import output_errors
from rt2data.order import key64
from rt2data.plan.plan import Plan, empty_split, needed_sources
from rt2data.plan.recipe import Recipe
from rt2data.plan.recipe.model import ByteCount, Size
from rt2data.prepare.merge_rows import gather_orders, gather_rows, seal_store
from rt2data.prepare.store import Known, Store
from rt2data.prepare.unit import begin, prepare_unit, staging_folder
from rt2data.read.sample import shuffled
from rt2data.read.source import Source
from rt2data.records import Unit
from rt2data.seal.manifest import read_manifest
from rt2data.settings import parse_fraction
from rt2data.write.shard import write_shard

LEAST_READ, LEAST_WRITTEN = 128 << 20, 256 << 20
"""Less than this takes too little time to be timed: a canary reads and writes as much, where there is as much."""
LARGE, SMALL = 2, 8
"""Orders of each size for each worker."""
LARGE_SHARE = Fraction(3, 4)
"""Of what is read, the large orders have this share."""
SMALLEST = 64
"""Examples of the smallest build."""
FIXED_ERROR = 0.1
"""Fixed costs are measured once: they are taken to be known within this share."""


class Forecast(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds that a build will take."""

    seconds: Range
    phases: Times


class Canary(msgspec.Struct, frozen=True, kw_only=True):
    """What a trial run measured, and what follows for the whole build."""

    asked: str
    share: float  # of the bytes that preparing reads, or where all is prepared of the output's
    bytes_read: int
    bytes_written: int
    workers: int
    seconds: float
    build: Forecast  # of what is asked for now: sources that are not prepared are
    remix: Forecast  # once all is prepared
    peak_bytes: int  # resident memory of all processes, pages that they share counted for each
    cpu_s: float  # of all work orders of the build
    rates: Rates
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Amount:
    """How much a canary takes: a share, or bytes."""

    asked: str
    share: Fraction | None = None
    bytes: int | None = None

    def of(self, whole: int, least: int) -> int:
        """Bytes of a whole of so many, `least` or more where there are as many."""
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


@dataclass(frozen=True)
class Clock:
    """When the command and its pool began."""

    startup_s: float = field(default_factory=time.process_time)  # of imports, before the pool was made
    pool: float = field(default_factory=time.perf_counter)


def fly(
    recipe: Recipe, plan: Plan, known: Mapping[str, Known], pool: Pool, workers: int, amount: Amount, near: Path, clock: Clock
) -> Canary:
    """Prepare and write a part of what the plan says, and foretell the whole. Leaves nothing behind.

    Raises what a build raises, and UsageError where the part has no row of the split.
    """
    began = time.perf_counter()
    idle = _wait_for(pool, workers)
    workers_s = time.perf_counter() - clock.pool if workers else 0.0
    with output_errors(near), temporary_folder(".canary-", near) as folder:
        trial = Trial(recipe, plan, known, pool, max(workers, 1), amount, folder)
        rates = trial.rates(clock.startup_s, workers_s)
        return trial.told(rates, workers, idle, time.perf_counter() - began)


def _wait_for(pool: Pool, workers: int) -> int:
    """Memory of a worker that has done nothing yet: about that of the server that makes them."""
    ready = [pool.submit(timed, Timed(nothing, number)) for number in range(workers)]
    return max((future.result().peak_bytes for future in ready), default=0)


@dataclass
class Trial:
    """A trial run under way."""

    recipe: Recipe
    plan: Plan
    known: Mapping[str, Known]
    pool: Pool
    workers: int
    amount: Amount
    folder: Path
    units: dict[str, list[Unit]] = field(default_factory=dict)  # of the sources that are not prepared
    peaks: list[tuple[float, int]] = field(default_factory=list)  # mean size of the pieces prepared so far, and a worker's memory
    scatter: list[float] = field(default_factory=list)  # what orders took, as a share of what was to be expected
    bytes_read: int = 0
    bytes_written: int = 0

    def rates(self, startup_s: float, workers_s: float) -> Rates:
        """All that a forecast needs."""
        list_s = _seconds(self._list)
        import_s = _seconds(import_beam)
        small, large = self._prepared("small", SMALL), self._prepared("large", LARGE)
        prepare = {name: small.points[name] + large.points[name] for name in self.units}
        stores = {name: each if isinstance(each, Store) else large.stores[name] for name, each in self.known.items()}
        self._require_rows(stores)
        few, many = self._written("few", stores, 8), self._written("many", stores, 1)
        write = few.points + many.points
        gather_row, gather_fragment = solve(small.gathered, large.gathered)
        lines = {name: fit(points) for name, points in prepare.items()}
        self._note_scatter([*((lines[n], large.points[n]) for n in lines), (fit(write), many.points)])
        smallest, again = self._smallest(lines, fit(write))
        return Rates(
            startup_s=startup_s,
            workers_s=workers_s,
            import_s=import_s,
            list_s=list_s,
            smallest_s=smallest,
            smallest_remix_s=again,
            prepare=lines,
            prepare_cpu={name: fit(points, cpu=True) for name, points in prepare.items()},
            gather_row_s=gather_row,
            gather_fragment_s=gather_fragment,
            seal_row_s=_slope((small.rows, small.seal_s), (large.rows, large.seal_s)),
            write=fit(write),
            write_cpu=fit(write, cpu=True),
            seal_example_s=_slope((few.examples, few.seal_s), (many.examples, many.seal_s)),
            scatter=mean_guess(self.scatter).error or 0.0,
        )

    def _sources(self) -> dict[str, Source]:
        return {name: source for name, source in needed_sources(self.recipe).items() if not isinstance(self.known[name], Store)}

    def _list(self) -> None:
        self.units = {name: source.units() for name, source in self._sources().items()}
        for name, source in self._sources().items():
            source.share(self.folder / f"{name}.shared")

    def _carry_out(self, work: Callable[[Any], Any], orders: Sequence[Any]) -> list[Took]:
        """All orders at once, as a build hands them out."""
        took = [future.result() for future in [self.pool.submit(timed, Timed(work, order)) for order in orders]]
        self.peaks.append((0.0, max((each.peak_bytes for each in took), default=0)))
        return took

    def _prepared(self, kind: str, count: int) -> _Prepared:
        """Stores of pieces of one size, of all sources."""
        found = _Prepared()
        todo = [Preparation(name, source, self.folder / kind / name, ()) for name, source in self._sources().items()]
        orders = {p.name: begin(p.name, p.source, p.folder, self._pieces(p.name, p.source, count)) for p in todo}
        took = self._carry_out(prepare_unit, list(chain.from_iterable(orders.values())))
        pieces = [order.unit.bytes for each in orders.values() for order in each]
        self.peaks[-1] = (sum(pieces) / max(len(pieces), 1), self.peaks[-1][1])
        for p in todo:
            mine = [each for each in took if each.result.name == p.name]
            sizes = [order.unit.bytes for order in orders[p.name]]
            self.bytes_read += sum(sizes)
            found.points[p.name] = [Point(n, each.seconds, each.cpu_s) for n, each in zip(sizes, mine, strict=True)]
            self._gathered(found, p, [each.result for each in mine])
        return found

    def _gathered(self, found: _Prepared, p: Preparation, summaries: list[Any]) -> None:
        """Gather the rows of one source and seal its store."""
        took = self._carry_out(gather_rows, gather_orders(p.name, staging_folder(p.folder), summaries))
        rows = [each.result for each in took]
        found.seal_s += _seconds(lambda: seal_store(p.name, p.source, p.folder, summaries, rows))
        found.rows += sum(each.rows for each in rows)
        found.fragments += len(summaries) * len(rows)
        found.gather_s += sum(each.seconds for each in took)
        found.stores[p.name] = Store(p.folder)

    def _pieces(self, name: str, source: Source, count: int) -> list[Unit]:
        """Pieces of one size from units in an order by seed, numbered from 0 on; those of the split that is drawn first."""
        units = [unit for unit in self.units[name] if source.may_feed(unit.split, self.recipe.split)] or self.units[name]
        number = count * self.workers
        share = LARGE_SHARE if count == LARGE else 1 - LARGE_SHARE
        size = max(int(self.amount.of(sum(unit.bytes for unit in units), LEAST_READ) * share / number), 1)
        chosen = shuffled(units, key64("canary", self.recipe.seed, name))[:number]
        turns = zip_longest(*(source.pieces(unit, size) for unit in chosen))
        pieces = [piece for piece in chain.from_iterable(turns) if piece is not None]
        return [replace(piece, index=i) for i, piece in enumerate(pieces[:number])]

    def _require_rows(self, stores: Mapping[str, Store]) -> None:
        for name, store in stores.items():
            if empty_split(store.info, self.recipe.split):
                what = f"the canary met no row of split {self.recipe.split} in source {name}"
                raise UsageError(what, "--canary", "give it more, such as 5%")

    def _written(self, kind: str, stores: Mapping[str, Store], part: int) -> _Written:
        """A mixture of a part of what a canary writes, its shards timed one by one, and its sealing."""
        shards, wanted = LARGE * self.workers, self.amount.of(self.plan.bytes, LEAST_WRITTEN)
        examples = max(self.plan.num_examples * wanted // max(self.plan.bytes, 1) // part, shards)
        site = Site(self.folder / kind)
        with site.held():
            job, orders = begin_mix(site, self._smaller(examples, wanted // part // shards), stores, allow_bad=True)
            took = self._carry_out(write_shard, orders)
            seal_s = _seconds(lambda: finish(site, job, [each.result for each in took]))
        self.bytes_written += read_manifest(site.out).bytes
        points = [Point(each.result.bytes, each.seconds, each.cpu_s) for each in took]
        return _Written(points, job.plan.num_examples, seal_s)

    def _smaller(self, examples: int, shard_bytes: int, seed: int = 0) -> Recipe:
        """The recipe for another number of examples, which may repeat rows: there are few."""
        shards = self.recipe.shards.model_copy(update={"bytes": max(shard_bytes, 1)})
        changes = {"size": Size(num_examples=examples), "shards": shards, "max_epochs": None, "seed": self.recipe.seed + seed}
        return self.recipe.model_copy(update=changes)

    def _smallest(self, prepare: Mapping[str, Line], write: Line) -> tuple[float, float]:
        """The smallest build there is through the graph, and again from its stores: without their work, what any build costs."""
        todo = []
        for name, source in needed_sources(self.recipe).items():
            folder = self.known[name].path if name not in self.units else self.folder / "smallest" / name
            pieces = self._pieces(name, source, SMALL)[:1] if name in self.units else []
            todo.append(Preparation(name, source, folder, tuple(begin(name, source, folder, pieces)) if pieces else ()))
        cold, size = self._built(todo, 0)  # what a process does once is in it
        warm, _ = self._built([replace(p, units=()) for p in todo], 1)
        work = makespan([prepare[p.name](order.unit.bytes) for p in todo for order in p.units], self.workers)
        return max(cold - work - write(size), 0.0), max(warm - write(size), 0.0) + self._once(cold, todo)

    def _once(self, cold: float, todo: list[Preparation]) -> float:
        """What only the first build of a process takes: the first one, less the same done again."""
        for p in todo:
            if p.units:
                remove_folder(p.folder)
                begin(p.name, p.source, p.folder, [order.unit for order in p.units])
        return max(cold - self._built(todo, 2)[0], 0.0)

    def _built(self, todo: list[Preparation], seed: int) -> tuple[float, int]:
        """Seconds that a whole build took, and its bytes. Raises UsageError where its one piece has no row to draw."""
        site = Site(self.folder / f"built-{seed}")
        recipe = self._smaller(min(SMALLEST, self.plan.num_examples), 1 << 40, seed)

        def build() -> None:
            with site.held(), local_run(self.pool, lambda _: None) as run:
                build_of(run, recipe, site, todo, allow_bad=True)

        with _too_small(self.recipe.split):
            seconds = _seconds(build)
        return seconds, read_manifest(site.out).bytes

    def _note_scatter(self, found: Sequence[tuple[Line, list[Point]]]) -> None:
        for line, points in found:
            self.scatter += [point.seconds / line(point.amount) for point in points if line(point.amount)]

    def _worker_peak(self) -> int:
        """Memory of a worker at units of full size: what it grew by with the size of pieces, it goes on to grow by."""
        sized = [peak for peak in self.peaks if peak[0]]
        grown = _slope(*sized) if len(sized) == 2 else 0.0
        largest = max((unit.bytes for units in self.units.values() for unit in units), default=0)
        beyond = grown * max(largest - sized[-1][0], 0.0) if sized else 0.0
        return round(max(peak for _, peak in self.peaks) + beyond)

    def told(self, rates: Rates, workers: int, idle: int, seconds: float) -> Canary:
        """What follows for the whole build."""
        extent = Extent(
            units={name: tuple(unit.bytes for unit in units) for name, units in self.units.items()},
            rows={s.name: s.rows for s in self.plan.sources},
            examples=self.plan.num_examples,
            bytes=self.plan.bytes,
            shards=self.plan.shards,
            workers=workers,
        )
        whole = sum(map(sum, extent.units.values()))
        return Canary(
            asked=self.amount.asked,
            share=min(self.bytes_read / whole if whole else self.bytes_written / max(self.plan.bytes, 1), 1.0),
            bytes_read=self.bytes_read,
            bytes_written=self.bytes_written,
            workers=workers,
            seconds=seconds,
            build=_forecast(first_build(rates, extent) if extent.units else remix(rates, extent), rates),
            remix=_forecast(remix(rates, extent), rates),
            peak_bytes=peak_bytes() + (idle + self._worker_peak() * workers if workers else 0),
            cpu_s=cpu_seconds(rates, extent),
            rates=rates,
            notes=tuple(self._notes(whole)),
        )

    def _notes(self, whole: int) -> Iterator[str]:
        """What the trial run could not see."""
        if max(whole, self.plan.bytes) > _memory() // 2:
            yield "more is read than memory holds: pictures will come from the disk again, which a canary does not time"
        if self.workers > (os.cpu_count() or 1):
            yield "there are more workers than processors"


@dataclass
class _Prepared:
    """Stores of pieces of one size, and what they took."""

    stores: dict[str, Store] = field(default_factory=dict)
    points: dict[str, list[Point]] = field(default_factory=dict)
    rows: int = 0
    fragments: int = 0
    gather_s: float = 0.0
    seal_s: float = 0.0

    @property
    def gathered(self) -> tuple[float, float, float]:
        return self.rows, self.fragments, self.gather_s


@dataclass(frozen=True)
class _Written:
    points: list[Point]
    examples: int
    seal_s: float


@contextmanager
def _too_small(split: str) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        if "without rows" not in error.what:
            raise
        raise UsageError(f"the canary is too small for split {split}", "--canary", "give it more, such as 5%") from error


def _seconds(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def _slope(small: tuple[float, float], large: tuple[float, float]) -> float:
    """Seconds for each row, of two totals; never less than none."""
    return max((large[1] - small[1]) / (large[0] - small[0]), 0.0) if large[0] > small[0] else 0.0


def _forecast(times: Times, rates: Rates) -> Forecast:
    work = (times.prepare + times.gather + times.write) * rates.scatter
    error = work + (times.start + times.seal) * FIXED_ERROR
    return Forecast(seconds=Range(times.total, times.total - error, times.total + error), phases=times)


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
