"""Compares two prepared stores: their rows (both in the same keyed order), their episodes or images, and their files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from rt2data.errors import RtError
from rt2data.io import location
from rt2data.look.diff.comparison import Comparison, shifts
from rt2data.look.diff.merge import Entry, KeyCounts, count_keys, in_order
from rt2data.look.differences import Difference, differences, largest_first
from rt2data.look.inspect.store import read_statistics
from rt2data.prepare.store import Store, StoreInfo, readable
from rt2data.prepare.units import is_blob
from rt2data.read.action_space import load_space


def compare_stores(before: Store, after: Store, quick: bool) -> Comparison:
    """What changed from one to the other; with `quick` no row is read. Raises DataError, UsageError if one cannot be read."""
    splits = sorted({*before.info.splits, *after.info.splits})
    _require_rows(before, after)
    rows = {} if quick else {split: count_keys(_rows(before, split), _rows(after, split)) for split in splits}
    groups = {} if quick else {split: _compare_groups(before, after, split) for split in splits}
    settings = tuple(differences(before.info.settings, after.info.settings))
    rejects = tuple(differences(_rejects(before.info), _rejects(after.info)))
    same = before.info.digest == after.info.digest and not settings and not rejects
    return Comparison(
        what="stores",
        before=str(before.path),
        after=str(after.path),
        equal=same and all(keys.equal for keys in rows.values()),
        settings=settings,
        figures=tuple(differences(_figures(before.info), _figures(after.info))),
        rejects=rejects,
        rows=rows,
        groups=groups,
        files=count_keys(_files(before), _files(after)),
        shifts=largest_first(_shifts(before, after)),
        notes=("rows were not compared: --quick",) if quick else (),
    )


def _figures(info: StoreInfo) -> dict[str, Any]:
    names = ("name", "source", "kind", "digest", "camera", "cameras", "action_dim", "state_dim", "conversions")
    found = {name: getattr(info, name) for name in names}
    return found | {"splits": {name: msgspec.to_builtins(split) | {"files": None} for name, split in info.splits.items()}}


def _rejects(info: StoreInfo) -> dict[str, int]:
    return dict(sum((Counter({lost.reason: lost.count}) for lost in info.rejects), Counter()))


def _shifts(before: Store, after: Store) -> Iterator[Difference]:
    old, new = read_statistics(before), read_statistics(after)
    for split in sorted(old.keys() & new.keys()):
        yield from shifts(after.info.name, split, _names(after.info), old[split], new[split])


def _names(info: StoreInfo) -> list[str]:
    """Names of the action's dimensions, if the action space still exists."""
    with suppress(RtError, KeyError):
        return list(load_space(info.settings["action_space"]).sized(info.action_dim).names)
    return []


# Rows


def _require_rows(*stores: Store) -> None:
    """Raises DataError if a file of rows is missing: even with `quick`, a store without its rows is not compared."""
    for store in stores:
        for path in (path for split in store.info.splits for path in store.row_files(split)):
            with readable(path):
                location.stat(path)


def _parts(store: Store, split: str, names: Sequence[str]) -> Iterator[pa.Table]:
    """Some columns of a split, part by part; none if the store lacks the split."""
    found = store.info.splits.get(split)
    for number in range(len(found.files) if found else 0):
        yield store.read(split, number, names)


def _rows(store: Store, split: str) -> Iterator[Entry]:
    """Rows of a split in keyed order; `digest` covers everything a mixture takes from a row."""
    names = ["order", "key", "digest"]
    for table in _parts(store, split, names):
        for order, key, digest in zip(*(table[name].to_pylist() for name in names), strict=True):
            yield Entry((order, key), 0, (digest,), key)


# Episodes or images


def _compare_groups(before: Store, after: Store, split: str) -> KeyCounts:
    """Episodes or images, matched by the hash of their names; a few names are looked up again."""
    found = count_keys(_groups(before, split), _groups(after, split))
    stores = {"added": after, "removed": before}
    named = {what: _named(stores[what], split, set(map(int, hashes))) for what, hashes in found.examples.items()}
    return msgspec.structs.replace(found, examples=named)


def _groups(store: Store, split: str) -> Iterator[Entry]:
    """Each group once, sorted by the hash of its name; the name of an entry is its hash."""
    hashes = ((xxhash.xxh3_64_intdigest(name.encode()), 0) for name in _group_names(store, split))
    last = None
    for entry in in_order(hashes, 0):
        if entry.key != last:
            yield entry._replace(name=str(entry.key))
        last = entry.key


def _group_names(store: Store, split: str) -> Iterator[str]:
    for table in _parts(store, split, ["group"]):
        yield from pc.unique(table["group"]).to_pylist()


def _named(store: Store, split: str, hashes: set[int]) -> tuple[str, ...]:
    """The names with these hashes."""
    return tuple(sorted({name for name in _group_names(store, split) if xxhash.xxh3_64_intdigest(name.encode()) in hashes}))


# Files


def _files(store: Store) -> Iterator[Entry]:
    """The source's own files, by path relative to their common folder; the content is their size."""
    own = [stamp for stamp in store.stamps if stamp.path and not is_blob(stamp.path)]
    root = os.path.commonpath([os.path.dirname(stamp.path) for stamp in own]) if own else ""  # noqa: PTH120 (hot for many images)
    for path, size in sorted((os.path.relpath(stamp.path, root), stamp.size) for stamp in own):
        yield Entry(path, 0, (size,), path)
