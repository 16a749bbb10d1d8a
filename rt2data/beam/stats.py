"""Statistics as a Beam graph: the work orders and sums of `rt2data.look.stats.run` in the same order, so the same numbers.

read shards (of a mixture) -> sum rows and episodes -> second pass -> stats.json

Beam is imported late, so that usage errors are reported at once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import xxhash

from rt2data.beam.local import RunId
from rt2data.beam.run import Watch, prepare_anywhere, run_anywhere
from rt2data.io.location import path_of, read_bytes, write_whole
from rt2data.io.location.folders import discard_folder, make_folder
from rt2data.io.publish import require_writable
from rt2data.look.stats.model import Stats
from rt2data.look.stats.passes import Order, carry_out
from rt2data.look.stats.run import all_second_orders, conclude, first_orders, gather_first, gather_second, gather_shards
from rt2data.look.stats.subject import Question, Subject, find_subject
from rt2data.tally.sums import Sum

READ, SUM, SECOND = 0, 1, 2
"""Stages."""


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """A work order, or its result, with its position: results return in any order."""

    stage: int
    number: int
    what: Any

    @property
    def label(self) -> str:
        return str(self.what.label)


def carry_placed(placed: Placed) -> Placed:
    """Carry out the order; the result keeps its position."""
    return Placed(placed.stage, placed.number, carry_out(placed.what))


def _place(stage: int, orders: Sequence[Order]) -> list[Placed]:
    return [Placed(stage, number, order) for number, order in enumerate(orders)]


def _in_order(done: Sequence[Placed], stage: int) -> list[Sum]:
    return [each.what for each in sorted(done, key=lambda each: each.number) if each.stage == stage]


@dataclass(frozen=True)
class _Orders:
    """The work orders of a stage, once the previous stage is done."""

    subject: Subject
    stage: int

    def __call__(self, _: None, before: Sequence[Placed]) -> list[Placed]:
        if self.stage == SUM:
            return _place(SUM, first_orders(self.subject))
        first = gather_first(self.subject, _in_order(before, SUM))
        return _place(SECOND, all_second_orders(self.subject, first))


@dataclass(frozen=True)
class _Conclude:
    """Combine and write everything, all or nothing; the rows of a mixture are no longer needed."""

    subject: Subject
    out: str
    scratch: Path

    def __call__(self, _: None, done: Sequence[Placed]) -> list[str]:
        shards, first = gather_shards(_in_order(done, READ)), gather_first(self.subject, _in_order(done, SUM))
        found = conclude(self.subject, shards, first, gather_second(self.subject, _in_order(done, SECOND)))
        write_whole(path_of(self.out), msgspec.json.format(msgspec.json.encode(found), indent=2) + b"\n")
        discard_folder(self.scratch)
        return [self.out]


def wire_stats(pipeline: Any, subject: Subject, out: Path, scratch: Path, run: RunId | None = None) -> Any:
    """Add the whole graph to a pipeline. `scratch` is for the rows of a mixture: every worker must see it."""
    import apache_beam as beam

    from rt2data.beam.graph import CarryOut, Here

    def done(name: str, orders: Any) -> Any:
        spread = orders | f"Spread{name}" >> beam.Reshuffle()
        return spread | name >> beam.ParDo(CarryOut(carry_placed, run)).with_output_types(Placed)

    def here(name: str, function: Callable[..., Any], before: Any) -> Any:
        return start | name >> beam.ParDo(Here(function, run), beam.pvalue.AsList(before))

    start = pipeline | "Start" >> beam.Create([None])
    shards = done("Read", pipeline | "Shards" >> beam.Create(_place(READ, subject.shards)))
    first = done("Sum", here("Rows", _Orders(subject, SUM), shards))
    second = done("SumAgain", here("Values", _Orders(subject, SECOND), first))
    return here("Conclude", _Conclude(subject, str(out), scratch), (shards, first, second) | "All" >> beam.Flatten())


MARK = b'"tool_version"'
"""At the start of every statistics file."""


def stats_anywhere(
    question: Question, out: Path, arguments: Sequence[str], force: bool = False, watch: Watch | None = None
) -> Stats | None:
    """Take statistics with the runner of Beam's options, and wait for it; None if the options only stage the job.

    Failures keep their types. Earlier statistics at `out` are replaced, any other file only with `force`. Meanwhile the rows of a
    mixture are in a folder next to the output.
    """
    watch, scratch, done = watch or Watch(), out.with_name(f".{out.name}.{uuid4().hex[:8]}.rows"), True
    make_folder(out.parent)
    require_writable(out, mark=MARK, force=force)
    make_folder(scratch)
    try:
        subject = find_subject(question, scratch, lambda recipe: prepare_anywhere(recipe, arguments, watch))
        from rt2data.beam.pipeline_options import new_pipeline

        pipeline = new_pipeline(arguments, out, xxhash.xxh3_128_hexdigest(repr(question).encode()))
        done = run_anywhere(pipeline, out, lambda run: wire_stats(pipeline, subject, out, scratch, run), watch)
    finally:
        if done:  # a job that is only staged will need it, and removes it
            discard_folder(scratch)
    return msgspec.json.decode(read_bytes(out), type=Stats) if done else None
