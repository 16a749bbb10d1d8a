"""Step three, before anything is read: where the store of a source is, whether it is ready, and the work orders of its units."""

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
"""Ends the name of the folder of a store that the recipe wants compacted."""
SHARED = "shared"
"""Folder of what the units of a source have in common, in its staging folder."""


def store_folder(root: Path, name: str, source: Source, compact: Compact = "auto") -> Path:
    """The folder of a source's store: its name and a fingerprint of its settings and of the names and sizes of its files.

    A complete store is taken if it has longer chunks too, one whose images are compacted before others; only such a one where the
    recipe says how to compact, which then has a folder of its own.
    """
    listing = [(stamp.path, stamp.size) for stamp in _stamps_of(name, source)]
    content = msgspec.json.encode([*settings_of(source), listing], order="deterministic")
    if name != name.lower():  # no other source's folder on a disk that does not tell `A` from `a`
        content += name.encode()
    base, horizon = f"{name}-{xxhash.xxh3_64_hexdigest(content)}", getattr(source, "horizon", 1)
    required = compact in ("spill", "runner")
    own = _with_horizon(base, horizon) + (COMPACTED if required else "")
    return _longer(root, base, horizon, required) or root / own


def _with_horizon(base: str, horizon: int) -> str:
    return base if horizon == 1 else f"{base}-h{horizon}"


def _longer(root: Path, base: str, horizon: int, compacted: bool) -> Path | None:
    """A complete store of the same source whose chunks are long enough: a compacted one, then the shortest of them."""
    found = []
    for name in _names(root, base):
        marked = re.fullmatch(rf"(?:-h([1-9][0-9]*))?(?:{COMPACTED})?", name.removeprefix(base))
        store = ready_store(root / name) if marked and int(marked[1] or 1) >= horizon else None
        if marked and store and (store.info.compacted or not compacted):
            found.append((not store.info.compacted, int(marked[1] or 1), store.path))
    return min(found)[2] if found else None


def _names(root: Path, start: str) -> list[str]:
    """The names in a folder that start so; none where it cannot be listed."""
    try:
        return [entry.name for entry in location.children(root) if entry.name.startswith(start)]
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def ready_store(folder: Path) -> Store | None:
    """The complete store in this folder, unless there is none or its source has changed."""
    store = Store(folder)
    try:
        _ = store.info
        return None if store.changed_files() else store
    except (UsageError, DataError):
        return None


def staging_folder(folder: Path) -> Path:
    """Where a store grows until it is complete; in an object store in its own place, where source.json comes last."""
    if location.is_remote(folder):
        return folder
    return folder.with_name(f".{folder.name}.partial")


def begin(name: str, source: Source, folder: Path, units: Sequence[Unit] | None = None) -> list[UnitOrder]:
    """Lay out the staging folder and the work orders: of all units, or of these, numbered from 0 on.

    What an interrupted run did on the same files is kept, and what is known of the source's units. Raises UsageError or DataError
    where the source cannot be read.
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
    """Raises DataError where a source has nothing to read."""
    if not parts:
        raise DataError(f"source {name} has nothing to read", do="look at its path")


def _stamps_of(name: str, source: Source) -> list[Stamp]:
    """Stamps of a source's files, under the paths it gives. Raises SourceChangedError where one goes away meanwhile."""
    try:
        return stamps_of(source.depends_on())
    except FileNotFoundError as error:
        raise SourceChangedError(f"a file of source {name} is gone", str(error.filename), "run the build again") from None


def _same_files(staging: Path, stamps: list[Stamp]) -> bool:
    """Whether the staging folder was started on the same files and units; what units made may have its stamp already."""
    try:
        known = read_stamps(staging / FILES_PARQUET)[: len(stamps)]
    except DataError:
        return False
    pairs = zip(known, stamps, strict=False)
    return len(known) == len(stamps) and all(old == now or (old.path == now.path and not now.version) for old, now in pairs)
