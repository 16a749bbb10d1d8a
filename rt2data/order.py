"""Which example comes when: arithmetic only. The same numbers give the same order on every machine, for any number of workers.

Three rules make a mixture exact at every scale:

- `apportion` divides N examples by largest remainder, so the counts add up to N;
- `running_quotas` keeps every source within one example of its share at every boundary (of shards, and of blocks inside a shard);
  `SidedQuotas` computes the same for any boundary on its own, so that each shard of a plan of 400,000 is laid out independently;
- `EpochOrder` reads a source in a new keyed order each epoch, without replacement.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray

I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]

BLOCK = 16
"""Examples shuffled together: a perfectly periodic order starves loaders that stride examples by rank."""
WINDOW = 8192
"""Rows that stay neighbours from epoch to epoch: one row group of the prepared store, so that a shard reads few of them."""
MAX_EXAMPLES = 10**12
"""`multiply_divide` is exact up to 2**40."""
GROUP = 256
"""Boundaries computed together: the first on its own, each later one from its predecessor."""
_LOW = 20  # bits of the lower half of a count
_NEVER = np.iinfo(np.int64).max

Ends = Callable[[int, int], I64]
"""Running totals at the boundaries start..stop-1, int64[stop - start]; at boundary 0 nothing is placed yet."""


def key64(*parts: str | int) -> int:
    """A 64-bit key derived from the parts, for `mix64` and `keyed_permutation`."""
    return xxhash.xxh3_64_intdigest("\x1f".join(map(str, parts)).encode())


def mix64(values: U64, key: int) -> U64:
    """Keyed hash of 64-bit integers, uint64[n] -> uint64[n] (the splitmix64 finalizer, Steele et al. 2014, section 3)."""
    mixed = values + np.uint64(key)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def keyed_permutation(n: int, key: int) -> I64:
    """A permutation of 0..n-1 that depends only on the key, int64[n]."""
    return np.argsort(mix64(np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15), key), kind="stable")


def apportion(total: int, weights: Sequence[Fraction]) -> list[int]:
    """Divide `total` in proportion to the weights by largest remainder (Hamilton): exact sum, each count off by less than one."""
    whole = sum(weights, Fraction(0))
    if whole <= 0:
        raise ValueError("weights must be positive in sum")
    ideal = [total * w / whole for w in weights]
    counts = [int(q) for q in ideal]
    by_remainder = sorted(range(len(ideal)), key=lambda i: (counts[i] - ideal[i], i))
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return counts


def multiply_divide(a: I64, b: I64 | int, by: I64 | int) -> tuple[I64, I64]:
    """Quotient and remainder of a * b / by, exact for numbers from 0 to 2**40, by long division: the product may need 80 bits."""
    high, rest = np.divmod((a >> _LOW) * b, by)
    low, rest = np.divmod((rest << _LOW) + (a & (1 << _LOW) - 1) * b, by)
    return (high << _LOW) + low, rest


class _Shares(NamedTuple):
    """Exact shares at some boundaries. A source is *open* if its share is not whole: its next example may be placed or wait."""

    floor: I64  # [boundaries, sources]
    ceiling: I64
    due: I64  # the running total by which the next example must have been placed; _NEVER if the source is not open


def _shares(counts: I64, ends: I64) -> _Shares:
    total = int(counts.sum())
    if total > MAX_EXAMPLES:
        raise ValueError(f"more than {MAX_EXAMPLES:,} examples in one plan")
    floor, rest = multiply_divide(ends[:, None], counts, max(total, 1))
    ceiling = floor + (rest > 0)
    due, late = multiply_divide(ceiling, total, np.maximum(counts, 1))
    return _Shares(floor, ceiling, np.where(rest > 0, due + (late > 0), _NEVER))


def running_quotas(counts: Sequence[int], ends: I64, before: I64 | None = None) -> I64:
    """How much of each source has been placed at each boundary, int64[len(ends), len(counts)].

    `ends` are running totals, rising to sum(counts); `before`, int64[len(counts)], is what was placed at the boundary before the
    first. Every row adds up to its boundary, no column ever falls, and each entry is the floor or the ceiling of its exact share.
    Earliest deadline first decides which sources are rounded up; for unit jobs with release times and deadlines it always finds
    such a schedule (Tijdeman 1980, "The chairman assignment problem").

    A row depends on the previous one only if an example was open at both: all other rows are computed at once.
    """
    n = np.asarray(counts, dtype=np.int64)
    floor, ceiling, due = _shares(n, ends)
    spare = ends - floor.sum(axis=1)
    placed: I64 = floor + (np.argsort(np.argsort(due, axis=1, kind="stable"), axis=1) < spare[:, None])
    last = np.zeros_like(n) if before is None else before
    still_open = (np.concatenate([last[None], ceiling[:-1]]) >= ceiling) & (due < _NEVER)
    for row in np.flatnonzero(still_open.any(axis=1)).tolist():
        taken = (placed[row - 1] if row else last) > floor[row]
        placed[row] = floor[row]
        placed[row, np.argsort(np.where(taken, 0, due[row]), kind="stable")[: spare[row]]] += 1
    return placed


@dataclass(frozen=True)
class _Quotas:
    """`running_quotas` for more boundaries than fit in memory: each is computed without its predecessors."""

    counts: I64
    ends: Ends

    def rows(self, start: int, stop: int) -> I64:
        """What has been placed at the boundaries start..stop-1, int64[stop - start, sources]."""
        before = self._row(start - 1) if start else None
        return running_quotas(self.counts.tolist(), self.ends(start, stop), before)

    def _row(self, number: int) -> I64:
        """What earliest deadline first has placed at a boundary, from the shares alone.

        The examples that still wait are those with the latest deadlines that there was room for: of the examples open at an earlier
        boundary, no more can wait now than waited then. (A set of examples can have been placed by then exactly if it fits the
        places after their releases. Such sets are the independent sets of a matroid; earliest deadline first finds the same basis
        as taking the examples one by one in order of deadline.)
        """
        _, ceiling, due = (each[0] for each in _shares(self.counts, self.ends(number, number + 1)))
        by_age, room = self._room(number, ceiling, due < _NEVER)
        waits = np.zeros(len(due), np.bool_)
        latest = np.argsort(due, kind="stable")[::-1]
        for source in latest[due[latest] < _NEVER].tolist():
            waits[source] = True
            waits[source] = bool((np.cumsum(waits[by_age]) <= room).all())
        placed: I64 = ceiling - waits
        return placed

    def _room(self, number: int, ceiling: I64, is_open: NDArray[np.bool_]) -> tuple[I64, I64]:
        """Sources sorted by how long their open example has been open, longest first; and how many of the first 1, 2, ... can wait.

        Looks back as long as such an example exists: one boundary, if every source is in every shard.
        """
        age, room, stop, size = np.zeros_like(ceiling), np.full(len(ceiling) + 1, _NEVER), number + 1, 2
        while stop > 0:
            start = max(stop - size, 0)
            ends = self.ends(start, stop)
            then = _shares(self.counts, ends).ceiling
            same = (then == ceiling) & is_open
            np.minimum.at(room, same.sum(axis=1), then.sum(axis=1) - ends)
            age += same.sum(axis=0)
            if not same[0].any():
                break
            stop, size = start, min(2 * size, 16 * GROUP)
        return np.argsort(-age, kind="stable"), room[1:]


@dataclass(frozen=True)
class EvenEnds:
    """The ends of `parts` nearly equal parts of `total`; later ends equal `total`."""

    total: int
    parts: int

    def __call__(self, start: int, stop: int) -> I64:
        numbers = np.minimum(np.arange(start, stop, dtype=np.int64), self.parts)
        return multiply_divide(numbers, self.total, self.parts)[0]


@dataclass(frozen=True)
class SteadyEnds:
    """The ends of parts of `step` each; the last and all later ends equal `total`."""

    total: int
    step: int

    def __call__(self, start: int, stop: int) -> I64:
        return np.minimum(np.arange(start, stop, dtype=np.int64) * self.step, self.total)


@dataclass(frozen=True)
class SidedQuotas:
    """The quotas of the sides (robot, web), then of the sources inside each, at any boundary that `ends` gives."""

    sides: tuple[tuple[int, ...], ...]
    ends: Ends
    _groups: dict[int, I64] = field(default_factory=dict, repr=False, compare=False)  # the last two groups computed

    def at(self, number: int) -> I64:
        """How much of each source has been placed at a boundary, int64[sources]; nothing at boundary 0."""
        placed: I64 = self._group(number // GROUP)[number % GROUP]
        return placed

    def _group(self, number: int) -> I64:
        """The quotas of a group of neighbouring boundaries, computed from the previous group if that is known."""
        found = self._groups.get(number)
        if found is None:
            start, stop, before = number * GROUP, (number + 1) * GROUP, self._groups.get(number - 1)
            found = self.rows(start, stop) if before is None else sided_quotas(self.sides, self.ends(start, stop), before[-1])
            self._groups[number] = found
            while len(self._groups) > 2:
                self._groups.pop(next(iter(self._groups)))
        return found

    def rows(self, start: int, stop: int) -> I64:
        """What has been placed at the boundaries start..stop-1, int64[stop - start, sources], computed from the shares alone."""
        by_side = _Quotas(np.array([sum(side) for side in self.sides], np.int64), self.ends)
        return np.concatenate([_inside(by_side, k, side).rows(start, stop) for k, side in enumerate(self.sides)], axis=1)


def _inside(by_side: _Quotas, number: int, side: Sequence[int]) -> _Quotas:
    """The quotas of the sources on one side."""
    return _Quotas(np.array(side, np.int64), lambda start, stop: by_side.rows(start, stop)[:, number])


def sided_quotas(sides: Sequence[Sequence[int]], ends: I64, before: I64 | None = None) -> I64:
    """`running_quotas` of the sides (robot, web), then of the sources in each: all stay within one example of their share."""
    last = np.zeros(sum(map(len, sides)), np.int64) if before is None else before
    parts = np.split(last, np.cumsum([len(side) for side in sides])[:-1])
    by_side = running_quotas([sum(side) for side in sides], ends, np.array([part.sum() for part in parts]))
    return np.concatenate([running_quotas(side, by_side[:, k], parts[k]) for k, side in enumerate(sides)], axis=1)


def boundaries(total: int, parts: int) -> I64:
    """Ends of `parts` nearly equal parts of `total`, int64[parts]."""
    return EvenEnds(total, parts)(1, parts + 1)


def interleave(sides: Sequence[Sequence[int]], key: int) -> NDArray[np.int32]:
    """The source of each example of a shard, int32[sum of counts]; sources are numbered through both sides.

    Exact to within one at the end of every aligned block of 16; shuffled by key inside the block.
    """
    total = sum(map(sum, sides))
    ends = np.minimum(np.arange(BLOCK, total + BLOCK, BLOCK, dtype=np.int64), total)
    placed = sided_quotas(sides, ends)
    in_block = np.diff(placed, axis=0, prepend=0)
    sources = np.tile(np.arange(placed.shape[1], dtype=np.int32), len(ends))
    ordered = np.repeat(sources, in_block.ravel())
    return ordered[_shuffle_in_blocks(total, key)]


def _shuffle_in_blocks(total: int, key: int) -> I64:
    """A permutation that moves nothing out of its aligned block of 16."""
    rank = mix64(np.arange(total, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15), key)
    return np.lexsort((rank, np.arange(total, dtype=np.int64) // BLOCK))


@dataclass(frozen=True)
class EpochOrder:
    """The order in which one source's rows are drawn: draw k is row `perm_epoch(k // n)[k % n]`.

    The store already holds rows in keyed random order. An epoch rotates them by a keyed offset, takes windows of 8192 rows in a
    keyed order, and shuffles inside each window: a new permutation of all rows each epoch. Any part of it can be computed on its
    own and touches few row groups.
    """

    rows: int
    seed: int
    source: str

    def draw(self, start: int, stop: int) -> tuple[I64, I64]:
        """Rows and epochs of the draws start..stop-1, two int64[stop - start]."""
        rows, epochs = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        while start < stop:
            epoch, position = divmod(start, self.rows)
            count = min(stop - start, self.rows - position)
            rows.append(self._part(epoch, position, position + count))
            epochs.append(np.full(count, epoch, np.int64))
            start += count
        return np.concatenate(rows), np.concatenate(epochs)

    def _part(self, epoch: int, start: int, stop: int) -> I64:
        windows, starts = _window_order(self.rows, key64("windows", self.seed, self.source, epoch))
        first, end = np.searchsorted(starts, start, side="right") - 1, np.searchsorted(starts, stop)
        rows = np.concatenate([self._window(epoch, int(window)) for window in windows[first:end]])
        return rows[start - starts[first] : stop - starts[first]]

    def _window(self, epoch: int, window: int) -> I64:
        size = min(WINDOW, self.rows - window * WINDOW)
        rotation = key64("rotation", self.seed, self.source, epoch) % self.rows
        inside = keyed_permutation(size, key64("window", self.seed, self.source, epoch, window))
        return (window * WINDOW + inside + rotation) % self.rows


@lru_cache(maxsize=64)
def _window_order(rows: int, key: int) -> tuple[I64, I64]:
    """The windows of an epoch in order, and how many rows come before each: all have 8192 rows except the last by number."""
    windows = keyed_permutation(-(-rows // WINDOW), key)
    sizes = np.minimum(WINDOW, rows - windows * WINDOW)
    return windows, np.cumsum(sizes) - sizes
