"""What `rt2data plan` shows: the plan, from stores where they are ready and from estimates where not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from rt2data.errors import UsageError
from rt2data.forecast.canary import Canary
from rt2data.forecast.cost import CloudCost
from rt2data.forecast.estimate import Sketch, SourceEstimate, seed_of, sketch
from rt2data.forecast.sampling import Range
from rt2data.formats.base import make_format
from rt2data.plan.decide import decide
from rt2data.plan.plan import Plan, draws, needed_sources, require_few_rejects, shard_count
from rt2data.plan.recipe import Recipe
from rt2data.prepare.store import Known, Store
from rt2data.prepare.unit import ready_store, store_folder
from rt2data.read.source import Source
from rt2data.records import Warn, worst_first
from rt2data.render.tokenizer import load_tokenizer


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
        require_few_rejects(recipe, {name: each for name, each in known.items() if isinstance(each, Store)})
    plan = decide(recipe, known, allow_bad=True).plan
    if not sketches:
        return exact(plan)
    warnings = worst_first((*plan.warnings, *_doubts(recipe, sketches, allow_bad)))
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


def _doubts(recipe: Recipe, sketches: Mapping[str, Sketch], allow_bad: bool) -> list[Warn]:
    """Samples with more rejects than the recipe allows in the whole."""
    return [
        Warn(
            "rejects",
            "warning",
            name,
            f"{each.estimate.bad:.1%} of the sampled rows are faulty; above max_bad {float(recipe.max_bad):.3g} a build stops",
            "mend the source, or raise max_bad",
        )
        for name, each in sketches.items()
        if not allow_bad and each.estimate.bad > recipe.max_bad
    ]


def _totals(plan: Plan, recipe: Recipe, known: Mapping[str, Known]) -> Totals:
    """The plan's arithmetic at both ends of the ranges."""
    ends = [_end_of(plan, recipe, known, end) for end in ("low", "high")]
    values = (plan.num_examples, plan.bytes, plan.shards)
    return Totals(*(_range(value, [end and end[i] for end in ends]) for i, value in enumerate(values)))


def _end_of(plan: Plan, recipe: Recipe, known: Mapping[str, Known], end: str) -> tuple[int, int, int] | None:
    """Examples, bytes and shards at one end; None where it is not known, or where there would be nothing to draw."""
    rows = {s.name: _at(known[s.name], "rows", end, s.rows) for s in plan.sources}
    pictures = {s.name: _at(known[s.name], "image_bytes", end, s.image_bytes) for s in plan.sources}
    if None in rows.values() or None in pictures.values():
        return None
    try:
        counts = draws(recipe, {name: max(round(count or 0), 1) for name, count in rows.items()})
    except UsageError:  # more than a mixture can have: only at this end
        return None
    form = make_format(plan.format)
    written = {name: min(n, round(rows[name] or 0)) if plan.materialize else n for name, n in counts.items()}
    sizes = {s.name: written[s.name] * form.example_bytes([round(pictures[s.name] or 0)], s.record_bytes) for s in plan.sources}
    parts = [(written[name], sizes[name]) for name in sizes] if plan.materialize else [(sum(counts.values()), sum(sizes.values()))]
    return sum(counts.values()), sum(sizes.values()), sum(shard_count(*part, recipe.shards.bytes) for part in parts)


def _at(known: Known, figure: str, end: str, exact: int) -> float | None:
    """A figure at one end of its range; a prepared source has no range."""
    found: float | None = getattr(getattr(known.estimate, figure), end) if isinstance(known, Sketch) else exact
    return found


def _range(value: float, ends: list[Any]) -> Range:
    if any(end is None for end in ends):
        return Range(value, None, None)
    return Range(value, min(value, *ends), max(value, *ends))
