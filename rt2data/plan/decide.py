"""Step four: recipe and stores become a job: exact draws, codecs, shards. No side effects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from rt2data.errors import DataError, UsageError
from rt2data.formats.base import make_format
from rt2data.order import EpochOrder
from rt2data.plan.filtered import require_kept
from rt2data.plan.job import Job, make_labels, make_renderer
from rt2data.plan.joined import require_matched
from rt2data.plan.layout import layout_warnings, make_parts, require_names
from rt2data.plan.model import Plan, SourcePlan
from rt2data.plan.plan import (
    fingerprinted,
    image_places,
    needed_sources,
    new_plan,
    plan_groups,
    plan_source,
    require_few_rejects,
    shard_count,
    share_out,
    split_rows,
    warnings_of,
)
from rt2data.plan.published import published_statistics
from rt2data.plan.recipe import Recipe, canonical
from rt2data.plan.shares import Shares, lacking_notes, mixture_shares
from rt2data.plan.source_notes import source_notes
from rt2data.prepare.row_table import BOXES
from rt2data.prepare.statistics import DimStats
from rt2data.prepare.store import Known, StoreInfo
from rt2data.read.action_space import load_space
from rt2data.read.annotations.settings import NOTES, POOL
from rt2data.read.source import RobotSource, Source, WebSource
from rt2data.records import Rows, Warn, key_name, worst_first
from rt2data.render.action_tokens import ActionWords, check_action_words
from rt2data.render.codecs.table import Codec, make_codec
from rt2data.render.fields import Batch
from rt2data.render.record import encode_record, make_records
from rt2data.render.regions.convention import Convention
from rt2data.render.regions.table import FAMILIES
from rt2data.render.templates import find_template
from rt2data.render.tokenizer import Tokenizer, load_tokenizer

SAMPLE = 64
"""Rows of each source rendered to estimate the mean record size."""


def decide(recipe: Recipe, stores: Mapping[str, Known], allow_bad: bool = False) -> Job:
    """Plan a mixture from what is known of its sources.

    Raises UsageError, DataError or RejectLimitError if it cannot be built.
    """
    if not allow_bad:
        require_few_rejects(recipe, stores)
    require_kept(recipe, stores)
    require_matched(recipe, stores)
    rows = split_rows(stores, recipe.split)
    shares = mixture_shares(recipe, rows)
    counts = share_out(recipe, rows, shares)
    tokenizer = load_tokenizer(recipe.tokenizer.kind, recipe.tokenizer.path)
    needed = needed_sources(recipe)
    sources = []
    for name, source in needed.items():
        drawn = plan_source(shares.sources[name], stores[name].info, recipe.split, counts[name])
        sources.append(_with_codec(drawn, source, stores[name], recipe, tokenizer))
    notes = [*lacking_notes(shares)]
    notes += [note for s in sources for note in source_notes(needed[s.name], stores[s.name].info, s)]
    draft = _draft(recipe, needed, tuple(sources), tokenizer, notes, stores, shares)
    return Job(
        plan=_sized(draft, recipe, stores, tokenizer),
        recipe=_plain(recipe),
        stores={name: str(stores[name].path) for name in needed},
        tokenizer_path=recipe.tokenizer.path,
    )


def _plain(recipe: Recipe) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(canonical(recipe))
    return found


def _with_codec(drawn: SourcePlan, source: Source, store: Known, recipe: Recipe, tokenizer: Tokenizer) -> SourcePlan:
    """The source with its codec, after checking every action word against the tokenizer."""
    if not isinstance(source, RobotSource):
        return drawn
    codec = source_codec(source, store, recipe.codec, recipe.split)
    words = ActionWords(codec.token_map, tokenizer, find_template(recipe.template).before_action)
    check_action_words(words, codec.width, recipe.action_words)
    return msgspec.structs.replace(drawn, codec=codec.to_json())


def source_codec(source: RobotSource, store: Known, name: str, split: str) -> Codec:
    """The codec of a robot source, with bounds from the statistics that the source names.

    Raises DataError, naming the source, if they give no bounds; UsageError if they cannot be read.
    """
    space = load_space(source.action_space).sized(store.info.action_dim)
    try:
        return make_codec(name, space, bounding_statistics(source, store, split))
    except DataError as error:
        raise DataError(error.what, f"source {store.info.name}", error.do) from None


def bounding_statistics(source: RobotSource, store: Known, split: str) -> DimStats | None:
    """The action statistics that give a source's bounds. Raises UsageError if published ones cannot be read."""
    if source.statistics == "split":
        return store.action_stats(split)
    if source.statistics == "all":
        return store.all_action_stats()
    return published_statistics(source.statistics)


def _draft(
    recipe: Recipe,
    needed: Mapping[str, Source],
    sources: tuple[SourcePlan, ...],
    tokenizer: Tokenizer,
    notes: Sequence[Warn],
    stores: Mapping[str, Known],
    shares: Shares,
) -> Plan:
    """The plan before its records have been measured."""
    regions = _regions(recipe.regions.convention, {s.name: stores[s.name].info for s in sources})
    return new_plan(
        robot_frac=str(recipe.robot_frac),
        num_examples=sum(s.draws for s in sources),
        robot_examples=sum(s.draws for s in sources if s.has_actions),
        seed=recipe.seed,
        split=recipe.split,
        template=recipe.template,
        codec=recipe.codec,
        tokenizer=tokenizer.identity(),
        max_tokens=recipe.max_tokens,
        format=recipe.shards.format,
        shards=1,
        bytes=0,
        action_dim=max((s.action_dim for s in sources), default=0),
        horizon=max((s.horizon for s in sources), default=1),
        images=image_places([(stores[s.name].info, recipe.split) for s in sources]),
        sources=sources,
        answers={name: s.answers for name, s in needed.items() if isinstance(s, WebSource)},
        warnings=(
            *warnings_of(recipe, sources),
            *_without_notes(recipe.template, needed),
            *notes,
            *(_unknown_marks(recipe.regions.convention, tokenizer) if regions else ()),
        ),
        materialize=msgspec.UNSET if recipe.shards.materialize == "repeats" else "once",
        groups=plan_groups(shares.groups, sources),
        more=_more_fields(needed, bool(regions)) or msgspec.UNSET,
        regions=regions or msgspec.UNSET,
        reasoning_dropout=_dropouts(needed) or msgspec.UNSET,
    )


def _without_notes(template: str, needed: Mapping[str, Source]) -> Iterator[Warn]:
    """Warns if the template puts notes before actions but a source has no annotations."""
    robots = [name for name, source in needed.items() if isinstance(source, RobotSource) and source.annotations is None]
    if find_template(template).thoughts and robots:
        what = f"template {template} says notes before actions, and there are none: examples have actions alone"
        yield from (Warn("no_notes", "warning", name, what, "give the source `annotations`") for name in robots)


def _more_fields(needed: Mapping[str, Source], regions: bool) -> tuple[str, ...]:
    """The optional fields of examples that this mixture has, in record order."""
    joined = {name for source in needed.values() if isinstance(source, RobotSource) for name in source.joined}
    return tuple(name for name, there in (("notes", NOTES in joined), ("original", POOL in joined), ("regions", regions)) if there)


def _regions(convention: Convention, infos: Mapping[str, StoreInfo]) -> dict[str, Any]:
    """How boxes and points are written; empty if there are none. Raises UsageError if the model family cannot write boxes."""
    for name, info in infos.items():
        if info.facts.get(BOXES) and not convention.boxes:
            what = f"source {name} has {info.facts[BOXES]:,} boxes, {convention.name} has no way of writing one"
            raise UsageError(what, "regions", f"choose {' or '.join(n for n, family in FAMILIES.items() if family.boxes)}")
    return convention.facts() if any(info.has_regions for info in infos.values()) else {}


def _unknown_marks(convention: Convention, tokenizer: Tokenizer) -> Iterator[Warn]:
    """Warns if the tokenizer does not know a family's special tokens."""
    marked = tokenizer.with_marks(convention.marks)
    for first in convention.marks[:1]:
        if (count := len(marked.encode_after(first, [first])[0])) > 1:
            what = f"regions {convention.name} write {first}, which is {count} tokens to this tokenizer"
            yield Warn("region_marks", "warning", "", what, "choose the family of the model whose tokenizer it is")


def _dropouts(needed: Mapping[str, Source]) -> dict[str, str]:
    robots = {name: source for name, source in needed.items() if isinstance(source, RobotSource)}
    return {name: str(source.reasoning_dropout) for name, source in robots.items() if source.reasoning_dropout}


def _sized(draft: Plan, recipe: Recipe, stores: Mapping[str, Known], tokenizer: Tokenizer) -> Plan:
    """The plan with sizes: records of a sample are measured, which gives the number of shards."""
    measured, sizes = [], []
    form = make_format(draft.format)
    for source in draft.sources:
        numbers, epochs = EpochOrder(source.rows, draft.seed, source.name).draw(0, min(SAMPLE, source.rows))
        rows = stores[source.name].rows(draft.split, numbers, epochs, source.horizon)
        record = _mean_record(draft, source, rows, tokenizer)
        measured.append(msgspec.structs.replace(source, record_bytes=record))
        sizes.append(draft.written(source) * form.example_bytes(_image_sizes(source), record))
    cut = require_names(_cut(msgspec.structs.replace(draft, sources=tuple(measured), bytes=sum(sizes)), sizes, recipe))
    warnings = worst_first((*cut.warnings, *layout_warnings(cut.format, cut.shards, cut.bytes)))
    return fingerprinted(msgspec.structs.replace(cut, warnings=warnings))


def _cut(plan: Plan, sizes: Sequence[int], recipe: Recipe) -> Plan:
    """The plan with its number of shards, overall or per source; `sizes` are the bytes of each source."""
    if not plan.materialize:
        return msgspec.structs.replace(plan, shards=shard_count(plan.num_examples, plan.bytes, recipe.shards.bytes))
    each = zip(plan.sources, sizes, strict=True)
    shards = [shard_count(plan.written(source), size, recipe.shards.bytes) for source, size in each]
    return msgspec.structs.replace(plan, shards=sum(shards), parts=make_parts(plan.sources, shards))


def _image_sizes(source: SourcePlan) -> list[int]:
    """Sizes of the images in a mean example."""
    count = round(source.images)
    return [source.image_bytes // count] * count if count else []


def _mean_record(plan: Plan, source: SourcePlan, rows: Rows, tokenizer: Tokenizer) -> int:
    rendered = make_renderer(plan, source, tokenizer).render(rows)
    keys = [f"{key_name(source.name)}-{key}" for key in rows.keys]
    records = make_records(Batch(rows, rendered, keys, make_labels(plan, source)))
    return int(np.mean([len(encode_record(record)) for record in records]))
