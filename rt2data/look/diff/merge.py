"""One sorted merge of two keyed streams: rows of two stores, examples of two mixtures, files of two sources.

Memory is bounded whatever the length of the streams: a stream that is not in order is sorted first, in runs that wait on disk.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge as merge_runs
from itertools import chain, islice
from tempfile import TemporaryFile
from typing import IO, Any, NamedTuple

import msgspec
import numpy as np

NAMED = 5
"""Names kept of the keys that were added, removed or changed."""
RUN = 1 << 20
"""Entries sorted in memory at a time: 16 bytes each and 8 for each field, three times while they are sorted."""
BLOCK = 1 << 10
"""Entries of a sorted run read from disk at a time."""


class Entry(NamedTuple):
    """What has a key. In a sorted stream keys ascend, and no two are the same."""

    key: Any  # ordered: a hash, a path, (order, key)
    number: int  # its place in the stream before sorting
    content: tuple[int, ...]  # a hash of each field
    name: str = ""  # for people


class KeyCounts(msgspec.Struct, frozen=True, kw_only=True):
    """How many keys are in both streams, equal or changed, and in one of them only."""

    same: int = 0
    added: int = 0
    removed: int = 0
    changed: int = 0
    examples: dict[str, tuple[str, ...]] = {}  # names of a few keys that were added, removed, changed
    fields: dict[str, int] = {}  # how many of those changed differ in each field
    first: dict[str, tuple[int, int]] = {}  # field: number, before and after, of the first that differs in it

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not (self.added or self.removed or self.changed)

    @property
    def both(self) -> int:
        """Keys of both streams."""
        return self.same + self.changed


def merge(before: Iterable[Entry], after: Iterable[Entry]) -> Iterator[tuple[Entry | None, Entry | None]]:
    """Every key of two sorted streams with its entries, None where a stream lacks it. One entry of each is in memory."""
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
    """Tuples of key, number and the hashes of so many fields, all uint64, as entries in the order of their keys."""
    unsorted, runs, end, width = iter(tuples), list[Iterator[Entry]](), 0, 2 + fields
    with TemporaryFile() as file:
        while len(run := np.fromiter(chain.from_iterable(islice(unsorted, RUN)), np.uint64).reshape(-1, width)):
            file.write(run[np.argsort(run[:, 0], kind="stable")].tobytes())
            runs.append(_stored(file, range(end, end + len(run), BLOCK), end + len(run), width))
            end += len(run)
        yield from merge_runs(*runs)


def _stored(file: IO[bytes], starts: Iterable[int], end: int, width: int) -> Iterator[Entry]:
    """A sorted run on disk, a block at a time."""
    for start in starts:
        file.seek(start * width * 8)
        block = np.frombuffer(file.read((min(start + BLOCK, end) - start) * width * 8), np.uint64)
        yield from (Entry(key, number, tuple(content)) for key, number, *content in block.reshape(-1, width).tolist())
