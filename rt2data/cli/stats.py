"""`rt2data stats`: what a source, a store, a recipe or a mixture looks like in numbers."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from rt2data.beam.pool import Pool, PoolKind, make_pool
from rt2data.cli.console import say_json
from rt2data.cli.progress import Progress, quiet_libraries
from rt2data.cli.stats_tables import show
from rt2data.errors import UsageError
from rt2data.inspection import Sight, recognise
from rt2data.inspection.raw import RawSight
from rt2data.recipe import Recipe, read_recipe
from rt2data.recipe.read import parse_recipe
from rt2data.stats.model import Stats
from rt2data.stats.run import Passed, take_stats
from rt2data.stats.shapes import as_shape
from rt2data.stats.subject import Subject, mixture_subject, recipe_subject, store_subject
from rt2data.store import Store


@dataclass(frozen=True)
class Asked:
    """What the command line says."""

    path: Path
    split: str | None = None
    codec: str | None = None
    recipe: Path | None = None
    store: Path | None = None
    shape: str | None = None
    workers: int | None = None
    pool: PoolKind = "processes"
    as_json: bool = False
    quiet: bool = False

    @contextmanager
    def workers_at_work(self) -> Iterator[Pool]:
        """The pool, ended at the end."""
        pool = make_pool(self.pool, os.cpu_count() or 1 if self.workers is None else self.workers)
        try:
            yield pool
        finally:
            pool.close()


class Passing(Progress):
    """Hears of every work order that is done."""

    def _take(self, result: Any) -> None:
        if not isinstance(result, Passed):
            super()._take(result)
            return
        if result.name not in self.counts:
            self._begin(result.name, result.total)
        self._count(result.name, True, 0, 0, 0)


def stats(asked: Asked) -> None:
    """Take statistics and print them: tables, JSON, or the shape that a trainer reads."""
    found = take(asked)
    if asked.shape is not None:
        say_json(as_shape(found, asked.shape))
    elif asked.as_json:
        say_json(json.loads(msgspec.json.encode(found)))
    else:
        show(found)


def take(asked: Asked) -> Stats:
    """Statistics of what is asked for. Raises UsageError where nothing known is there."""
    progress = Passing(asked.quiet)
    with asked.workers_at_work() as pool, TemporaryDirectory(prefix="rt2data-stats-") as scratch:
        subject = find_subject(asked, recognise(asked.path), Path(scratch), pool, progress)
        return take_stats(subject, pool, progress)


def find_subject(asked: Asked, seen: Sight, scratch: Path, pool: Pool, progress: Progress) -> Subject:
    """What lies at the path; sources that are not prepared yet are prepared."""
    recipe = read_recipe(asked.recipe) if asked.recipe else None
    if seen.kind == "mixture":
        here = asked.path.parent if asked.path.name == "manifest.json" else asked.path
        if asked.codec or recipe:
            raise UsageError("a mixture has its codec and its recipe already", str(asked.path), "leave --codec and --recipe out")
        return mixture_subject(here, scratch, asked.split)
    if seen.kind == "recipe":
        asked_for = read_recipe(asked.path, overrides=[f"store={asked.store.absolute()}"] if asked.store else [])
        return recipe_subject(asked.path, asked_for, _prepared(asked_for, pool, progress), "recipe", asked.codec, asked.split)
    if isinstance(seen, RawSight):
        fragment = suggested(seen, asked.store)
        return _stores(asked, recipe, list(_prepared(fragment, pool, progress).values()), "source")
    if seen.kind == "store":
        return _stores(asked, recipe, [Store(asked.path.parent if asked.path.name == "source.json" else asked.path)], "store")
    raise UsageError(f"no statistics of a {seen.kind}", str(asked.path), "name a source, a store, a recipe or a mixture")


def _stores(asked: Asked, recipe: Recipe | None, stores: list[Store], what: Any) -> Subject:
    if recipe is None:
        return store_subject(asked.path, stores, what, asked.codec, asked.split)
    return recipe_subject(asked.path, recipe, {store.info.name: store for store in stores}, what, asked.codec, asked.split)


def _prepared(recipe: Recipe, pool: Pool, progress: Progress) -> dict[str, Store]:
    with quiet_libraries():
        from rt2data.beam.run import prepare_locally

        return prepare_locally(recipe, pool, progress)


def suggested(seen: RawSight, store: Path | None) -> Recipe:
    """A recipe of one raw source, as `rt2data inspect --suggest` has it."""
    side = "1" if seen.source.role == "robot" else "0"
    place = f"store: {json.dumps(str(store.absolute()))}\n" if store else ""
    return parse_recipe(f"robot_frac: {side}\n{place}{seen.suggestion()}", str(seen.path), seen.path.absolute().parent)
