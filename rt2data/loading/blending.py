"""The order of a mixture whose rows are written once: the reader does the arithmetic that orders a build with repeats.

An epoch has as many draws as the plan. Robot and web, and each source inside its side, are exact in every aligned block of 16. Each
source is read shard after shard, then again from its start; in every source, the next epoch continues where the last one stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rt2data.loading.sampling import SampleLayout
from rt2data.order import BLOCK, I64, SidedQuotas, SteadyEnds, interleave, key64, keyed_permutation

STRETCH = BLOCK << 12
"""Draws whose order is computed at once."""


@dataclass(frozen=True, eq=False)
class Blend(SampleLayout):
    """`sizes` are shard sizes, source after source; `shuffle` reorders each source's shards in each round."""

    sides: tuple[tuple[int, ...], ...] = ()  # draws of robot and of web sources
    shards: tuple[int, ...] = ()  # number of shards of each source

    @cached_property
    def total(self) -> int:
        """Draws in an epoch."""
        return sum(map(sum, self.sides))

    def locate(self, epoch: int, positions: I64) -> tuple[I64, I64]:
        """Shard, and index in the shard, of positions int64[n] of an epoch: two int64[n]."""
        found = np.empty((2, len(positions)), np.int64)
        stretches = positions // STRETCH
        for stretch in np.unique(stretches).tolist():
            here = np.flatnonzero(stretches == stretch)
            drawn = _stretch(self, epoch, stretch)
            inside = positions[here] % STRETCH
            found[:, here] = self._draws(drawn.source[inside], drawn.draw[inside])
        return found[0], found[1]

    def _draws(self, source: NDArray[np.int32], draw: I64) -> I64:
        """Shard, and index in the shard, of draws of sources: int64[2, n]."""
        found = np.empty((2, len(draw)), np.int64)
        for number in np.unique(source).tolist():
            here = np.flatnonzero(source == number)
            rounds, place = np.divmod(draw[here], self._own(number).sum())
            for turn in np.unique(rounds).tolist():
                now = rounds == turn
                found[:, here[now]] = self._places(number, turn, place[now])
        return found

    def _own(self, number: int) -> I64:
        """Sizes of a source's shards."""
        first = sum(self.shards[:number])
        return self._sizes[first : first + self.shards[number]]

    @cached_property
    def _sizes(self) -> I64:
        return np.asarray(self.sizes, np.int64)

    @cached_property
    def quotas(self) -> SidedQuotas:
        """Draws of each source before each stretch."""
        return SidedQuotas(self.sides, SteadyEnds(self.total, STRETCH))

    def _places(self, number: int, turn: int, place: I64) -> I64:
        """Shard, and index in the shard, of a source's examples in round number `turn`."""
        order, starts = _turn(self, number, turn)
        part = np.searchsorted(starts, place, side="right") - 1
        return np.stack([sum(self.shards[:number]) + order[part], place - starts[part]])


class _Drawn(NamedTuple):
    source: NDArray[np.int32]  # of each draw in a stretch
    draw: I64  # how often its source was drawn before


@lru_cache(maxsize=8)
def _stretch(blend: Blend, epoch: int, stretch: int) -> _Drawn:
    before = blend.quotas.at(stretch)
    counts = (blend.quotas.at(stretch + 1) - before).tolist()
    robots = len(blend.sides[0])
    key = key64("blend", blend.seed, epoch if blend.shuffle else 0, stretch)
    source = interleave([counts[:robots], counts[robots:]], key)
    draw = np.empty(len(source), np.int64)
    for number, (first, each) in enumerate(zip(before.tolist(), chain(*blend.sides), strict=True)):
        here = np.flatnonzero(source == number)
        draw[here] = epoch * each + first + np.arange(len(here))
    return _Drawn(source, draw)


@lru_cache(maxsize=256)
def _turn(blend: Blend, number: int, turn: int) -> tuple[I64, I64]:
    """Order of a source's shards, and where each starts in this order: two int64[shards]."""
    own = blend._own(number)
    key = key64("reading", blend.seed, number, turn)
    order = keyed_permutation(len(own), key) if blend.shuffle else np.arange(len(own), dtype=np.int64)
    return order, np.cumsum(own[order]) - own[order]


def make_layout(
    sizes: Sequence[int], sides: Sequence[Sequence[int]], shards: Sequence[int], seed: int, shuffle: bool
) -> SampleLayout:
    """The reading order of an epoch. `shards` has the number of shards of each source; empty if all shards are mixed."""
    if not shards:
        return SampleLayout(tuple(sizes), seed, shuffle)
    return Blend(tuple(sizes), seed, shuffle, tuple(map(tuple, sides)), tuple(shards))
