"""Compaction: the images a mixture uses, rewritten once in row order, so that a shard reads long runs.

With `spill`, images go through the store's own folder, on any runner, in three steps that each read the output of the previous one:

    files of rows -> places: which image of which range of the sources goes to which group of files of rows
    a range of the sources, read once in order -> a spill: its images by group, with where each group begins
    a group of files of rows <- its part of every spill: the blobs, and the rows rewritten

On Beam the images can go through the runner's shuffle instead (`runner`, see `beam.shuffle`). The blobs have the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import isqrt
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from rt2data.errors import InternalError
from rt2data.io import location
from rt2data.io.disk import Need, require_space
from rt2data.io.location import path_of, produce_whole, whole_file, write_whole
from rt2data.io.location.base import Range
from rt2data.io.location.folders import make_folder
from rt2data.io.location.open_files import OpenFiles
from rt2data.io.location.paths import OBJECT_STORES
from rt2data.io.stamps import NO_FILE, Stamp, stamps_of
from rt2data.io.tables import arrow_file, read_parquet
from rt2data.order import I64, WINDOW
from rt2data.prepare.begin import staging_folder
from rt2data.prepare.blobs import (
    BlobsSummary,
    Copies,
    Layout,
    RowsPlace,
    blob_file,
    each_image,
    is_compacted,
    joined,
    lay_out,
    open_blobs,
    read_places,
    rewrite_rows,
    write_at,
)
from rt2data.prepare.gather import RowsSummary
from rt2data.prepare.store import FILES, read_stamps, write_stamps
from rt2data.read.source import Source
from rt2data.records import Compact

AUTO_IMAGES = 20_000_000
"""`auto` compacts sources in an object store with more images than this: a new bucket serves 5,000 reads a second."""

LEAST, MOST = 1 << 30, 16 << 30
"""Limits on bytes per spill, and on image bytes per group of files of rows. A worker holds that much on disk, not in memory."""
PIECE = 4 << 20
"""Mean bytes that a group takes from a spill, where possible, so that request sizes grow with the data."""
FILES_OF_ROWS = 32
"""At most this many files of rows per group: each has four blobs, all open at once."""
IMAGES = 2_000_000
"""Images per file of places."""
VERSION = 1
PLACES = pa.schema(
    [
        ("group", pa.int32()),
        ("file", pa.int32()),
        ("offset", pa.int64()),
        ("length", pa.int32()),
        ("xxh3", pa.uint64()),
        ("key", pa.string()),
    ]
)


def may_compact(how: Compact, source: Source) -> Compact:
    """How a source may be compacted: `never` if `auto` would not compact it, however many images it has."""
    return "never" if how == "auto" and not reads_objects(source) else how


def reads_objects(source: Source) -> bool:
    """Whether any path of the source is in an object store."""
    said = source.model_dump_json()
    return any(f'"{scheme}://' in said for scheme in OBJECT_STORES)


def decide(how: Compact, is_remote: bool, images: int) -> Literal["never", "spill", "runner"]:
    """How a source with this many images is compacted."""
    if how == "auto":
        return "spill" if is_remote and images > AUTO_IMAGES else "never"
    return how


@dataclass(frozen=True, slots=True)
class Task:
    """What all orders of one compaction share."""

    name: str
    folder: str  # staging folder of the store
    work: str  # folder of temporary files
    step: int  # bytes per range of the sources
    ranges: int
    groups: int
    places: int  # number of files of places


@dataclass(frozen=True, slots=True)
class PlacesOrder:
    """Work order: write where the images needed by some groups of files of rows are."""

    task: Task
    number: int
    first: int  # number of the first group
    groups: tuple[tuple[RowsPlace, ...], ...]

    @property
    def label(self) -> str:
        return f"places of images of {self.task.name} {self.number}"


@dataclass(frozen=True, slots=True)
class SpillOrder:
    """Work order: write the images of one range of the sources, sorted by group."""

    task: Task
    number: int

    @property
    def label(self) -> str:
        return f"spill images of {self.task.name} {self.number}"


@dataclass(frozen=True, slots=True)
class BlobsOrder:
    """Work order: write the blobs of one group of files of rows."""

    task: Task
    number: int
    rows: tuple[RowsPlace, ...]

    @property
    def label(self) -> str:
        return f"compact {self.task.name} {self.number}"


Order = PlacesOrder | SpillOrder | BlobsOrder


_decode_summary = msgspec.json.Decoder(BlobsSummary).decode  # made at import: threads making a type's first decoder at once crash


def compact_orders(name: str, folder: Path, rows: Sequence[RowsSummary]) -> list[Order]:
    """The work orders that compact a store whose rows are gathered, by kind.

    Raises OutputError if the disk is too small.
    """
    files = _readable_stamps(folder)
    total = sum(each.image_bytes for each in rows)
    require_space(Need(f"the compacted images of {name}", folder, 2 * total))
    step = min(max(LEAST, isqrt(total * PIECE)), MOST)
    groups = list(_groups(sorted(rows, key=lambda each: (each.split, each.number)), len(files), step))
    marks = [VERSION, step, len(files), files[:1], files[-1:], [(each.split, each.number, each.digest) for each in rows]]
    work = folder / f"spills-{xxhash.xxh3_64_hexdigest(msgspec.json.encode(marks))}"
    make_folder(work, folder)
    produce_whole(work / "files.parquet", lambda path: write_stamps(path, files))
    shared = list(_shared_places(rows, groups))
    task = Task(name, str(folder), str(work), step, -(-sum(each.size for each in files) // step), len(groups), len(shared))
    return [
        *(PlacesOrder(task, number, first, tuple(groups[first:stop])) for number, (first, stop) in enumerate(shared)),
        *(SpillOrder(task, number) for number in range(task.ranges)),
        *(BlobsOrder(task, number, group) for number, group in enumerate(groups)),
    ]


def _readable_stamps(folder: Path) -> list[Stamp]:
    """The files that hold the images now. Files made by units have no stamp until the store is sealed."""
    stamps = read_stamps(folder / "files.parquet")
    blobs = [at for at, stamp in enumerate(stamps) if not stamp.version]
    for at, stat in zip(blobs, location.stats([stamps[at].path for at in blobs]), strict=True):
        stamps[at] = Stamp(stamps[at].path, *stat) if stat else NO_FILE
    return stamps


def _groups(rows: Sequence[RowsSummary], first: int, most: int) -> Iterator[tuple[RowsPlace, ...]]:
    """Neighbouring files of rows with at most `most` bytes of images in total, or a single larger one."""
    group, taken = list[RowsPlace](), 0
    for each in rows:
        if group and (taken + each.image_bytes > most or len(group) == FILES_OF_ROWS):
            yield tuple(group)
            group, taken = [], 0
        group.append(RowsPlace(each.split, each.number, first))
        taken, first = taken + each.image_bytes, first + -(-each.rows // WINDOW)
    if group:
        yield tuple(group)


def _shared_places(rows: Sequence[RowsSummary], groups: Sequence[Sequence[RowsPlace]]) -> Iterator[tuple[int, int]]:
    """The first group of each file of places, and the end of its range."""
    images = {(each.split, each.number): sum(each.formats.values()) for each in rows}
    start, taken = 0, 0
    for at, group in enumerate(groups):
        here = sum(images[place.split, place.number] for place in group)
        if at > start and taken + here > IMAGES:
            yield start, at
            start, taken = at, 0
        taken += here
    if groups:
        yield start, len(groups)


# Places


def write_places(order: PlacesOrder) -> None:
    """Write a file of places, with one record batch for each range of the sources. Idempotent. Raises OutputError."""
    task, path = order.task, _places_file(order.task, order.number)
    if location.is_file(path):
        return
    wanted = [wanted_by(task, group) for group in order.groups]
    numbers = np.repeat(np.arange(order.first, order.first + len(wanted)), [len(each.file) for each in wanted])
    parts = [[pa.array(part.astype(np.int32)) for part in np.split(numbers, np.cumsum([len(each.file) for each in wanted])[:-1])]]
    parts += [[each[at] if at == 4 else pa.array(each[at]) for each in wanted] for at in range(5)]
    table = pa.table([pa.chunked_array(part, field.type) for part, field in zip(parts, PLACES, strict=True)], schema=PLACES)
    cuts = _range_numbers(task, table["file"].to_numpy(), table["offset"].to_numpy())
    produce_whole(path, lambda path: _write_batches(path, table, cuts, task.ranges))


def wanted_by(task: Task, rows: Iterable[RowsPlace]) -> Copies:
    """The images that a group of files of rows needs, each once."""
    copies = joined([lay_out(read_places(path_of(task.folder), place)).copies for place in rows])
    return copies.take(np.flatnonzero(copies.first_uses()))


def _places_file(task: Task, number: int) -> Path:
    return path_of(task.work) / f"places-{number:05d}.arrow"


def _range_numbers(task: Task, file: NDArray[np.int32], offset: I64) -> I64:
    """The range of the sources in which each image begins: the files, laid end to end, are cut into equal ranges."""
    sizes = _files(task.work)["size"].to_numpy()
    found: I64 = ((np.cumsum(sizes) - sizes)[file] + offset) // task.step
    return found


@lru_cache(maxsize=2)
def _files(work: str) -> pa.Table:
    """The files that hold the images, as columns: there may be millions. Cached by folder name."""
    return read_parquet(path_of(work) / "files.parquet", schema=FILES)


def _write_batches(path: Path, table: pa.Table, numbers: I64, batches: int) -> None:
    by_number = np.argsort(numbers, kind="stable")
    edges = np.searchsorted(numbers[by_number], np.arange(batches + 1))
    with pa.ipc.new_file(str(path), table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as file:
        for start, stop in pairwise(edges.tolist()):
            columns = [column.combine_chunks() for column in table.take(pa.array(by_number[start:stop])).columns]
            file.write_batch(pa.RecordBatch.from_arrays(columns, schema=table.schema))


# Spills


def write_spill(order: SpillOrder) -> None:
    """Write one spill: the offset of each group's part and the end of the last, int64[groups + 1]; then the images.

    Idempotent. Raises SourceChangedError naming a file that changed, DataError if one cannot be read, OutputError.
    """
    path = _spill_file(order.task, order.number)
    if location.is_file(path):
        return
    files, _, copies = range_images(order)
    starts, copies = _by_group(copies, order.task.groups)
    with whole_file(path) as file:
        write_at(file, 0, starts.astype("<i8").tobytes())
        for number, content in each_image(files, copies):
            write_at(file, int(copies.at[number]), content)


def _spill_file(task: Task, number: int) -> Path:
    return path_of(task.work) / f"spill-{number:05d}.bin"


def range_images(order: SpillOrder) -> tuple[OpenFiles, NDArray[np.int32], Copies]:
    """Files (opened) with the images of one range of the sources, the files' numbers, and the images.

    `into` of an image is its group number.
    """
    task = order.task
    table = pa.concat_tables([_batch(_places_file(task, number), order.number) for number in range(task.places)]).combine_chunks()
    numbers, file = np.unique(table["file"].to_numpy(), return_inverse=True)
    stamps = [Stamp(**each) for each in _files(task.work).take(pa.array(numbers)).to_pylist()]
    group, offset, length, xxh3 = (table[name].to_numpy() for name in ("group", "offset", "length", "xxh3"))
    key = table["key"].combine_chunks() if table.num_rows else pa.array([], pa.string())
    copies = Copies(file.astype(np.int32), offset, length, xxh3, key, group.astype(np.int64), np.zeros(len(file), np.int64))
    return OpenFiles(task.name, stamps), numbers, copies.sorted()


def _batch(path: Path, number: int) -> pa.Table:
    with arrow_file(path) as file:
        return pa.Table.from_batches([file.get_batch(number)])


def _by_group(copies: Copies, groups: int) -> tuple[I64, Copies]:
    """The offset of each group's part in a spill; and the copies with their offsets: each part is in source order."""
    lengths = copies.length.astype(np.int64)
    sizes = np.bincount(copies.into, lengths, groups).astype(np.int64)
    starts = 8 * (groups + 1) + np.concatenate([[0], np.cumsum(sizes)])
    by_group = np.argsort(copies.into, kind="stable")
    at = np.empty(len(by_group), np.int64)
    at[by_group] = starts[0] + np.cumsum(lengths[by_group]) - lengths[by_group]
    return starts, copies._replace(at=at)


# Blobs


def write_blobs(order: BlobsOrder) -> BlobsSummary:
    """Write the blobs of a group from its part of every spill, then make its rows point to them. Idempotent.

    Raises SourceChangedError if a spill changed, OutputError.
    """
    if not is_finished(order):
        layouts = group_layouts(order)
        copies = blob_copies(order, layouts)
        with open_blobs(blob_names(order, layouts)) as put:
            for number, content in each_image(*_in_spills(order, copies)):
                put(int(copies.into[number]), int(copies.at[number]), content)
        finish_blobs(order, layouts)
    return close_group(order)


def is_finished(order: BlobsOrder) -> bool:
    """Whether an earlier attempt has written the blobs of a group."""
    return location.is_file(_done_file(order))


def _done_file(order: BlobsOrder) -> Path:
    return path_of(order.task.work) / f"done-{order.number:05d}.json"


def group_layouts(order: BlobsOrder) -> list[Layout]:
    """The layout of each file of rows of a group. Raises InternalError if its rows are rewritten but its blobs are not finished."""
    folder, found = path_of(order.task.folder), []
    for place in order.rows:
        table = read_places(folder, place)
        if is_compacted(table, place):
            raise InternalError("rows point at blobs that are not finished", str(folder))
        found.append(lay_out(table))
    return found


def blob_copies(order: BlobsOrder, layouts: Sequence[Layout]) -> Copies:
    """All images of a group with their destinations; `into` is the blob's number in files.parquet."""
    parts = zip(order.rows, layouts, strict=True)
    return joined([layout.copies._replace(into=layout.copies.into + place.first) for place, layout in parts])


def blob_names(order: BlobsOrder, layouts: Sequence[Layout]) -> dict[int, Path]:
    """The non-empty blobs of a group, by number."""
    folder = path_of(order.task.folder)
    return {
        place.first + group: blob_file(folder, place, group)
        for place, layout in zip(order.rows, layouts, strict=True)
        for group, size in enumerate(layout.sizes)
        if size
    }


def _in_spills(order: BlobsOrder, copies: Copies) -> tuple[OpenFiles, Copies]:
    """The same copies, read from the spills; both are in source order, so each part is read from end to end."""
    task, new = order.task, copies.first_uses()
    spill = _range_numbers(task, copies.file, copies.offset)
    needed = np.unique(spill)
    names = [str(_spill_file(task, number)) for number in needed.tolist()]
    heads = location.read_ranges([Range(name, 8 * order.number, 8) for name in names])
    begins = np.array([int.from_bytes(head, "little") for head in heads], np.int64)
    lengths = np.where(new, copies.length, 0).astype(np.int64)
    ends, which = np.cumsum(lengths), np.searchsorted(needed, spill)
    first = np.searchsorted(spill, needed)
    before = ends[first] - lengths[first] if len(first) else first
    last_new = np.maximum.accumulate(np.where(new, np.arange(len(new)), 0))
    offset = begins[which] + (ends - lengths)[last_new] - before[which]
    return OpenFiles(task.name, stamps_of(names)), copies._replace(file=which.astype(np.int32), offset=offset)


def finish_blobs(order: BlobsOrder, layouts: Sequence[Layout]) -> None:
    """Record that the blobs of a group are written: from now on its rows may be rewritten."""
    names, sizes = blob_names(order, layouts), [size for layout in layouts for size in layout.sizes]
    numbers = [place.first + group for place, layout in zip(order.rows, layouts, strict=True) for group in range(len(layout.sizes))]
    blobs = [(number, names[number].name if size else "", size) for number, size in zip(numbers, sizes, strict=True)]
    write_whole(_done_file(order), msgspec.json.encode(BlobsSummary(order.task.name, order.number, tuple(blobs))))


def close_group(order: BlobsOrder) -> BlobsSummary:
    """Rewrite the rows of a group whose blobs are written."""
    for place in order.rows:
        rewrite_rows(path_of(order.task.folder), place)
    return _decode_summary(location.read_bytes(_done_file(order)))


SPILL: tuple[tuple[type, Callable[..., Any]], ...] = (
    (PlacesOrder, write_places),
    (SpillOrder, write_spill),
    (BlobsOrder, write_blobs),
)
"""The kinds of orders with their work, one step after another; the last step returns the blobs."""


def wanted_orders(how: Compact, name: str, source: Source, folder: Path, rows: Sequence[RowsSummary]) -> list[Order]:
    """The orders that compact a store; none if it is not to be compacted."""
    images = sum(sum(each.formats.values()) for each in rows)
    if decide(how, reads_objects(source), images) == "never":
        return []
    return compact_orders(name, staging_folder(folder), rows)
