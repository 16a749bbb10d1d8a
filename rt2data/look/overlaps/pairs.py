"""Which parts of the data share keys, or have pictures that look alike: counts per pair, and a few examples."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rt2data.look.overlaps.alike import close_pairs
from rt2data.look.overlaps.seen import Seen, begins, read_range
from rt2data.order import I64, U64

SHOWN = 3
"""Examples per pair of parts."""
Spot = tuple[int, int]
"""A part and a row in it."""
Examples = dict[tuple[int, int], list[tuple[Spot, Spot]]]


class Pairs(NamedTuple):
    """What the parts share. `counts` [parts, parts]: keys of the first part that the second also has."""

    counts: I64
    examples: Examples

    def plus(self, more: Pairs) -> Pairs:
        """The combination of both, with this one's examples first."""
        keys = dict.fromkeys([*self.examples, *more.examples])
        examples = {pair: [*self.examples.get(pair, ()), *more.examples.get(pair, ())][:SHOWN] for pair in keys}
        return Pairs(self.counts + more.counts, examples)


class RangeOrder(NamedTuple):
    """Keys to compare: a range of those in some files."""

    paths: tuple[Path, ...]
    keys: tuple[int, int]
    parts: int


def compare_range(order: RangeOrder) -> Pairs:
    """Carry out a work order."""
    return shared_keys(read_range(Seen, order.paths, order.keys), order.parts)


def shared_keys(seen: Seen, parts: int) -> Pairs:
    """Keys that occur in two parts, or in several groups of one part."""
    found = seen.once().shared()
    key = np.cumsum(begins(found.key)) - 1
    groups = np.zeros((int(key[-1]) + 1 if len(key) else 0, parts), np.int32)
    np.add.at(groups, (key, found.part), 1)
    there = groups > 0
    counts = np.array([[int((there[:, a] & there[:, b]).sum()) for b in range(parts)] for a in range(parts)], np.int64)
    np.fill_diagonal(counts, (groups > 1).sum(axis=0))
    examples: Examples = {}
    for a, b in zip(*(each.tolist() for each in np.nonzero(np.triu(counts))), strict=True):
        both = np.flatnonzero(groups[:, a] > 1 if a == b else there[:, a] & there[:, b])[:SHOWN]
        examples[a, b] = [(_spot(found, key, at, a, 0), _spot(found, key, at, b, int(a == b))) for at in both.tolist()]
    return Pairs(counts, examples)


def _spot(found: Seen, key: I64, at: int, part: int, skip: int) -> Spot:
    """The spot of a key in a part: its first or second occurrence."""
    start, stop = np.searchsorted(key, [at, at + 1])
    return part, int(found.row[start + np.flatnonzero(found.part[start:stop] == part)[skip]])


class Looks(NamedTuple):
    """n pictures with their perceptual hashes; a picture in several parts occurs once for each."""

    hash: U64
    picture: U64  # hash of its bytes
    part: I64
    row: I64

    def once(self) -> Looks:
        """Sorted by hash, picture and part, the first row of each."""
        found = self.take(np.lexsort((self.row, self.part, self.picture, self.hash)))
        return found.take(begins(found.hash, found.picture, found.part))

    def take(self, places: NDArray[np.generic]) -> Looks:
        """The entries at some indices, or selected by a mask."""
        return Looks(*(column[places] for column in self))


def alike(looks: Looks, parts: int, most: int) -> Pairs:
    """Pictures that look like another: hashes differ in at most `most` bits, and the bytes differ."""
    looks = looks.once()
    starts = np.flatnonzero(begins(looks.hash))
    value = np.cumsum(begins(looks.hash)) - 1
    i, j = close_pairs(looks.hash[starts], most)
    counts, examples = np.zeros((parts, parts), np.int64), Examples()
    for b in range(parts):
        other = _other(looks, value, starts, i, j, b)
        for a in range(parts):
            mine = np.flatnonzero((looks.part == a) & (other >= 0))
            counts[a, b] = len(mine)
            if a <= b and len(mine):
                examples[a, b] = [((a, int(looks.row[at])), (b, int(looks.row[other[at]]))) for at in mine[:SHOWN].tolist()]
    return Pairs(counts, examples)


def _other(looks: Looks, value: I64, starts: I64, i: I64, j: I64, part: int) -> I64:
    """For each of n pictures, the index of another in a part that looks like it; -1 if there is none."""
    here = np.flatnonzero(looks.part == part)
    first, last = (np.full(len(starts), -1, np.int64) for _ in range(2))  # with each hash, in this part, by their order
    last[value[here]] = here
    first[value[here[::-1]]] = here[::-1]
    near = np.full(len(starts), -1, np.int64)  # with a hash close to each
    for one, other in ((i, j), (j, i)):
        there = first[other] >= 0
        near[one[there]] = first[other[there]]
    same = np.where(looks.picture[first[value]] != looks.picture, first[value], last[value])
    same = np.where((first[value] >= 0) & (looks.picture[same] != looks.picture), same, -1)
    return np.where(same >= 0, same, near[value])
