"""COCO's JSON as a table: one row for each image, with all its annotations, though both are in arrays of their own.

An index of the annotations is sorted by image, written once for all units, and mapped.
"""

from __future__ import annotations

from abc import abstractmethod
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray
from pyarrow import feather

from rt2data.io import location
from rt2data.io.json_stream import JsonArray, JsonFault, Slice
from rt2data.io.location.folders import make_folder
from rt2data.io.stamps import Stamp
from rt2data.read import units
from rt2data.read.corpus.json_tables import parts_of_array
from rt2data.read.corpus.table import Part, RawRow, Table
from rt2data.read.join.images import ImageKey

NONE = -1
_MAX_ID = 10**18


@dataclass(frozen=True)
class CocoTable(Table):
    """{images: [{id, file_name}], annotations: [{image_id, ...}]}. The image at byte 120 is row `120`. An annotation of no image is
    a row that cannot be read. Raises DataError where the file is cut.
    """

    annotations: ClassVar[str]
    """What they are, in file names and reasons of rejects: one, and several."""
    annotation: ClassVar[str]
    shared: str = ""  # folder of a written index

    @abstractmethod
    def joined(self, images: Iterator[tuple[Slice, Any]], index: CocoIndex) -> Iterator[RawRow]:
        """A row of each image."""

    @abstractmethod
    def scanned(self) -> CocoIndex:
        """Both arrays are read once."""

    def parts(self) -> list[Part]:
        """Ranges of `images`, by their bytes in the file."""
        return list(parts_of_array(self.images, Stamp.of(self.path), units.UNIT_BYTES))

    def rows(self, start: int, stop: int) -> Iterator[RawRow]:
        """Images that begin in [start, stop). With the first of the file come the annotations of no image."""
        index = self._index()
        yield from self.joined(self.images.located((start, stop)), index)
        if start == index.first_image:
            for at, image in index.strays:
                fault = ("bad_image_id", "no id of an image") if image == NONE else self._stray(image)
                yield RawRow(str(at), f"{self.path}: byte {at}", JsonFault(*fault))

    def write_index(self, folder: Path) -> None:
        """For all units."""
        make_folder(folder)
        index = self.scanned()
        with location.whole_file(folder / self._index_name) as file:
            feather.write_feather(index.table, file, compression="uncompressed")

    @property
    def images(self) -> JsonArray[dict[str, Any]]:
        return self.array("images")

    def array(self, name: str, path: str = "") -> JsonArray[dict[str, Any]]:
        return JsonArray(path or self.path, name, dict, self.max_row, strict=False, once=("id", "image_id", "file_name", "caption"))

    def image_ids(self) -> tuple[NDArray[Any], int]:
        """The ids of all images, and the byte of the first."""
        ids, first = array("q"), NONE
        for place, row in self.images.located():
            first = place.start if first == NONE else first
            ids.append(id_of(row, "id"))
        return np.asarray(ids), first

    def _stray(self, image: int) -> tuple[str, str]:
        return f"{self.annotation}_without_image", f"image {image}"

    def _index(self) -> CocoIndex:
        if not self.shared:
            return _scanned_once(self, Stamp.of(self.path))
        path = f"{self.shared}/{self._index_name}"
        return _read_once(path, location.stat(path).version)

    @property
    def _index_name(self) -> str:
        return f"{self.annotations}-{xxhash.xxh3_64_hexdigest(self.path.encode(errors='surrogatepass'))}.arrow"


class CocoIndex:
    """Annotations sorted by their image's id; and which of them no image has."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table
        self.columns: dict[str, NDArray[Any]] = {name: table.column(name).to_numpy() for name in table.column_names}
        self.metadata = table.schema.metadata or {}
        self.first_image = int(self.metadata[b"first_image"])

    @classmethod
    def of(cls, ids: NDArray[Any], first_image: int, columns: dict[str, NDArray[Any]], **more: str) -> CocoIndex:
        """Of the annotations in the order of the file: the columns `image` and `start` (a byte), and any others."""
        order = np.argsort(columns["image"], kind="stable")
        found = {name: column[order] for name, column in columns.items()}
        image, known = found["image"], np.sort(ids)
        at = np.searchsorted(known, image).clip(max=max(len(known) - 1, 0))
        stray = (known[at] != image) | (image == NONE) if len(known) else np.ones(len(image), bool)
        table = pa.table(found | {"stray": stray.astype(np.int8)})
        return cls(table.replace_schema_metadata({"first_image": str(first_image), **more}))

    def range_of(self, image: int) -> slice:
        """The annotations of an image, in the order of the file; those of an id that is given twice belong to both."""
        return slice(*np.searchsorted(self.columns["image"], [image, image + 1]).tolist()) if image != NONE else slice(0, 0)

    @property
    def strays(self) -> Iterator[tuple[int, int]]:
        """Byte and image of annotations that no image has."""
        for row in np.flatnonzero(self.columns["stray"]).tolist():
            yield int(self.columns["start"][row]), int(self.columns["image"][row])


def write_indexes(tables: Sequence[Table], folder: Path) -> None:
    """The indexes of those tables that have one."""
    for table in tables:
        if isinstance(table, CocoTable):
            table.write_index(folder)


def key_of(number: int, image: dict[str, Any]) -> ImageKey:
    """What an image is called."""
    name = image.get("file_name")
    return ImageKey(number, name if isinstance(name, str) and len(name) <= 1024 and "\0" not in name else "")


def id_of(row: Any, name: str) -> int:
    """The id of a row; -1 where it has none."""
    return as_id(row.get(name)) if isinstance(row, dict) else NONE


def bad_id(image: dict[str, Any]) -> JsonFault:
    """The fault of an image without an id."""
    value = image.get("id")
    said = type(value).__name__ if isinstance(value, list | dict) else repr(str(value)[:40])
    return JsonFault("bad_image_id", f"{said} is no id")


def as_id(value: Any) -> int:
    """A value that may be an id; -1 for any other."""
    return value if type(value) is int and 0 <= value < _MAX_ID else NONE


@lru_cache(maxsize=2)
def _scanned_once(table: CocoTable, stamp: Stamp) -> CocoIndex:
    return table.scanned()


@lru_cache(maxsize=8)
def _read_once(path: str, version: str) -> CocoIndex:
    if location.is_remote(path):
        return CocoIndex(feather.read_table(pa.BufferReader(location.read_bytes(path))))
    return CocoIndex(feather.read_table(path, memory_map=True))
