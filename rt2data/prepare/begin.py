"""Step three, before anything is read: where a source's store is, whether it is ready, and the work orders of its units."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import xxhash

from rt2data.errors import DataError, SourceChangedError, UsageError
from rt2data.io import location
from rt2data.io.location import produce_whole
from rt2data.io.location.folders import make_folder, remove_folder
from rt2data.io.location.whole import output_errors
from rt2data.io.stamps import Stamp, stamps_of
from rt2data.prepare.staged import STAGED
from rt2data.prepare.store import FILES_PARQUET, Store, read_stamps, write_stamps
from rt2data.prepare.unit import UnitOrder
from rt2data.prepare.units import (
    blob_name,
    name_alike,
    name_units,
    settings_of,
    units_folder,
    write_known,
)
from rt2data.read.source import Source
from rt2data.records import Compact, Unit

COMPACTED = "-compact"
"""Suffix of the folder of a store that the recipe wants compacted."""
SHARED = "shared"
"""Folder, inside the staging folder, of what all units of a source share."""


def store_folder(root: Path, name: str, source: Source, compact: Compact = "auto") -> Path:
    """The folder of a source's store: its name and a fingerprint of its settings and of the paths and sizes of its files.

    A complete store with longer chunks is used too, preferably one with compacted images. If the recipe says how to compact, only a
    compacted store is used; it has its own folder.
    """
    listing = [(stamp.path, stamp.size) for stamp in _stamps_of(name, source)]
    content = msgspec.json.encode([*settings_of(source), listing], order="deterministic")
    if name != name.lower():  # must not collide with another source's folder where `A` and `a` are the same name
        content += name.encode()
    base, horizon = f"{name}-{xxhash.xxh3_64_hexdigest(content)}", getattr(source, "horizon", 1)
    required = compact in ("spill", "runner")
    own = _with_horizon(base, horizon) + (COMPACTED if required else "")
    return _longer(root, base, horizon, required) or root / own


def _with_horizon(base: str, horizon: int) -> str:
    return base if horizon == 1 else f"{base}-h{horizon}"


def _longer(root: Path, base: str, horizon: int, compacted: bool) -> Path | None:
    """A complete store of the same source with long enough chunks: a compacted one first, then the shortest chunks."""
    found = []
    for name in _names(root, base):
        marked = re.fullmatch(rf"(?:-h([1-9][0-9]*))?(?:{COMPACTED})?", name.removeprefix(base))
        store = ready_store(root / name) if marked and int(marked[1] or 1) >= horizon else None
        if marked and store and (store.info.compacted or not compacted):
            found.append((not store.info.compacted, int(marked[1] or 1), store.path))
    return min(found)[2] if found else None


def _names(root: Path, start: str) -> list[str]:
    """The names in a folder with this prefix; none if the folder cannot be listed."""
    try:
        return [entry.name for entry in location.children(root) if entry.name.startswith(start)]
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def ready_store(folder: Path) -> Store | None:
    """The complete store in this folder; None if there is none or its source has changed."""
    store = Store(folder)
    try:
        _ = store.info
        return None if store.changed_files() else store
    except (UsageError, DataError):
        return None


def staging_folder(folder: Path) -> Path:
    """Where a store is written until complete; in an object store that is its final place, where source.json comes last."""
    if location.is_remote(folder):
        return folder
    return folder.with_name(f".{folder.name}.partial")


def begin(name: str, source: Source, folder: Path, units: Sequence[Unit] | None = None) -> list[UnitOrder]:
    """Create the staging folder and the work orders: for all units, or for those given, numbered from 0.

    Finished work of an interrupted run on the same files is kept, and so are known units of the source. Raises UsageError or
    DataError if the source cannot be read.
    """
    staging, home = staging_folder(folder), units_folder(folder.parent, name, source)
    with location.one_look():
        listed = _stamps_of(name, source)
        named = name_units(source, listed, home) if units is None else name_alike(units, listed)
    require_something(name, named)
    stamps = [replace(stamp, path=str(location.absolute(stamp.path))) for stamp in listed]
    stamps += [Stamp(str(location.absolute(home / blob_name(each.name))), 0, "") for each in named]
    with output_errors(folder):
        if location.exists(staging) and not _same_files(staging, stamps):
            remove_folder(staging)
        make_folder(staging, folder)
        make_folder(home, folder)
    produce_whole(staging / FILES_PARQUET, lambda path: write_stamps(path, stamps))
    location.delete(staging / STAGED)
    if units is None:
        write_known(home, source, listed, named)
    shared = staging / SHARED
    source.share(shared)
    at = str(shared) if location.is_folder(shared) else ""
    return [UnitOrder(name, source, replace(each.unit, shared=at), str(staging), str(home), each.name) for each in named]


def require_something(name: str, parts: Sequence[object]) -> None:
    """Raises DataError if a source has nothing to read."""
    if not parts:
        raise DataError(f"source {name} has nothing to read", do="look at its path")


def _stamps_of(name: str, source: Source) -> list[Stamp]:
    """Stamps of a source's files, with the paths it gives. Raises SourceChangedError if one disappears meanwhile."""
    try:
        return stamps_of(source.depends_on())
    except FileNotFoundError as error:
        raise SourceChangedError(f"a file of source {name} is gone", str(error.filename), "run the build again") from None


def _same_files(staging: Path, stamps: list[Stamp]) -> bool:
    """Whether the staging folder was started with the same files and units; files made by units may have stamps already."""
    try:
        known = read_stamps(staging / FILES_PARQUET)[: len(stamps)]
    except DataError:
        return False
    pairs = zip(known, stamps, strict=False)
    return len(known) == len(stamps) and all(old == now or (old.path == now.path and not now.version) for old, now in pairs)
