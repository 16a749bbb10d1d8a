"""Where keys were seen, as columns; used to match pictures, ids and episodes. Written sorted, read by ranges of keys."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rt2data.io import location
from rt2data.io.tables import arrow_file
from rt2data.order import I64, U64


class Seen(NamedTuple):
    """n keys, each with the part of the data, the group and the row in which it was seen."""

    key: U64
    part: NDArray[np.int32]
    group: U64  # hash of the image id or episode
    row: I64  # index in the part

    def take(self, places: NDArray[np.generic]) -> Seen:
        """The entries at some indices, or selected by a mask."""
        return Seen(*(column[places] for column in self))

    def once(self) -> Seen:
        """Sorted by key, part and group, the first row of each."""
        order = np.lexsort((self.row, self.group, self.part, self.key))
        found = self.take(order)
        return found.take(begins(found.key, found.part, found.group))

    def shared(self) -> Seen:
        """The keys seen in more than one place; requires the result of `once`."""
        first = begins(self.key)
        run = np.cumsum(first) - 1
        return self.take(np.bincount(run)[run] > 1) if len(run) else self


def begins(*columns: NDArray[np.generic]) -> NDArray[np.bool_]:
    """bool[n]: where any column differs from its previous value."""
    found = np.ones(len(columns[0]), np.bool_)
    found[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
    return found


class Place(NamedTuple):
    """n pictures: the hash of each, and one place of its bytes."""

    key: U64
    part: NDArray[np.int32]
    file: NDArray[np.int32]
    offset: I64
    length: NDArray[np.int32]

    def once(self) -> Place:
        """Sorted by key, the first place of each."""
        found = self.take(np.argsort(self.key, kind="stable"))
        return found.take(begins(found.key))

    def take(self, places: NDArray[np.generic]) -> Place:
        """The entries at some indices, or selected by a mask."""
        return Place(*(column[places] for column in self))


Columns = TypeVar("Columns", Seen, Place)
TYPES = {"key": np.uint64, "group": np.uint64, "row": np.int64, "offset": np.int64}


def joined(kind: type[Columns], parts: Sequence[Columns]) -> Columns:
    """The concatenation."""
    empty = (np.empty(0, TYPES.get(name, np.int32)) for name in kind._fields)
    return kind(*map(np.concatenate, zip(empty, *parts, strict=True)))


def write_sorted(path: Path, found: Columns) -> None:
    """Write columns sorted by key."""
    table, sink = pa.table(found._asdict()), pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table.combine_chunks())
    location.write_whole(path, sink.getvalue())


def read_range(kind: type[Columns], paths: Sequence[Path], keys: tuple[int, int]) -> Columns:
    """All keys in [first, second) of several files; nothing else is read into memory."""
    return joined(kind, [_range(kind, path, keys) for path in paths])


def _range(kind: type[Columns], path: Path, keys: tuple[int, int]) -> Columns:
    with arrow_file(path, mapped=True) as file:
        if not file.num_record_batches:
            return joined(kind, [])
        batch = file.get_batch(0)
        columns = [batch[name].to_numpy() for name in kind._fields]
        start = np.searchsorted(columns[0], np.uint64(keys[0]))
        end = np.searchsorted(columns[0], np.uint64(keys[1] - 1), "right")
        return kind(*(column[start:end].copy() for column in columns))


def key_ranges(count: int, size: int) -> list[tuple[int, int]]:
    """Ranges of 64-bit keys with about `size` keys each, given `count` keys that are hashes."""
    ranges = max(1, -(-count // size))
    edges = [number * 2**64 // ranges for number in range(ranges + 1)]
    return list(pairwise(edges))
