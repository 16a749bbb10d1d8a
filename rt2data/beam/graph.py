"""The graph: prepare every source, plan, write every shard, seal. The same from a laptop to Dataflow; only work orders flow.

units -> prepare -> merge -> gather -> seal store --+
ready stores ---------------------------------------+-> plan -> shards -> write -> seal

An output of episodes has one phase more: plan -> regroup rows -> write -> seal.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.windowed_value import WindowedValue

from rt2data.beam.local import find_run
from rt2data.beam.pool import Work
from rt2data.build import MIXTURE, Output, Preparation, Site, begin_build, finish
from rt2data.io.location import path_of
from rt2data.plan.job import read_job
from rt2data.plan.recipe import Recipe
from rt2data.prepare.merge_rows import GatherOrder, RowsSummary, gather_orders, gather_rows, merge_orders, seal_store
from rt2data.prepare.runs import RunOrder, RunSummary, are_merged, write_run
from rt2data.prepare.unit import UnitOrder, UnitSummary, prepare_unit, staging_folder
from rt2data.write.shard import ShardInfo

AT_ONCE = 64
"""Work orders handed to the pool before the first result is waited for."""


class CarryOut(beam.DoFn):  # type: ignore[misc]
    """Hand work orders to the machine's pool; results come in the order of the orders."""

    def __init__(self, work: Work, run: str | None) -> None:
        self.work, self.run = work, run

    def start_bundle(self) -> None:
        self.waiting: deque[Future[Any]] = deque()

    def process(self, order: Any, before: Any = None) -> Iterator[Any]:
        """`before` is what the phase before gave, which is waited for."""
        self.waiting.append(find_run(self.run).submit(self.work, order))
        if len(self.waiting) > AT_ONCE:
            yield self.waiting.popleft().result()

    def finish_bundle(self) -> Iterator[Any]:
        window = GlobalWindow()
        for future in self.waiting:
            yield WindowedValue(future.result(), window.max_timestamp(), [window])


class Here(beam.DoFn):  # type: ignore[misc]
    """Call a small function where the graph runs; its failure keeps its type."""

    def __init__(self, function: Any, run: str | None) -> None:
        self.function, self.run = function, run

    def process(self, element: Any, side: Any = None) -> Iterator[Any]:
        try:
            yield from self.function(element) if side is None else self.function(element, side)
        except Exception as error:
            find_run(self.run).fail(error)
            raise


@dataclass
class PrepareSources(beam.PTransform):  # type: ignore[misc]
    """The names of the sources whose stores are ready, after those that were not have been prepared."""

    todo: tuple[Preparation, ...]
    run: str | None = None

    def expand(self, start: Any) -> Any:
        """Units -> rows -> stores; nothing of it where every store is ready."""
        ready = start | "ReadyStores" >> beam.Create([p.name for p in self.todo if p.ready])
        orders = [order for p in self.todo for order in p.units]
        return (ready, self._prepare(start, orders)) | "Stores" >> beam.Flatten() if orders else ready

    def _prepare(self, start: Any, orders: list[UnitOrder]) -> Any:
        by_name = {p.name: _small(p) for p in self.todo}
        units = (
            start
            | "Units" >> beam.Create(orders)
            | "SpreadUnits" >> beam.Reshuffle()
            | "PrepareUnit" >> beam.ParDo(CarryOut(prepare_unit, self.run)).with_output_types(UnitSummary)
            | "UnitsByName" >> beam.Map(_named)
        )
        parts = {"units": units}
        if any(are_merged(len(p.units)) for p in self.todo):
            parts["runs"] = self._merge(units, by_name)
        rows = (
            parts
            | "AllUnits" >> beam.CoGroupByKey()
            | "GatherOrders" >> beam.ParDo(Here(_GatherOrders(by_name), self.run)).with_output_types(GatherOrder)
            | "SpreadRows" >> beam.Reshuffle()
            | "GatherRows" >> beam.ParDo(CarryOut(gather_rows, self.run)).with_output_types(RowsSummary)
            | "RowsByName" >> beam.Map(_named)
        )
        return (
            {"units": units, "rows": rows}
            | "AllOfAStore" >> beam.CoGroupByKey()
            | "SealStore" >> beam.ParDo(Here(_SealStore(by_name), self.run)).with_output_types(str)
        )

    def _merge(self, units: Any, by_name: dict[str, Preparation]) -> Any:
        """Units -> runs of their rows, by name."""
        return (
            units
            | "UnitsToMerge" >> beam.GroupByKey()
            | "MergeOrders" >> beam.ParDo(Here(_MergeOrders(by_name), self.run)).with_output_types(RunOrder)
            | "SpreadRuns" >> beam.Reshuffle()
            | "WriteRun" >> beam.ParDo(CarryOut(write_run, self.run)).with_output_types(RunSummary)
            | "RunsByName" >> beam.Map(_named)
        )


def _small(todo: Preparation) -> Preparation:
    """Without its work orders: they flow through the graph, and need not stand in its description again and again."""
    return replace(todo, units=())


def _named(summary: Any) -> tuple[str, Any]:
    return summary.name, summary


@dataclass(frozen=True)
class _MergeOrders:
    todo: dict[str, Preparation]

    def __call__(self, named: tuple[str, Iterable[UnitSummary]]) -> list[RunOrder]:
        name, units = named
        return merge_orders(name, staging_folder(self.todo[name].folder), list(units))


@dataclass(frozen=True)
class _GatherOrders:
    todo: dict[str, Preparation]

    def __call__(self, named: tuple[str, dict[str, Iterable[Any]]]) -> list[GatherOrder]:
        name, parts = named
        return gather_orders(name, staging_folder(self.todo[name].folder), list(parts["units"]), list(parts.get("runs", ())))


@dataclass(frozen=True)
class _SealStore:
    todo: dict[str, Preparation]

    def __call__(self, named: tuple[str, dict[str, Iterable[Any]]]) -> list[str]:
        name, parts = named
        units = sorted(parts["units"], key=lambda u: int(u.unit))
        seal_store(name, self.todo[name].source, self.todo[name].folder, units, list(parts["rows"]))
        return [name]


@dataclass
class Build(beam.PTransform):  # type: ignore[misc]
    """From the names of ready stores to the sealed manifest's path."""

    site: Site
    recipe: Recipe
    todo: tuple[Preparation, ...]
    allow_bad: bool = False
    run: str | None = None
    output: Output = MIXTURE

    def expand(self, stores: Any) -> Any:
        """Plan once all stores are ready, carry out the phases one after another, seal once all shards are written."""
        start = stores.pipeline | "Start" >> beam.Create([None])
        plan = _Plan(self.site, self.recipe, self.todo, self.allow_bad, self.run, self.output)
        orders = start | "Plan" >> beam.ParDo(Here(plan, self.run), beam.pvalue.AsList(stores))
        before: list[Any] = []
        for kind, work in self.output.phases:
            name = work.__name__.title().replace("_", "")
            spread = orders | f"{name}Orders" >> beam.Filter(_is, kind) | f"{name}Spread" >> beam.Reshuffle()
            before = [beam.pvalue.AsList(spread | name >> beam.ParDo(CarryOut(work, self.run), *before))]
        folder = orders | "Folders" >> beam.Map(_folder) | "Folder" >> beam.Distinct()  # none where there is nothing to do
        return folder | "Seal" >> beam.ParDo(Here(_Seal(self.site, self.output), self.run), *before).with_output_types(str)


def _folder(order: Any) -> str:
    return str(order.folder)


def _is(order: Any, kind: type) -> bool:
    return isinstance(order, kind)


@dataclass(frozen=True)
class _Plan:
    site: Site
    recipe: Recipe
    todo: tuple[Preparation, ...]
    allow_bad: bool
    run: str | None
    output: Output

    def __call__(self, _: None, ready: list[str]) -> list[Any]:
        stores = {p.name: p.store for p in self.todo}
        assert set(ready) == set(stores)
        run = find_run(self.run)
        return run.decided or run.decide(lambda: begin_build(self.site, self.recipe, stores, self.allow_bad, self.output))


@dataclass(frozen=True)
class _Seal:
    site: Site
    output: Output

    def __call__(self, folder: str, shards: list[ShardInfo]) -> list[str]:
        written = path_of(folder)
        finish(self.site, written, read_job(written), shards, self.output)
        return [str(self.site.out)]


def wire(
    pipeline: Any,
    recipe: Recipe,
    site: Site,
    todo: list[Preparation],
    allow_bad: bool = False,
    run: str | None = None,
    output: Output = MIXTURE,
) -> Any:
    """Put the whole graph into a pipeline."""
    return pipeline | PrepareSources(tuple(todo), run) | Build(site, recipe, tuple(map(_small, todo)), allow_bad, run, output)
