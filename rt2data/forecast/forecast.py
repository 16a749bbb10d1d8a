"""The output of `rt2data plan`: the plan, from stores if they are ready and otherwise from estimates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from rt2data.build import Preparation
from rt2data.errors import UsageError
from rt2data.forecast.canary import Canary
from rt2data.forecast.cost import RATES, CloudCost, Prices, Workload, builtin_cpu_s, cloud_cost
from rt2data.forecast.estimate import EstimatedStore, Range, SourceEstimate, estimate_store, seed_of
from rt2data.forecast.reading import Reading, read_storage, reading_cost, readings
from rt2data.formats.base import make_format
from rt2data.io import location
from rt2data.io.disk import Need, require_space
from rt2data.io.location.folders import free_bytes
from rt2data.plan.decide import decide
from rt2data.plan.filtered import FilterReport, filter_reports, filter_warnings
from rt2data.plan.model import Plan
from rt2data.plan.plan import draws, needed_sources, require_few_rejects, shard_count
from rt2data.plan.recipe import Recipe
from rt2data.prepare.begin import ready_store, store_folder
from rt2data.prepare.runs import ROWS_PER_FILE
from rt2data.prepare.store import Known, Store
from rt2data.read.source import Source
from rt2data.records import Warn, worst_first
from rt2data.render.tokenizer import load_tokenizer

SPREAD = (0.5, 2.0)
"""Built-in rates come from another machine and images of 50 kB: assumed to be right within a factor of two."""


class Totals(msgspec.Struct, frozen=True):
    """Ranges for all sources together, with every source at the same end of its range."""

    num_examples: Range
    bytes: Range
    shards: Range


class PlanForecast(Plan, frozen=True, kw_only=True):
    """A plan and its uncertainty. An estimated plan has no fingerprint, so it cannot be compared with an output."""

    estimated: bool = False
    estimates: dict[str, SourceEstimate] = msgspec.field(default_factory=dict)  # of unprepared sources
    totals: Totals | None = None
    canary: Canary | None = None
    dataflow: CloudCost | None = None
    reading: tuple[Reading, ...] = ()  # of the sources with images in an object store
    filters: tuple[FilterReport, ...] = ()  # of the robot sources with filters


def known_sources(recipe: Recipe, root: Path) -> dict[str, Known]:
    """The store of each needed source if ready, else an estimate. Raises the same errors as preparing it; writes nothing."""
    load_tokenizer(recipe.tokenizer.kind, recipe.tokenizer.path)
    return {name: _known(name, source, recipe, root) for name, source in needed_sources(recipe).items()}


def _known(name: str, source: Source, recipe: Recipe, root: Path) -> Known:
    folder = store_folder(root, name, source, recipe.compact)
    return ready_store(folder) or estimate_store(name, source, folder, recipe.split, seed_of(recipe.seed, name))


def forecast_plan(recipe: Recipe, known: Mapping[str, Known], allow_bad: bool = False) -> PlanForecast:
    """The plan from known sources: exact if all stores are ready.

    Raises UsageError, DataError or RejectLimitError if it could not be built; a sample with too many rejects is only a warning.
    """
    estimates = {name: each.estimate for name, each in known.items() if isinstance(each, EstimatedStore)}
    if not allow_bad:
        require_few_rejects(recipe, {name: each for name, each in known.items() if isinstance(each, Store)})
    plan = decide(recipe, known, allow_bad=True).plan
    reading, filters = readings(plan, recipe, known), filter_reports(recipe, known)
    if not estimates:
        return _forecast(plan, reading=reading, filters=filters)
    doubts = (*_too_many_rejects(recipe, estimates, allow_bad), *filter_warnings(recipe, known))
    return _forecast(
        plan,
        reading=reading,
        filters=filters,
        fingerprint="",
        warnings=worst_first((*plan.warnings, *doubts)),
        estimated=True,
        estimates=estimates,
        totals=_totals(plan, recipe, estimates),
    )


def exact(plan: Plan, filters: tuple[FilterReport, ...] = ()) -> PlanForecast:
    """A plan made from prepared stores."""
    return _forecast(plan, filters=filters)


def _forecast(plan: Plan, **changes: Any) -> PlanForecast:
    return PlanForecast(**{name: getattr(plan, name) for name in plan.__struct_fields__} | changes)


def _too_many_rejects(recipe: Recipe, estimates: Mapping[str, SourceEstimate], allow_bad: bool) -> list[Warn]:
    """Warnings for samples with more rejects than the recipe allows in the whole source."""
    limit = float(recipe.max_bad)
    said = "of the sampled rows are faulty; above max_bad"
    return [
        Warn("rejects", "warning", name, f"{each.bad:.1%} {said} {limit:.3g} a build stops", "fix the source, or raise max_bad")
        for name, each in estimates.items()
        if not allow_bad and each.bad > recipe.max_bad
    ]


def _totals(plan: Plan, recipe: Recipe, estimates: Mapping[str, SourceEstimate]) -> Totals:
    """The plan's arithmetic at both ends of the ranges."""
    ends = [_end_of(plan, recipe, estimates, end) for end in ("low", "high")]
    values = (plan.num_examples, plan.bytes, plan.shards)
    return Totals(*(_range(value, [end and end[i] for end in ends]) for i, value in enumerate(values)))


def _end_of(plan: Plan, recipe: Recipe, estimates: Mapping[str, SourceEstimate], end: str) -> tuple[int, int, int] | None:
    """Examples, bytes and shards at one end; None if unknown, or if there would be nothing to draw."""

    def at_end(figure: str, name: str, exact: int) -> float | None:
        found: float | None = getattr(getattr(estimates[name], figure), end) if name in estimates else exact
        return found

    rows = {s.name: at_end("rows", s.name, s.rows) for s in plan.sources}
    images = {s.name: at_end("image_bytes", s.name, s.image_bytes) for s in plan.sources}
    if None in rows.values() or None in images.values():
        return None
    try:
        counts = draws(recipe, {name: max(round(count or 0), 1) for name, count in rows.items()})
    except UsageError:  # exceeds the limits of a mixture, at this end only
        return None
    form = make_format(plan.format)
    written = {name: min(n, round(rows[name] or 0)) if plan.materialize else n for name, n in counts.items()}
    sizes = {s.name: written[s.name] * form.example_bytes([round(images[s.name] or 0)], s.record_bytes) for s in plan.sources}
    parts = [(written[name], sizes[name]) for name in sizes] if plan.materialize else [(sum(counts.values()), sum(sizes.values()))]
    return sum(counts.values()), sum(sizes.values()), sum(shard_count(*part, recipe.shards.bytes) for part in parts)


def _range(value: float, ends: list[Any]) -> Range:
    if any(end is None for end in ends):
        return Range(value, None, None)
    return Range(value, min(value, *ends), max(value, *ends))


# Disk space


def needs_of(found: PlanForecast, out: Path, store: Path) -> tuple[Need, Need]:
    """The space needed by a build, by folder: the store and the output may be on different disks."""
    stores = sum(each.store_bytes for each in found.estimates.values())
    return Need("the output", location.absolute(out), found.bytes), Need("the store", location.absolute(store), stores)


def require_store_space(recipe: Recipe, todo: Sequence[Preparation]) -> None:
    """Check before sources are prepared. Raises OutputError if their stores will not fit.

    A store is smaller than its source, so a sample is read only if the disk has less space than the size of the source.
    """
    fresh = [p for p in todo if not p.ready]
    root = location.absolute(recipe.store_folder)
    if not fresh or free_bytes(root) > sum(order.unit.bytes for p in fresh for order in p.units):
        return
    found = [estimate_store(p.name, p.source, p.folder, recipe.split, seed_of(recipe.seed, p.name)) for p in fresh]
    require_space(Need("the store", root, sum(each.estimate.store_bytes for each in found)))


# Work


def priced(found: PlanForecast, prices: Prices, region: str, machine: str) -> PlanForecast:
    """The same with its cost on Dataflow. Raises UsageError if the table lacks the region or the machine."""
    cost, storage = cloud_cost(workload(found), prices, region, machine), read_storage()
    rates = storage.regions.get(region)
    if rates is None:
        return msgspec.structs.replace(found, dataflow=cost)
    terms = (cost.high.workers, rates, prices.region(region), storage.as_of)
    reading = tuple(msgspec.structs.replace(each, cost=reading_cost(each, *terms)) for each in found.reading)
    return msgspec.structs.replace(found, dataflow=cost, reading=reading)


def workload(found: PlanForecast) -> Workload:
    """The work orders of a plan and their CPU time: from the canary if there is one, else from built-in rates."""
    fresh = {s.name: s for s in found.sources if s.name in found.estimates}
    units = sum(each.units for each in found.estimates.values())
    files = sum(-(-source.rows // ROWS_PER_FILE) for source in fresh.values())
    read = sum(each.reads for each in found.estimates.values())
    cpu_s, cpu_from = _cpu(found, sum(source.rows for source in fresh.values()), read)
    return Workload(
        cpu_s=cpu_s,
        cpu_from=cpu_from,
        orders=2 * (units + files + found.shards),
        lanes=max(units, found.shards),
        read_bytes=read + found.bytes,
        write_bytes=found.bytes,
    )


def _cpu(found: PlanForecast, rows: int, read: int) -> tuple[tuple[float, float], str]:
    if found.canary is not None:
        cpu, spread = found.canary.cpu_s, min(found.canary.rates.scatter, 0.9)
        return (cpu * (1 - spread), cpu * (1 + spread)), f"canary of {found.canary.asked}"
    cpu = builtin_cpu_s(rows, read, sum(map(found.written, found.sources)), found.bytes)
    return (cpu * SPREAD[0], cpu * SPREAD[1]), f"{RATES}; decoding or resizing images takes more: use --canary"
