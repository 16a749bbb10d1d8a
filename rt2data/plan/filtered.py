"""What each source's filters drop, and what remains of its tasks; a build stops if that cannot be intended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from rt2data.errors import DataError, command
from rt2data.plan.recipe import Recipe
from rt2data.prepare.filtered import TASKS, Drop, Filtered
from rt2data.prepare.store import Known
from rt2data.read.filters import LISTS
from rt2data.read.source import RobotSource
from rt2data.records import Warn
from rt2data.standardize.filters import FOUND, KNOWN, MISSING, UNKNOWN
from rt2data.standardize.reasons import STEP_FILTERS

SHOWN = 10
"""Number of tasks named in a report."""
NAMED = 3
"""Number of tasks named in a message."""


class Dropped(msgspec.Struct, frozen=True):
    """What one filter dropped."""

    reason: str
    steps: int | None  # None if they were not read
    episodes: int  # episodes that lost a step to it


class TaskLeft(msgspec.Struct, frozen=True):
    """What the step filters leave of one instruction."""

    task: str
    steps: int  # chosen by the other filters
    kept: int


class FilterReport(msgspec.Struct, frozen=True, kw_only=True):
    """What the filters of one source drop: over all splits; or, if `estimated`, for the split drawn, scaled up from a sample.

    Task counts of a sample are not scaled.
    """

    source: str
    estimated: bool
    steps: int  # read, without faulty ones
    kept: int
    dropped: tuple[Dropped, ...]
    tasks: int  # with at least one chosen step
    emptied: int  # with no step left
    worst: tuple[TaskLeft, ...]  # tasks that lost most


def filter_reports(recipe: Recipe, known: Mapping[str, Known]) -> tuple[FilterReport, ...]:
    """A report on each robot source with filters. Raises DataError if a store cannot be read."""
    return tuple(_report(name, source, known[name]) for name, source in _filtered(recipe, known))


def require_kept(recipe: Recipe, stores: Mapping[str, Known]) -> None:
    """Raises DataError if the filters of a source drop what they should not.

    Only exact knowledge counts: a sample fails only if nothing of it is left.
    """
    for name, source in _filtered(recipe, stores):
        if stores[name].info.digest or not _kept(stores[name]):
            for problem in _problems(name, source, stores[name]):
                raise problem


def filter_warnings(recipe: Recipe, known: Mapping[str, Known]) -> Iterator[Warn]:
    """Why a build would stop, if all the data is like the samples."""
    for name, source in _filtered(recipe, known):
        if not known[name].info.digest:
            for found in _problems(name, source, known[name]):
                yield Warn("filters", "warning", name, f"a build may stop: in a sample, {found.what} [{found.where}]", found.do)


def _filtered(recipe: Recipe, known: Mapping[str, Known]) -> Iterator[tuple[str, RobotSource]]:
    for name in known:
        source = recipe.sources[name]
        if isinstance(source, RobotSource) and source.filtered:
            yield name, source


# Report


def _report(name: str, source: RobotSource, known: Known) -> FilterReport:
    found, kept = known.filtered(), _kept(known)
    dropped = [Dropped(reason, round(drop.steps), round(drop.episodes)) for reason, drop in found.drops.items()]
    if source.limits.left_out:
        dropped.append(Dropped("limit", None, source.limits.left_out))
    chosen = _chosen(found)
    return FilterReport(
        source=name,
        estimated=not known.info.digest,
        steps=kept + sum(each.steps or 0 for each in dropped),
        kept=kept,
        dropped=tuple(sorted(dropped, key=lambda each: (each.steps is None, -(each.steps or 0), each.reason))),
        tasks=chosen.num_rows,
        emptied=pc.sum(pc.equal(chosen["kept"], 0)).as_py() or 0,
        worst=tuple(_worst(chosen)),
    )


def _kept(known: Known) -> int:
    return sum(split.rows for split in known.info.splits.values())


def _chosen(found: Filtered) -> pa.Table:
    """Tasks with any step left by the choosing filters: `task`, `kept`, and `steps` chosen."""
    known = TASKS.empty_table() if found.tasks is None else found.tasks
    tasks = known.append_column("steps", pc.add(known["kept"], known["dropped"]))
    return tasks.filter(pc.greater(tasks["steps"], 0)).select(["task", "kept", "steps"])


def _worst(chosen: pa.Table) -> Iterator[TaskLeft]:
    """The tasks that lost the largest share of their steps, then by number of steps; tasks without losses are left out."""
    lost = chosen.filter(pc.less(chosen["kept"], chosen["steps"]))
    shares = pc.divide(pc.cast(lost["kept"], pa.float64()), lost["steps"])
    order = [("share", "ascending"), ("steps", "descending"), ("task", "ascending")]
    for row in lost.append_column("share", shares).sort_by(order).slice(0, SHOWN).to_pylist():
        yield TaskLeft(row["task"], row["steps"], row["kept"])


# Problems


def _problems(name: str, source: RobotSource, known: Known) -> Iterator[DataError]:
    found = known.filtered()
    yield from _unmatched(name, source, known)
    yield from _too_much(name, source, known, found.drops)
    yield from _emptied(name, source, found)


def _unmatched(name: str, source: RobotSource, known: Known) -> Iterator[DataError]:
    """A list or a range file that matches no episode: the filter does nothing, or drops everything."""
    facts, do = known.info.facts, "name episodes as the prepared store does, or by their origin"
    for setting in LISTS:
        if facts.get(f"{MISSING}.{setting}") and not facts.get(f"{FOUND}.{setting}"):
            first = next((fact for fact in facts if fact.startswith(f"{MISSING}.{setting}.")), "")
            named = first.removeprefix(f"{MISSING}.{setting}.")
            yield DataError(f"source {name} has no episode that filters.{setting} names", f"such as {named}", do)
    if facts.get(UNKNOWN) and not facts.get(KNOWN):
        named = next(iter(source.filters.ranges() or ()), "")
        yield DataError(f"source {name} has no episode that filters.keep_ranges names", f"such as {named}", do)


def _too_much(name: str, source: RobotSource, known: Known, drops: Mapping[str, Drop]) -> Iterator[DataError]:
    """Step filters that drop more than the recipe allows, counted among the steps that the other filters chose."""
    lost = {word: round(drops[word].steps) for word in sorted(reason.word for reason in STEP_FILTERS) if word in drops}
    gone = sum(lost.values())
    if gone > source.max_dropped * (gone + _kept(known)):
        allowed = f"more than max_dropped {float(source.max_dropped):.3g} allows"
        look = f"look at them: {command('store', 'rejects', known.path)}; then " if known.info.digest else ""
        yield DataError(
            f"filters drop {gone:,} of {gone + _kept(known):,} steps of source {name}, {allowed}",
            ", ".join(f"{count:,} {word}" for word, count in lost.items()),
            f"{look}loosen the filters, or raise max_dropped",
        )


def _emptied(name: str, source: RobotSource, found: Filtered) -> Iterator[DataError]:
    """Tasks that lost all their steps."""
    chosen = _chosen(found)
    empty = chosen.filter(pc.equal(chosen["kept"], 0)).sort_by([("steps", "descending"), ("task", "ascending")])
    if source.empty_tasks == "stop" and empty.num_rows:
        named = [f"{row['task']!r} of {row['steps']:,} steps" for row in empty.slice(0, NAMED).to_pylist()]
        more = [f"and {empty.num_rows - NAMED:,} more"] if empty.num_rows > NAMED else []
        yield DataError(
            f"filters leave nothing of {empty.num_rows:,} of {chosen.num_rows:,} tasks of source {name}",
            ", ".join(named + more),
            "loosen the filters, or set empty_tasks: allow",
        )
