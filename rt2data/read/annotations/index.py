"""An index of where each episode's annotations are, by hashes of its key: 48 bytes per entry, however long its texts are."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import islice
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import xxhash
from pyarrow import feather

from rt2data.io import location
from rt2data.io.location import path_of, produce_whole
from rt2data.io.location.folders import make_folder
from rt2data.order import I64, U64
from rt2data.read.annotations.contents import Entry, Keys, entries
from rt2data.read.annotations.settings import Joined, version

_COLUMNS = ("exact", "whole", "first", "file", "start", "stop")


@dataclass(frozen=True, eq=False)
class Index:
    """The n entries of all files, sorted by `whole`.

    `exact` hashes an episode's keys in the annotations, `whole` the keys with paths shortened as the recipe says, `first` only the
    first of these.
    """

    exact: U64
    whole: U64
    first: U64
    file: I64
    start: I64
    stop: I64

    @cached_property
    def episodes(self) -> int:
        """The number of distinct episodes."""
        return len(np.unique(self.exact))

    @cached_property
    def _by_first(self) -> tuple[I64, U64]:
        order = np.argsort(self.first, kind="stable")
        return order, self.first[order]

    def find(self, keys: Keys) -> I64:
        """Indices of the entries with these keys, whose paths are already shortened."""
        wanted = np.uint64(_hash(keys))
        return np.arange(np.searchsorted(self.whole, wanted, "left"), np.searchsorted(self.whole, wanted, "right"))

    def find_first(self, name: str) -> I64:
        """The same, by the first key only."""
        wanted, (order, first) = np.uint64(_hash((name,))), self._by_first
        return order[np.searchsorted(first, wanted, "left") : np.searchsorted(first, wanted, "right")]

    def different(self, numbers: I64) -> int:
        """The number of distinct episodes among these entries."""
        return len(np.unique(self.exact[numbers]))

    def places(self, numbers: I64) -> list[Entry]:
        """These entries, in file order."""
        return sorted(Entry(int(self.file[i]), int(self.start[i]), int(self.stop[i])) for i in numbers)


def cut(keys: Keys, parts: int | None) -> Keys:
    """Keys with the first one, a path, shortened to its last `parts` components; unchanged if `parts` is None."""
    return keys if parts is None else ("/".join(keys[0].split("/")[-parts:]), *keys[1:])


def _hash(keys: Keys) -> int:
    return xxhash.xxh3_64_intdigest(msgspec.json.encode(keys))


def build_index(joined: Joined) -> Index:
    """Build the index, reading all files once. Raises DataError if one is damaged."""
    hashes, places = array("Q"), array("q")
    for keys, entry in entries(joined):
        short = cut(keys, joined.parts)
        hashes.extend((_hash(keys), _hash(short), _hash(short[:1])))
        places.extend(entry)
    names, found = np.frombuffer(hashes, np.uint64).reshape(-1, 3), np.frombuffer(places, np.int64).reshape(-1, 3)
    order = np.argsort(names[:, 1], kind="stable")
    exact, whole, first = names[order].T
    file, start, stop = found[order].T
    return Index(exact, whole, first, file, start, stop)


def some_keys(joined: Joined, count: int) -> list[str]:
    """Names of the first episodes in the annotations."""
    found = (said(keys) for keys, _ in entries(joined))
    return list(islice(dict.fromkeys(islice(found, 100)), count))


def said(keys: Keys) -> str:
    """Keys as readable text."""
    return keys[0] if len(keys) == 1 else f"{keys[0]} episode {keys[1]}"


# Built once for all units of a source


def write_index(joined: Joined, folder: Path, name: str) -> None:
    """Build the index and write it into a folder, atomically. Raises DataError, OutputError."""
    index = indexed(joined)
    table = pa.table({column: getattr(index, column) for column in _COLUMNS})
    make_folder(folder)
    produce_whole(folder / f"{name}.arrow", lambda path: feather.write_feather(table, str(path), compression="uncompressed"))


def index_of(joined: Joined, folder: str, name: str) -> Index:
    """The index written into a folder, or built here if there is none."""
    path = path_of(folder) / f"{name}.arrow" if folder else None
    if path is None or not location.is_file(path):
        return indexed(joined)
    return _read(str(path), location.stat(path).version)


def indexed(joined: Joined) -> Index:
    """The index, built once per version of the files."""
    return _made(joined, tuple(map(version, joined.files)))


@lru_cache(maxsize=4)
def _made(joined: Joined, _versions: tuple[str, ...]) -> Index:
    return build_index(joined)


@lru_cache(maxsize=4)
def _read(path: str, _version: str) -> Index:
    with location.local_copy_or_path(path) as local:
        table = feather.read_table(local, memory_map=True)
    return Index(*(table[column].combine_chunks().to_numpy() for column in _COLUMNS))


def all_files(*joined: Joined | None) -> Iterator[str]:
    """Paths of all files of the given settings, skipping None."""
    for each in joined:
        yield from each.files if each is not None else ()
