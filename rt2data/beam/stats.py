"""Statistics as a graph: the work orders and the additions of `rt2data.look.stats.run`, in the same order, so the same numbers.

read shards (of a mixture) -> sum rows and episodes -> look again -> stats.json

Beam is imported late: what cannot be answered is told at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from rt2data.beam.run import prepare_anywhere, run_anywhere
from rt2data.io.location import write_whole
from rt2data.io.location.folders import make_folder, temporary_folder
from rt2data.io.publish import require_writable
from rt2data.look.stats.find import Question, find_subject
from rt2data.look.stats.orders import Order, carry_out
from rt2data.look.stats.run import all_second_orders, conclude, first_orders, gather_first, gather_laid, gather_second
from rt2data.look.stats.subject import Subject
from rt2data.tally.sums import Sum

READ, SUM, LOOK = 0, 1, 2
"""Stages."""


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """An order, or its result, and its place among all: results come back in any order."""

    stage: int
    number: int
    what: Any

    @property
    def label(self) -> str:
        return str(self.what.label)


def carry_placed(placed: Placed) -> Placed:
    """Carry out the order; the result takes its place."""
    return Placed(placed.stage, placed.number, carry_out(placed.what))


def _place(stage: int, orders: Sequence[Order]) -> list[Placed]:
    return [Placed(stage, number, order) for number, order in enumerate(orders)]


def _in_order(done: Sequence[Placed], stage: int) -> list[Sum]:
    return [each.what for each in sorted(done, key=lambda each: each.number) if each.stage == stage]


@dataclass(frozen=True)
class _Orders:
    """What there is to do in a stage, once all of the stage before is done."""

    subject: Subject
    stage: int

    def __call__(self, _: None, before: Sequence[Placed]) -> list[Placed]:
        if self.stage == SUM:
            return _place(SUM, first_orders(self.subject))
        first = gather_first(self.subject, _in_order(before, SUM))
        return _place(LOOK, all_second_orders(self.subject, first))


@dataclass(frozen=True)
class _Conclude:
    """Everything added up and written, whole or not at all."""

    subject: Subject
    out: str

    def __call__(self, _: None, done: Sequence[Placed]) -> list[str]:
        laid, first = gather_laid(_in_order(done, READ)), gather_first(self.subject, _in_order(done, SUM))
        found = conclude(self.subject, laid, first, gather_second(self.subject, _in_order(done, LOOK)))
        write_whole(Path(self.out), msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
        return [self.out]


def wire_stats(pipeline: Any, subject: Subject, out: Path, run: str | None = None) -> Any:
    """Put the whole graph into a pipeline."""
    import apache_beam as beam

    from rt2data.beam.graph import CarryOut, Here

    def done(name: str, orders: Any) -> Any:
        spread = orders | f"Spread{name}" >> beam.Reshuffle()
        return spread | name >> beam.ParDo(CarryOut(carry_placed, run)).with_output_types(Placed)

    def here(name: str, function: Callable[..., Any], before: Any) -> Any:
        return start | name >> beam.ParDo(Here(function, run), beam.pvalue.AsList(before))

    start = pipeline | "Start" >> beam.Create([None])
    laid = done("Read", pipeline | "Shards" >> beam.Create(_place(READ, subject.lay)))
    first = done("Sum", here("Rows", _Orders(subject, SUM), laid))
    second = done("LookAgain", here("Values", _Orders(subject, LOOK), first))
    return here("Conclude", _Conclude(subject, str(out)), (laid, first, second) | "All" >> beam.Flatten())


MARK = b'"tool_version"'
"""Stands at the start of all statistics."""


def stats_anywhere(question: Question, out: Path, arguments: Sequence[str], force: bool = False) -> None:
    """Take statistics with the runner that Beam's own options name, and wait for it. Raises what fails here as it was raised.

    Earlier statistics at `out` are replaced, any other file only with `force`.

    The rows of a mixture lie in a folder beside the output meanwhile, where every worker sees them.
    """
    make_folder(out.parent)
    require_writable(out, mark=MARK, force=force)
    with temporary_folder(f".{out.name}.", out.parent) as folder:
        subject = find_subject(question, Path(folder), lambda recipe: prepare_anywhere(recipe, arguments))
        run_anywhere(arguments, lambda pipeline, name: wire_stats(pipeline, subject, out, name))
