"""A sorted merge of two keyed streams: rows of two stores, examples of two mixtures, files of two sources.

Memory is bounded for streams of any length: an unsorted stream is first sorted on disk.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from rt2data.io.sorted_rows import sorted_parts

NAMED = 5
"""Number of names kept of added, removed or changed keys."""
BLOCK = 1 << 10
"""Entries made at a time."""


class Entry(NamedTuple):
    """An entry with a key. In a sorted stream, keys ascend and are unique."""

    key: Any  # ordered: a hash, a path, (order, key)
    number: int  # its place in the stream before sorting
    content: tuple[int, ...]  # a hash of each field
    name: str = ""  # for people


class KeyCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many keys are in both streams (equal or changed), or in only one of them."""

    same: int = 0
    added: int = 0
    removed: int = 0
    changed: int = 0
    examples: dict[str, tuple[str, ...]] = {}  # names of a few keys that were added, removed, changed
    fields: dict[str, int] = {}  # how many changed keys differ in each field
    first: dict[str, tuple[int, int]] = {}  # field: numbers, before and after, of the first key that differs in it

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not (self.added or self.removed or self.changed)

    @property
    def both(self) -> int:
        """The number of keys in both streams."""
        return self.same + self.changed


def merge(before: Iterable[Entry], after: Iterable[Entry]) -> Iterator[tuple[Entry | None, Entry | None]]:
    """Every key of two sorted streams with its entries (None if a stream lacks it). Only one entry of each is in memory."""
    one, other = iter(before), iter(after)
    old, new = next(one, None), next(other, None)
    while old is not None or new is not None:
        if new is None or (old is not None and old.key < new.key):
            yield old, None
            old = next(one, None)
        elif old is None or new.key < old.key:
            yield None, new
            new = next(other, None)
        else:
            yield old, new
            old, new = next(one, None), next(other, None)


def count_keys(before: Iterable[Entry], after: Iterable[Entry], fields: Sequence[str] = ()) -> KeyCounts:
    """How the keys of two sorted streams compare; `fields` name the parts of their content."""
    counts, names = Counter[str](), defaultdict[str, list[str]](list)
    differing, first = Counter(dict.fromkeys(fields, 0)), dict[str, tuple[int, int]]()
    for old, new in merge(before, after):
        what = relation(old, new)
        counts[what] += 1
        if old is not None and new is not None and what == "changed":
            numbers = old.number, new.number
            for field in (name for name, one, other in zip(fields, old.content, new.content, strict=False) if one != other):
                differing[field] += 1
                first[field] = min(first.get(field, numbers), numbers)
        entry = new or old
        if what != "same" and entry and entry.name and len(names[what]) < NAMED:
            names[what].append(entry.name)
    return KeyCounts(
        **counts,
        examples={what: tuple(found) for what, found in sorted(names.items()) if found},
        fields=dict(differing),
        first={field: first[field] for field in fields if field in first},
    )


def relation(old: Entry | None, new: Entry | None) -> str:
    """The field of `KeyCounts` that a pair counts for."""
    if old is None or new is None:
        return "added" if old is None else "removed"
    return "same" if old.content == new.content else "changed"


def in_order(tuples: Iterable[tuple[int, ...]], fields: int) -> Iterator[Entry]:
    """Tuples of key, number and the hashes of `fields` fields, all uint64, as entries sorted by key."""
    dtype = [(f"{at}", np.uint64) for at in range(2 + fields)]
    for part in sorted_parts(tuples, dtype):
        for start in range(0, len(part), BLOCK):
            yield from (Entry(key, number, tuple(content)) for key, number, *content in part[start : start + BLOCK].tolist())
