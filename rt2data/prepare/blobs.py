"""The images of a compacted store: their layout in blobs, and how they are copied there.

Each row group has one blob. It holds the images that a mixture uses from its rows, in row order; an image used by several rows,
such as one with several questions or a frame of a history, is stored once. The layout follows from the rows and the images' present
places alone, so any way of moving the bytes gives the same blobs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rt2data.io import location
from rt2data.io.location import path_of, produce_whole
from rt2data.io.location.folders import discard_folder
from rt2data.io.location.open_files import OpenFiles
from rt2data.io.location.whole import write_all
from rt2data.io.stamps import NO_FILE, Stamp, stamps_of
from rt2data.order import I64, U64, WINDOW
from rt2data.prepare.row_table import ROWS
from rt2data.prepare.store import read_columns, read_stamps, read_whole, rows_file, write_rows, write_stamps

CHUNK, FAR_CHUNK = 32 << 20, 256 << 20
"""Bytes of images announced for reading at once: on a disk, in an object store."""


class RowsPlace(NamedTuple):
    """A file of rows, and the numbers of its blobs in files.parquet: first, first + 1, ... one per row group."""

    split: str
    number: int
    first: int


def blob_file(folder: Path, rows: RowsPlace, group: int) -> Path:
    """The blob of one row group of a file of rows."""
    return folder / f"images-{rows.split}-{rows.number:05d}-{group}.bin"


class Copies(NamedTuple):
    """n images to copy, sorted by (file, offset): source and destination of each.

    An image with several destinations has several consecutive entries.
    """

    file: NDArray[np.int32]
    offset: I64
    length: NDArray[np.int32]
    xxh3: U64
    key: pa.Array  # of a row that uses it
    into: I64  # number of the destination blob
    at: I64  # first byte in the blob

    def take(self, places: I64) -> Copies:
        """The entries at these indices."""
        arrays: list[Any] = [each.take(pa.array(places)) if isinstance(each, pa.Array) else each[places] for each in self]
        return Copies(*arrays)

    def sorted(self) -> Copies:
        """The same, sorted by (file, offset)."""
        return self.take(np.lexsort((self.offset, self.file)))

    def first_uses(self) -> NDArray[np.bool_]:
        """Whether each entry differs from its predecessor, in a sorted list."""
        return np.concatenate([[True], (np.diff(self.file) != 0) | (np.diff(self.offset) != 0)])[: len(self.file)]


def joined(parts: Sequence[Copies]) -> Copies:
    """All parts together, sorted."""
    columns = list(zip(*parts, strict=True))
    key = pa.concat_arrays([pa.array([], pa.string()), *columns[4]]) if parts else pa.array([], pa.string())
    arrays = [key if at == 4 else np.concatenate(column) for at, column in enumerate(columns)]
    return Copies(*arrays).sorted()


class BlobsSummary(msgspec.Struct, frozen=True):
    """The blobs of a group of files of rows: number in files.parquet, file name and bytes of each."""

    name: str
    group: int
    blobs: tuple[tuple[int, str, int], ...]


class Layout(NamedTuple):
    """The blobs of one file of rows."""

    copies: Copies  # with `into` counting the file's row groups from 0
    sizes: list[int]  # bytes of each blob
    chosen: NDArray[np.bool_]  # for all images of the rows: whether a mixture uses it
    into: I64  # for the chosen ones: blob and offset
    at: I64


def lay_out(table: pa.Table) -> Layout:
    """The blob layout of a file of rows; `table` has its key and images."""
    column = table["images"].combine_chunks()
    flat = column.flatten()
    chosen = pc.struct_field(flat, "chosen").to_numpy(zero_copy_only=False)
    row = np.repeat(np.arange(len(column)), np.diff(np.asarray(column.offsets)))[chosen]
    taken = flat.filter(pa.array(chosen))
    file, offset, length, xxh3 = (pc.struct_field(taken, name).to_numpy() for name in ("file", "offset", "length", "xxh3"))
    group = row // WINDOW
    by_place = np.lexsort((offset, file, group))
    new = _begins(group[by_place], file[by_place], offset[by_place])
    first = by_place[new]  # the first use of each image in its row group: the sort is stable
    which = np.empty(len(by_place), np.int64)
    which[by_place] = np.cumsum(new) - 1
    at, sizes = _one_after_another(first, group[first], length[first].astype(np.int64), -(-table.num_rows // WINDOW))
    key = table["key"].combine_chunks().take(pa.array(row[first]))
    copies = Copies(file[first], offset[first], length[first], xxh3[first], key, group[first], at)
    return Layout(copies.sorted(), sizes, chosen, group, at[which])


def _begins(*columns: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Whether each of some sorted entries differs from its predecessor."""
    differs = [np.diff(column.astype(np.int64)) != 0 for column in columns]
    return np.concatenate([[True], np.logical_or.reduce(differs)])[: len(columns[0])]


def _one_after_another(first: I64, group: I64, length: I64, groups: int) -> tuple[I64, list[int]]:
    """The offset of each image in its group's blob, in order of first use; and the sizes of the blobs."""
    by_use = np.argsort(first)
    ends = np.cumsum(length[by_use])
    sizes = np.bincount(group, length, groups).astype(np.int64)
    before = np.cumsum(sizes) - sizes
    at = np.empty(len(first), np.int64)
    at[by_use] = ends - length[by_use] - before[group[by_use]]
    return at, sizes.tolist()


def read_places(folder: Path, rows: RowsPlace) -> pa.Table:
    """The columns of a file of rows that a layout needs."""
    return read_columns(rows_file(folder, rows.split, rows.number), ["key", "images"])


def is_compacted(table: pa.Table, rows: RowsPlace) -> bool:
    """Whether the images a mixture uses are already in the blobs: an earlier attempt has rewritten this file of rows."""
    flat = table["images"].combine_chunks().flatten()
    return bool(
        pc.any(pc.and_(pc.struct_field(flat, "chosen"), pc.greater_equal(pc.struct_field(flat, "file"), rows.first))).as_py()
    )


def rewrite_rows(folder: Path, rows: RowsPlace) -> None:
    """Make a file of rows point to its blobs. Idempotent. Raises OutputError."""
    path = rows_file(folder, rows.split, rows.number)
    table = read_whole(path)
    if not is_compacted(table, rows):
        moved = table.set_column(ROWS.get_field_index("images"), ROWS.field("images"), _moved(table, rows.first))
        produce_whole(path, lambda path: write_rows(path, moved))


def _moved(table: pa.Table, first: int) -> pa.Array:
    """The images of a table, with those that a mixture uses moved to the blobs."""
    column, layout = table["images"].combine_chunks(), lay_out(table)
    flat = column.flatten()
    fields = {name: flat.field(at) for at, name in enumerate(field.name for field in flat.type)}
    for name, values in (("file", layout.into + first), ("offset", layout.at)):
        whole = fields[name].to_numpy().copy()
        whole[layout.chosen] = values
        fields[name] = pa.array(whole, fields[name].type)
    offsets = pc.subtract(column.offsets, column.offsets[0])
    images = pa.StructArray.from_arrays(list(fields.values()), fields=list(flat.type))
    return pa.ListArray.from_arrays(offsets, images, type=column.type)


def each_image(files: OpenFiles, copies: Copies) -> Iterator[tuple[int, memoryview]]:
    """The number of each copy and the image's bytes, valid until the next. Every image is read once, in order, and checked.

    Raises SourceChangedError naming the file if it is not as prepared, DataError if it cannot be read.
    """
    room = memoryview(bytearray(int(copies.length.max(initial=0))))
    ends = np.cumsum(np.where(copies.first_uses(), copies.length, 0), dtype=np.int64)
    chunk = FAR_CHUNK if files.is_far else CHUNK
    cuts = np.unique(np.searchsorted(ends, np.arange(chunk, int(ends[-1]) if len(ends) else 0, chunk)))
    for places in np.split(np.arange(len(ends)), cuts):
        yield from _of_chunk(files, copies.take(places), int(places[0]) if len(places) else 0, room)


def _of_chunk(files: OpenFiles, copies: Copies, first: int, room: memoryview) -> Iterator[tuple[int, memoryview]]:
    files.will_need(copies.take(np.flatnonzero(copies.first_uses())))
    before, content = (-1, -1), room[:0]
    entries = zip(*(each.tolist() for each in (copies.file, copies.offset, copies.length, copies.xxh3, copies.key)), strict=True)
    for number, (file, offset, length, digest, key) in enumerate(entries, first):
        if (file, offset) != before:
            before, content = (file, offset), room[:length]
            files.read_into(content, file, offset, digest, key)
        yield number, content


Put = Callable[[int, int, memoryview | bytes], None]
"""Puts an image into a blob: number of the blob, first byte, content."""


@contextmanager
def open_blobs(names: Mapping[int, Path]) -> Iterator[Put]:
    """Blobs to write, by number, each published whole or not at all. Images may come in any order. Raises OutputError."""
    with ExitStack() as stack:
        files = {number: stack.enter_context(location.whole_file(name)) for number, name in names.items()}

        def put(number: int, at: int, content: memoryview | bytes) -> None:
            write_at(files[number], at, content)

        yield put


def write_at(file: FileIO, at: int, content: memoryview | bytes) -> None:
    """Write all of `content` at an offset, which may be beyond the end. Raises OutputError."""
    file.seek(at)
    write_all(file, content)


# Sealing the store


def is_blob(stamp: Stamp, folder: Path) -> bool:
    """Whether a file is a blob of the store in this folder."""
    path = path_of(stamp.path)
    return path.name.startswith("images-") and path.parent == location.absolute(folder)


def add_blobs(staging: Path, folder: Path, done: Sequence[BlobsSummary]) -> None:
    """Add the blobs to the files of a store. Idempotent."""
    blobs = sorted(blob for each in done for blob in each.blobs)
    if not blobs:
        return
    files = read_stamps(staging / "files.parquet")[: blobs[0][0]]
    assert [number for number, *_ in blobs] == list(range(len(files), len(files) + len(blobs)))
    there = iter(stamps_of([str(staging / name) for _, name, _ in blobs if name]))
    stamps = [Stamp(str(location.absolute(folder / name)), *_of(next(there))) if name else NO_FILE for _, name, _ in blobs]
    produce_whole(staging / "files.parquet", lambda path: write_stamps(path, [*files, *stamps]))


def _of(stamp: Stamp) -> tuple[int, str]:
    return stamp.size, stamp.version


def remove_spills(staging: Path, done: Sequence[BlobsSummary]) -> None:
    """Remove what only compaction needs, and blobs of an abandoned attempt."""
    kept = {name for each in done for _, name, _ in each.blobs}
    for entry in list(location.children(staging)):
        if entry.name.startswith("spills-"):
            discard_folder(staging / entry.name)
        elif entry.name.startswith("images-") and entry.name not in kept:
            location.delete(staging / entry.name)
