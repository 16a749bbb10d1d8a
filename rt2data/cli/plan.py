"""`rt2data plan`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from rt2data.beam.pool import Pool
from rt2data.cli.build import BuildOptions
from rt2data.cli.console import say_json, talk
from rt2data.cli.plan_tables import show_outlook
from rt2data.cli.progress import Progress, quiet_libraries
from rt2data.errors import command
from rt2data.forecast.canary import parse_amount, run_canary
from rt2data.forecast.cost import read_prices
from rt2data.forecast.forecast import PlanForecast, exact, forecast_plan, known_sources, needs_of, priced
from rt2data.io import location
from rt2data.io.disk import space_warnings
from rt2data.io.location import path_of
from rt2data.plan.filtered import filter_reports
from rt2data.plan.recipe import Recipe
from rt2data.prepare.store import Store
from rt2data.records import worst_first


@dataclass(frozen=True)
class ForecastOptions:
    """What a plan should determine, and the prices to use."""

    prepare: bool
    canary: str | None
    dataflow: bool
    machine: str
    region: str
    prices: Path | None


def plan(asked: BuildOptions, wanted: ForecastOptions, allow_bad: bool) -> None:
    """Plan and print, from prepared stores, or from samples of unprepared sources. Writes no shard."""
    recipe = asked.read()
    found = _canary(asked, wanted, recipe, allow_bad) if wanted.canary else _plan(asked, wanted, recipe, allow_bad)
    found = _with_space(found, asked, recipe)
    if wanted.dataflow:
        found = priced(found, read_prices(wanted.prices), wanted.region, wanted.machine)
    if asked.as_json:
        say_json(msgspec.to_builtins(found))
    else:
        show_outlook(found)
        _advise(found, asked)


def _with_space(found: PlanForecast, asked: BuildOptions, recipe: Recipe) -> PlanForecast:
    """The plan, with a warning if a disk has too little free space for it."""
    short = space_warnings(*needs_of(found, location.absolute(asked.recipe).parent, recipe.store_folder))
    return msgspec.structs.replace(found, warnings=worst_first((*found.warnings, *short)))


def _plan(asked: BuildOptions, wanted: ForecastOptions, recipe: Recipe, allow_bad: bool) -> PlanForecast:
    if not wanted.prepare:
        return forecast_plan(recipe, known_sources(recipe, location.absolute(recipe.store_folder)), allow_bad)
    with asked.workers_at_work() as pool:
        return _prepared(asked, recipe, pool, allow_bad)


def _prepared(asked: BuildOptions, recipe: Recipe, pool: Pool, allow_bad: bool) -> PlanForecast:
    from rt2data.beam.run import plan_locally

    with quiet_libraries():
        job = plan_locally(recipe, pool, Progress(asked.quiet), allow_bad)
    return exact(job.plan, filter_reports(recipe, {name: Store(path_of(path)) for name, path in job.stores.items()}))


def _canary(asked: BuildOptions, wanted: ForecastOptions, recipe: Recipe, allow_bad: bool) -> PlanForecast:
    """The plan, with the prediction from a trial run of a part of it."""
    amount, startup_s = parse_amount(wanted.canary or ""), time.process_time()
    if wanted.prepare:
        _plan(asked, wanted, recipe, allow_bad)
    known = known_sources(recipe, location.absolute(recipe.store_folder))
    found = forecast_plan(recipe, known, allow_bad)
    began, near = time.perf_counter(), location.absolute(asked.recipe).parent
    with asked.workers_at_work() as pool, quiet_libraries():
        canary = run_canary(recipe, found, known, pool, asked.worker_count, amount, near, startup_s, began)
    return msgspec.structs.replace(found, canary=canary)


def _advise(found: PlanForecast, asked: BuildOptions) -> None:
    """Print how to get exact figures, and times."""
    if found.estimated and not asked.quiet:
        options = [word for each in asked.overrides for word in ("--set", each)]
        options += ["--robot-frac", asked.robot_frac] if asked.robot_frac is not None else []
        more = "" if found.canary else f"; for the time it takes: {command('plan', asked.recipe, *options, '--canary', '1%')}"
        talk(f"~ marks an estimate from a sample; for exact figures: {command('plan', asked.recipe, *options, '--prepare')}{more}")
