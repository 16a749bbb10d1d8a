"""The files of units: which stores use them, and removal of those that no store uses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from rt2data.errors import DataError, LockedError
from rt2data.io import location
from rt2data.io.location import path_of
from rt2data.io.location.folders import discard_folder, remove_empty_folder
from rt2data.io.publish import exclusively
from rt2data.prepare.store import FILES_PARQUET, read_stamps
from rt2data.prepare.units import UNITS, unit_of


class UnitFile(NamedTuple):
    """One file of a unit."""

    path: Path
    bytes: int


Files = Mapping[str, list[UnitFile]]
"""The files of each unit, by FOLDER/UNIT."""


def unit_files(root: Path) -> Files:
    """The files of all units next to the stores in a folder."""
    found = defaultdict[str, list[UnitFile]](list)
    if location.is_folder(root / UNITS):
        for path, stat in location.files_below(root / UNITS):
            if unit := unit_of(path):
                found[unit].append(UnitFile(path_of(path), stat.size))
    return found


def units_of(store: Path) -> set[str]:
    """The units of a store, finished or not; none if its files cannot be read."""
    try:
        return {unit for stamp in read_stamps(store / FILES_PARQUET) if (unit := unit_of(stamp.path))}
    except DataError:
        return set()


def total(files: Files, units: Iterable[str]) -> int:
    """Total bytes of some units."""
    return sum(file.bytes for unit in units for file in files.get(unit, ()))


def remove_unused(root: Path, stores: Callable[[], Iterable[Path]]) -> None:
    """Remove units that no store uses, except those of a source being prepared. Raises OutputError."""
    for folder in sorted({unit.partition("/")[0] for unit in unit_files(root)}):
        with suppress(LockedError), exclusively(units_lock(root / UNITS / folder), f"the units of {folder}"):
            _sweep(root, folder, set[str]().union(*map(units_of, stores())))
    with suppress(OSError):
        remove_empty_folder(root / UNITS)


def _sweep(root: Path, folder: str, kept: set[str]) -> None:
    mine = {unit: files for unit, files in unit_files(root).items() if unit.partition("/")[0] == folder}
    if not mine.keys() & kept:
        discard_folder(root / UNITS / folder)
        return
    for unit in mine.keys() - kept:
        for file in mine[unit]:
            location.delete(file.path)


def units_lock(folder: Path) -> Path:
    """The lock of a folder of units."""
    return folder.with_name(f".{folder.name}.lock")
