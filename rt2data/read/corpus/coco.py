"""COCO's JSON as a table: one row per image with all its annotations, although these are in separate arrays.

The index of annotations is sorted by image, written once for all units, and memory-mapped.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, Any, ClassVar

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from rt2data.io import location
from rt2data.io.json_stream import JsonArray, JsonFault, Slice
from rt2data.io.location.folders import make_folder
from rt2data.io.sorted_rows import sorted_parts
from rt2data.io.stamps import Stamp
from rt2data.read import units
from rt2data.read.corpus.json_tables import parts_of_array
from rt2data.read.corpus.table import Part, RawRow, Table
from rt2data.read.join.images import ImageKey

NONE = -1
_IMAGE = -1  # `start` of an index row for an existing image id, not an annotation
_MAX_ID = 10**18


@dataclass(frozen=True)
class CocoTable(Table):
    """{images: [{id, file_name}], annotations: [{image_id, ...}]}. The image at byte 120 is row `120`. An annotation without an
    image is a row that cannot be read. Raises DataError if the file is truncated.
    """

    annotations: ClassVar[str]
    """What the annotations are called in file names and reject reasons: singular, then plural."""
    annotation: ClassVar[str]
    fields: ClassVar[tuple[tuple[str, str], ...]]
    """Fields of the index besides the annotation's image and first byte: names and dtypes."""
    shared: str = ""  # folder of a written index

    @abstractmethod
    def joined(self, images: Iterator[tuple[Slice, Any]], index: CocoIndex) -> Iterator[RawRow]:
        """One row per image."""

    @abstractmethod
    def scanned(self) -> Iterator[tuple[Any, ...]]:
        """Every annotation's image id (-1 if it has none), first byte and index fields."""

    def facts(self) -> dict[str, str]:
        """Other facts to store in the index."""
        return {}

    def parts(self) -> list[Part]:
        """Ranges of `images`, by their bytes in the file."""
        return list(parts_of_array(self.images, Stamp.of(self.path), units.UNIT_BYTES))

    def rows(self, start: int, stop: int) -> Iterator[RawRow]:
        """Images that begin in [start, stop). The first part also yields the annotations without an image."""
        index = self._index()
        yield from self.joined(self.images.located((start, stop)), index)
        if start == index.first_image:
            for at, image in index.strays:
                fault = ("bad_image_id", "no id of an image") if image == NONE else self._stray(image)
                yield RawRow(str(at), f"{self.path}: byte {at}", JsonFault(*fault))

    def write_index(self, folder: Path) -> None:
        """Write the index for all units."""
        make_folder(folder)
        with location.whole_file(folder / self._index_name) as file:
            self.index_into(file)

    def index_into(self, file: IO[bytes]) -> None:
        """Read both arrays once; write annotations by image, as an Arrow file whose batches contain whole images."""
        first, dtype = NONE, np.dtype([("image", "i8"), ("start", "i8"), *self.fields])
        blank = np.zeros((), dtype).item()[2:]

        def rows() -> Iterator[tuple[Any, ...]]:
            nonlocal first
            for place, image in self.images.located():
                first = place.start if first == NONE else first
                yield id_of(image, "id"), _IMAGE, *blank
            yield from self.scanned()

        batches = (_indexed(part) for part in sorted_parts(rows(), dtype))
        head = next(batches, None) or _indexed(np.empty(0, dtype))
        schema = head.schema.with_metadata({"first_image": str(first), **self.facts()})
        with pa.ipc.new_file(file, schema) as writer:
            for batch in chain([head], batches):
                writer.write_batch(batch.replace_schema_metadata(schema.metadata))

    @property
    def images(self) -> JsonArray[dict[str, Any]]:
        return self.array("images")

    def array(self, name: str, path: str = "") -> JsonArray[dict[str, Any]]:
        return JsonArray(path or self.path, name, dict, self.max_row, strict=False, once=("id", "image_id", "file_name", "caption"))

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
    """Annotations sorted by image id, including those without an image."""

    def __init__(self, file: pa.ipc.RecordBatchFileReader) -> None:
        self.metadata = file.schema.metadata
        self.first_image = int(self.metadata[b"first_image"])
        batches = [_columns(file.get_batch(at)) for at in range(file.num_record_batches)]
        self._batches = [batch for batch in batches if len(batch["image"])] or batches[:1]
        self._first = np.array([batch["image"][:1] for batch in self._batches], np.int64).ravel()

    def of(self, image: int) -> dict[str, NDArray[Any]]:
        """Columns of an image's annotations, in file order; if two images have the same id, both get them."""
        batch = self._batches[max(int(np.searchsorted(self._first, image, "right")) - 1, 0)]
        here = slice(*np.searchsorted(batch["image"], [image, image + 1]).tolist()) if image != NONE else slice(0, 0)
        return {name: column[here] for name, column in batch.items()}

    @property
    def strays(self) -> Iterator[tuple[int, int]]:
        """First byte and image id of annotations whose image does not exist."""
        for batch in self._batches:
            stray = np.flatnonzero(batch["stray"])
            yield from zip(batch["start"][stray].tolist(), batch["image"][stray].tolist(), strict=True)


def _columns(batch: pa.RecordBatch) -> dict[str, NDArray[Any]]:
    return {name: batch.column(name).to_numpy() for name in batch.schema.names}


def _indexed(rows: NDArray[Any]) -> pa.RecordBatch:
    """Index rows as an Arrow record batch."""
    is_image = rows["start"] == _IMAGE
    found = rows[~is_image]
    stray = (found["image"] == NONE) | ~np.isin(found["image"], rows["image"][is_image])
    columns = {name: np.ascontiguousarray(found[name]) for name in found.dtype.names or ()}
    return pa.RecordBatch.from_pydict(columns | {"stray": stray.astype(np.int8)})


def write_indexes(tables: Sequence[Table], folder: Path) -> None:
    """Write the index of each table that has one."""
    for table in tables:
        if isinstance(table, CocoTable):
            table.write_index(folder)


def key_of(number: int, image: dict[str, Any]) -> ImageKey:
    """The key of an image."""
    name = image.get("file_name")
    return ImageKey(number, name if isinstance(name, str) and len(name) <= 1024 and "\0" not in name else "")


def id_of(row: Any, name: str) -> int:
    """The id of a row; -1 if it has none."""
    return as_id(row.get(name)) if isinstance(row, dict) else NONE


def bad_id(image: dict[str, Any]) -> JsonFault:
    """The fault of an image without an id."""
    value = image.get("id")
    said = type(value).__name__ if isinstance(value, list | dict) else repr(str(value)[:40])
    return JsonFault("bad_image_id", f"{said} is no id")


def as_id(value: Any) -> int:
    """A value as an id; -1 if it is not one."""
    return value if type(value) is int and 0 <= value < _MAX_ID else NONE


@lru_cache(maxsize=2)
def _scanned_once(table: CocoTable, _stamp: Stamp) -> CocoIndex:
    with NamedTemporaryFile() as file:
        table.index_into(file.file)
        file.flush()
        return _mapped(file.name)


@lru_cache(maxsize=8)
def _read_once(path: str, _version: str) -> CocoIndex:
    with location.local_copy_or_path(path) as local:
        return _mapped(str(local))


def _mapped(path: str) -> CocoIndex:
    """Memory-map an index; its file may be deleted afterwards."""
    return CocoIndex(pa.ipc.open_file(pa.memory_map(path)))
