"""`rt2data stats`: what a source, a store, a recipe or a mixture looks like in numbers."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import msgspec

from rt2data.beam.pool import Pool, PoolKind, pool_at_work
from rt2data.cli.console import say_json, talk
from rt2data.cli.progress import Progress, quiet_libraries
from rt2data.cli.stats_tables import show
from rt2data.io.location.folders import temporary_folder
from rt2data.look.stats.find import Question, find_subject
from rt2data.look.stats.model import Stats
from rt2data.look.stats.run import Passed, take_stats
from rt2data.look.stats.shapes import as_shape, one_split
from rt2data.plan.recipe import Recipe
from rt2data.prepare.store import Store


@dataclass(frozen=True)
class Asked:
    """What the command line says."""

    question: Question
    shape: str | None = None
    workers: int | None = None
    pool: PoolKind = "processes"
    as_json: bool = False
    quiet: bool = False


class Passing(Progress):
    """Hears of every work order that is done."""

    def _take(self, result: Any) -> None:
        if not isinstance(result, Passed):
            super()._take(result)
            return
        self._begun(result.name, result.total)
        self._count(result.name, True, 0, 0, 0)


def stats(asked: Asked) -> None:
    """Take statistics and print them: tables, JSON, or the shape that a trainer reads."""
    found = take(asked)
    if asked.shape is not None:
        _tell_split(found)
        say_json(as_shape(found, asked.shape))
    elif asked.as_json:
        say_json(json.loads(msgspec.json.encode(found)))
    else:
        show(found)


def _tell_split(found: Stats) -> None:
    """Which of several splits a trainer's statistics are of."""
    robots = [source for source in found.sources if source.actions is not None]
    for source in one_split(robots):
        others = [each.split for each in robots if each.name == source.name and each.split != source.split]
        if others:
            talk(f"{source.name}: statistics of split {source.split}; of {' or '.join(others)} with --split")


def take(asked: Asked) -> Stats:
    """Statistics of what is asked for. Raises UsageError where nothing known is there."""
    progress = Passing(asked.quiet)
    with pool_at_work(asked.pool, asked.workers) as pool, temporary_folder("rt2data-stats-") as scratch:
        subject = find_subject(asked.question, scratch, lambda recipe: prepared(recipe, pool, progress))
        return take_stats(subject, pool, progress)


def prepared(recipe: Recipe, pool: Pool, progress: Progress) -> dict[str, Store]:
    """The stores of a recipe; those that are not prepared yet are prepared."""
    with quiet_libraries():
        from rt2data.beam.run import prepare_locally

        return prepare_locally(recipe, pool, progress)
