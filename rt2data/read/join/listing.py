"""The image files of a corpus as an index on disk, shared by all units: it is memory-mapped, so it takes no memory in a worker."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray
from pyarrow import feather

from rt2data.io import location
from rt2data.io.location import path_of
from rt2data.io.location.folders import make_folder
from rt2data.read.join.files import ImageFile, NamePattern, numbers_of
from rt2data.read.join.images import ImageKey, parts_of

_FILES, _NAMES, _NUMBERS, _UNCLEAR = "images.arrow", "names.arrow", "numbers.arrow", "unclear.arrow"


class Listing:
    """All listed files, looked up by the name or number in a row: like `join.images.Candidates`, for any number of files."""

    def __init__(self, tables: Iterable[pa.Table], named: bool, loose: bool) -> None:
        """`tables` in the order in which they are written: files, then their rows by name, by number, and by each number of an
        ambiguous name.
        """
        self._files, names, numbers, unclear = tables
        self._ignore_folders = loose
        self._names, self._numbers, self._unclear = map(_Sorted, (names, numbers, unclear))
        self._how = "pattern" if named else "number"

    @classmethod
    def of_files(cls, files: Sequence[ImageFile], pattern: NamePattern | None = None, loose: bool = False) -> Listing:
        """An index of files, in order. `loose`: folders in the names given by rows are ignored."""
        return cls(_tables(files, pattern), named=pattern is not None, loose=loose)

    def write(self, folder: Path) -> None:
        """Write the listing into a folder, for `listing_at`."""
        make_folder(folder)
        tables = zip((_FILES, _NAMES, _NUMBERS, _UNCLEAR), (self._files, *self._keyed()), strict=True)
        for name, table in tables:
            with location.whole_file(folder / name) as file:
                feather.write_feather(table, file, compression="uncompressed")

    def of(self, key: ImageKey) -> tuple[str, list[ImageFile]]:
        """How the files were found, and all of them: by the name given, else by number."""
        if key.name:
            how, files = self._named(key.name)
            if files:
                return how, files
        return self._how, self._at(self._numbers.rows(key.number) if key.number >= 0 else ())

    def unclear(self, number: int) -> ImageFile | None:
        """A file that may have this number: its name has several."""
        return next(iter(self._at(self._unclear.rows(number))), None)

    def elsewhere(self, name: str) -> ImageFile | None:
        """A file with this base name, in a different folder than the name says."""
        return next(iter(self._called(parts_of(name))), None)

    def _named(self, name: str) -> tuple[str, list[ImageFile]]:
        """Find files by the given path, which must end the file's own path; by base name if folders are to be ignored."""
        parts = parts_of(name)
        files = self._called(parts)
        tail = "/" + "/".join(parts)
        exact = [file for file in files if f"/{file.path}".endswith(tail)]
        return ("name", exact) if exact else ("base_name", files if self._ignore_folders else [])

    def _called(self, parts: Sequence[str]) -> list[ImageFile]:
        """Files with the base name in the last component."""
        return [file for file in self._at(self._names.rows(_hash(parts[-1]))) if file.name == parts[-1]] if parts else []

    def _at(self, rows: Sequence[int]) -> list[ImageFile]:
        columns = [self._files.column(name) for name in ImageFile._fields]
        return [ImageFile(*(column[row].as_py() for column in columns)) for row in rows]

    def _keyed(self) -> Iterator[pa.Table]:
        return (each.table for each in (self._names, self._numbers, self._unclear))


class _Sorted:
    """Rows sorted by a key, for lookup."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self._keys: NDArray[Any] = table.column("key").to_numpy()
        self._rows: NDArray[Any] = table.column("row").to_numpy()

    def rows(self, key: int) -> list[int]:
        wanted = self._keys.dtype.type(key)
        first, end = np.searchsorted(self._keys, wanted), np.searchsorted(self._keys, wanted, side="right")
        return sorted(self._rows[first:end].tolist())


@lru_cache(maxsize=4)
def listing_at(folder: str, version: str, named: bool, loose: bool) -> Listing:
    """The listing written into a folder; `version` is that of its file of files."""
    tables = (_read(path_of(folder) / name) for name in (_FILES, _NAMES, _NUMBERS, _UNCLEAR))
    return Listing(tables, named=named, loose=loose)


def listing_version(folder: str) -> str:
    """The version of a written listing."""
    return location.stat(f"{folder}/{_FILES}").version


def _read(path: Path) -> pa.Table:
    if location.is_remote(path):
        return feather.read_table(pa.BufferReader(location.read_bytes(path)))
    return feather.read_table(str(path), memory_map=True)


def _tables(files: Sequence[ImageFile], pattern: NamePattern | None) -> Iterator[pa.Table]:
    yield pa.table({name: [getattr(file, name) for file in files] for name in ImageFile._fields}, schema=_SCHEMA)
    yield _by_key([(_hash(file.name), row) for row, file in enumerate(files)], np.uint64)
    numbers = [_numbers(file, pattern) for file in files]
    yield _by_key([(found[0], row) for row, found in enumerate(numbers) if len(found) == 1], np.int64)
    yield _by_key([(each, row) for row, found in enumerate(numbers) if len(found) > 1 for each in found], np.int64)


_SCHEMA = pa.schema([("folder", pa.int32()), ("inside", pa.large_string()), ("path", pa.large_string())])


def _numbers(file: ImageFile, pattern: NamePattern | None) -> tuple[int, ...]:
    if pattern is None:
        return numbers_of(file.name)
    number = pattern.number(file.inside)
    return () if number is None else (number,)


def _by_key(pairs: list[tuple[int, int]], dtype: type[np.generic]) -> pa.Table:
    keys = np.array([key for key, _ in pairs], dtype)
    order = np.argsort(keys, kind="stable")
    rows = np.array([row for _, row in pairs], np.int64)
    return pa.table({"key": keys[order], "row": rows[order]})


def _hash(name: str) -> int:
    return xxhash.xxh3_64_intdigest(name.encode(errors="surrogatepass"))
