"""The folder of prepared stores: what it holds, what of that is no longer of use, and how to remove it."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from rt2data.errors import DataError, LockedError, RtError, UsageError, command
from rt2data.io import location
from rt2data.io.location import path_of
from rt2data.io.location.folders import bytes_and_time, remove_folder
from rt2data.io.location.whole import output_errors
from rt2data.io.publish import exclusively
from rt2data.io.tables import read_parquet
from rt2data.prepare.store import REJECTS, Store, StoreInfo
from rt2data.prepare.unit_files import Files, remove_unused, total, unit_files, units_of
from rt2data.prepare.units import UNITS
from rt2data.records import SOURCE

State = Literal["complete", "stale", "partial", "damaged", "unused"]
USELESS: frozenset[State] = frozenset({"stale", "partial", "damaged", "unused"})
_FOLDER = re.compile(rf"\.?(?P<name>{SOURCE})-(?P<fingerprint>[0-9a-f]{{16}})(-h[0-9]+)?(-compact)?(?P<partial>\.partial)?")
_DAY = 86_400.0


@dataclass(frozen=True)
class CatalogEntry:
    """One store of the catalog.

    `stale`: its source has changed or is gone; `damaged`: it cannot be read or has another version; no build will use these again.
    `partial`: it is being written, or was left by a stopped build; the next build of the same source resumes it. `unused`: units
    that no store uses. The bytes of a store include those of units that no other store uses.
    """

    path: Path
    name: str
    state: State
    bytes: int
    age_days: float
    kind: str = ""
    source: str = ""
    splits: dict[str, int] | None = None  # rows
    why: str = ""  # the reason it is stale or damaged

    @property
    def root(self) -> Path:
        """The folder of all stores."""
        return self.path.parent.parent if self.state == "unused" else self.path.parent

    @property
    def rows(self) -> int:
        return sum((self.splits or {}).values())

    def to_json(self) -> dict[str, Any]:
        """All fields as plain JSON values."""
        fields = {name: getattr(self, name) for name in ("name", "state", "kind", "source", "rows", "bytes", "why")}
        return fields | {"path": str(self.path), "splits": self.splits or {}, "age_days": round(self.age_days, 2)}


def kept_stores(root: Path) -> list[CatalogEntry]:
    """All stores in a folder, by name; none if the folder does not exist. Anything that is not a store is ignored."""
    found = [_look(path, match) for path, match in _folders(root)]
    files, units = unit_files(root), {store.path: units_of(store.path) for store in found}
    owners = Counter(chain.from_iterable(units.values()))
    own = {path: [unit for unit in mine if owners[unit] == 1] for path, mine in units.items()}
    stores = [replace(store, bytes=store.bytes + total(files, own[store.path])) for store in found]
    unused = _unused(root, {unit: each for unit, each in files.items() if unit not in owners})
    return sorted([*stores, *unused], key=lambda kept: (kept.name, kept.path.name))


def _unused(root: Path, files: Files) -> list[CatalogEntry]:
    """An entry for each folder of units that no store uses."""
    folders = sorted({unit.partition("/")[0] for unit in files})
    return [
        CatalogEntry(root / UNITS / folder, folder.rpartition("-")[0], "unused", total(files, mine), _age(root / UNITS / folder))
        for folder in folders
        for mine in [[unit for unit in files if unit.startswith(f"{folder}/")]]
    ]


def _age(folder: Path) -> float:
    """Days since anything in a folder was written."""
    return max(time.time() - bytes_and_time(folder)[1], 0.0) / _DAY


def _folders(root: Path) -> list[tuple[Path, re.Match[str]]]:
    if not location.is_folder(root):
        return []
    named = ((entry, _FOLDER.fullmatch(entry.name)) for entry in location.children(root))
    return [(path_of(entry.path), match) for entry, match in named if match and entry.is_dir(follow_symlinks=False)]


def _look(path: Path, match: re.Match[str]) -> CatalogEntry:
    size, changed = bytes_and_time(path)
    age = max(time.time() - changed, 0.0) / _DAY
    if match["partial"] or (location.is_remote(path) and not location.is_file(path / "source.json")):  # there: no staging folder
        return CatalogEntry(path, match["name"], "partial", size, age)
    try:
        store = Store(path)
        info, why = store.info, _why_stale(store)
    except (RtError, OSError, pa.ArrowException) as error:
        return CatalogEntry(path, match["name"], "damaged", size, age, why=str(error))
    return CatalogEntry(path, match["name"], "stale" if why else "complete", size, age, info.kind, info.source, _rows(info), why)


def _rows(info: StoreInfo) -> dict[str, int]:
    return {name: split.rows for name, split in info.splits.items()}


def _why_stale(store: Store) -> str:
    changed = store.changed_files()
    return f"{len(changed):,} files changed or gone, first {changed[0]}" if changed else ""


def select(
    kept: Collection[CatalogEntry], names: Collection[str] = (), older_days: float | None = None, everything: bool = False
) -> list[CatalogEntry]:
    """What to remove: those named; or everything; or the useless ones, plus any not written to for `older_days`.

    Raises UsageError for a name that no store has.
    """
    if names:
        unknown = [name for name in names if not any(_named(store, name) for store in kept)]
        if unknown:
            raise UsageError(f"no store is called {unknown[0]}", do=f"{command('store', 'list')} names them")
        return [store for store in kept if any(_named(store, name) for name in names)]
    old = float("inf") if older_days is None else older_days
    return [store for store in kept if everything or store.state in USELESS or store.age_days > old]


def _named(kept: CatalogEntry, name: str) -> bool:
    return name in (kept.name, kept.path.name, str(kept.path)) or location.absolute(name) == location.absolute(kept.path)


def remove(kept: CatalogEntry) -> None:
    """Remove one store. Raises LockedError if a build is preparing it, OutputError if it cannot be removed."""
    if kept.state == "unused":
        return  # removed after the stores
    own = kept.path.name.removeprefix(".").removesuffix(".partial")
    with exclusively(kept.path.with_name(f".{own}.lock"), f"the store of {kept.name}"), output_errors(kept.path):
        location.delete(kept.path / "source.json")  # from here on it is not a complete store
        remove_folder(kept.path)


def remove_all(kept: Collection[CatalogEntry]) -> tuple[list[CatalogEntry], list[CatalogEntry]]:
    """Remove stores; return those removed, and those that a build is preparing right now."""
    gone, busy = [], []
    for store in kept:
        try:
            remove(store)
            gone.append(store)
        except LockedError:
            busy.append(store)
    for root in {store.root for store in kept}:
        remove_unused(root, lambda root=root: [path for path, _ in _folders(root)])  # type: ignore[misc]
    return gone, busy


def is_store(name: str) -> bool:
    """Whether this is the path of a store rather than a name."""
    return location.is_file(path_of(name) / "rejects.parquet")


def find_store(root: Path, name: str) -> Path:
    """The complete store with that name or path, else a stale one. Raises UsageError if there is none, or more than one."""
    given = path_of(name)
    if is_store(str(given)):
        _ = Store(given).info  # raises if unfinished, as figures of part of a store would mislead
        return given
    found = [kept for kept in kept_stores(root) if _named(kept, name) and kept.state in ("complete", "stale")]
    current = [kept for kept in found if kept.state == "complete"] or found
    if not current:
        raise UsageError(f"no store is called {name!r}", str(root), f"{command('store', 'list', '--store', root)} names them")
    if len(current) > 1:
        folders = ", ".join(kept.path.name for kept in current)
        raise UsageError(f"{len(current)} stores are called {name!r}", folders, "name one of these folders")
    return current[0].path


def read_rejects(store: Path) -> list[dict[str, Any]]:
    """What was dropped from a source: reason, where, detail, fault, count. Raises DataError if that cannot be read."""
    try:
        rows: list[dict[str, Any]] = read_parquet(store / "rejects.parquet", schema=REJECTS).to_pylist()
    except (OSError, pa.ArrowException) as error:
        raise DataError("its rejects cannot be read", str(store), "prepare the source again") from error
    return rows
