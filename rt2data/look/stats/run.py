"""The whole of it as plain Python, in two passes over files of rows. Beam wires the same functions; both give the same numbers.

Results are added in the order of their orders, so that the number of workers changes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Protocol, cast

import msgspec

from rt2data.io.installation import VERSION
from rt2data.look.stats.episodes import EpisodeSums, episode_orders
from rt2data.look.stats.leaks import find_leaks
from rt2data.look.stats.lengths import LengthSums
from rt2data.look.stats.mixture import mixture_stats
from rt2data.look.stats.model import STATS_VERSION, Stats
from rt2data.look.stats.orders import Order, carry_out
from rt2data.look.stats.records import LaidSums
from rt2data.look.stats.rows import RowsOrder, RowSums
from rt2data.look.stats.second import SecondSums, second_orders
from rt2data.look.stats.subject import Subject, losses
from rt2data.look.stats.summary import Summed, source_stats
from rt2data.look.stats.warnings import warnings_of
from rt2data.records import worst_first
from rt2data.tally.sums import Sum, add_up

AT_ONCE = 8
"""Work orders handed to the pool before the first result is waited for."""


class Workers(Protocol):
    """Who carries out work orders: any pool."""

    def submit(self, work: Callable[[Any], Any], order: Any) -> Future[Any]: ...


@dataclass(frozen=True)
class Passed:
    """Whoever watches hears how far a pass has come."""

    name: str
    done: int
    total: int


Hear = Callable[[Passed], None]


@dataclass(frozen=True)
class First:
    """The sums of the first pass over one row set."""

    rows: RowSums
    episodes: EpisodeSums


def take_stats(subject: Subject, pool: Workers | None = None, hear: Hear = lambda _: None) -> Stats:
    """Statistics of a subject, by the pool's workers or here. Raises DataError where rows or records cannot be read."""
    laid = gather_laid(_done(subject.lay, pool, "read", hear))
    first = gather_first(subject, _done(first_orders(subject), pool, "sum", hear))
    second = gather_second(subject, _done(all_second_orders(subject, first), pool, "look", hear))
    return conclude(subject, laid, first, second)


def _done(orders: Sequence[Order], pool: Workers | None, name: str, hear: Hear) -> Iterator[Sum]:
    """Results in the order of the orders; a few are under way at a time."""
    waiting: deque[Future[Sum]] = deque()
    left, finished = iter(orders), 0
    while finished < len(orders):
        while len(waiting) < AT_ONCE and (order := next(left, None)) is not None:
            if pool is None:
                finished += 1
                yield _heard(carry_out(order), Passed(name, finished, len(orders)), hear)
            else:
                waiting.append(pool.submit(carry_out, order))
        if waiting:
            finished += 1
            yield _heard(waiting.popleft().result(), Passed(name, finished, len(orders)), hear)


def _heard(found: Sum, passed: Passed, hear: Hear) -> Sum:
    hear(passed)
    return found


def first_orders(subject: Subject) -> list[Order]:
    """The first pass: files of rows, and parts of the episodes, row set by row set."""
    found: list[Order] = []
    for rows in subject.rows:
        found += (RowsOrder(rows, number) for number in range(rows.files))
        found += episode_orders(rows)
    return found


def all_second_orders(subject: Subject, first: Sequence[First]) -> list[Order]:
    """The second pass, as the sums of the first ask for it."""
    found: list[Order] = []
    for rows, sums in zip(subject.rows, first, strict=True):
        found += second_orders(rows, sums.rows)
    return found


def gather_laid(done: Iterable[Sum]) -> LaidSums:
    """Sums over all shards of a mixture."""
    return add_up(LaidSums(), cast(Iterable[LaidSums], done))


def gather_first(subject: Subject, done: Iterable[Sum]) -> list[First]:
    """Sums of each row set, from results in the order of `first_orders`."""
    results, found = iter(done), []
    for rows in subject.rows:
        sums = add_up(RowSums(), cast(Iterator[RowSums], _next(results, rows.files)))
        episodes = add_up(EpisodeSums(), cast(Iterator[EpisodeSums], _next(results, len(episode_orders(rows)))))
        found.append(First(sums, episodes))
    return found


def gather_second(subject: Subject, done: Iterable[Sum]) -> list[SecondSums]:
    """Sums of each row set, from results in the order of `all_second_orders`."""
    results = iter(done)
    return [add_up(SecondSums(), cast(Iterator[SecondSums], _next(results, rows.files))) for rows in subject.rows]


def _next(results: Iterator[Sum], count: int) -> Iterator[Sum]:
    return (next(results) for _ in range(count))


def conclude(subject: Subject, laid: LaidSums, first: Sequence[First], second: Sequence[SecondSums]) -> Stats:
    """Everything put into words."""
    summed = [Summed(rows, a.rows, b, a.episodes) for rows, a, b in zip(subject.rows, first, second, strict=True)]
    sources = [
        source_stats(each, laid.lengths.get(each.rows.name, LengthSums()) + each.first.lengths, subject.limit, losses(each.rows))
        for each in summed
    ]
    bare = Stats(
        version=STATS_VERSION,
        tool_version=VERSION,
        what=subject.what,
        path=subject.path,
        sources=tuple(sources),
        mixture=mixture_stats(subject.manifest) if subject.manifest else None,
        leaks=tuple(find_leaks([(each.rows, each.first) for each in summed])),
        warnings=subject.warnings,
    )
    return warned(bare, summed)


def warned(bare: Stats, summed: Sequence[Summed]) -> Stats:
    """With what there is to look at."""
    notes = {each.rows.place: each.rows.note for each in summed if each.rows.note}
    return msgspec.structs.replace(bare, warnings=worst_first((*warnings_of(bare, notes), *bare.warnings)))
