"""A plan as text: the draws per source, size, time and cost. ~ marks estimates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rt2data.cli.console import table, talk, tell
from rt2data.forecast.canary import BuildTime, Canary
from rt2data.forecast.cost import CloudCost
from rt2data.forecast.estimate import Range, SourceEstimate
from rt2data.forecast.forecast import PlanForecast, exact
from rt2data.forecast.reading import Reading
from rt2data.io.words import duration, number, plural, size
from rt2data.plan.filtered import Dropped, FilterReport
from rt2data.plan.model import GroupPlan, Plan, SourcePlan
from rt2data.read.text import one_line

COLUMNS = (
    "source",
    "side",
    "rows",
    "episodes/images",
    "weight",
    "share",
    "draws",
    "epochs",
    "repeats",
    "unseen",
    "image",
    "record",
)
DROP = (
    "record",
    "image",
    "repeats",
    "weight",
    "unseen",
    "side",
    "episodes/images",
    "epochs",
    "share",
    "draws",
    "rows",
)
"""Columns dropped on a narrow terminal, first to last."""
DROP_IN_TREE = ("record", "image", "episodes/images", "side", "weight", "rows", "share")
"""The same for a tree, which always keeps draws, epochs, repeats and unseen rows, and includes the sides."""


def show_plan(plan: Plan) -> None:
    """Print a plan made from prepared stores."""
    show_outlook(exact(plan))


def show_outlook(found: PlanForecast) -> None:
    """Print a table of the sources, then the totals."""
    if found.groups:
        table(COLUMNS, list(_tree(found, found.groups)), left=2, drop=DROP_IN_TREE)
    else:
        table(COLUMNS, [_row(found, source, _unseen(found, source)) for source in found.sources], left=2, drop=DROP)
    print(_sum(found))
    if found.parts:
        print(_written_once(found))
    for report in found.filters:
        show_filters(report)
    for line in (*(_times(found.canary) if found.canary else ()), *(_cost(found.dataflow) if found.dataflow else ())):
        print(line)
    for line in (line for each in found.reading for line in _reading(each)):
        print(line)
    for name, estimate in found.estimates.items():
        talk(f"{name}: {_sample(estimate)}")
    tell(found.warnings)


def show_filters(found: FilterReport) -> None:
    """Print what filters drop, by reason, then the tasks that lose most to step filters."""
    mark = "~" if found.estimated else ""
    lost = [(each.reason, _steps(each, mark), _share(each, found), mark + number(each.episodes)) for each in found.dropped]
    tasks = f" and {number(found.tasks - found.emptied)} of {plural(found.tasks, 'task')}" if found.tasks else ""
    print(f"filters of {found.source} leave {mark}{number(found.kept)} of {mark}{number(found.steps)} steps{tasks}")
    if lost:
        table(("dropped by", "steps", "share", "episodes"), lost, left=1, drop=("share",))
    if found.worst:
        left = [
            (one_line(each.task, 160), number(each.kept), number(each.steps), f"{each.kept / each.steps:.1%}")
            for each in found.worst
        ]
        table(("task", "kept", "of", "share"), left, left=1, drop=("share",), wrap="task")


def _steps(dropped: Dropped, mark: str) -> str:
    return "not read" if dropped.steps is None else mark + number(dropped.steps)


def _share(dropped: Dropped, found: FilterReport) -> str:
    return "" if dropped.steps is None or not found.steps else f"{dropped.steps / found.steps:.1%}"


def _row(found: PlanForecast, source: SourcePlan, unseen: str) -> tuple[str, ...]:
    mark = "~" if source.name in found.estimates else ""
    drawn = "~" if found.estimated else ""  # the draws of a source depend on all sources
    return (
        source.name,
        source.kind,
        mark + number(source.rows),
        mark + number(source.groups),
        source.weight,
        f"{drawn}{source.draws / found.num_examples:.2%}",
        drawn + number(source.draws),
        drawn + number(source.epochs),
        f"{drawn}{source.repeats_min}-{source.repeats_max}",
        unseen,
        mark + size(source.image_bytes),
        mark + size(source.record_bytes),
    )


def _unseen(found: PlanForecast, source: SourcePlan) -> str:
    mark = "~" if found.estimated else ""
    return mark + (f"{number(source.unseen)} ({source.unseen / source.rows:.0%})" if source.unseen else "0")


def _unseen_share(found: PlanForecast, drawn: SourcePlan | GroupPlan) -> str:
    """The unseen share of all rows. Their number is in the notes, since it would make a tree wide."""
    mark = "~" if found.estimated else ""
    return f"{mark}{drawn.unseen / drawn.rows:.1%}"


def _tree(found: PlanForecast, groups: Sequence[GroupPlan]) -> Iterator[tuple[str, ...]]:
    """Rows of a tree: each group, then its contents, indented; a side with groups comes first, with its rule if it has one."""
    ruled = {(group.kind, group.path): group for group in groups}
    for kind in dict.fromkeys(source.kind for source in found.sources):
        seen: tuple[str, ...] | None = None
        for source in sorted((s for s in found.sources if s.kind == kind), key=_branch):
            path = source.path or ()
            for depth in range(len(path) + 1):
                if seen is None or seen[:depth] != path[:depth]:
                    yield _group_row(found, ruled.get((kind, path[:depth])), kind, path[:depth])
            seen = path
            first, *others = _row(found, source, _unseen_share(found, source))
            yield ("  " * (len(path) + 1) + first, *others)


def _group_row(found: PlanForecast, group: GroupPlan | None, kind: str, path: tuple[str, ...]) -> tuple[str, ...]:
    """The sums of a group; only the name for a side without its own rules."""
    name = "  " * len(path) + (path[-1] if path else kind)
    if group is None:
        return (name, kind, *[""] * (len(COLUMNS) - 2))
    drawn = "~" if found.estimated else ""
    return (
        f"{name}: {group.weights or group.weighting}",
        kind,
        drawn + number(group.rows),
        "",
        group.weight if path else "",
        f"{drawn}{group.draws / found.num_examples:.2%}",
        drawn + number(group.draws),
        f"{drawn}{number(group.draws / group.rows)}",
        "",
        _unseen_share(found, group),
        "",
        "",
    )


def _branch(source: SourcePlan) -> tuple[tuple[bool, str], ...]:
    """A sort key: groups by name, each before the sources at the same level."""
    return (*((False, name) for name in source.path or ()), (True, source.name))


def _sum(found: PlanForecast) -> str:
    mark = "~" if found.estimated else ""
    robot = f"{mark}{found.robot_examples:,} robot = {found.robot_examples / found.num_examples:.4%} (asked {found.robot_frac})"
    written = sum(map(found.written, found.sources))
    shards = f"{mark}{plural(found.shards, 'shard')} of about {plural(written // found.shards, 'example')}"
    spread = f" ({_between(found.totals.bytes)})" if found.totals else ""
    return f"{mark}{plural(found.num_examples, 'example')} ({robot}), about {size(found.bytes)}{spread} in {shards}"


def _written_once(found: PlanForecast) -> str:
    weights = ", ".join(f"{part.source} {part.weight}" for part in found.parts or ())
    return f"each row is written once, {sum(map(found.written, found.sources)):,} in total; repeats are weights: {weights}"


def _between(found: Range) -> str:
    if found.low is None or found.high is None:
        return "range unknown"
    return f"{size(found.low)} to {size(found.high)}"


def _sample(estimate: SourceEstimate) -> str:
    """What an estimate is based on, and what it does not cover."""
    rows = estimate.rows
    spread = f", {rows.low:,.0f} to {rows.high:,.0f}" if rows.low is not None and rows.high is not None else ""
    read = f"{estimate.sampled_rows:,} rows of {estimate.sampled:,.0f} of {estimate.whole:,.0f} {estimate.measure} read"
    left = f", {estimate.dropped:.1%} of them dropped" if estimate.dropped else ""
    return f"~{rows.value:,.0f} rows{spread} ({read}{left}); not checked: {'; '.join(estimate.not_checked)}"


def _times(canary: Canary) -> Iterator[str]:
    workers = plural(canary.workers, "worker") if canary.workers else "this process"
    took = f"canary of {canary.share:.1%}, in {canary.seconds:.0f} s"
    yield f"about {_about(canary.build)} on {workers} ({took}); a re-mix about {_about(canary.remix)}"
    phases = canary.build.phases
    parts = ", ".join(f"{name} {duration(getattr(phases, name))}" for name in phases.__struct_fields__)
    yield f"phases: {parts}; memory up to about {size(canary.peak_bytes)}"
    yield from (f"note: {note}" for note in canary.notes)


def _about(found: BuildTime) -> str:
    seconds = found.seconds
    return f"{duration(seconds.value)} ± {duration((seconds.high or seconds.value) - seconds.value)}"


def _reading(found: Reading) -> Iterator[str]:
    """How a source's images in an object store are read, and the cost of both ways."""
    either = f"{number(found.scattered)} requests scattered, at most, about {number(found.compacted)} compacted"
    yield f"{found.source}: {size(found.image_bytes)} of images read {found.way} ({found.why}); {either}"
    if found.cost is not None:
        cost = found.cost
        yield (
            f"  scattered ${cost.scattered_usd:.2f}, at least {duration(cost.workers_s)} on {plural(cost.workers, 'worker')} and "
            f"{duration(cost.bucket_s)} from a new bucket; compacted ${cost.compacted_usd:.2f}, after ${cost.spill_usd:.2f} of "
            f"requests by spill or ${cost.shuffle_usd:.2f} by runner, and ${cost.month_usd:.2f} a month to keep "
            f"{size(found.stored_bytes)}; storage prices of {cost.prices_as_of}, unverified"
        )


def _cost(cost: CloudCost) -> Iterator[str]:
    low, high = cost.low, cost.high
    workers = f"{low.workers} to {plural(high.workers, 'worker')}" if high.workers > low.workers else plural(low.workers, "worker")
    yield (
        f"Dataflow, {cost.machine} in {cost.region}: {workers} for {duration(low.hours * 3600)} to {duration(high.hours * 3600)}; "
        f"{duration(cost.cpu_hours * 3600)} of processor time ({cost.cpu_from})"
    )
    uses = (("vcpu_hours", "vCPU-hours"), ("memory_gb_hours", "GB-hours of memory"), ("disk_gb_hours", "GB-hours of disk"))
    used = [f"{getattr(low, name):.3g} to {getattr(high, name):.3g} {what}" for name, what in uses]
    yield ", ".join([*used, f"{high.shuffle_gb:.2g} GB or less of shuffle"])
    unsure = f" (unverified price: {', '.join(cost.unverified_prices)})" if cost.unverified_prices else ""
    yield f"${low.usd:.2f} to ${high.usd:.2f} at prices of {cost.prices_as_of}{unsure}"
    yield from (f"note: {note}" for note in (f"prices are from {cost.prices_from}", *cost.notes))
