"""The subject of statistics: a source, a prepared store, a recipe with its stores, or a finished mixture; found from a path."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import msgspec

from rt2data.errors import DataError, RtError, UsageError, command
from rt2data.io import location
from rt2data.io.generations import current
from rt2data.io.location import path_of
from rt2data.io.words import choose
from rt2data.look.inspect import recognize
from rt2data.look.inspect.raw import InspectedSource
from rt2data.look.stats.mixture import ReadOrder, mixture_row_sets, shard_orders
from rt2data.look.stats.model import Dropped
from rt2data.look.stats.row_set import RowSet, row_sets
from rt2data.look.verify.expected import adds_up, readable
from rt2data.look.verify.manifest import checked_manifest
from rt2data.plan.decide import decide
from rt2data.plan.job import Job
from rt2data.plan.model import Plan, SourcePlan
from rt2data.plan.plan import agreement_of, new_plan
from rt2data.plan.recipe import Recipe, read_recipe
from rt2data.plan.recipe.read import parse_recipe
from rt2data.prepare.catalog import read_rejects
from rt2data.prepare.store import Store
from rt2data.read.source import Source, WebSource
from rt2data.read.text import one_line
from rt2data.records import Warn
from rt2data.render.codecs.table import CODECS
from rt2data.render.tokenizer import load_tokenizer
from rt2data.seal.manifest import Manifest

What = Literal["source", "store", "recipe", "mixture"]
DEFAULT_CODEC = "rt2"
Prepare = Callable[[Recipe], dict[str, Store]]
"""Prepares the unprepared sources of a recipe; returns the stores of all sources, by name."""


@dataclass(frozen=True)
class Subject:
    """The subject of statistics; the statistics depend on nothing else."""

    what: What
    path: str
    rows: tuple[RowSet, ...]
    limit: int | None = None  # max_tokens
    manifest: Manifest | None = None
    shards: tuple[ReadOrder, ...] = ()  # must be carried out before the rows can be read
    warnings: tuple[Warn, ...] = ()


@dataclass(frozen=True)
class Question:
    """The caller's request."""

    path: Path
    split: str | None = None
    codec: str | None = None
    recipe: Path | None = None
    store: Path | None = None  # folder of prepared stores


def find_subject(asked: Question, scratch: Path, prepare: Prepare) -> Subject:
    """The subject at the path. `scratch` holds the rows of a mixture until the statistics are done.

    Raises UsageError if nothing known is there, or for an unknown codec or split, DataError if it is damaged.
    """
    asked = replace(asked, path=current(asked.path))
    seen, recipe = recognize(asked.path), read_recipe(asked.recipe) if asked.recipe else None
    if seen.kind == "mixture":
        if asked.codec or asked.recipe:
            raise UsageError("a mixture has its codec and its recipe", str(asked.path), "remove --codec and --recipe")
        return mixture_subject(_folder(asked.path, "manifest.json"), scratch, asked.split)
    if seen.kind == "recipe":
        overrides = [f"store={json.dumps(str(location.absolute(asked.store)))}"] if asked.store else []
        found = read_recipe(asked.path, overrides=overrides, check=True)
        return recipe_subject(asked.path, found, prepare(found), "recipe", asked.codec, asked.split)
    if isinstance(seen, InspectedSource):
        return _stores(asked, recipe, list(prepare(_suggested(seen, asked.store)).values()), "source")
    if seen.kind == "store":
        return _stores(asked, recipe, [Store(_folder(asked.path, "source.json"))], "store")
    raise UsageError(f"there are no statistics of a {seen.kind}", str(asked.path), "name a source, a store, a recipe or a mixture")


def _folder(path: Path, name: str) -> Path:
    """The folder, if the file in it was named."""
    return path.parent if path.name == name else path


def _stores(asked: Question, recipe: Recipe | None, stores: list[Store], what: What) -> Subject:
    if recipe is None:
        return store_subject(asked.path, stores, what, asked.codec, asked.split)
    return recipe_subject(asked.path, recipe, {store.info.name: store for store in stores}, what, asked.codec, asked.split)


def _suggested(seen: InspectedSource, store: Path | None) -> Recipe:
    """A recipe of one raw source, as `rt2data inspect --suggest` writes it."""
    side = "1" if seen.source.has_actions else "0"
    place = f"store: {json.dumps(str(location.absolute(store)))}\n" if store else ""
    return parse_recipe(f"robot_frac: {side}\n{place}{seen.suggestion()}", str(seen.path), location.absolute(seen.path).parent)


def store_subject(
    path: Path, stores: Sequence[Store], what: What = "store", codec: str | None = None, split: str | None = None
) -> Subject:
    """Prepared stores, without a recipe that defines tokenization. Raises UsageError for an unknown codec or split."""
    found = [rows for store in stores for rows in row_sets(store, _known(codec or DEFAULT_CODEC), (split,) if split else ())]
    return Subject(what, str(path), tuple(_require_rows(found, stores, split)))


def recipe_subject(
    path: Path,
    recipe: Recipe,
    stores: Mapping[str, Store],
    what: What = "recipe",
    codec: str | None = None,
    split: str | None = None,
) -> Subject:
    """The stores of a recipe, with rows rendered as it says. Anything that would stop its build becomes a warning."""
    name, splits = _known(codec or recipe.codec), (split,) if split else ()
    bare = [rows for store in stores.values() for rows in row_sets(store, name, splits, bounds=recipe.split)]
    found = [_with_job(recipe, rows) for rows in _require_rows(bare, list(stores.values()), split)]
    warnings = tuple(_plan_warnings(recipe, stores)) if what == "recipe" else ()
    return Subject(what, str(path), tuple(found), recipe.max_tokens, warnings=warnings)


def mixture_subject(out: Path, scratch: Path, split: str | None = None) -> Subject:
    """A finished mixture. Raises DataError if it is not complete or damaged, UsageError for a split other than its own."""
    manifest = checked_manifest(out)
    if not readable(manifest) or not adds_up(manifest):
        raise DataError("damaged manifest: its plan does not add up", str(out), f"{command('verify', out)} names every fault")
    if split not in (None, manifest.plan.split):
        raise UsageError(f"a mixture of split {manifest.plan.split}, not {split}", str(out), "remove --split")
    rows, orders = tuple(mixture_row_sets(manifest, scratch)), tuple(shard_orders(out, manifest, scratch))
    return Subject("mixture", str(out), rows, manifest.plan.max_tokens, manifest, orders, manifest.plan.warnings)


def _known(codec: str) -> str:
    if codec not in CODECS:
        known = list(CODECS)
        raise UsageError(f"no action codec is called {codec!r}", do=choose(codec, known))
    return codec


def _require_rows(found: list[RowSet], stores: Sequence[Store], split: str | None) -> list[RowSet]:
    if not found:
        here = sorted({name for store in stores for name in store.info.splits})
        where = ", ".join(str(store.path) for store in stores)
        what = f"no rows of split {split}" if split else "no rows"
        raise UsageError(what, where, f"there are splits {', '.join(here)}" if here else "look at what was rejected")
    return found


def _with_job(recipe: Recipe, rows: RowSet) -> RowSet:
    """The row set with the job that renders its rows; unchanged for actions without a codec."""
    if not rows.codec and rows.has_actions:
        return rows
    tokenizer = load_tokenizer(recipe.tokenizer.kind, recipe.tokenizer.path)
    source = recipe.sources.get(rows.name)
    plan = _plan(recipe, rows, tokenizer.identity(), source)
    job = Job(plan=plan, recipe={}, stores={}, tokenizer_path=recipe.tokenizer.path)
    return replace(rows, job=msgspec.json.encode(job).decode(), horizon=min(rows.horizon, getattr(source, "horizon", 1)))


def _plan(recipe: Recipe, rows: RowSet, tokenizer: dict[str, object], source: Source | None) -> Plan:
    """A plan of one source, complete enough to render its rows."""
    web = source if isinstance(source, WebSource) else None
    agreement = agreement_of(web) if web else msgspec.UNSET
    return new_plan(
        robot_frac=str(recipe.robot_frac),
        num_examples=rows.rows,
        robot_examples=rows.rows if rows.has_actions else 0,
        seed=recipe.seed,
        split=rows.split,
        template=recipe.template,
        codec=recipe.codec,
        tokenizer=tokenizer,
        max_tokens=recipe.max_tokens,
        format=recipe.shards.format,
        shards=1,
        bytes=0,
        action_dim=rows.action_dim,
        sources=(msgspec.structs.replace(_source(rows), agreement=agreement),),
        answers={rows.name: web.answers if web else "majority"} if not rows.has_actions else {},
        warnings=(),
    )


def _source(rows: RowSet) -> SourcePlan:
    """A source plan that uses every row once."""
    counts = {"rows": rows.rows, "draws": rows.rows, "groups": 0, "unseen": 0, "repeats_min": 1, "repeats_max": 1}
    known = {"name": rows.name, "kind": rows.kind, "source": rows.source, "digest": rows.digest, "action_dim": rows.action_dim}
    codec = msgspec.json.decode(rows.codec) if rows.codec else None
    sizes = {"weight": "1", "share": "1", "epochs": 1.0, "images": 1.0, "image_bytes": 0, "record_bytes": 0, "action_space": None}
    return SourcePlan(**known, **counts, **sizes, codec=codec)  # type: ignore[arg-type]


def _plan_warnings(recipe: Recipe, stores: Mapping[str, Store]) -> list[Warn]:
    try:
        plan = decide(recipe, stores, allow_bad=True).plan
    except RtError as error:
        return [Warn(code="plan", level="error", source="", what=error.what, do=error.do or "change the recipe")]
    return list(plan.warnings)


def dropped(rows: RowSet) -> tuple[Dropped, ...]:
    """Counts of what was dropped from a source, with an example of each reason if the store still has one."""
    places: dict[str, str] = {}
    with suppress(RtError):
        if rows.lost:
            places = {row["reason"]: row["where"] for row in reversed(read_rejects(path_of(rows.folder)))}
    return tuple(
        Dropped(reason=lost.reason, count=lost.count, fault=lost.fault, example=one_line(places.get(lost.reason, "")))
        for lost in rows.lost
    )
