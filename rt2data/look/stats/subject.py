"""What statistics are taken of: a prepared store, a recipe with its stores, or a finished mixture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import msgspec

from rt2data.errors import DataError, RtError, UsageError, command
from rt2data.io.words import choose
from rt2data.look.stats.model import Lost
from rt2data.look.stats.records import LayOrder, lay_orders, mixture_rowsets
from rt2data.look.stats.rowset import RowSet, rowsets
from rt2data.look.verify.expected import adds_up, readable
from rt2data.look.verify.manifest import checked_manifest
from rt2data.plan.decide import decide
from rt2data.plan.job import Job
from rt2data.plan.plan import Plan, SourcePlan, new_plan
from rt2data.plan.recipe import Recipe
from rt2data.prepare.catalog import read_rejects
from rt2data.prepare.store import Lost as StoreLost
from rt2data.prepare.store import Store
from rt2data.read.source import WebSource
from rt2data.read.text import one_line
from rt2data.records import Warn
from rt2data.render.codecs.table import CODECS
from rt2data.render.tokenizer import load_tokenizer
from rt2data.seal.manifest import Manifest

What = Literal["source", "store", "recipe", "mixture"]
DEFAULT_CODEC = "rt2"


@dataclass(frozen=True)
class Subject:
    """What statistics are taken of. Everything that follows depends on this alone."""

    what: What
    path: str
    rows: tuple[RowSet, ...]
    limit: int | None = None  # max_tokens
    manifest: Manifest | None = None
    lay: tuple[LayOrder, ...] = ()  # to be done before the rows can be read
    warnings: tuple[Warn, ...] = ()


def store_subject(
    path: Path, stores: Sequence[Store], what: What = "store", codec: str | None = None, split: str | None = None
) -> Subject:
    """Prepared stores, with no word of how text becomes tokens. Raises UsageError for a codec or a split that is not there."""
    found = [rows for store in stores for rows in rowsets(store, _known(codec or DEFAULT_CODEC), (split,) if split else ())]
    return Subject(what, str(path), tuple(_with_splits(found, stores, split)))


def recipe_subject(
    path: Path,
    recipe: Recipe,
    stores: Mapping[str, Store],
    what: What = "recipe",
    codec: str | None = None,
    split: str | None = None,
) -> Subject:
    """The stores of a recipe, their rows written as it says. What would stop it from being built is a warning."""
    name, splits = _known(codec or recipe.codec), (split,) if split else ()
    bare = [rows for store in stores.values() for rows in rowsets(store, name, splits, bounds=recipe.split)]
    found = [_rendered(recipe, rows) for rows in _with_splits(bare, list(stores.values()), split)]
    warnings = tuple(_plan_warnings(recipe, stores)) if what == "recipe" else ()
    return Subject(what, str(path), tuple(found), recipe.max_tokens, warnings=warnings)


def _rendered(recipe: Recipe, rows: RowSet) -> RowSet:
    """With the job that says how its rows are written; actions without a codec are not."""
    writable = rows.codec or rows.kind == "web"
    return replace(rows, job=msgspec.json.encode(_job(recipe, rows)).decode()) if writable else rows


def mixture_subject(out: Path, scratch: Path, split: str | None = None) -> Subject:
    """A finished mixture. Raises DataError where it is not complete or damaged, UsageError for a split that it is not of."""
    manifest = checked_manifest(out)
    if not readable(manifest) or not adds_up(manifest):
        raise DataError("a damaged manifest: its plan does not add up", str(out), f"{command('verify', out)} names every fault")
    if split not in (None, manifest.plan.split):
        raise UsageError(f"a mixture of split {manifest.plan.split}, not {split}", str(out), "leave --split out")
    rows = tuple(mixture_rowsets(manifest, scratch))
    orders, told = tuple(lay_orders(out, manifest, scratch)), manifest.plan.warnings
    return Subject("mixture", str(out), rows, manifest.plan.max_tokens, manifest, orders, told)


def _known(codec: str) -> str:
    if codec not in CODECS:
        known = list(CODECS)
        raise UsageError(f"no action codec is called {codec!r}", do=choose(codec, known))
    return codec


def _with_splits(found: list[RowSet], stores: Sequence[Store], split: str | None) -> list[RowSet]:
    if not found:
        here = sorted({name for store in stores for name in store.info.splits})
        where = ", ".join(str(store.path) for store in stores)
        what = f"no rows of split {split}" if split else "no rows"
        raise UsageError(what, where, f"there are splits {', '.join(here)}" if here else "look at what was rejected")
    return found


def _job(recipe: Recipe, rows: RowSet) -> Job:
    """A plan of one source, as much of it as says how its rows are written."""
    tokenizer = load_tokenizer(recipe.tokenizer.kind, recipe.tokenizer.path)
    source = recipe.sources.get(rows.name)
    plan = _plan(recipe, rows, tokenizer.identity(), source.answers if isinstance(source, WebSource) else "majority")
    return Job(plan=plan, recipe={}, stores={}, tokenizer_path=recipe.tokenizer.path)


def _plan(recipe: Recipe, rows: RowSet, tokenizer: dict[str, object], answers: str) -> Plan:
    return new_plan(
        robot_frac=str(recipe.robot_frac),
        num_examples=rows.rows,
        robot_examples=rows.rows if rows.kind == "robot" else 0,
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
        sources=(_source(rows),),
        answers={rows.name: answers} if rows.kind == "web" else {},
        warnings=(),
    )


def _source(rows: RowSet) -> SourcePlan:
    """Every row once."""
    counts = {"rows": rows.rows, "draws": rows.rows, "groups": 0, "unseen": 0, "repeats_min": 1, "repeats_max": 1}
    known = {"name": rows.name, "kind": rows.kind, "source": rows.source, "digest": rows.digest, "action_dim": rows.action_dim}
    codec = msgspec.json.decode(rows.codec) if rows.codec else None
    sizes = {"weight": "1", "share": "1", "epochs": 1.0, "image_bytes": 0, "record_bytes": 0, "action_space": None}
    return SourcePlan(**known, **counts, **sizes, codec=codec)  # type: ignore[arg-type]


def _plan_warnings(recipe: Recipe, stores: Mapping[str, Store]) -> list[Warn]:
    try:
        plan = decide(recipe, stores, allow_bad=True).plan
    except RtError as error:
        return [Warn(code="plan", level="error", source="", what=error.what, do=error.do or "change the recipe")]
    return list(plan.warnings)


def losses(rows: RowSet) -> tuple[Lost, ...]:
    """What was left out of a source, with an example where the store still says so."""
    places: dict[str, str] = {}
    with suppress(RtError):
        if rows.lost:
            places = {row["reason"]: row["where"] for row in reversed(read_rejects(Path(rows.folder)))}
    return tuple(_lost(lost, places.get(lost.reason, "")) for lost in rows.lost)


def _lost(lost: StoreLost, place: str) -> Lost:
    return Lost(reason=lost.reason, count=lost.count, fault=lost.fault, example=one_line(place))
