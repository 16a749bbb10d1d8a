"""The graph: prepare every source, plan, write every shard, seal. The same from a laptop to Dataflow; only work orders flow.

list -> units -> prepare -> merge -> gather -> [compact] -> seal store --+
ready stores ------------------------------------------------------------+-> plan -> shards -> write -> seal

An output of episodes has one phase more: plan -> regroup rows -> write -> seal.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from rt2data.beam.local import LocalRun, RunId, find_run
from rt2data.beam.pool import Work
from rt2data.build import MIXTURE, Listing, Output, Preparation, Site, begin_build, finish
from rt2data.io.location import path_of, traffic
from rt2data.io.location.folders import make_folder
from rt2data.plan.job import read_job
from rt2data.plan.plan import needed_sources
from rt2data.plan.recipe import Recipe
from rt2data.prepare.begin import staging_folder
from rt2data.prepare.blobs import BlobsSummary
from rt2data.prepare.compact import SPILL, BlobsOrder, Order, wanted_orders, write_blobs, write_places, write_spill
from rt2data.prepare.gather import GatherOrder, RowsSummary, gather_orders, gather_rows, merge_orders
from rt2data.prepare.runs import RunOrder, RunSummary, are_merged, write_run
from rt2data.prepare.seal import seal_store
from rt2data.prepare.shuffle import Group, group_of, read_images, write_groups
from rt2data.prepare.store import Store
from rt2data.prepare.unit import UnitOrder, UnitSummary, prepare_unit
from rt2data.write.shard import ShardInfo

MIN_RAM = "6GB"
"""Memory of a worker that writes shards or merges rows: up to 0.7 GB for each of four concurrent orders, plus Beam and the system.
Runners that choose machines by hints use it, such as Dataflow Prime; others ignore it."""


class CarryOut(beam.DoFn):  # type: ignore[misc]
    """Submit work orders to the machine's pool; results come in the order of the orders."""

    def __init__(self, work: Work, run: RunId | None) -> None:
        self.work, self.run = work, run

    def start_bundle(self) -> None:
        self.waiting: deque[Future[Any]] = deque()
        self.found: LocalRun = find_run(self.run)

    def process(self, order: Any, before: Any = None) -> Iterator[Any]:
        """`before` is the output of the previous phase, so that Beam waits for it."""
        self.waiting.append(self.found.submit(self.work, order))
        if len(self.waiting) > self.found.at_once:
            yield _counted(self.waiting.popleft().result())

    def finish_bundle(self) -> Iterator[Any]:
        window = GlobalWindow()
        for future in self.waiting:
            yield WindowedValue(_counted(future.result()), window.max_timestamp(), [window])


def _counted(result: Any) -> Any:
    """The result, after adding its figures to the runner's counters, by which users watch a job."""
    for name, count in (_figures(result) | traffic.taken()).items():
        Metrics.counter("rt2data", name).inc(count)
    return result


def _figures(result: Any) -> dict[str, int]:
    match result:
        case UnitSummary():
            lost = sum(each.count for each in result.rejects)
            return {"units": 1, "rows": sum(result.rows.values()), "rejects": lost, "bytes_read": result.bytes_read}
        case ShardInfo():
            return {"shards": 1, "examples": result.examples, "bytes": result.bytes}
    return {}


class Here(beam.DoFn):  # type: ignore[misc]
    """Call a small function where the graph runs; a failure keeps its type."""

    def __init__(self, function: Any, run: RunId | None) -> None:
        self.function, self.run = function, run

    def process(self, element: Any, side: Any = None) -> Iterator[Any]:
        run = find_run(self.run)
        run.look()
        try:
            yield from self.function(element) if side is None else self.function(element, side)
        except Exception as error:
            run.fail(error)
            raise
        _counted(None)


@dataclass
class PrepareSources(beam.PTransform):  # type: ignore[misc]
    """Name and folder of each source's store, once ready. `listing` holds the work, or lets a worker find it."""

    listing: Listing
    run: RunId | None = None

    def expand(self, start: Any) -> Any:
        """List -> units -> rows -> stores; nothing if every store is known to be ready."""
        known = self.listing.known
        if known is not None and all(p.ready for p in known):
            return start | "ReadyStores" >> beam.Create([_store_of(p) for p in known])
        listed = self._list(start)
        ready = listed | "ReadyStores" >> beam.FlatMap(_ready)
        return (ready, self._prepare(listed)) | "Stores" >> beam.Flatten()

    def _list(self, start: Any) -> Any:
        if self.listing.known is not None:
            return start | "Sources" >> beam.Create(self.listing.known)
        names = start | "Sources" >> beam.Create(self.listing.names) | "SpreadSources" >> beam.Reshuffle()
        return names | "ListSource" >> beam.ParDo(Here(_List(self.listing), self.run)).with_output_types(Preparation)

    def _prepare(self, listed: Any) -> Any:
        by_name = beam.pvalue.AsDict(listed | "SourcesByName" >> beam.Map(_small))
        units = (
            listed
            | "Units" >> beam.FlatMap(_units)
            | "SpreadUnits" >> beam.Reshuffle()
            | "PrepareUnit" >> beam.ParDo(CarryOut(prepare_unit, self.run)).with_output_types(UnitSummary)
            | "UnitsByName" >> beam.Map(_named)
        )
        parts = {"units": units}
        if self.listing.known is None or any(are_merged(len(p.units)) for p in self.listing.known):
            parts["runs"] = self._merge(units, by_name)
        rows = (
            parts
            | "AllUnits" >> beam.CoGroupByKey()
            | "GatherOrders" >> beam.ParDo(Here(_gather_orders, self.run), by_name).with_output_types(GatherOrder)
            | "SpreadRows" >> beam.Reshuffle()
            | "GatherRows" >> _heavy(CarryOut(gather_rows, self.run)).with_output_types(RowsSummary)
            | "RowsByName" >> beam.Map(_named)
        )
        parts = {"units": units, "rows": rows}
        if self.listing.compacts("spill", "runner", "auto"):
            parts["blobs"] = self._compact(rows, by_name)
        return (
            parts
            | "AllOfAStore" >> beam.CoGroupByKey()
            | "SealStore" >> beam.ParDo(Here(_seal_store, self.run), by_name).with_output_types(tuple[str, str])
        )

    def _merge(self, units: Any, by_name: Any) -> Any:
        """Units -> runs of their rows, by name."""
        return (
            units
            | "UnitsToMerge" >> beam.GroupByKey()
            | "MergeOrders" >> beam.ParDo(Here(_merge_orders, self.run), by_name).with_output_types(RunOrder)
            | "SpreadRuns" >> beam.Reshuffle()
            | "WriteRun" >> _heavy(CarryOut(write_run, self.run)).with_output_types(RunSummary)
            | "RunsByName" >> beam.Map(_named)
        )

    def _compact(self, rows: Any, by_name: Any) -> Any:
        """Files of rows -> blobs of their images, by name; none if a store is not to be compacted."""
        orders = (
            rows
            | "RowsToCompact" >> beam.GroupByKey()
            | "CompactOrders" >> beam.ParDo(Here(_compact_orders, self.run), by_name).with_output_types(Order)
        )
        places, spills, blobs = (orders | kind.__name__ >> beam.Filter(_is, kind) for kind, _ in SPILL)
        done = beam.pvalue.AsList(self._spread(places, write_places))
        if self.listing.compacts("runner"):
            found = self._shuffle(spills, blobs, done)
        else:
            done = beam.pvalue.AsList(self._spread(spills, write_spill, done))
            found = self._spread(blobs, write_blobs, done)
        return found | "BlobsByName" >> beam.Map(_named)

    def _spread(self, orders: Any, work: Work, *before: Any) -> Any:
        """Carry out orders, spread over all workers."""
        name = work.__name__.title().replace("_", "")
        return orders | f"{name}Spread" >> beam.Reshuffle() | name >> _heavy(CarryOut(work, self.run), *before)

    def _shuffle(self, spills: Any, blobs: Any, places: Any) -> Any:
        """Images -> blobs, through the runner's shuffle."""
        images = spills | "SpreadRanges" >> beam.Reshuffle() | "ReadImages" >> beam.ParDo(Here(read_images, self.run), places)
        groups = blobs | "Groups" >> beam.Map(_empty_group)  # a group may need no images
        orders = beam.pvalue.AsDict(blobs | "BlobsOrders" >> beam.Map(_by_group))
        return (
            (images, groups)
            | "ImagesAndGroups" >> beam.Flatten()
            | "ImagesByGroup" >> beam.GroupByKey()
            | "WriteGroup" >> beam.ParDo(Here(write_groups, self.run), orders).with_output_types(BlobsSummary)
        )


def _empty_group(order: BlobsOrder) -> tuple[Group, None]:
    return group_of(order), None


def _by_group(order: BlobsOrder) -> tuple[Group, BlobsOrder]:
    return group_of(order), order


@dataclass(frozen=True)
class _List:
    listing: Listing

    def __call__(self, name: str) -> list[Preparation]:
        return [self.listing.find(name)]


def _heavy(work: CarryOut, *before: Any) -> Any:
    return beam.ParDo(work, *before).with_resource_hints(min_ram=MIN_RAM)


def _small(todo: Preparation) -> tuple[str, Preparation]:
    """By name, without its work orders, which flow through the graph separately."""
    return todo.name, replace(todo, units=())


def _units(todo: Preparation) -> tuple[UnitOrder, ...]:
    return todo.units


def _store_of(todo: Preparation) -> tuple[str, str]:
    return todo.name, str(todo.folder)


def _ready(todo: Preparation) -> list[tuple[str, str]]:
    return [_store_of(todo)] if todo.ready else []


def _named(summary: Any) -> tuple[str, Any]:
    return summary.name, summary


def _merge_orders(named: tuple[str, Iterable[UnitSummary]], todo: dict[str, Preparation]) -> list[RunOrder]:
    name, units = named
    found = todo[name]
    return merge_orders(name, staging_folder(found.folder), list(units), found.compact)


def _gather_orders(named: tuple[str, dict[str, Iterable[Any]]], todo: dict[str, Preparation]) -> list[GatherOrder]:
    name, parts = named
    found = todo[name]
    return gather_orders(name, staging_folder(found.folder), list(parts["units"]), list(parts.get("runs", ())), found.compact)


def _compact_orders(named: tuple[str, Iterable[RowsSummary]], todo: dict[str, Preparation]) -> list[Order]:
    name, rows = named
    found = todo[name]
    return wanted_orders(found.compact, name, found.source, found.folder, list(rows))


def _seal_store(named: tuple[str, dict[str, Iterable[Any]]], todo: dict[str, Preparation]) -> list[tuple[str, str]]:
    name, parts = named
    units = sorted(parts["units"], key=lambda u: int(u.unit))
    seal_store(name, todo[name].source, todo[name].folder, units, list(parts["rows"]), list(parts.get("blobs", ())))
    return [_store_of(todo[name])]


@dataclass
class Build(beam.PTransform):  # type: ignore[misc]
    """From the ready stores to the path of the sealed output."""

    site: Site
    recipe: Recipe
    allow_bad: bool = False
    run: RunId | None = None
    output: Output = MIXTURE

    def expand(self, stores: Any) -> Any:
        """Plan once all stores are ready, carry out the phases in sequence, seal once all shards are written."""
        start = stores.pipeline | "Start" >> beam.Create([None])
        plan = _Plan(self.site, self.recipe, self.allow_bad, self.run, self.output)
        orders = start | "Plan" >> beam.ParDo(Here(plan, self.run), beam.pvalue.AsList(stores))
        before: list[Any] = []
        for kind, work in self.output.phases:
            name = work.__name__.title().replace("_", "")
            spread = orders | f"{name}Orders" >> beam.Filter(_is, kind) | f"{name}Spread" >> beam.Reshuffle()
            before = [beam.pvalue.AsList(spread | name >> _heavy(CarryOut(work, self.run), *before))]
        folder = orders | "Folders" >> beam.Map(_folder) | "Folder" >> beam.Distinct()  # none if there is nothing to do
        seal = _Seal(self.site, self.output, self.run)
        return folder | "Seal" >> beam.ParDo(Here(seal, self.run), *before).with_output_types(str)


def _folder(order: Any) -> str:
    return str(order.folder)


def _is(order: Any, kind: type) -> bool:
    return isinstance(order, kind)


@dataclass(frozen=True)
class _Plan:
    site: Site
    recipe: Recipe
    allow_bad: bool
    run: RunId | None
    output: Output

    def __call__(self, _: None, ready: list[tuple[str, str]]) -> list[Any]:
        stores = {name: Store(path_of(folder)) for name, folder in sorted(ready)}
        assert set(stores) == set(needed_sources(self.recipe))
        run = find_run(self.run)
        make_folder(self.site.staging)  # a template's launcher is gone and has removed its empty folder
        orders = run.decided or run.decide(lambda: begin_build(self.site, self.recipe, stores, self.allow_bad, self.output))
        if not orders:
            run.end()
        return orders


@dataclass(frozen=True)
class _Seal:
    site: Site
    output: Output
    run: RunId | None

    def __call__(self, folder: str, shards: list[ShardInfo]) -> list[str]:
        written = path_of(folder)
        finish(self.site, written, read_job(written), shards, self.output)
        find_run(self.run).end()
        return [str(self.site.out)]


def wire(
    pipeline: Any,
    recipe: Recipe,
    site: Site,
    listing: Listing,
    allow_bad: bool = False,
    run: RunId | None = None,
    output: Output = MIXTURE,
) -> Any:
    """Put the whole graph into a pipeline."""
    return pipeline | PrepareSources(listing, run) | Build(site, recipe, allow_bad, run, output)
