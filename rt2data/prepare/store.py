"""The prepared store of one source: small rows in keyed random order, pointing at image bytes where they already are."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rt2data.errors import DataError, UsageError
from rt2data.io import location
from rt2data.io.stamps import Stamp, changed
from rt2data.io.tables import parquet_file, read_parquet
from rt2data.order import I64, WINDOW, key64, keyed_permutation
from rt2data.prepare.filtered import TASKS, TASKS_PARQUET, Filtered, drops
from rt2data.prepare.row_places import RowPlaces, added_file, by_file, read_places
from rt2data.prepare.statistics import DimStats, summarize_parts
from rt2data.read.text import one_line
from rt2data.records import Chunks, Images, Kind, Note, Region, Reject, Rows, Slot, Turn

STORE_VERSION = 5
"""Raise when the rows change their meaning or order: older stores are then prepared again."""


def _image(file: pa.DataType) -> pa.StructType:
    return pa.struct(
        [
            ("camera", pa.string()),
            ("at", pa.int32()),  # control steps from the row's own: 0, or below it
            ("chosen", pa.bool_()),  # whether a mixture takes it
            ("file", file),
            ("offset", pa.int64()),
            ("length", pa.int32()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("format", pa.string()),
            ("xxh3", pa.uint64()),  # of the encoded bytes: a changed image is noticed when it is copied
        ]
    )


IMAGE = _image(pa.int32())
"""`file` is the index in files.parquet."""


class ImageEntry(NamedTuple):
    """One image as a row has it: the fields of `IMAGE`."""

    camera: str
    at: int
    chosen: bool
    file: int
    offset: int
    length: int
    width: int
    height: int
    format: str
    xxh3: int


TURN = pa.struct([("role", pa.string()), ("text", pa.string()), ("loss", pa.bool_())])
ROWS = pa.schema(
    [
        ("key", pa.string()),
        ("order", pa.uint64()),  # keyed hash of the key: rows are sorted by it
        ("group", pa.string()),
        ("split", pa.dictionary(pa.int8(), pa.string())),
        ("step", pa.int32()),
        ("steps", pa.int32()),
        ("text", pa.string()),
        ("answers", pa.list_(pa.string())),
        ("pick", pa.int32()),
        ("turns", pa.list_(TURN)),  # of a conversation
        ("action", pa.list_(pa.float32())),
        ("chunk", pa.list_(pa.float32())),  # H actions, one after another, where a source has a horizon above 1
        ("real", pa.int32()),  # how many of them are no padding
        ("ends", pa.int32()),  # which of them ends the task; -1 where none does
        ("state", pa.list_(pa.float32())),
        ("terminate", pa.bool_()),
        ("marks", pa.uint8()),  # ends.End: what the source says of the end of the row's episode
        ("timestamp", pa.float64()),
        ("images", pa.list_(IMAGE)),  # those that a mixture takes first, in the order of its slots
        ("digest", pa.uint64()),  # of all that a mixture takes from this row, but its chunk, which other rows make
    ]
)
NOTE = pa.struct([("name", pa.string()), ("text", pa.string())])
REGION = pa.struct(
    [
        ("image", pa.int32()),  # position among the row's images
        *((name, pa.float32()) for name in ("x0", "y0", "x1", "y1")),  # of the image as it is stored here; a point has no size
        ("label", pa.string()),
    ]
)
MORE = pa.schema(
    [
        ("notes", pa.list_(NOTE)),
        ("pool", pa.list_(pa.string())),  # instructions to choose from
        ("pool_at", pa.int32()),  # the place of the row among those of its episode that are kept
        ("pool_of", pa.int32()),  # how many those are
        ("regions", pa.list_(REGION)),
    ]
)
"""Columns that follow those of `ROWS` where something is joined to the source, or a row of it has regions."""
BOXES, POINTS = "regions.boxes", "regions.points"
"""Facts: how many of either the rows have."""
_IMAGES = ROWS.get_field_index("images")
UNIT_ROWS = ROWS.set(_IMAGES, pa.field("images", pa.list_(_image(pa.uint64()))))
"""Rows of a unit: `file` is a `staged.file_id`."""
KEYED = [("order", "ascending"), ("key", "ascending")]
"""How rows are sorted."""
TAKEN = [name for name in (*ROWS.names, *MORE.names) if name not in ("order", "digest")]
"""What a mixture reads: the hashes, which no compression makes smaller, served to sort rows and to compare them."""
FILES_PARQUET = "files.parquet"
FILES = pa.schema([("path", pa.string()), ("size", pa.int64()), ("version", pa.string())])
REJECTS = pa.schema(
    [("reason", pa.string()), ("where", pa.string()), ("detail", pa.string()), ("fault", pa.bool_()), ("count", pa.int64())]
)


class Lost(msgspec.Struct, frozen=True):
    """How much was dropped for one reason."""

    reason: str
    count: int
    fault: bool


class SplitInfo(msgspec.Struct, frozen=True):
    """What one split of a prepared source holds."""

    rows: int
    groups: int  # episodes or images
    image_bytes: int  # of all images that a mixture takes
    text_bytes: int
    files: tuple[int, ...]  # rows in each part of the order, which is a file of rows unless the split has grown
    formats: dict[str, int]  # images that a mixture takes, by format
    fewest: int = 1  # images that a mixture takes, in one row
    most: int = 1

    @property
    def images(self) -> int:
        """Images that a mixture takes, all rows."""
        return sum(self.formats.values())


class StoreInfo(msgspec.Struct, frozen=True, kw_only=True):
    """source.json: provenance and counts; written last, so its presence means the store is complete."""

    version: int
    tool_version: str
    name: str
    kind: Kind
    source: str  # kind of raw format
    settings: dict[str, Any]
    digest: str  # of all rows in order: the same content gives the same digest in any place
    camera: str
    cameras: tuple[str, ...]
    action_dim: int
    state_dim: int
    splits: dict[str, SplitInfo]
    rejects: tuple[Lost, ...]
    conversions: dict[str, int]  # images that had to be converted, by rule
    bytes_read: int
    facts: dict[str, int] = msgspec.field(default_factory=dict)  # what reading and standardizing counted, by name
    slots: tuple[Slot, ...] = ()  # of a robot source: the places of its examples' images
    horizon: int = 1  # actions in a row's chunk
    compacted: bool = False  # its images are in blobs of its own, in the order of the rows
    grown: tuple[str, ...] = ()  # splits of which some rows were added later: see `row_places`

    @property
    def has_actions(self) -> bool:
        """Whether it is a robot's."""
        return self.kind == "robot"

    @property
    def has_regions(self) -> bool:
        """Whether any of its rows has boxes or points."""
        return bool(self.facts.get(BOXES) or self.facts.get(POINTS))


_decode_info = msgspec.json.Decoder(StoreInfo).decode  # made at import: two threads that make a type's first one crash


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Raises DataError where a part of a store is damaged, or was removed meanwhile."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        what = f"a prepared store is damaged: {one_line(str(error))}"
        raise DataError(what, str(path), "remove its folder and build again") from error


def write_stamps(path: Path, stamps: Sequence[Stamp]) -> None:
    """files.parquet: the files that hold the images, in the order in which rows number them."""
    columns = {name: [getattr(s, name) for s in stamps] for name in FILES.names}
    pq.write_table(pa.table(columns, schema=FILES), path, write_page_checksum=True)


def read_stamps(path: Path) -> list[Stamp]:
    """The stamps of files.parquet, in order. Raises DataError where it cannot be read."""
    return [Stamp(**row) for row in stamps_table(path).to_pylist()]


def stamps_table(path: Path) -> pa.Table:
    """The same as a table."""
    with readable(path):
        return read_parquet(path, schema=FILES, page_checksum_verification=True)


def rows_file(folder: Path, split: str, number: int) -> Path:
    """The path of one file of rows."""
    return folder / f"rows-{split}-{number:05d}.parquet"


def write_rows(path: Path, table: pa.Table) -> None:
    """Write a file of rows, which are in keyed order."""
    pq.write_table(table, path, row_group_size=WINDOW, compression="zstd", write_statistics=False, write_page_checksum=True)


class Known(Protocol):
    """What a plan needs to know of a source: a prepared store knows it exactly, an estimate about."""

    @property
    def path(self) -> Path:
        """Its folder, which may not be there yet."""

    @property
    def info(self) -> StoreInfo:
        """Counts and provenance."""

    def rows(self, split: str, numbers: I64, epochs: I64, horizon: int = 1) -> Rows:
        """The rows of these numbers, as the renderer takes them, with chunks of so many actions."""

    def action_stats(self, split: str) -> DimStats | None:
        """Statistics of the actions of a split; None where there are no actions."""

    def all_action_stats(self) -> DimStats | None:
        """The same of all splits together."""

    def filtered(self) -> Filtered:
        """What filters dropped, by reason and by task."""


@dataclass
class Store:
    """A complete prepared store, for reading."""

    path: Path
    cached_groups: int = 4  # a shard reads a window of as many rows, which touches two or three
    _groups: OrderedDict[tuple[str, int, int], pa.Table] = field(default_factory=OrderedDict)
    _places: dict[str, RowPlaces] = field(default_factory=dict)

    @cached_property
    def info(self) -> StoreInfo:
        """Raises UsageError where there is no complete store of this version."""
        try:
            found = _decode_info(location.read_bytes(self.path / "source.json"))
        except (FileNotFoundError, msgspec.MsgspecError) as error:
            raise UsageError("not a complete prepared store", str(self.path), "build again: it will be prepared") from error
        if found.version != STORE_VERSION:
            raise UsageError(f"a prepared store of version {found.version}, not {STORE_VERSION}", str(self.path), "build again")
        return found

    @cached_property
    def stamps(self) -> list[Stamp]:
        return read_stamps(self.path / FILES_PARQUET)

    def changed_files(self) -> list[str]:
        """Files of the source that are no longer as they were when it was prepared."""
        return changed(self.stamps)

    def take(self, split: str, rows: I64) -> pa.Table:
        """The rows of these numbers, in this order, but for what only gathering needs. Reads only their row groups."""
        file, inside = self.places(split).find(rows)
        group = inside // WINDOW
        parts, places = [], []
        for number, chunk in sorted(set(zip(file.tolist(), group.tolist(), strict=True))):
            here = np.flatnonzero((file == number) & (group == chunk))
            parts.append(self._group(split, number, chunk).take(pa.array(inside[here] - chunk * WINDOW)))
            places.append(here)
        back = np.argsort(np.concatenate(places))
        return pa.concat_tables(parts).take(pa.array(back)).combine_chunks()

    def rows(self, split: str, numbers: I64, epochs: I64, horizon: int = 1) -> Rows:
        """The rows of these numbers, as the renderer takes them, with chunks of so many actions."""
        return as_rows(self.take(split, numbers), self.info, epochs, horizon)

    def action_stats(self, split: str) -> DimStats | None:
        """Statistics of the actions of a split; None where there are no actions."""
        found = msgspec.json.decode(location.read_bytes(self.path / "stats.json"))[split]["action"]
        return None if found is None else DimStats.from_json(found)

    def all_action_stats(self) -> DimStats | None:
        """Statistics of the actions of all splits together. Reads the actions of all rows, unless there is one split."""
        splits, dim = sorted(self.info.splits), self.info.action_dim
        if len(splits) == 1 or not dim:
            return self.action_stats(splits[0])

        def parts() -> Iterator[NDArray[np.float32]]:
            for split in splits:
                yield from (found for part in self.parts(split, "action") if (found := vectors(part, dim)) is not None)

        return summarize_parts(parts)

    def filtered(self) -> Filtered:
        """What filters dropped, by reason and by task. Raises DataError where that cannot be read."""
        with readable(self.path):
            rejects = read_parquet(self.path / "rejects.parquet", schema=REJECTS)
            counted = location.is_file(self.path / TASKS_PARQUET)
            tasks = read_parquet(self.path / TASKS_PARQUET, schema=TASKS) if counted else None
        return Filtered(drops(rejects), tasks)

    def chunk_stats(self, split: str, horizon: int) -> DimStats:
        """Statistics of all actions of all chunks of a split, padding included: what a trainer sees that masks none of it."""
        dim = self.info.action_dim

        def parts() -> Iterator[NDArray[np.float32]]:
            for part in self.parts(split, "chunk"):
                found = vectors(part, dim)
                if found is not None:
                    yield np.ascontiguousarray(found.reshape(len(part), -1, dim)[:, :horizon]).reshape(-1, dim)

        return summarize_parts(parts)

    def _group(self, split: str, number: int, chunk: int) -> pa.Table:
        """A row group, from the few kept last."""
        place = (split, number, chunk)
        if place not in self._groups:
            path = rows_file(self.path, split, number)
            with readable(path), parquet_file(path, page_checksum_verification=True) as file:
                self._groups[place] = file.read_row_group(chunk, columns=TAKEN, use_threads=False).combine_chunks()
            while len(self._groups) > self.cached_groups + len(self.places(split).added):
                self._groups.popitem(last=False)
        self._groups.move_to_end(place)
        return self._groups[place]

    def places(self, split: str) -> RowPlaces:
        """Where the rows of a split are. Raises DataError."""
        if split not in self._places:
            path = added_file(self.path, split)
            with readable(path):
                grown = split in self.info.grown
                self._places[split] = read_places(path) if grown else RowPlaces.of_order(self.info.splits[split].files)
        return self._places[split]

    def hold_places(self, split: str, places: RowPlaces) -> None:
        """Take these for where the rows of a split are, before the store says so itself."""
        self._places[split] = places

    def row_files(self, split: str) -> list[Path]:
        """The files of rows of a split, in no order if it has grown."""
        return [rows_file(self.path, split, number) for number in range(self.places(split).files)]

    def read(self, split: str, part: int, names: Sequence[str]) -> pa.Table:
        """Some columns of one part of a split, which are `info.splits[split].files`, in keyed order. Raises DataError."""
        if split not in self.info.grown:
            return read_columns(rows_file(self.path, split, part), names)
        files = self.info.splits[split].files
        first = sum(files[:part])
        return self.read_numbers(split, first, first + files[part], names)

    def read_numbers(self, split: str, first: int, stop: int, names: Sequence[str]) -> pa.Table:
        """Some columns of the rows first..stop-1. Reads only their row groups. Raises DataError."""
        file, at = self.places(split).find(np.arange(first, stop))
        parts = by_file(file)
        tables = [read_some(rows_file(self.path, split, number), at[mine], names) for number, mine in parts]
        if not tables:
            return read_some(rows_file(self.path, split, 0), file, names)
        back = np.argsort(np.concatenate([mine for _, mine in parts]))
        return pa.concat_tables(tables).take(pa.array(back))

    def column(self, split: str, name: str) -> pa.ChunkedArray:
        """One whole column of a split."""
        return pa.chunked_array([chunk for part in self.parts(split, name) for chunk in part.chunks], ROWS.field(name).type)

    def parts(self, split: str, name: str) -> Iterator[pa.ChunkedArray]:
        """One column of a split, part by part."""
        for number in range(len(self.info.splits[split].files)):
            yield self.read(split, number, [name]).column(name)


def read_columns(path: Path, names: Sequence[str] | None) -> pa.Table:
    """Some columns of a file of rows, in the order of the file. Raises DataError where it cannot be read."""
    with readable(path):
        columns = None if names is None else list(names)
        return read_parquet(path, columns=columns, use_threads=False, page_checksum_verification=True)


def read_some(path: Path, rows: I64, names: Sequence[str]) -> pa.Table:
    """Some columns of some rows of a file, which ascend. Reads only their row groups. Raises DataError."""
    first = int(rows[0]) // WINDOW if len(rows) else 0
    last = int(rows[-1]) // WINDOW if len(rows) else -1
    with readable(path), parquet_file(path, page_checksum_verification=True) as file:
        table = file.read_row_groups(list(range(first, last + 1)), columns=list(names), use_threads=False)
    return table.take(pa.array(rows - first * WINDOW))


def read_whole(path: Path) -> pa.Table:
    """All columns."""
    return read_columns(path, None)


def vectors(column: pa.Array | pa.ChunkedArray, width: int) -> NDArray[np.float32] | None:
    """A list<float> column as float32[n, width]; None where there are no vectors."""
    if not width:
        return None
    flat = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.asarray(flat.flatten(), dtype=np.float32).reshape(-1, width)


def rows_table(columns: dict[str, list[Any]], schema: pa.Schema = ROWS) -> pa.Table:
    """Rows as a table, in keyed order; with those columns of `MORE` that there are."""
    return pa.table(arrays_of(columns, schema), schema=row_schema(columns, schema)).sort_by(KEYED)


def row_schema(columns: Iterable[str], schema: pa.Schema = ROWS) -> pa.Schema:
    """With those columns of `MORE` that there are."""
    there = {*columns}
    return pa.schema([*schema, *(field for field in MORE if field.name in there)])


def arrays_of(columns: dict[str, list[Any]], schema: pa.Schema = ROWS) -> list[pa.Array]:
    """The columns of `row_schema`."""
    return [_column(columns[field.name], field.type) for field in row_schema(columns, schema)]


def _column(values: list[Any], kind: pa.DataType) -> pa.Array:
    """Vectors are joined end to end, which is much quicker than Arrow's own way with lists of arrays."""
    if kind in (ROWS.types[_IMAGES], UNIT_ROWS.types[_IMAGES]):
        return _image_column(values, kind)
    if kind != pa.list_(pa.float32()) or all(value is None for value in values):
        return pa.array(values, type=kind)
    lengths = [0 if value is None else len(value) for value in values]
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    flat = np.concatenate([np.empty(0, np.float32), *(value for value in values if value is not None)])
    missing = pa.array([value is None for value in values], type=pa.bool_())
    return pa.ListArray.from_arrays(offsets, pa.array(flat, type=pa.float32()), mask=missing)


def _image_column(values: list[list[ImageEntry]], kind: pa.ListType) -> pa.Array:
    """Field by field, which is much quicker than Arrow's own way with lists of records."""
    offsets = pa.array(np.concatenate([[0], np.cumsum([len(entries) for entries in values])]).astype(np.int32))
    image = kind.value_type
    fields = list(zip(*(entry for entries in values for entry in entries), strict=True)) or [()] * image.num_fields
    arrays = [pa.array(column, type=image.field(number).type) for number, column in enumerate(fields)]
    return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(arrays, fields=list(image)), type=kind)


def concat_rows(tables: Iterable[pa.Table]) -> pa.Table:
    """Rows of several parts of a source, with every column that any of them has."""
    return pa.concat_tables(tables, promote_options="default")


def count_lost(rejects: Iterable[Reject]) -> tuple[Lost, ...]:
    """What was dropped, by reason."""
    lost: Counter[tuple[str, bool]] = Counter()
    for reject in rejects:
        lost[reject.reason, reject.fault] += reject.count
    return tuple(Lost(reason, count, fault) for (reason, fault), count in sorted(lost.items()))


def rejects_table(rejects: Sequence[Reject]) -> pa.Table:
    """Rejects as rows."""
    rows = [{name: getattr(reject, name) for name in REJECTS.names} for reject in rejects]
    return pa.Table.from_pylist(rows, schema=REJECTS)


class Shape(Protocol):
    """What is known of all rows of a source."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> Kind: ...

    @property
    def action_dim(self) -> int: ...

    @property
    def state_dim(self) -> int: ...

    @property
    def slots(self) -> tuple[Slot, ...]: ...


def as_rows(table: pa.Table, info: Shape, epochs: I64, horizon: int = 1) -> Rows:
    """A table of rows as the renderer takes it, with chunks of `horizon` actions, which its rows must hold."""
    own: list[str] = table["text"].to_pylist()
    text = _chosen_texts(table, own, epochs)
    return Rows(
        source=info.name,
        kind=info.kind,
        keys=table["key"].to_pylist(),
        groups=table["group"].to_pylist(),
        steps=table["step"].to_numpy(),
        lengths=table["steps"].to_numpy(),
        timestamps=table["timestamp"].to_pylist(),
        images=images(table, info.slots),
        text=text,
        answers=table["answers"].to_pylist(),
        picks=table["pick"].to_numpy(),
        turns=_turns(table["turns"]),
        chunks=_chunks(table, info.action_dim, horizon),
        state=vectors(table["state"], info.state_dim),
        terminate=table["terminate"].to_numpy(),
        epochs=epochs,
        notes=_notes(table["notes"]) if "notes" in table.column_names else None,
        originals=None if text is own else [a if a != b else None for a, b in zip(own, text, strict=True)],
        regions=_regions(table["regions"]) if "regions" in table.column_names else None,
    )


def _chosen_texts(table: pa.Table, own: list[str], epochs: I64) -> list[str]:
    """The instruction of each row: its own, or one of its pool."""
    if "pool" not in table.column_names:
        return own
    columns = (table[name].to_pylist() for name in ("group", "pool", "pool_at", "pool_of"))
    return [
        pool[balanced(group, epoch * count + at, len(pool))] if pool else text
        for text, epoch, group, pool, at, count in zip(own, epochs.tolist(), *columns, strict=True)
    ]


def balanced(group: str, number: int, size: int) -> int:
    """Which of `size` things the turn `number` of a group takes: each once in a block of `size` turns, in a new order each time.

    The turns of an episode's epochs follow each other, so after any whole epochs all were taken equally often, to within one.
    """
    block, at = divmod(number, size)
    return int(_order_of(size, key64("instruction", group, block))[at])


@lru_cache(maxsize=4096)
def _order_of(size: int, key: int) -> I64:
    return keyed_permutation(size, key)


def _notes(column: pa.ChunkedArray) -> Sequence[Sequence[Note] | None]:
    """The notes of each row that has some."""
    return [None if notes is None else tuple(Note(**note) for note in notes) for notes in column.to_pylist()]


def _regions(column: pa.ChunkedArray) -> list[tuple[Region, ...]]:
    """The boxes and points of each row."""
    return [tuple(_region(**each) for each in row or ()) for row in column.to_pylist()]


def _region(image: int, x0: float, y0: float, x1: float, y1: float, label: str) -> Region:
    return Region(image, (x0, y0) if (x0, y0) == (x1, y1) else (x0, y0, x1, y1), label)


def region_columns(region: Region) -> dict[str, Any]:
    """A region as a row has it: the fields of `REGION`."""
    x0, y0, x1, y1 = region.coords if region.is_box else region.coords * 2
    return {"image": region.image, "x0": x0, "y0": y0, "x1": x1, "y1": y1, "label": region.label}


def _turns(column: pa.ChunkedArray) -> Sequence[Sequence[Turn] | None]:
    """The turns of each conversation."""
    if column.null_count == len(column):
        return (None,) * len(column)
    return [None if turns is None else tuple(Turn(**turn) for turn in turns) for turns in column.to_pylist()]


def _chunks(table: pa.Table, dim: int, horizon: int) -> Chunks | None:
    """The first `horizon` actions of each row's chunk."""
    if horizon == 1:
        own = vectors(table["action"], dim)
        ends = np.where(table["terminate"].to_numpy(), 0, -1).astype(np.int32)
        return None if own is None else Chunks(own[:, None], np.ones(len(own), np.int32), ends)
    flat = vectors(table["chunk"], dim)
    if flat is None:
        return None
    ends, real = table["ends"].to_numpy(), table["real"].to_numpy()
    actions = flat.reshape(table.num_rows, -1, dim)[:, :horizon]
    return Chunks(actions, np.minimum(real, horizon), np.where(ends < horizon, ends, -1))


def images(table: pa.Table, slots: Sequence[Slot]) -> Images:
    """The images of each row that a mixture takes. Where a source has several `slots`, each image has the number of its own."""
    column = table["images"].combine_chunks()
    values, chosen = column.flatten(), pc.struct_field(column.flatten(), "chosen").to_numpy(zero_copy_only=False)
    ends = np.concatenate([[0], np.cumsum(chosen)])
    starts = ends[np.asarray(column.offsets) - column.offsets[0].as_py()].astype(np.int64)
    if not chosen.all():
        values = values.filter(pa.array(chosen))
    field = {name: pc.struct_field(values, name) for name in ("camera", "at", "file", "offset", "length", "xxh3", "format")}
    return Images(
        starts=starts,
        slot=_slot_numbers(field["camera"], field["at"], slots) if len(slots) > 1 else _counted(starts),
        camera=field["camera"].to_pylist(),
        file=field["file"].to_numpy(),
        offset=field["offset"].to_numpy(),
        length=field["length"].to_numpy(),
        xxh3=field["xxh3"].to_numpy(),
        format=field["format"].to_pylist(),
        sizes=_sizes(values) if "regions" in table.column_names else None,
    )


def _sizes(images: pa.StructArray) -> NDArray[np.int32]:
    """[m, 2]: width and height."""
    return np.stack([pc.struct_field(images, name).to_numpy() for name in ("width", "height")], axis=1)


def _counted(starts: I64) -> NDArray[np.int32]:
    """0, 1, 2, ... in each row."""
    counts = np.diff(starts)
    return (np.arange(starts[-1]) - np.repeat(starts[:-1], counts)).astype(np.int32)


def _slot_numbers(cameras: pa.Array, at: pa.Array, slots: Sequence[Slot]) -> NDArray[np.int32]:
    """The number of each image's slot."""
    names = list(dict.fromkeys(slot.camera for slot in slots))
    offsets = list(dict.fromkeys(slot.offset for slot in slots))
    camera = pc.index_in(cameras, pa.array(names)).to_numpy()
    back = pc.index_in(at, pa.array(offsets, pa.int32())).to_numpy()
    found: NDArray[np.int32] = (back * len(names) + camera).astype(np.int32)
    return found
