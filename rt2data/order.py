"""Which example comes when: arithmetic only. The same numbers give the same order on every machine, for any number of workers.

Three rules make a mixture exact at every scale:
- `apportion` shares N examples out by largest remainder, so the counts add up to N;
- `running_quotas` keeps every source within one example of its share at every boundary (of shards, and of blocks inside a shard);
- `EpochOrder` reads a source in a new keyed order each epoch, without replacement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
import xxhash
from numpy.typing import NDArray

I64 = NDArray[np.int64]
U64 = NDArray[np.uint64]

BLOCK = 16
"""Examples whose order is shuffled together: a perfectly periodic order starves loaders that stride examples by rank."""
WINDOW = 8192
"""Rows that stay neighbours from epoch to epoch; equals the row groups of the prepared store, so that a shard reads few of them."""
MAX_EXAMPLES = 2_000_000_000
"""Products of two counts must fit 63 bits."""


def key64(*parts: str | int) -> int:
    """A 64-bit key of a purpose, for `mix64` and `keyed_permutation`."""
    return xxhash.xxh3_64_intdigest("\x1f".join(map(str, parts)).encode())


def mix64(values: U64, key: int) -> U64:
    """Keyed hash of 64-bit integers, uint64[n] -> uint64[n] (the splitmix64 finalizer, Steele et al. 2014, section 3)."""
    mixed = values + np.uint64(key)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def keyed_permutation(n: int, key: int) -> I64:
    """A permutation of 0..n-1 that depends on the key alone, int64[n]."""
    return np.argsort(mix64(np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15), key), kind="stable")


def apportion(total: int, weights: Sequence[Fraction]) -> list[int]:
    """Share `total` out in proportion to the weights by largest remainder (Hamilton): exact, and off by less than one each."""
    whole = sum(weights, Fraction(0))
    if whole <= 0:
        raise ValueError("weights must be positive in sum")
    ideal = [total * w / whole for w in weights]
    counts = [int(q) for q in ideal]
    by_remainder = sorted(range(len(ideal)), key=lambda i: (counts[i] - ideal[i], i))
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return counts


def running_quotas(counts: Sequence[int], ends: I64) -> I64:
    """How much of each source has been placed at each boundary, int64[len(ends), len(counts)].

    `ends` are running totals, rising to sum(counts). Every row adds up to its boundary, no column ever falls, and each entry is the
    floor or the ceiling of its exact share. Which sources are rounded up is decided by earliest deadline first, which for unit jobs
    with release times and deadlines always finds such a schedule (Tijdeman 1980, "The chairman assignment problem").
    """
    n = np.asarray(counts, dtype=np.int64)
    total = int(n.sum())
    if total > MAX_EXAMPLES:
        raise ValueError(f"more than {MAX_EXAMPLES:,} examples in one plan")
    if total == 0:
        return np.zeros((len(ends), len(n)), dtype=np.int64)
    exact = ends[:, None] * n[None, :]
    floor = exact // total
    placed = np.empty_like(floor)
    before = np.zeros_like(n)
    for row, (least, ceiling, end) in enumerate(zip(floor, -(-exact // total), ends.tolist(), strict=True)):
        before = _round_up_earliest(np.maximum(least, before), ceiling, end, n, total)
        placed[row] = before
    return placed


def _round_up_earliest(placed: I64, ceiling: I64, end: int, n: I64, total: int) -> I64:
    """Fill up to `end` with the sources whose next example is due first."""
    spare = end - int(placed.sum())
    if spare:
        open_to = np.flatnonzero(placed < ceiling)
        due = -(-(placed[open_to] + 1) * total // n[open_to])
        placed = placed.copy()
        placed[open_to[np.argsort(due, kind="stable")[:spare]]] += 1
    return placed


def sided_quotas(sides: Sequence[Sequence[int]], ends: I64) -> I64:
    """`running_quotas` of the sides (robot, web), then of the sources inside each: both stay within one of their share."""
    by_side = running_quotas([sum(side) for side in sides], ends)
    return np.concatenate([running_quotas(side, by_side[:, k]) for k, side in enumerate(sides)], axis=1)


def boundaries(total: int, parts: int) -> I64:
    """Ends of `parts` nearly equal parts of `total`, int64[parts]."""
    return np.arange(1, parts + 1, dtype=np.int64) * total // parts


def interleave(sides: Sequence[Sequence[int]], key: int) -> NDArray[np.int32]:
    """The source of each example of a shard, int32[sum of counts]; sources are numbered across the sides.

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

    Rows are already in a keyed random order in the store. An epoch rotates them by a keyed offset, takes windows of 8192 rows in a
    keyed order, and shuffles inside each window: a permutation of all rows, new each epoch, of which any part is computed by itself
    and touches few row groups.
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
    """The windows of an epoch in order, and how many rows come before each: all have 8192 but the last by number."""
    windows = keyed_permutation(-(-rows // WINDOW), key)
    sizes = np.minimum(WINDOW, rows - windows * WINDOW)
    return windows, np.cumsum(sizes) - sizes
