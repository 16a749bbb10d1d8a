"""files.parquet while a store is being built: the files of its source, then the units' image files, without a version so far.

A unit's rows name a file by a hash of its path, because units serve stores with different files; a store's rows use a number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from rt2data.errors import InternalError
from rt2data.io import location
from rt2data.io.location import path_of
from rt2data.io.stamps import Stamp, changed, require_unchanged
from rt2data.order import I64, U64
from rt2data.prepare.row_table import IMAGE, ROWS
from rt2data.prepare.store import FILES_PARQUET, stamps_table
from rt2data.prepare.units import fragment_name, lost_name, rejects_name

STAGED = "staged.parquet"
"""Copy of files.parquet from before the store's own file order."""
_AT, _IMAGES = IMAGE.get_field_index("file"), ROWS.get_field_index("images")


def file_id(path: str) -> int:
    """How unit rows identify a file: hash of its absolute path; for a unit's own images, of the file name alone."""
    return xxhash.xxh3_64_intdigest(path.encode())


@dataclass(frozen=True)
class StagedFiles:
    """The files of a store that is being built in `folder`."""

    folder: str
    paths: pa.Array
    sizes: pa.Array
    versions: pa.Array

    @cached_property
    def sources(self) -> int:
        """How many files belong to the source; they come first."""
        return int(pc.sum(pc.not_equal(self.versions, "")).as_py() or 0)

    @property
    def home(self) -> Path:
        """The folder of the units."""
        return self.units[0].parent

    @cached_property
    def units(self) -> list[Path]:
        """The units' image files, in unit order."""
        return [path_of(path) for path in self.paths[self.sources :].to_pylist()]

    def blob(self, unit: int) -> Path:
        """The file of the images that a unit had to convert."""
        return self.units[unit]

    def fragment(self, unit: int) -> Path:
        """The file of a unit's rows."""
        return self._beside(unit, fragment_name(self._name(unit)))

    def rejects(self, unit: int) -> Path:
        """The file of a unit's rejects."""
        return self._beside(unit, rejects_name(self._name(unit)))

    def lost(self, unit: int) -> Path:
        """The file of what the filters dropped in a unit, by task."""
        return self._beside(unit, lost_name(self._name(unit)))

    def _beside(self, unit: int, name: str) -> Path:
        return self.units[unit].with_name(name)

    def _name(self, unit: int) -> str:
        return self.units[unit].name[len("blobs-") : -len(".bin")]

    @cached_property
    def _sorted_ids(self) -> tuple[U64, I64]:
        """Ids of all files, sorted, and the number of each file."""
        own, blobs = self.paths[: self.sources].to_pylist(), (path.name for path in self.units)
        ids = np.fromiter(map(file_id, [*own, *blobs]), np.uint64, len(self.paths))
        order = np.argsort(ids, kind="stable")
        if (np.diff(ids[order]) == 0).any():
            raise InternalError("two paths have one hash", self.folder, "rename the folder of the source")
        return ids[order], order

    def numbers(self, ids: U64) -> I64:
        """File numbers of these ids; -1 for an unknown file."""
        known, order = self._sorted_ids
        place = np.searchsorted(known, ids).clip(max=len(known) - 1)
        return np.where(known[place] == ids, order[place], -1)

    def places_after(self, base: Path) -> I64:
        """The number of each file in a store that extends `base`, whose files keep their numbers. Raises DataError."""
        before = stamps_table(base / FILES_PARQUET)["path"]
        known = pc.index_in(self.paths, before.combine_chunks())
        new = pc.is_null(known).to_numpy(zero_copy_only=False)
        found: I64 = np.where(new, len(before) + np.cumsum(new) - 1, pc.fill_null(known, 0).to_numpy())
        return found

    def ordered(self, stamps: Sequence[Stamp], base: Path) -> list[Stamp]:
        """The stamps of all files in number order, for a store that extends `base`."""
        return [stamps[place] for place in np.argsort(self.places_after(base)).tolist()]

    def numbered(self, rows: pa.Table, base: str = "") -> pa.Table:
        """Rows of units in store form: image files by number; with `base`, the numbers of a store that extends it."""
        images = rows["images"].combine_chunks()
        fields = images.values.flatten()
        numbers = self.numbers(fields[_AT].to_numpy())
        if (numbers < 0).any():
            raise InternalError("a unit has images in a file that its source has not", self.folder)
        if base:
            numbers = self.places_after(path_of(base))[numbers]
        fields[_AT] = pa.array(numbers, IMAGE.field("file").type)
        values, field = pa.StructArray.from_arrays(fields, fields=list(IMAGE)), ROWS.field(_IMAGES)
        return rows.set_column(_IMAGES, field, pa.ListArray.from_arrays(images.offsets, values, field.type))

    def stamps(self, paths: Sequence[str]) -> list[Stamp | None]:
        """The stamps of some files, by absolute path; None for one that was not listed when preparing began."""
        numbers = self.numbers(np.fromiter(map(file_id, paths), np.uint64, len(paths))).tolist()
        columns = (self.paths, self.sizes, self.versions)
        return [Stamp(*(column[i].as_py() for column in columns)) if i >= 0 else None for i in numbers]

    def all(self) -> list[Stamp]:
        """The stamps of all files, in order."""
        columns = (column.to_pylist() for column in (self.paths, self.sizes, self.versions))
        return [Stamp(*each) for each in zip(*columns, strict=True)]

    def require_unchanged(self, name: str) -> None:
        """Raises SourceChangedError naming the source files that changed."""
        require_unchanged(name, changed(self.all()[: self.sources]))


def staged_files(folder: Path, name: str = FILES_PARQUET) -> StagedFiles:
    """The files of a staged store, cached while they stay the same. Raises DataError, FileNotFoundError."""
    return _read(str(folder), name, location.stat(folder / name).version)


def listed_files(folder: Path) -> StagedFiles:
    """The same from a copy, made first, as files.parquet is about to be reordered. Raises OutputError too."""
    if not location.is_file(folder / STAGED):  # an earlier attempt may have made the copy
        location.duplicate(folder / FILES_PARQUET, str(folder / STAGED))
    return staged_files(folder, STAGED)


@lru_cache(maxsize=4)
def _read(folder: str, name: str, _version: str) -> StagedFiles:
    table = stamps_table(path_of(folder) / name)
    return StagedFiles(folder, *(table[name].combine_chunks() for name in ("path", "size", "version")))
