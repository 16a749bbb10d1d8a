"""`rt2data stats`: statistics of a source, a store, a recipe or a mixture."""

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
from rt2data.look.stats.model import Stats
from rt2data.look.stats.run import Passed, take_stats
from rt2data.look.stats.subject import Question, find_subject
from rt2data.look.stats.trainers import as_trainer, one_split
from rt2data.plan.recipe import Recipe
from rt2data.prepare.store import Store


@dataclass(frozen=True)
class StatsOptions:
    """The options of the command."""

    question: Question
    trainer: str | None = None
    workers: int | None = None
    pool: PoolKind = "processes"
    as_json: bool = False
    quiet: bool = False


class PassProgress(Progress):
    """Counts the work orders that are done."""

    def _take(self, result: Any) -> None:
        if not isinstance(result, Passed):
            super()._take(result)
            return
        self._begun(result.name, result.total)
        self._count(result.name, True, 0, 0, 0)


def stats(asked: StatsOptions) -> None:
    """Take statistics and print them: tables, JSON, or the file that a trainer reads."""
    found = take(asked)
    if asked.trainer is not None:
        _note_split(found)
        say_json(as_trainer(found, asked.trainer))
    elif asked.as_json:
        say_json(json.loads(msgspec.json.encode(found)))
    else:
        show(found)


def _note_split(found: Stats) -> None:
    """Say which of several splits a trainer's statistics are of."""
    robots = [source for source in found.sources if source.actions is not None]
    for source in one_split(robots):
        others = [each.split for each in robots if each.name == source.name and each.split != source.split]
        if others:
            talk(f"{source.name}: statistics of split {source.split}; for {' or '.join(others)} use --split")


def take(asked: StatsOptions) -> Stats:
    """Statistics of what is asked for. Raises UsageError if nothing known is there."""
    progress = PassProgress(asked.quiet)
    with pool_at_work(asked.pool, asked.workers) as pool, temporary_folder("rt2data-stats-") as scratch:
        subject = find_subject(asked.question, scratch, lambda recipe: prepared(recipe, pool, progress))
        return take_stats(subject, pool, progress)


def prepared(recipe: Recipe, pool: Pool, progress: Progress) -> dict[str, Store]:
    """The stores of a recipe, prepared now if they are not yet."""
    with quiet_libraries():
        from rt2data.beam.run import prepare_locally

        return prepare_locally(recipe, pool, progress)
