"""Step four: recipe and stores become a Plan: exact draws, epochs, shards. No side effects; shown first, stored in the manifest."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from fractions import Fraction
from math import ceil, floor
from typing import Any

import msgspec
import xxhash

from rt2data.errors import RejectLimitError, UsageError, command
from rt2data.io.installation import VERSION
from rt2data.order import MAX_EXAMPLES, apportion
from rt2data.plan.model import GroupPlan, Plan, SourcePlan
from rt2data.plan.recipe import Recipe
from rt2data.plan.shares import SIDES, GroupShare, Shares, SourceShare, drawn, mixture_shares, side_share
from rt2data.prepare.store import Known, StoreInfo
from rt2data.read.action_space import load_space
from rt2data.read.source import RobotSource, Source, WebSource
from rt2data.records import Agreement, Level, Warn

PLAN_VERSION = 3
"""Increase this when the same recipe and rows would give different bytes."""
WARN_EPOCHS = 4
MANY_EPOCHS = 10


def needed_sources(recipe: Recipe) -> dict[str, Source]:
    """The sources to be drawn, robot first, each side by name: sources, groups or sides with weight or share 0 are not read."""
    sides = [drawn(recipe.side(side)) for side in SIDES if side_share(recipe, side)]
    return {name: side[name] for side in sides for name in sorted(side)}


def require_few_rejects(recipe: Recipe, stores: Mapping[str, Known]) -> None:
    """Raises RejectLimitError if more rows of a source are faulty, or without words, than the recipe allows."""
    _require_words(recipe, {name: store.info for name, store in stores.items()})
    for name, store in stores.items():
        bad, rows, reasons = _faulty(store.info, recipe.sources[name].whole_records)
        if bad and bad > recipe.max_bad * (bad + rows):
            allowed = f"more than max_bad {float(recipe.max_bad):.3g} allows"
            raise RejectLimitError(
                f"{bad} of {bad + rows} rows of source {name} are faulty, {allowed}",
                reasons,
                f"look at them: {command('store', 'rejects', store.path)}; "
                "then mend the source, raise max_bad or build with --allow-bad",
            )


def _faulty(info: StoreInfo, whole: Collection[str]) -> tuple[int, int, str]:
    """Faulty rows, good rows, and the faults in words. A record lost as a `whole` counts as one mean episode."""
    rows, groups = (sum(getattr(split, each) for split in info.splits.values()) for each in ("rows", "groups"))
    length = max(1, round(rows / max(groups, 1)))
    faults = sorted((lost.reason, lost.count) for lost in info.rejects if lost.fault)
    bad = sum(count * (length if reason in whole else 1) for reason, count in faults)
    said = (f"{count} {reason}" + (f" (records of about {length} rows)" if reason in whole else "") for reason, count in faults)
    return bad, rows, ", ".join(said)


def _require_words(recipe: Recipe, infos: Mapping[str, StoreInfo]) -> None:
    """Raises RejectLimitError if too many steps of a robot source were dropped because they have no words."""
    for name, info in infos.items():
        limit = getattr(recipe.sources[name], "max_blank", 1)
        blank = sum(lost.count for lost in info.rejects if lost.reason == "blank_instruction" and not lost.fault)
        rows = sum(split.rows for split in info.splits.values())
        if blank > limit * (blank + rows):
            raise RejectLimitError(
                f"{blank} of {blank + rows} steps of source {name} have no words, more than max_blank {float(limit):.3g} allows",
                "blank_instruction",
                "name the feature with the words as `instruction`, raise max_blank, or set blank_instruction: keep",
            )


def draws(recipe: Recipe, rows: Mapping[str, int]) -> dict[str, int]:
    """Exact number of draws of each source. `rows` holds the needed sources only.

    Raises DataError if a side with a share has no source, or one without rows.
    """
    return share_out(recipe, rows, mixture_shares(recipe, rows))


def share_out(recipe: Recipe, rows: Mapping[str, int], found: Shares) -> dict[str, int]:
    """The number of draws of each source for these shares."""
    shares = {name: each.share for name, each in found.sources.items()}
    total = _total(recipe, rows, shares)
    return dict(zip(shares, apportion(total, list(shares.values())), strict=True))


def _total(recipe: Recipe, rows: Mapping[str, int], shares: Mapping[str, Fraction]) -> int:
    size = recipe.size
    if size.num_examples is not None:
        return size.num_examples
    exact = {name: size.epochs * rows[name] / share for name, share in shares.items() if share}
    if size.of not in ("longest", "shortest") and size.of not in exact:
        raise UsageError(f"size.of names a source that is not drawn: {size.of}", "recipe", f"name one of {', '.join(exact)}")
    found = ceil(exact.get(size.of, max(exact.values())))
    if size.of == "shortest":
        found = max(1, floor(min(exact.values())))  # one more would repeat a row
    if found > MAX_EXAMPLES:
        raise UsageError(f"the mixture would have {found:,} examples", "size", f"at most {MAX_EXAMPLES:,}: give num_examples")
    return found


def fingerprinted(plan: Plan) -> Plan:
    """The plan with a hash of everything that determines the output bytes."""
    bare = msgspec.structs.replace(plan, fingerprint="", warnings=())
    content = msgspec.json.encode(bare, order="deterministic")
    return msgspec.structs.replace(plan, fingerprint=xxhash.xxh3_128_hexdigest(content))


def plan_source(found: SourceShare, info: StoreInfo, split: str, count: int) -> SourcePlan:
    """The draws of one source, before codec and record size are known."""
    source = found.source
    here = info.splits[split]
    least, rest = divmod(count, here.rows)
    return SourcePlan(
        name=found.name,
        kind=info.kind,
        source=info.source,
        digest=info.digest,
        rows=here.rows,
        groups=here.groups,
        weight=str(found.weight),
        share=str(found.share),
        draws=count,
        epochs=count / here.rows,
        repeats_min=least,
        repeats_max=least + bool(rest),
        unseen=max(here.rows - count, 0),
        images=here.images / here.rows,
        image_bytes=here.image_bytes // here.rows,
        record_bytes=0,
        action_space=getattr(source, "action_space", None),
        action_dim=info.action_dim,
        codec=None,
        camera=info.camera if info.has_actions else None,
        cameras=info.cameras if info.has_actions else (),
        loss_weight=str(source.loss_weight),
        path=found.path or msgspec.UNSET,
        agreement=agreement_of(source),
        **_of_robot(source, info),
    )


def agreement_of(source: Source) -> Agreement | msgspec.UnsetType:
    """Which answers of a source count as equal; unset for `case`, the only rule of older versions."""
    return source.agreement if isinstance(source, WebSource) and source.agreement != "case" else msgspec.UNSET


def _of_robot(source: Source, info: StoreInfo) -> dict[str, Any]:
    """Fields that only robot sources have."""
    if not isinstance(source, RobotSource):
        return {}
    space = load_space(source.action_space)
    return {
        "slots": info.slots,
        "horizon": source.horizon,
        "gaps": source.gaps if source.windowed else "",
        "control_hz": source.control_hz or space.control_hz,
        "control_mode": space.control_mode,
        "state_names": source.state_names,
    }


def plan_groups(groups: Sequence[GroupShare], sources: Sequence[SourcePlan]) -> tuple[GroupPlan, ...] | msgspec.UnsetType:
    """The groups with their totals; unset if there are none."""
    bare = (
        GroupPlan(
            kind=group.side,
            path=group.path,
            weighting=str(group.rule),
            weights=group.preset.name if group.preset else None,
            weight=str(group.weight),
            share=str(group.share),
            rows=0,
            draws=0,
            unseen=0,
        )
        for group in groups
    )
    return tuple(msgspec.structs.replace(group, **group_sums(group, sources)) for group in bare) or msgspec.UNSET


def group_sums(group: GroupPlan, sources: Sequence[SourcePlan]) -> dict[str, int]:
    """The counts of a group: sums over its sources."""
    inside = [source for source in sources if group.holds(source)]
    return {name: sum(getattr(source, name) for source in inside) for name in ("rows", "draws", "unseen")}


def image_places(infos: Sequence[tuple[StoreInfo, str]]) -> int | None:
    """Image places per example of these stores and splits; None if every example has exactly one image."""
    splits = [(info, info.splits[split]) for info, split in infos]
    if all(len(info.slots) <= 1 and split.fewest == split.most == 1 for info, split in splits):
        return None
    return max(len(info.slots) if info.slots else split.most for info, split in splits)


def warnings_of(recipe: Recipe, sources: Sequence[SourcePlan]) -> tuple[Warn, ...]:
    """What to know before starting a build. Raises UsageError if the recipe's max_epochs is exceeded."""
    found: list[Warn] = []
    for s in sources:
        _require_few_epochs(recipe, s)
        found += draw_warnings(s.name, s.epochs, s.unseen, s.rows)
    return (*found, *_opposite_terminates(sources))


def _require_few_epochs(recipe: Recipe, planned: SourcePlan) -> None:
    """Raises UsageError above the source's own limit if it has one, else the recipe's."""
    source = recipe.sources.get(planned.name)
    own = source.max_epochs if source else None
    limit = recipe.max_epochs if own is None else own
    if limit is not None and planned.repeats_max > limit:
        what = f"source {planned.name} would be repeated {planned.epochs:.2f} times, max_epochs is {limit}"
        raise UsageError(what, "max_epochs" if own is None else f"{planned.name}.max_epochs", "draw less of it")


def _opposite_terminates(sources: Sequence[SourcePlan]) -> Iterator[Warn]:
    """Warns if one word ends the task in one source and continues it in another: no model could learn when to stop."""
    ends = {s.name: s.codec["terminate"] for s in sources if s.codec and s.codec["terminate"]}
    low = [name for name, bins in ends.items() if bins["terminates"] < bins["continues"]]
    high = [name for name in ends if name not in low]  # in the plan's order: the manifest holds the message
    if low and high:
        what = f"terminate is the lower bin in {', '.join(low)} and the higher one in {', '.join(high)}"
        yield Warn("terminate_polarity", "error", "", what, "use one codec, with one `terminates`, for all sources")


def draw_warnings(name: str, epochs: float, unseen: int, rows: int) -> Iterator[Warn]:
    """Warns of a source repeated too often, or rows never drawn; the same for a plan and a finished mixture."""
    if epochs > WARN_EPOCHS:
        level: Level = "error" if epochs > MANY_EPOCHS else "warning"
        what = f"every row is repeated {epochs:.1f} times; models overfit beyond about {WARN_EPOCHS}"
        yield Warn("repeated_epochs", level, name, what, "draw less of it, or find more of its kind")
    if unseen:
        yield Warn("unseen", "note", name, f"{unseen:,} of {rows:,} rows are never drawn", "draw more if they matter")


def shard_count(total: int, bytes_total: int, shard_bytes: int) -> int:
    """Number of shards: about `shard_bytes` each, never more than there are examples."""
    return max(1, min(total, round(bytes_total / shard_bytes)))


def empty_split(info: StoreInfo, split: str) -> bool:
    """Whether a store has no rows in this split."""
    return split not in info.splits or not info.splits[split].rows


def split_rows(stores: Mapping[str, Known], split: str) -> dict[str, int]:
    """Number of rows of this split in each store."""
    return {name: 0 if empty_split(s.info, split) else s.info.splits[split].rows for name, s in stores.items()}


def new_plan(**values: Any) -> Plan:
    """A fingerprinted plan of the current version."""
    return fingerprinted(Plan(version=PLAN_VERSION, tool_version=VERSION, **values))
