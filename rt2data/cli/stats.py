"""`rt2data stats`: statistics of a source, a store, a recipe or a mixture."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from rt2data.beam.pool import Pool, PoolKind, pool_at_work
from rt2data.cli.console import say_json, table, talk, tell
from rt2data.cli.progress import Progress, quiet_libraries
from rt2data.cli.runners import tell_page, tell_staged
from rt2data.errors import UsageError
from rt2data.io.location import absolute
from rt2data.io.location.folders import temporary_folder
from rt2data.io.words import number, plural, size
from rt2data.look.stats.model import Actions, Distribution, MixtureStats, SourceStats, Stats, Text
from rt2data.look.stats.run import Passed, take_stats
from rt2data.look.stats.subject import Question, find_subject
from rt2data.look.stats.trainers import as_trainer, one_split
from rt2data.plan.recipe import Recipe
from rt2data.prepare.store import Store
from rt2data.read.text import one_line


@dataclass(frozen=True)
class Elsewhere:
    """A Beam runner, given by its options, and the file that its workers write."""

    options: Sequence[str]
    out: Path
    force: bool = False

    @staticmethod
    def asked(options: Sequence[str] | None, out: Path | None, force: bool) -> Elsewhere | None:
        """The runner requested on the command line; None for this machine. Raises UsageError if one of the two is missing."""
        if options is None and out is None:
            return None
        if options is None or out is None:
            raise UsageError("--runner and --out go together", do="give both; without them `--json > FILE` writes a file")
        return Elsewhere(options, absolute(out), force)


@dataclass(frozen=True)
class StatsOptions:
    """The options of the command."""

    question: Question
    trainer: str | None = None
    workers: int | None = None
    pool: PoolKind = "processes"
    as_json: bool = False
    quiet: bool = False
    elsewhere: Elsewhere | None = None


class PassProgress(Progress):
    """Counts completed work orders."""

    def _take(self, result: Any) -> None:
        if not isinstance(result, Passed):
            super()._take(result)
            return
        self._begun(result.name, result.total)
        self._count(result.name, True, 0, 0, 0)


def stats(asked: StatsOptions) -> None:
    """Compute statistics and print them as tables, JSON, or a trainer's file."""
    found = take(asked) if asked.elsewhere is None else take_elsewhere(asked.question, asked.elsewhere)
    if found is None:
        assert asked.elsewhere is not None
        tell_staged(asked.elsewhere.out, asked.as_json)
    elif asked.trainer is not None:
        _note_split(found)
        say_json(as_trainer(found, asked.trainer))
    elif asked.as_json:
        say_json(json.loads(msgspec.json.encode(found)))
    else:
        show(found)


def _note_split(found: Stats) -> None:
    """Print which of several splits a trainer's statistics come from."""
    robots = [source for source in found.sources if source.actions is not None]
    for source in one_split(robots):
        others = [each.split for each in robots if each.name == source.name and each.split != source.split]
        if others:
            talk(f"{source.name}: statistics of split {source.split}; for {' or '.join(others)} use --split")


def take(asked: StatsOptions) -> Stats:
    """The requested statistics. Raises UsageError if nothing known is there."""
    progress = PassProgress(asked.quiet)
    with pool_at_work(asked.pool, asked.workers) as pool, temporary_folder("rt2data-stats-") as scratch:
        subject = find_subject(asked.question, scratch, lambda recipe: prepared(recipe, pool, progress))
        return take_stats(subject, pool, progress)


def take_elsewhere(question: Question, where: Elsewhere) -> Stats | None:
    """The same, on a Beam runner; None if its options only stage the job."""
    with quiet_libraries():
        from rt2data.beam.run import Watch
        from rt2data.beam.stats import stats_anywhere

        said = [f"--path={question.path}", f"--out={where.out}"]
        return stats_anywhere(question, where.out, [*where.options, *said], where.force, Watch(on_submit=tell_page))


def prepared(recipe: Recipe, pool: Pool, progress: Progress) -> dict[str, Store]:
    """The stores of a recipe, prepared now if they are not yet."""
    with quiet_libraries():
        from rt2data.beam.run import prepare_locally

        return prepare_locally(recipe, pool, progress)


BLOCKS = " ▁▂▃▄▅▆▇█"
WIDE = 16
"""Characters of a small histogram."""


def show(stats: Stats) -> None:
    """Print warnings first, then sources, dimensions, episodes, text, cameras, tokens, the mixture."""
    print(f"{stats.what} {one_line(stats.path, 1000)}", flush=True)
    tell(stats.warnings, sys.stdout)
    _sources(stats.sources)
    for source in stats.sources:
        if source.actions is not None:
            _dimensions(source, source.actions)
    _episodes([source for source in stats.sources if source.episodes is not None])
    _texts(stats.sources)
    _cameras(stats.sources)
    _tokens([source for source in stats.sources if source.tokens is not None])
    if stats.mixture is not None:
        _mixture(stats.mixture)


def _section(
    columns: Sequence[str], rows: Sequence[Sequence[object]], drop: Sequence[str], *, left: int = 1, title: str = "", wrap: str = ""
) -> None:
    """Print a table if it has rows. `drop`: the columns dropped on a narrow terminal, first to last."""
    if rows:
        print()
        table(columns, rows, left=left, drop=drop, title=title, wrap=wrap)


def _name(source: SourceStats) -> str:
    return f"{source.name}/{source.split}"


def _sources(sources: Sequence[SourceStats]) -> None:
    rows = []
    for s in sources:
        lost = sum(lost.count for lost in s.lost)
        rows.append((_name(s), s.kind, s.source, number(s.rows), number(s.groups), size(s.image_bytes), number(lost)))
    columns = ("source", "side", "kind", "rows", "episodes/images", "image bytes", "dropped")
    _section(columns, rows, ("kind", "side", "image bytes", "dropped", "episodes/images", "rows"), left=3, title="sources")


def _dimensions(source: SourceStats, actions: Actions) -> None:
    coded = {each.name: each for each in actions.coded}
    rows = []
    for dim in actions.dims:
        figures = [f"{value:.4g}" for value in (dim.mean, dim.std, dim.min, dim.q01, dim.q50, dim.q99, dim.max)]
        zeros, each = f"{dim.zeros:.1%}", coded.get(dim.name)
        if each is None:
            rows.append((dim.name, dim.unit, *figures, zeros, "", "", ""))
        else:
            clipped = f"{each.clipped_low + each.clipped_high:.1%}"
            rows.append((dim.name, dim.unit, *figures, zeros, clipped, f"{each.entropy:.2f}", histogram(each.bins)))
    columns = ("action", "unit", "mean", "std", "min", "q01", "median", "q99", "max", "zero", "clipped", "bits", "bins")
    how = f", {actions.codec}" if actions.codec else ""
    drop = ("bins", "median", "min", "max", "bits", "std", "mean", "unit", "zero", "clipped", "q01", "q99")
    _section(columns, rows, drop, left=2, title=f"{_name(source)}: {actions.space}{how}")
    state = [
        (dim.name, *(f"{v:.4g}" for v in (dim.mean, dim.std, dim.min, dim.q01, dim.q50, dim.q99, dim.max)), f"{dim.zeros:.1%}")
        for dim in source.state
    ]
    numbers = ("state", "mean", "std", "min", "q01", "median", "q99", "max", "zero")
    _section(numbers, state, ("median", "zero", "q01", "q99", "std", "mean", "min", "max"), title=f"{_name(source)}: state")
    _motion(source, actions)


def _motion(source: SourceStats, actions: Actions) -> None:
    rows = [
        (m.action, m.state, f"{m.delta:.2f}", f"{m.absolute:.2f}", f"{m.lag:+d}" if m.lag else "0", number(m.wraps))
        for m in actions.motion
    ]
    rows += [(name, "not paired", "", "", "", "") for name in actions.unpaired]
    columns = ("action", "state", "delta", "absolute", "lag", "wraps")
    _section(columns, rows, ("wraps", "lag", "absolute", "delta", "state"), left=2, title=f"{_name(source)}: actions with states")
    still, again = f"{actions.noop:.1%} of the steps are no-ops", f"{actions.repeated:.1%} repeat the previous action"
    print(f"\n{one_line(_name(source))}: {still}, {again}, {actions.terminate:,} terminate")
    drifts = [f"{each.name} {each.drift:+.2g} {each.drift_unit}" for each in actions.coded if each.drift]
    if drifts:
        print(f"drift of a zero action: {one_line(', '.join(drifts), 1000)}")
    if actions.gripper is not None:
        g = actions.gripper
        agrees = "" if g.agrees is None else f", correlation with the change of {g.measured} {g.agrees:.2f}"
        print(f"{g.name}: {g.transitions.mean:.3g} changes per episode, {g.binary:.0%} at an end{agrees}")


def histogram(bins: Sequence[int]) -> str:
    """Counts as block characters; only empty bins are blank."""
    step = -(-len(bins) // WIDE)
    heights = [sum(bins[at : at + step]) for at in range(0, len(bins), step)]
    top = max(heights, default=0)
    return "".join(BLOCKS[-(-height * (len(BLOCKS) - 1) // top)] if height else BLOCKS[0] for height in heights)


def _quantiles(found: Distribution) -> tuple[str, ...]:
    return tuple(
        number(round(v, 2) if v % 1 else int(v)) for v in (found.min, found.p05, found.p50, found.p95, found.p99, found.max)
    )


def _episodes(sources: Sequence[SourceStats]) -> None:
    rows = []
    for s in sources:
        e = s.episodes
        assert e is not None
        rate = "" if e.fps is None else f"{e.fps:.3g}"
        rows.append((_name(s), number(e.count), *_quantiles(e.steps), number(e.short), number(e.incomplete), rate, number(e.gaps)))
    columns = ("episodes", "count", "min", "p05", "median", "p95", "p99", "max", "short", "incomplete", "Hz", "gaps")
    _section(columns, rows, ("gaps", "Hz", "p05", "p95", "p99", "min", "max", "incomplete", "short", "median", "count"))


def _texts(sources: Sequence[SourceStats]) -> None:
    found = [(_name(s), "instructions" if s.has_actions else "questions", s.text) for s in sources]
    found += [(_name(s), "answers", s.answers) for s in sources if s.answers is not None]
    rows = [(name, what, *_text(text)) for name, what, text in found]
    columns = ("text", "of", "rows", "unique", "blank", "not ASCII", "words", "max", "most common")
    drop = ("most common", "max", "not ASCII", "words", "unique", "blank", "rows", "of")
    _section(columns, rows, drop, left=2, wrap="most common")


def _text(text: Text) -> tuple[str, ...]:
    top = ", ".join(f"{one_line(each, 40)} ({times:,})" for each, times in text.top[:2])
    figures = (number(text.rows), number(text.unique), number(text.blank), number(text.non_ascii))
    return (*figures, number(round(text.words.mean, 2)), number(int(text.words.max)), top)


def _cameras(sources: Sequence[SourceStats]) -> None:
    rows = []
    for s in sources:
        for c in s.cameras:
            kinds, shapes = ", ".join(c.kinds), ", ".join(f"{width}x{height}" for width, height, _ in c.sizes[:3])
            counts = (number(c.images), number(c.unique), number(c.commonest))
            rows.append((_name(s), c.name, "used" if c.used else "", kinds, shapes, *counts, size(c.bytes.mean)))
    columns = ("images", "camera", "used", "format", "size", "count", "unique", "most repeated", "mean bytes")
    _section(columns, rows, ("most repeated", "format", "mean bytes", "size", "unique", "count", "used"), left=5)


def _tokens(sources: Sequence[SourceStats]) -> None:
    rows = []
    for s in sources:
        assert s.tokens is not None
        limit = "none" if s.tokens.limit is None else number(s.tokens.limit)
        for what in ("prompt", "target", "whole"):
            over = number(s.tokens.over) if what == "whole" else ""
            rows.append((_name(s), what, *_quantiles(getattr(s.tokens, what)), limit if what == "whole" else "", over))
    columns = ("tokens", "of", "min", "p05", "median", "p95", "p99", "max", "limit", "above")
    _section(columns, rows, ("p05", "p99", "p95", "min", "limit", "above", "max", "median"), left=2)


def _mixture(mixture: MixtureStats) -> None:
    tokens = max(sum(share.tokens for share in mixture.shares), 1)
    loss = max(sum(share.loss_tokens for share in mixture.shares), 1)
    rows = [
        (
            share.source,
            share.place or share.kind,
            f"{share.asked:.2%}",
            f"{share.examples / max(mixture.examples, 1):.2%}",
            f"{share.tokens / tokens:.2%}",
            f"{share.loss_tokens / loss:.2%}",
            number(share.epochs),
            number(share.unique),
            number(share.unseen),
            size(share.image_bytes),
        )
        for share in mixture.shares
    ]
    columns = ("mixture", "side", "asked", "examples", "tokens", "loss tokens", "epochs", "unique", "unseen", "image bytes")
    drop = ("image bytes", "unseen", "unique", "side", "loss tokens", "epochs", "tokens", "asked", "examples")
    _section(columns, rows, drop, left=2)
    shape = f"{plural(mixture.examples, 'example')} in {plural(mixture.shards, 'shard')}, {size(mixture.bytes)}"
    print(f"\n{shape}; robot share {mixture.asked_robot:.2%} asked")
    if not mixture.running:  # readers choose the order
        return
    worst = [f"{window.worst:.2%} in {window.examples} examples" for window in mixture.windows]
    print(f"it deviates by at most {', '.join([*worst, f'{mixture.shard_worst:.2%} in a shard'])}")
