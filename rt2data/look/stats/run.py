"""Computes statistics in plain Python, in two passes over files of rows. Beam uses the same functions, so both give the same
numbers.

Results are added in the order of their work orders, so the number of workers does not affect the result.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, cast

import msgspec

from rt2data.io.installation import VERSION
from rt2data.look.stats.content import TokenSums
from rt2data.look.stats.episodes import EpisodeSums, episode_orders
from rt2data.look.stats.mixture import ShardSums, mixture_stats
from rt2data.look.stats.model import STATS_VERSION, Stats
from rt2data.look.stats.passes import Order, RowsOrder, RowSums, SecondSums, carry_out, second_orders
from rt2data.look.stats.subject import Subject, dropped
from rt2data.look.stats.summary import Summed, find_leaks, source_stats
from rt2data.look.stats.warnings import warnings_of
from rt2data.records import worst_first
from rt2data.tally.sums import Sum, add_up

IN_FLIGHT = 8
"""Work orders given to the pool ahead of the first result."""


class StatsPool(Protocol):
    """Any pool that carries out work orders."""

    def submit(self, work: Callable[[Any], Any], order: Any) -> Future[Any]: ...


@dataclass(frozen=True)
class Passed:
    """Progress of a pass."""

    name: str
    done: int
    total: int


Report = Callable[[Passed], None]


@dataclass(frozen=True)
class First:
    """The sums of the first pass over one row set."""

    rows: RowSums
    episodes: EpisodeSums


def take_stats(subject: Subject, pool: StatsPool | None = None, report: Report = lambda _: None) -> Stats:
    """Statistics of a subject, computed by the pool's workers or in this process. Raises DataError if rows or records cannot be
    read.
    """
    shards = gather_shards(results(subject.shards, pool, "read", report, carry_out))
    first = gather_first(subject, results(first_orders(subject), pool, "sum", report, carry_out))
    second = gather_second(subject, results(all_second_orders(subject, first), pool, "count", report, carry_out))
    return conclude(subject, shards, first, second)


def results(orders: Sequence[Any], pool: StatsPool | None, name: str, report: Report, work: Callable[[Any], Any]) -> Iterator[Any]:
    """Results in the order of the work orders, a few in flight at a time."""
    waiting: deque[Future[Any]] = deque()
    left = iter(orders)
    for done in range(1, len(orders) + 1):
        if pool is None:
            found = work(next(left))
        else:
            while len(waiting) < IN_FLIGHT and (order := next(left, None)) is not None:
                waiting.append(pool.submit(work, order))
            found = waiting.popleft().result()
        report(Passed(name, done, len(orders)))
        yield found


def first_orders(subject: Subject) -> list[Order]:
    """The first pass: files of rows, and parts of the episodes, row set by row set."""
    found: list[Order] = []
    for rows in subject.rows:
        found += (RowsOrder(rows, number) for number in range(rows.files))
        found += episode_orders(rows)
    return found


def all_second_orders(subject: Subject, first: Sequence[First]) -> list[Order]:
    """The second pass, determined by the sums of the first."""
    found: list[Order] = []
    for rows, sums in zip(subject.rows, first, strict=True):
        found += second_orders(rows, sums.rows)
    return found


def gather_shards(results: Iterable[Sum]) -> ShardSums:
    """Sums over all shards of a mixture."""
    return add_up(ShardSums(), cast("Iterable[ShardSums]", results))


def gather_first(subject: Subject, results: Iterable[Sum]) -> list[First]:
    """Sums of each row set, from results in the order of `first_orders`."""
    every, found = iter(results), []
    for rows in subject.rows:
        sums = add_up(RowSums(), cast("Iterator[RowSums]", _next(every, rows.files)))
        episodes = add_up(EpisodeSums(), cast("Iterator[EpisodeSums]", _next(every, len(episode_orders(rows)))))
        found.append(First(sums, episodes))
    return found


def gather_second(subject: Subject, results: Iterable[Sum]) -> list[SecondSums]:
    """Sums of each row set, from results in the order of `all_second_orders`."""
    every = iter(results)
    return [add_up(SecondSums(), cast("Iterator[SecondSums]", _next(every, rows.files))) for rows in subject.rows]


def _next(results: Iterator[Sum], count: int) -> Iterator[Sum]:
    return (next(results) for _ in range(count))


def conclude(subject: Subject, shards: ShardSums, first: Sequence[First], second: Sequence[SecondSums]) -> Stats:
    """The statistics from all sums."""
    summed = [Summed(rows, a.rows, b, a.episodes) for rows, a, b in zip(subject.rows, first, second, strict=True)]
    sources = [
        source_stats(each, shards.tokens.get(each.rows.name, TokenSums()) + each.first.tokens, subject.limit, dropped(each.rows))
        for each in summed
    ]
    bare = Stats(
        version=STATS_VERSION,
        tool_version=VERSION,
        what=subject.what,
        path=subject.path,
        sources=tuple(sources),
        mixture=mixture_stats(subject.manifest) if subject.manifest else None,
        leaks=tuple(find_leaks(summed)),
        warnings=subject.warnings,
    )
    notes = {each.rows.place: each.rows.note for each in summed if each.rows.note}
    return msgspec.structs.replace(bare, warnings=worst_first((*warnings_of(bare, notes), *bare.warnings)))
