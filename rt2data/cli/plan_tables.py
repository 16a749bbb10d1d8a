"""A plan as text: what is drawn from which source, its size, time and cost. ~ marks estimates."""

from __future__ import annotations

from collections.abc import Iterator

from rt2data.cli.console import table, talk, tell
from rt2data.forecast.canary import BuildTime, Canary
from rt2data.forecast.cost import CloudCost
from rt2data.forecast.estimate import Range, SourceEstimate
from rt2data.forecast.forecast import PlanForecast, exact
from rt2data.io.words import duration, number, plural, size
from rt2data.plan.plan import Plan, SourcePlan

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


def show_plan(plan: Plan) -> None:
    """A plan made from prepared stores."""
    show_outlook(exact(plan))


def show_outlook(found: PlanForecast) -> None:
    """A table of the sources, then the totals."""
    table(COLUMNS, [_row(found, source) for source in found.sources], left=2, drop=DROP)
    print(_sum(found))
    if found.parts:
        print(_written_once(found))
    for line in (*(_times(found.canary) if found.canary else ()), *(_cost(found.dataflow) if found.dataflow else ())):
        print(line)
    for name, estimate in found.estimates.items():
        talk(f"{name}: {_sample(estimate)}")
    tell(found.warnings)


def _row(found: PlanForecast, source: SourcePlan) -> tuple[str, ...]:
    mark = "~" if source.name in found.estimates else ""
    drawn = "~" if found.estimated else ""  # the draws of a source depend on all sources
    unseen = f"{number(source.unseen)} ({source.unseen / source.rows:.0%})" if source.unseen else "0"
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
        drawn + unseen,
        mark + size(source.image_bytes),
        mark + size(source.record_bytes),
    )


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
