"""What `rt2data plan` shows: the plan, from stores where they are ready and from estimates where not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from rt2data.errors import DataError
from rt2data.foresight.canary import Canary
from rt2data.foresight.cost import CloudCost
from rt2data.foresight.sampling import Range
from rt2data.foresight.sketch import Sketch, SourceEstimate, seed_of, sketch
from rt2data.job import decide
from rt2data.plan import Plan, needed_sources, require_few_rejects
from rt2data.prepare import ready_store, store_folder
from rt2data.recipe import Recipe
from rt2data.sources.base import Source
from rt2data.store import Known, Store
from rt2data.text.tokenizers import load_tokenizer


class Totals(msgspec.Struct, frozen=True):
    """Ranges of what all sources together give, every source at the same end of its range."""

    num_examples: Range
    bytes: Range
    shards: Range


class Outlook(Plan, frozen=True, kw_only=True):
    """A plan, and how sure it is. An estimated plan has no fingerprint: no output can be compared with it."""

    estimated: bool = False
    estimates: dict[str, SourceEstimate] = msgspec.field(default_factory=dict)  # of the sources that are not prepared
    totals: Totals | None = None
    canary: Canary | None = None
    dataflow: CloudCost | None = None


def known_sources(recipe: Recipe, root: Path) -> dict[str, Known]:
    """For each needed source its store where it is ready, else an estimate. Raises as preparing it would; writes nothing."""
    load_tokenizer(recipe.tokenizer.kind, recipe.tokenizer.path)
    return {name: _known(name, source, recipe, root) for name, source in needed_sources(recipe).items()}


def _known(name: str, source: Source, recipe: Recipe, root: Path) -> Known:
    folder = store_folder(root, name, source)
    ready = ready_store(folder)
    return sketch(name, source, folder, recipe.split, seed_of(recipe.seed, name)) if ready is None else ready


def outlook(recipe: Recipe, known: Mapping[str, Known], allow_bad: bool = False) -> Outlook:
    """The plan of what is known: exact where all stores are ready.

    Raises UsageError, DataError or RejectLimitError where it could not be built; a sample with too many rejects is only a warning.
    """
    sketches = {name: each for name, each in known.items() if isinstance(each, Sketch)}
    if not allow_bad:
        require_few_rejects(recipe, {name: each.info for name, each in known.items() if isinstance(each, Store)})
    plan = decide(recipe, known, allow_bad=True).plan
    if not sketches:
        return exact(plan)
    warnings = (*plan.warnings, *_doubts(recipe, sketches, allow_bad))
    return _outlook(
        plan,
        fingerprint="",
        warnings=warnings,
        estimated=True,
        estimates={name: each.estimate for name, each in sketches.items()},
        totals=_totals(plan, recipe, known),
    )


def exact(plan: Plan) -> Outlook:
    """A plan made of prepared stores."""
    return _outlook(plan)


def _outlook(plan: Plan, **changes: Any) -> Outlook:
    return Outlook(**{name: getattr(plan, name) for name in plan.__struct_fields__} | changes)


def _doubts(recipe: Recipe, sketches: Mapping[str, Sketch], allow_bad: bool) -> list[str]:
    """Samples with more rejects than the recipe allows in the whole."""
    return [
        f"{name}: {each.estimate.bad:.1%} of the sampled rows are faulty; above max_bad {float(recipe.max_bad):.3g} a build stops"
        for name, each in sketches.items()
        if not allow_bad and each.estimate.bad > recipe.max_bad
    ]


def _totals(plan: Plan, recipe: Recipe, known: Mapping[str, Known]) -> Totals:
    """The plan's arithmetic at both ends of the ranges, which may be no ranges at all."""
    ends = [plan if _is_sure(known) else _plan_at(recipe, known, end) for end in ("low", "high")]
    return Totals(*(_range(getattr(plan, name), [end and getattr(end, name) for end in ends]) for name in Totals.__struct_fields__))


def _is_sure(known: Mapping[str, Known]) -> bool:
    guesses = [
        guess for each in known.values() if isinstance(each, Sketch) for guess in (each.estimate.rows, each.estimate.image_bytes)
    ]
    return all(guess.low == guess.value == guess.high for guess in guesses)


def _plan_at(recipe: Recipe, known: Mapping[str, Known], end: str) -> Plan | None:
    """None where an end is not known, or where there would be nothing to draw."""
    here: dict[str, Known] = {}
    for name, each in known.items():
        moved = _at(each, end) if isinstance(each, Sketch) else each
        if moved is None:
            return None
        here[name] = moved
    try:
        return decide(recipe.model_copy(update={"max_epochs": None}), here, allow_bad=True).plan
    except DataError:
        return None


def _at(each: Sketch, end: str) -> Sketch | None:
    rows, picture = getattr(each.estimate.rows, end), getattr(each.estimate.image_bytes, end)
    return None if rows is None or picture is None else each.at(rows, picture)


def _range(value: float, ends: list[Any]) -> Range:
    if any(end is None for end in ends):
        return Range(value, None, None)
    return Range(value, min(value, *ends), max(value, *ends))
