"""The order of examples and the share of each rank and worker: integer arithmetic only, no file is read.

An epoch is a sequence of *positions*: the shards one after another, in a keyed order that is new each epoch. Builds are exact in
every aligned block of 16 examples and, to within one example, in any stretch of such blocks. So the sequence has the whole blocks
of all shards first, then their short last blocks, and is dealt in stretches of four blocks. In each *round* every rank gets one
stretch, rotated by a keyed number per round: if ranks took every n-th stretch, and stretches alternated between, say, 33 and 34
robot examples, ranks would read different mixtures. The rest, less than a full round, is divided evenly.

So once every rank has read t examples, the rest of the epoch follows from t alone (`Deal.after`), and can be dealt to any other
number of ranks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal, NamedTuple

import numpy as np

from rt2data.order import BLOCK, I64, key64, keyed_permutation, mix64

STRETCH = 4 * BLOCK
"""Consecutive examples for one rank: a multiple of the builder's blocks, long enough to keep each rank's mixture even."""
Remainder = Literal["drop", "pad", "keep"]
Span = tuple[int, int]
"""Positions start..stop-1."""


class Run(NamedTuple):
    """Examples start..stop-1 of one shard, read at once."""

    shard: int
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class SampleLayout:
    """How many examples each shard has, and the order in which an epoch reads the shards.

    Layouts are compared by identity: hashing 100,000 sizes would take longer than reading the requested examples.
    """

    sizes: tuple[int, ...]
    seed: int = 0
    shuffle: bool = True

    @cached_property
    def total(self) -> int:
        """Examples in an epoch."""
        return sum(self.sizes)

    def runs(self, epoch: int, positions: I64) -> Iterator[Run]:
        """Where positions int64[n] of an epoch are; consecutive ones in a shard make one run."""
        shards, places = self.locate(epoch, positions)
        breaks = np.flatnonzero((np.diff(shards) != 0) | (np.diff(places) != 1)) + 1
        for part in np.split(np.arange(len(positions)), breaks):
            if len(part):
                yield Run(int(shards[part[0]]), int(places[part[0]]), int(places[part[-1]]) + 1)

    def locate(self, epoch: int, positions: I64) -> tuple[I64, I64]:
        """Shard, and index in the shard, of positions int64[n] of an epoch: two int64[n]."""
        order, starts, firsts = _epoch_parts(self, epoch)
        part = np.searchsorted(starts, positions, side="right") - 1
        return order[part], firsts[part] + positions - starts[part]


@lru_cache(maxsize=4)
def _epoch_parts(layout: SampleLayout, epoch: int) -> tuple[I64, I64, I64]:
    """The parts of an epoch, in order: shard, first position, first index in the shard. Three int64[2 * shards]."""
    count = len(layout.sizes)
    order = keyed_permutation(count, key64("reading", layout.seed, epoch)) if layout.shuffle else np.arange(count, dtype=np.int64)
    sizes = np.asarray(layout.sizes, np.int64)[order]
    whole = sizes // BLOCK * BLOCK
    ends = np.cumsum(np.concatenate([whole, sizes - whole]))
    return np.tile(order, 2), ends - np.diff(ends, prepend=0), np.concatenate([np.zeros_like(whole), whole])


@dataclass(frozen=True, slots=True)
class Cut:
    """The rest of an epoch: everything from `position` (a multiple of 16, or the end) on, then the earlier `pending` spans."""

    epoch: int = 0
    position: int = 0
    pending: tuple[Span, ...] = ()


def cut_at(examples: int, total: int) -> Cut:
    """The rest after the first `examples`, counted over all epochs, have been read; an epoch has `total`."""
    epoch, start = divmod(examples, total)
    aligned = min(-(-start // BLOCK) * BLOCK, total)
    return Cut(epoch, aligned, _joined([(start, aligned)]))


@dataclass(frozen=True)
class Deal:
    """The rest of an epoch, dealt to `world` ranks.

    `remainder` is the rule for the fewer than `world` examples that do not divide evenly: `drop` drops them, `pad` repeats as many
    as are missing, both so that every rank gets equally many; `keep` gives some ranks one more.
    """

    cut: Cut
    total: int
    world: int = 1
    seed: int = 0
    remainder: Remainder = "drop"

    @property
    def examples(self) -> int:
        """Examples left for all ranks together."""
        return self.total - self.cut.position + sum(stop - start for start, stop in self.cut.pending)

    @property
    def _rounds(self) -> int:
        return self.examples // (STRETCH * self.world)

    def length(self, rank: int) -> int:
        """Number of examples for one rank."""
        start, stop = self._rest(rank)
        return self._rounds * STRETCH + stop - start

    def positions(self, rank: int, start: int, stop: int) -> I64:
        """Positions of the rank's examples start..stop-1, int64[stop - start]."""
        number = np.arange(start, stop, dtype=np.int64)
        rounds, inside = np.divmod(number, STRETCH)
        dealt = (rounds * self.world + self._turn(rank, rounds)) * STRETCH + inside
        rest = self._rest(rank)[0] + number - self._rounds * STRETCH
        sequence = np.where(rounds < self._rounds, dealt, rest)
        return self._position(sequence % max(self.examples, 1))

    def after(self, taken: int) -> Cut:
        """The rest after every rank has taken `taken` examples."""
        if taken >= max(map(self.length, range(self.world))):
            return Cut(self.cut.epoch + 1)
        started, inside = divmod(taken, STRETCH)
        first = started * self.world * STRETCH
        if started <= self._rounds and not inside:
            return self._left([], first)
        if started >= self._rounds:
            return self._left(self._unread_rest(taken - self._rounds * STRETCH), self.examples)
        stretches = range(first, first + self.world * STRETCH, STRETCH)
        return self._left([(b + inside, b + STRETCH) for b in stretches], first + self.world * STRETCH)

    def _turn(self, rank: int, rounds: I64) -> I64:
        key = key64("deal", self.seed, self.cut.epoch, self.cut.position)
        turned = mix64(rounds.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15), key) >> np.uint64(33)
        return (turned.astype(np.int64) + rank) % self.world

    def _rest(self, rank: int) -> Span:
        """The rank's part after the last full round, as indices into the sequence; with `pad` it may pass the end."""
        first = self._rounds * STRETCH * self.world
        rest = self.examples - first
        if self.remainder == "keep":
            return first + rest * rank // self.world, first + rest * (rank + 1) // self.world
        each = rest // self.world if self.remainder == "drop" else -(-rest // self.world)
        return first + each * rank, first + each * (rank + 1)

    def _unread_rest(self, taken: int) -> list[Span]:
        spans = [self._rest(rank) for rank in range(self.world)]
        unread = [(start + taken, min(stop, self.examples)) for start, stop in spans]
        return [*unread, (spans[-1][1], self.examples)]

    def _position(self, sequence: I64) -> I64:
        """Positions of indices into the sequence: first those from the cut's position on, then the pending ones."""
        ahead = self.total - self.cut.position
        if not self.cut.pending:
            return self.cut.position + sequence
        starts = np.array([self.cut.position, *(start for start, _ in self.cut.pending)], np.int64)
        sizes = np.array([ahead, *(stop - start for start, stop in self.cut.pending)], np.int64)
        firsts = np.cumsum(sizes) - sizes
        part = np.searchsorted(firsts, sequence, side="right") - 1
        return starts[part] + sequence - firsts[part]

    def _left(self, unread: Sequence[Span], following: int) -> Cut:
        """A cut with these spans of the sequence and everything from `following` on."""
        ahead = self.total - self.cut.position
        kept = [*unread, (max(following, ahead), self.examples)]
        numbers = np.concatenate([np.arange(start, stop, dtype=np.int64) for start, stop in kept])
        pending = _joined([(p, p + 1) for p in np.sort(self._position(numbers)).tolist()])
        return Cut(self.cut.epoch, self.cut.position + min(following, ahead), pending)


def _joined(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Ascending spans, with adjacent ones joined and empty ones dropped."""
    found: list[Span] = []
    for start, stop in spans:
        if found and found[-1][1] == start:
            found[-1] = found[-1][0], stop
        elif start < stop:
            found.append((start, stop))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Cursor:
    """The position of a rank: the deal begins at `cut`, and `taken` of the rank's examples have been taken."""

    cut: Cut = Cut()
    taken: int = 0


class Taken(NamedTuple):
    """Some of a rank's examples (numbers start..stop-1 of the deal at a cut), the cursor after them, and whether a pass ended."""

    spans: list[tuple[Cut, int, int]]
    cursor: Cursor
    ended: bool

    @property
    def examples(self) -> int:
        return sum(stop - start for _, start, stop in self.spans)


@dataclass(frozen=True)
class RankShare:
    """Everything one rank reads: epoch after epoch, `epochs` per pass; None is an endless pass."""

    layout: SampleLayout
    rank: int = 0
    world: int = 1
    epochs: int | None = 1
    remainder: Remainder = "drop"

    def deal(self, cut: Cut) -> Deal:
        """The deal that begins at a cut."""
        return Deal(cut, self.layout.total, self.world, self.layout.seed, self.remainder)

    def left(self, cursor: Cursor) -> int:
        """The rank's remaining examples in the cursor's epoch."""
        return self.deal(cursor.cut).length(self.rank) - cursor.taken

    def take(self, cursor: Cursor, count: int) -> Taken:
        """The next `count` examples of the rank, or fewer if the pass ends first. Reads nothing, so skipping is free."""
        spans: list[tuple[Cut, int, int]] = []
        while count:
            left = self.left(cursor)
            part = min(count, left)
            spans.append((cursor.cut, cursor.taken, cursor.taken + part))
            count -= part
            if part < left:
                return Taken(spans, Cursor(cursor.cut, cursor.taken + part), False)
            cursor = Cursor(Cut(cursor.cut.epoch + 1))
            if self.epochs and cursor.cut.epoch % self.epochs == 0:
                return Taken(spans, cursor, True)
        return Taken(spans, cursor, False)

    def runs(self, taken: Taken) -> Iterator[Run]:
        """Where those examples are."""
        for cut, start, stop in taken.spans:
            yield from self.layout.runs(cut.epoch, self.deal(cut).positions(self.rank, start, stop))

    def consumed(self, cursor: Cursor) -> int:
        """Examples that all ranks together have read once each has read as many as this one."""
        deal = self.deal(cursor.cut)
        left = max(deal.examples - cursor.taken * self.world, 0)
        return cursor.cut.epoch * self.layout.total + self.layout.total - left


@dataclass(frozen=True, slots=True)
class Turns:
    """How a rank's workers share its examples: `unit` each in turn, so each batch comes from one worker and batches keep order."""

    worker: int = 0
    workers: int = 1
    unit: int = BLOCK

    def next(self, offset: int) -> tuple[int, int]:
        """After `offset` examples: how many of other workers to skip, and how many of this worker's own then follow."""
        inside, mine = offset % (self.unit * self.workers), self.worker * self.unit
        if inside < mine:
            return mine - inside, self.unit
        if inside < mine + self.unit:
            return 0, mine + self.unit - inside
        return self.unit * self.workers - inside + mine, self.unit
