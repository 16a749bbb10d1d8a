"""Two prepared stores: their rows lie in the same keyed order, so they are compared as two sorted streams are merged."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from rt2data.errors import RtError
from rt2data.look.diff.model import Difference, Keys, Shift
from rt2data.look.diff.values import changes, largest_first, shifts
from rt2data.look.inspect.prepared import read_statistics
from rt2data.order import U64
from rt2data.prepare.store import Store, StoreInfo, read_columns, readable, rows_file
from rt2data.read.action_space import load_space

NAMED = 5
"""Keys named of those that were added, removed or changed."""
T = TypeVar("T")


class Row(NamedTuple):
    """Where a row lies in the keyed order, and the hash of all that a mixture takes from it."""

    order: int
    key: str
    digest: int


def compare_stores(before: Store, after: Store, quick: bool) -> Difference:
    """What changed from one to the other; with `quick` no row is read. Raises DataError, UsageError where one cannot be read."""
    same = before.info.digest == after.info.digest
    splits = sorted({*before.info.splits, *after.info.splits})
    _require_rows(before, after)
    rows, groups = ({}, {}) if quick else _in_rows(before, after, splits)
    settings = tuple(changes(before.info.settings, after.info.settings))
    rejects = tuple(changes(_lost(before.info), _lost(after.info)))
    return Difference(
        what="stores",
        before=str(before.path),
        after=str(after.path),
        equal=same and not settings and not rejects and all(keys.equal for keys in rows.values()),
        settings=settings,
        figures=tuple(changes(_figures(before.info), _figures(after.info))),
        rejects=rejects,
        rows=rows,
        groups=groups,
        files=_files(before, after),
        shifts=largest_first(_shifts(before, after)),
        notes=("rows were not compared: --quick",) if quick else (),
    )


def _figures(info: StoreInfo) -> dict[str, Any]:
    names = ("name", "source", "kind", "digest", "camera", "cameras", "action_dim", "state_dim", "conversions")
    found = {name: getattr(info, name) for name in names}
    return found | {"splits": {name: msgspec.to_builtins(split) | {"files": None} for name, split in info.splits.items()}}


def _lost(info: StoreInfo) -> dict[str, int]:
    return dict(sum((Counter({lost.reason: lost.count}) for lost in info.rejects), Counter()))


def _shifts(before: Store, after: Store) -> Iterator[Shift]:
    old, new = read_statistics(before), read_statistics(after)
    for split in sorted(old.keys() & new.keys()):
        yield from shifts(after.info.name, split, _names(after.info), old[split], new[split])


def _names(info: StoreInfo) -> list[str]:
    """Names of the action's dimensions, where the action space is still at hand."""
    with suppress(RtError, KeyError):
        return list(load_space(info.settings["action_space"]).sized(info.action_dim).names)
    return []


# Rows


def _in_rows(before: Store, after: Store, splits: Iterable[str]) -> tuple[dict[str, Keys], dict[str, Keys]]:
    rows, groups = {}, {}
    for split in splits:
        rows[split] = merged(_rows(before, split), _rows(after, split))
        groups[split] = _groups(before, after, split)
    return rows, groups


def _require_rows(*stores: Store) -> None:
    """Raises DataError where a file of rows is gone: what is said of the store would be said of nothing."""
    for store in stores:
        for path in (path for split in store.info.splits for path in _row_files(store, split)):
            with readable(path):
                path.stat()


def _row_files(store: Store, split: str) -> list[Path]:
    found = store.info.splits.get(split)
    return [rows_file(store.path, split, number) for number in range(len(found.files))] if found else []


def _rows(store: Store, split: str) -> Iterator[Row]:
    """Rows of a split in keyed order, a row group at a time."""
    for path in _row_files(store, split):
        with readable(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group, columns=list(Row._fields), use_threads=False)
                yield from map(Row, *(table[name].to_pylist() for name in Row._fields))


def merged(before: Iterator[Row], after: Iterator[Row]) -> Keys:
    """Two streams in order of (order, key), held against each other; one row of each is in memory."""
    counts, named = Counter[str](), defaultdict[str, list[str]](list)
    old, new = next(before, None), next(after, None)
    while old is not None or new is not None:
        what = _relation(old, new)
        row = old if what == "removed" else new
        counts[what] += 1
        if what != "same" and len(named[what]) < NAMED and row is not None:
            named[what].append(row.key)
        old = old if what == "added" else next(before, None)
        new = new if what == "removed" else next(after, None)
    return Keys(**counts, examples={what: tuple(keys) for what, keys in sorted(named.items())})


def _relation(old: Row | None, new: Row | None) -> str:
    if new is None or (old is not None and old[:2] < new[:2]):
        return "removed"
    if old is None or new[:2] < old[:2]:
        return "added"
    return "same" if old.digest == new.digest else "changed"


# Episodes


def _groups(before: Store, after: Store, split: str) -> Keys:
    """Episodes or pictures that are there: hashes of 8 bytes are held, and the few names that are told."""
    old, new = (np.unique(np.concatenate([*_group_hashes(store, split), np.empty(0, np.uint64)])) for store in (before, after))
    removed, added = np.setdiff1d(old, new, assume_unique=True), np.setdiff1d(new, old, assume_unique=True)
    named = {"added": _called(after, split, added), "removed": _called(before, split, removed)}
    return Keys(
        same=len(old) - len(removed),
        added=len(added),
        removed=len(removed),
        examples={what: names for what, names in named.items() if names},
    )


def _group_hashes(store: Store, split: str) -> Iterator[U64]:
    for names in _group_names(store, split):
        yield np.array([xxhash.xxh3_64_intdigest(name.encode()) for name in names], np.uint64)


def _group_names(store: Store, split: str) -> Iterator[list[str]]:
    for path in _row_files(store, split):
        yield pc.unique(read_columns(path, ["group"])["group"]).to_pylist()


def _called(store: Store, split: str, hashes: U64) -> tuple[str, ...]:
    """The names of the first few of these hashes."""
    wanted = set(hashes[:NAMED].tolist())
    if not wanted:
        return ()
    names = (name for part in _group_names(store, split) for name in part)
    return tuple(sorted({name for name in names if xxhash.xxh3_64_intdigest(name.encode()) in wanted}))


# Files


def _files(before: Store, after: Store) -> Keys:
    """The source's own files, by their place below the folder that all lie in; changed is another size."""
    return keyed(_sizes(before), _sizes(after), lambda size: size)


def _sizes(store: Store) -> dict[str, int]:
    own = [stamp for stamp in store.stamps if stamp.path and Path(stamp.path).parent.name != store.path.name]
    root = os.path.commonpath([os.path.dirname(stamp.path) for stamp in own]) if own else ""  # noqa: PTH120 (hot for folders of pictures)
    return {os.path.relpath(stamp.path, root): stamp.size for stamp in own}


def keyed(before: Mapping[str, T], after: Mapping[str, T], content: Callable[[T], Any]) -> Keys:
    """Two mappings, by key and content."""
    both = before.keys() & after.keys()
    found = {
        "added": sorted(after.keys() - before.keys()),
        "removed": sorted(before.keys() - after.keys()),
        "changed": sorted(key for key in both if content(before[key]) != content(after[key])),
    }
    counts = {what: len(keys) for what, keys in found.items()}
    named = {what: tuple(keys[:NAMED]) for what, keys in found.items() if keys}
    return Keys(same=len(both) - counts["changed"], **counts, examples=named)
