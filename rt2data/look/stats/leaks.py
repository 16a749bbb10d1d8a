"""What two splits, or two sources, have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Literal

import numpy as np

from rt2data.look.stats.model import Leak
from rt2data.look.stats.pictures import CameraSums, first_hashes
from rt2data.look.stats.rows import RowSums, pair_hashes
from rt2data.look.stats.rowset import RowSet
from rt2data.look.stats.texts import hash_groups
from rt2data.order import U64

What = Literal["group", "picture", "text_and_picture"]
Part = tuple[RowSet, RowSums]


def find_leaks(parts: Sequence[Part]) -> Iterator[Leak]:
    """Of every two row sets. Groups are compared inside a source only: another source has other names.

    Raises DataError where rows cannot be read, which is done for an example of each leak.
    """
    for here, there in combinations(parts, 2):
        if here[0].name == there[0].name:
            yield from _leak("group", here, there, here[1].groups.keys, there[1].groups.keys)
        yield from _leak("picture", here, there, _pictures(here), _pictures(there))
        yield from _leak("text_and_picture", here, there, here[1].pairs.keys, there[1].pairs.keys)


def _pictures(part: Part) -> U64:
    """Hashes of the mixture's pictures."""
    rows, sums = part
    return sums.cameras.get(rows.camera, CameraSums()).hashes.keys


def _leak(what: What, here: Part, there: Part, ours: U64, theirs: U64) -> Iterator[Leak]:
    common = np.intersect1d(ours, theirs, assume_unique=True)
    if len(common):
        example = _example(what, here[0], common[0])
        yield Leak(what=what, here=here[0].place, there=there[0].place, count=len(common), example=example)


def _example(what: What, rows: RowSet, hash_: np.uint64) -> str:
    """Key of the first row with this hash; of a group its name."""
    for number in range(rows.files):
        table = rows.read(number, ("key", "group", "text", "images"))
        images, groups = table["images"].combine_chunks(), hash_groups(table["group"].combine_chunks())
        hashes = {"group": groups}.get(what, first_hashes(images) if len(images) else groups)
        if what == "text_and_picture":
            hashes = pair_hashes(hash_groups(table["text"].combine_chunks()), hashes)
        at = np.flatnonzero(hashes == hash_)
        if len(at):
            return str(table["group" if what == "group" else "key"][int(at[0])].as_py())
    return ""
