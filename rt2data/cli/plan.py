"""`rt2data plan`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec

from rt2data.beam.pool import Pool
from rt2data.cli.build import Asked
from rt2data.cli.console import say_json, talk
from rt2data.cli.outlook import show_outlook
from rt2data.cli.progress import Progress, quiet_libraries
from rt2data.errors import command
from rt2data.forecast.canary import Clock, fly, parse_amount
from rt2data.forecast.cost import cloud_cost
from rt2data.forecast.outlook import Outlook, exact, known_sources, outlook
from rt2data.forecast.prices import read_prices
from rt2data.forecast.space import needs_of
from rt2data.forecast.workload import labour_of
from rt2data.io import location
from rt2data.io.disk import space_warnings
from rt2data.plan.recipe import Recipe
from rt2data.records import worst_first


@dataclass(frozen=True)
class Foresee:
    """What the command line wants to know of a build."""

    prepare: bool
    canary: str | None
    dataflow: bool
    machine: str
    region: str
    prices: Path | None


def plan(asked: Asked, wanted: Foresee, allow_bad: bool) -> None:
    """Decide and show: from the prepared stores, or from a quick scan of what is not prepared. Writes no shard."""
    recipe = asked.read()
    found = _canary(asked, wanted, recipe, allow_bad) if wanted.canary else _plan(asked, wanted, recipe, allow_bad)
    found = _with_space(found, asked, recipe)
    if wanted.dataflow:
        cost = cloud_cost(labour_of(found), read_prices(wanted.prices), wanted.region, wanted.machine)
        found = msgspec.structs.replace(found, dataflow=cost)
    if asked.as_json:
        say_json(msgspec.to_builtins(found))
    else:
        show_outlook(found)
        _advise(found, asked)


def _with_space(found: Outlook, asked: Asked, recipe: Recipe) -> Outlook:
    """The plan, warned where a disk has too little room for what it says."""
    short = space_warnings(*needs_of(found, location.absolute(asked.recipe).parent, recipe.store_folder))
    return msgspec.structs.replace(found, warnings=worst_first((*found.warnings, *short)))


def _plan(asked: Asked, wanted: Foresee, recipe: Recipe, allow_bad: bool) -> Outlook:
    if not wanted.prepare:
        return outlook(recipe, known_sources(recipe, location.absolute(recipe.store_folder)), allow_bad)
    with asked.workers_at_work() as pool:
        return _prepared(asked, recipe, pool, allow_bad)


def _prepared(asked: Asked, recipe: Recipe, pool: Pool, allow_bad: bool) -> Outlook:
    from rt2data.beam.run import plan_locally

    with quiet_libraries():
        return exact(plan_locally(recipe, pool, Progress(asked.quiet), allow_bad).plan)


def _canary(asked: Asked, wanted: Foresee, recipe: Recipe, allow_bad: bool) -> Outlook:
    """The plan, and what a trial run of a part of it foretells."""
    amount, clock, near = parse_amount(wanted.canary or ""), Clock(), location.absolute(asked.recipe).parent
    with asked.workers_at_work() as pool, quiet_libraries():
        if wanted.prepare:
            _prepared(asked, recipe, pool, allow_bad)
        known = known_sources(recipe, location.absolute(recipe.store_folder))
        found = outlook(recipe, known, allow_bad)
        canary = fly(recipe, found, known, pool, asked.worker_count, amount, near, clock)
    return msgspec.structs.replace(found, canary=canary)


def _advise(found: Outlook, asked: Asked) -> None:
    """How to know more."""
    if found.estimated and not asked.quiet:
        options = [word for each in asked.overrides for word in ("--set", each)]
        options += ["--robot-frac", asked.robot_frac] if asked.robot_frac is not None else []
        more = "" if found.canary else f"; how long it takes: {command('plan', asked.recipe, *options, '--canary', '1%')}"
        talk(f"~ is an estimate from a quick scan; exact: {command('plan', asked.recipe, *options, '--prepare')}{more}")
