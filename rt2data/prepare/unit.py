"""Step three: a unit of a source becomes rows of its prepared store. `prepare_unit` is a work order, any runner calls it.

Rows go through the store's own folder, not through the runner: a unit writes its rows sorted by their keyed hash, and `gather` then
takes one range of hashes from all units for each file of rows. So memory is bounded by one unit or one file of rows, and a killed
run redoes only unfinished units.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from io import FileIO
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow.parquet as pq
import xxhash

from rt2data.errors import DataError, InternalError, RtError, SourceChangedError, UsageError
from rt2data.images.ready import ImageFault, ImageRule, Ready, make_ready, only_point
from rt2data.io import location
from rt2data.io.location import path_of, produce_whole, whole_file, write_whole
from rt2data.io.location.folders import make_folder, remove_folder
from rt2data.io.location.whole import output_errors, write_all
from rt2data.io.publish import remove_temporaries
from rt2data.io.stamps import Stamp, changed, require_unchanged, stamps_of
from rt2data.order import key64
from rt2data.prepare.store import (
    ROWS,
    STORE_VERSION,
    ImageEntry,
    Lost,
    Store,
    count_lost,
    read_stamps,
    rejects_table,
    rows_table,
    write_stamps,
)
from rt2data.read.action_space import SPACE, load_space
from rt2data.read.source import RobotSource, Source
from rt2data.records import F32, Fact, Image, Reject, Row, SourceRecord, Unit
from rt2data.standardize import standardize
from rt2data.standardize.end_marks import DROPPED
from rt2data.standardize.windows import Runs, action_chunks, history

KEY = re.compile(r"[A-Za-z0-9_-]{1,48}")
"""With the source's name (`names.key_name`), the epoch and an ending it fits the 100 bytes that tar has for a name."""
SPLIT = re.compile(r"[A-Za-z0-9_-]{1,64}")

ABSENT, CUT = "images.absent.", "windows.cut_at_gaps"
"""Facts: rows that lack a camera of the recipe, by its name; rows whose chunk or history ends at a gap."""
SHARED = "shared"
"""Folder of what the units of a source have in common, in its staging folder."""


@dataclass(frozen=True, slots=True)
class UnitOrder:
    """Work order: prepare one unit of a source into its staging folder."""

    name: str
    source: Source
    unit: Unit
    folder: str

    @property
    def label(self) -> str:
        return f"prepare {self.name} {self.unit.label}"


class UnitSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What one unit gave; its file in the staging folder says that the unit is done."""

    name: str
    unit: int
    rows: dict[str, int]  # by split
    rejects: tuple[Lost, ...]
    conversions: dict[str, int]
    action_dims: tuple[int, ...]  # every number of dimensions seen
    state_dims: tuple[int, ...]
    cameras: tuple[str, ...]
    bytes_read: int
    blob_bytes: int
    facts: dict[str, int] = msgspec.field(default_factory=dict)  # what reading and standardizing counted, by name
    fresh: bool = True  # False where an earlier run had done it


_decode_summary = msgspec.json.Decoder(UnitSummary).decode  # made at import: two threads that make a type's first one crash


def store_folder(root: Path, name: str, source: Source) -> Path:
    """The folder of a source's store: its name and a fingerprint of its settings and of the names and sizes of its files."""
    listing = [(stamp.path, stamp.size) for stamp in _stamps_of(name, source)]
    space = SPACE.dump_python(load_space(source.action_space), mode="json") if isinstance(source, RobotSource) else None
    content = msgspec.json.encode([STORE_VERSION, source.prepare_settings(), space, listing], order="deterministic")
    if name != name.lower():  # no other source's folder on a disk that does not tell `A` from `a`
        content += name.encode()
    base, horizon = f"{name}-{xxhash.xxh3_64_hexdigest(content)}", getattr(source, "horizon", 1)
    return _longer(root, base, horizon) or root / _with_horizon(base, horizon)


def _with_horizon(base: str, horizon: int) -> str:
    return base if horizon == 1 else f"{base}-h{horizon}"


def _longer(root: Path, base: str, horizon: int) -> Path | None:
    """A complete store of the same source whose chunks are long enough, the shortest of them."""
    found = {}
    for name in _names(root, base):
        folder, marked = root / name, name.removeprefix(base)
        has = 1 if not marked else int(marked[2:]) if re.fullmatch(r"-h[1-9][0-9]*", marked) else 0
        if has >= horizon and ready_store(folder) is not None:
            found[has] = folder
    return found[min(found)] if found else None


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

    What an interrupted run did on the same files is kept. Raises UsageError or DataError where the source cannot be read.
    """
    staging = staging_folder(folder)
    units = source.units() if units is None else units
    require_something(name, units)
    stamps = [replace(stamp, path=str(location.absolute(stamp.path))) for stamp in _stamps_of(name, source)]
    blobs = [Stamp(str(location.absolute(folder / blob_name(unit.index))), 0, "") for unit in units]
    with output_errors(folder):
        if location.exists(staging) and not _same_files(staging, stamps, len(units)):
            remove_folder(staging)
        make_folder(staging, folder)
        remove_temporaries(staging)
    produce_whole(staging / "files.parquet", lambda path: write_stamps(path, [*stamps, *blobs]))
    shared = staging / SHARED
    source.share(shared)
    return [
        UnitOrder(name, source, replace(unit, shared=str(shared) if location.is_folder(shared) else ""), str(staging))
        for unit in units
    ]


def require_something(name: str, parts: Sequence[object]) -> None:
    """Raises DataError where a source has nothing to read."""
    if not parts:
        raise DataError(f"source {name} has nothing to read", do="look at its path")


def _stamps_of(name: str, source: Source) -> list[Stamp]:
    """Stamps of a source's files, under the paths it gives. Raises SourceChangedError where one goes away meanwhile."""
    try:
        return stamps_of(source.files())
    except FileNotFoundError as error:
        raise SourceChangedError(f"a file of source {name} is gone", str(error.filename), "run the build again") from None


def _same_files(staging: Path, stamps: list[Stamp], units: int) -> bool:
    """Whether the staging folder was started on the same files, split into as many units."""
    try:
        known = read_stamps(staging / "files.parquet")
        return known[: len(stamps)] == stamps and len(known) == len(stamps) + units
    except DataError:
        return False


def fragment_name(unit: int) -> str:
    """The file of the rows of one unit, by their hashes; it is there until the store is sealed."""
    return f"fragment-{unit:05d}.parquet"


def blob_name(unit: int) -> str:
    """The file of the images that one unit had to make."""
    return f"blobs-{unit:05d}.bin"


def prepare_unit(order: UnitOrder) -> UnitSummary:
    """Read and standardize one unit, and write its rows. Idempotent. Raises DataError, SourceChangedError, OutputError."""
    folder, index = path_of(order.folder), order.unit.index
    done = folder / f"unit-{index:05d}.json"
    if location.is_file(done):
        return msgspec.structs.replace(_decode_summary(location.read_bytes(done)), fresh=False)
    stamps = _stamps(order.folder, location.stat(folder / "files.parquet").version)
    with whole_file(folder / blob_name(index)) as blob:
        rows = RowBuilder(order, stamps.index, len(stamps.stamps) - stamps.blobs + index, blob)
        _build_unchanged(order, rows, stamps)
    produce_whole(folder / fragment_name(index), lambda path: _write_fragment(path, rows.columns))
    produce_whole(folder / f"rejects-{index:05d}.parquet", lambda path: pq.write_table(rejects_table(rows.rejects), path))
    summary = rows.summary()
    write_whole(done, msgspec.json.encode(summary))
    return summary


@dataclass(frozen=True)
class _Files:
    stamps: list[Stamp]
    index: dict[str, int]
    blobs: int

    def require_unchanged(self, name: str) -> None:
        """Raises SourceChangedError naming the files of the source that changed."""
        sources = self.stamps[: len(self.stamps) - self.blobs]
        require_unchanged(name, changed(sources))


@lru_cache(maxsize=4)
def _stamps(folder: str, _version: str) -> _Files:
    stamps = read_stamps(path_of(folder) / "files.parquet")
    blobs = sum(1 for s in stamps if not s.version and Path(s.path).name.startswith("blobs-"))
    return _Files(stamps, {s.path: i for i, s in enumerate(stamps)}, blobs)


def _build_unchanged(order: UnitOrder, rows: RowBuilder, files: _Files) -> None:
    """Build the rows of files that do not change meanwhile: what comes of a change is not the file's own fault."""
    try:
        rows.build()
    except RtError:
        files.require_unchanged(order.name)
        raise
    except OSError as error:
        files.require_unchanged(order.name)
        raise unreadable(order.name, order.unit.path, error) from error
    _require_unit_unchanged(order, files, rows)


def unreadable(name: str, path: str, error: OSError) -> DataError:
    """The error of a source that the system does not let us read."""
    return DataError(f"source {name} cannot be read: {error.strerror}", str(error.filename or path), "check the disk")


def _require_unit_unchanged(order: UnitOrder, files: _Files, rows: RowBuilder) -> None:
    """A file that changed while it was read is not to be trusted."""
    used = {*(part.path for part in order.unit.each), *(files.stamps[i].path for i in rows.files_used)}
    places = (files.index.get(str(location.absolute(path))) for path in used)
    for path in changed([files.stamps[at] for at in places if at is not None])[:1]:
        raise SourceChangedError(f"source {order.name} changed while it was read", path, "run the build again")


@dataclass
class Kept:
    """A row that is kept, with its images: those a mixture takes by camera, and the others."""

    row: Row
    taken: list[ImageEntry]
    others: list[ImageEntry]


@dataclass
class RowBuilder:
    """The rows of one unit while they are made, as columns."""

    order: UnitOrder
    file_index: Mapping[str, int]  # by absolute path
    blob_index: int
    blob: FileIO | None  # where images go that have to be made
    columns: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in ROWS.names})
    rejects: list[Reject] = field(default_factory=list)
    conversions: Counter[str] = field(default_factory=Counter)
    facts: Counter[str] = field(default_factory=Counter)
    cameras: set[str] = field(default_factory=set)
    files_used: set[int] = field(default_factory=set)
    blob_bytes: int = 0
    numbers: dict[str, int] = field(default_factory=dict)  # of files, by path as the source says it
    last: tuple[tuple[Image, ...], list[ImageEntry]] | None = None  # questions about one image follow each other
    episode: list[Kept] = field(default_factory=list)  # whose windows are still open

    def build(self) -> None:
        """Take every record of the unit."""
        self.take(self.order.source.read(self.order.unit))

    def take(self, records: Iterable[SourceRecord]) -> None:
        """Make the rows of some records; their last episode is taken to be whole."""
        source, decode = self.order.source, _decodes(self.order.source)
        for found in standardize(source, records):
            if isinstance(found, Reject):
                self.rejects.append(found)
            elif isinstance(found, Fact):
                self.facts[found.name] += found.count
            elif KEY.fullmatch(found.key) and SPLIT.fullmatch(found.split):
                self._row(found, source.images, decode)
            else:
                raise InternalError(f"source {self.order.name} has a row of key {found.key!r} in split {found.split!r}")
        self._close_episode()

    def _row(self, row: Row, rule: ImageRule, decode: bool) -> None:
        try:
            taken, others = self._images(row, rule, decode)
        except ImageFault as fault:
            self.rejects.append(Reject(fault.reason, f"row {row.key}{_image_place(row)}", fault.detail))
            self.facts[DROPPED] += row.terminate
            return
        if self.windowed is None:
            self._write(row, [*taken, *others])
            return
        if self.episode and self.episode[0].row.group != row.group:
            self._close_episode()
        self.episode.append(Kept(row, taken, others))

    @cached_property
    def windowed(self) -> RobotSource | None:
        """The source, if its rows hold something of other steps: they are then written episode by episode."""
        source = self.order.source
        return source if isinstance(source, RobotSource) and source.windowed else None

    def _close_episode(self) -> None:
        """Write the rows of an episode with their windows."""
        if self.windowed is not None and self.episode:
            self._write_windows(self.episode, self.windowed)
        self.episode = []

    def _write_windows(self, kept: list[Kept], source: RobotSource) -> None:
        rows = [each.row for each in kept]
        runs = Runs.of([row.step for row in rows], source.gaps == "join")
        earlier = [(offset, history(runs, offset).tolist()) for offset in source.offsets[1:]]
        chunks = action_chunks(_actions(rows), np.array([row.terminate for row in rows]), runs, source.horizon)
        self.facts[CUT] += runs.cut(source.horizon, min(source.offsets))
        for at, each in enumerate(kept):
            past = [entry._replace(at=offset) for offset, places in earlier if places[at] >= 0 for entry in kept[places[at]].taken]
            entries = [*each.taken, *past, *each.others]
            if source.horizon > 1:
                self._write(each.row, entries, chunks.actions[at].ravel(), int(chunks.real[at]), int(chunks.ends[at]))
            else:
                self._write(each.row, entries)

    def _write(
        self, row: Row, entries: list[ImageEntry], chunk: Any = None, real: int | None = None, ends: int | None = None
    ) -> None:
        """One row to the columns, in the order of `store.ROWS`."""
        values = (
            row.key,
            key64("row", row.key),
            row.group,
            row.split,
            row.step,
            row.steps,
            row.text,
            row.answers,
            row.pick,
            [turn._asdict() for turn in row.turns] or None,
            row.action,
            chunk,
            real,
            ends,
            row.state,
            row.terminate,
            int(row.marks),
            row.timestamp,
            entries,
            _digest(row, entries),
        )
        for column, value in zip(self.columns.values(), values, strict=True):
            column.append(value)

    def _images(self, row: Row, rule: ImageRule, decode: bool) -> tuple[list[ImageEntry], list[ImageEntry]]:
        """The images that a mixture takes, made ready; then the others, where they are encoded in a file. Raises ImageFault."""
        chosen, others = choose_images(row, self.order.source)
        if isinstance(self.order.source, RobotSource) and self.order.source.named_cameras:
            self._count_absent(self.order.source, chosen)
        if self.last is None or not _same(self.last[0], chosen):
            self.last = chosen, [self._entry(image, make_ready(image.data, rule, decode), chosen=True) for image in chosen]
        pointed = [self._entry(other, only_point(other.data, decode), chosen=False) for other in others if other.place]
        return self.last[1], pointed

    def _count_absent(self, source: RobotSource, chosen: Sequence[Image]) -> None:
        """A camera that the recipe names and a row lacks. With `all`, `merge_rows` knows which there are."""
        there = {image.camera for image in chosen}
        for name in wanted_cameras(source, ()):
            self.facts[f"{ABSENT}{name}"] += name not in there

    def _entry(self, image: Image, ready: Ready, chosen: bool) -> ImageEntry:
        """One image as a row has it; one that had to be made goes to the blob."""
        self.cameras.add(image.camera)
        if ready.conversion:
            self.conversions[ready.conversion] += 1
        content: Any = image.data if ready.data is None else ready.data
        if ready.data is None and image.place is not None:
            file, offset = self._file(image.place.path), image.place.offset
            self.files_used.add(file)
        else:
            file, offset = self.blob_index, self._append(bytes(content))
        header, digest = ready.header, xxhash.xxh3_64_intdigest(content)
        size = len(content), header.width, header.height
        return ImageEntry(image.camera, 0, chosen, file, offset, *size, header.format, digest)

    def _file(self, path: str) -> int:
        """Number of a source file, by its path as the source says it."""
        if path not in self.numbers:
            number = self.file_index.get(path) if path in self.file_index else self.file_index.get(str(location.absolute(path)))
            if number is None:
                raise SourceChangedError(f"source {self.order.name} grew while it was read", path, "run the build again")
            self.numbers[path] = number
        return self.numbers[path]

    def _append(self, content: bytes) -> int:
        offset = self.blob_bytes
        assert self.blob is not None
        write_all(self.blob, content)
        self.blob_bytes += len(content)
        return offset

    def lost(self) -> tuple[Lost, ...]:
        """What was dropped, by reason."""
        return count_lost(self.rejects)

    def found_facts(self) -> dict[str, int]:
        """What was counted, by name; nothing that was looked for and never found."""
        return {name: count for name, count in sorted(self.facts.items()) if count}

    def summary(self) -> UnitSummary:
        """Counts of what was kept and dropped."""
        return UnitSummary(
            name=self.order.name,
            unit=self.order.unit.index,
            rows=dict(Counter(self.columns["split"])),
            rejects=self.lost(),
            conversions=dict(sorted(self.conversions.items())),
            facts=self.found_facts(),
            action_dims=_dims(self.columns["action"]),
            state_dims=_dims(self.columns["state"]),
            cameras=tuple(sorted(self.cameras)),
            bytes_read=self.order.unit.bytes,
            blob_bytes=self.blob_bytes,
        )


def _decodes(source: Source) -> bool:
    """Web images come from anywhere: they are decoded once, unless the recipe says otherwise."""
    check = source.images.check
    return check == "decode" or (check == "auto" and not source.has_actions)


def choose_images(row: Row, source: Source) -> tuple[tuple[Image, ...], tuple[Image, ...]]:
    """The images of a row that a mixture takes, in order, and the others. Raises ImageFault where a robot row has none of them."""
    if not isinstance(source, RobotSource):
        return row.images, ()
    if len(row.images) == 1 and source.camera is None and source.named_cameras is None:
        return row.images, ()
    by_name = {image.camera: image for image in sorted(row.images, key=lambda image: image.camera)}
    if not by_name:
        raise ImageFault("no_image")
    wanted = wanted_cameras(source, tuple(by_name))
    chosen = [by_name[name] for name in wanted if name in by_name]
    if not chosen:
        raise ImageFault("missing_camera", f"{', '.join(wanted)} is not among {', '.join(by_name)}")
    return tuple(chosen), tuple(image for name, image in by_name.items() if name not in wanted)


def wanted_cameras(source: RobotSource, cameras: Sequence[str]) -> tuple[str, ...]:
    """The cameras of a mixture, of those there are, which are sorted: as the recipe names them, else the first."""
    if source.named_cameras == "all":
        return tuple(cameras)
    if source.named_cameras is not None:
        return source.named_cameras
    return (source.camera,) if source.camera is not None else tuple(cameras[:1])


def _same(some: Sequence[Image], others: Sequence[Image]) -> bool:
    return len(some) == len(others) and all(one is other for one, other in zip(some, others, strict=True))


def _image_place(row: Row) -> str:
    place = row.images[0].place if row.images else None
    return f" in {place.path} byte {place.offset}" if place else ""


def _actions(rows: Sequence[Row]) -> F32:
    """f32[n, D]; episodes of different sizes were refused before."""
    return np.stack([np.empty(0, np.float32) if row.action is None else row.action for row in rows])


def _dims(values: list[Any]) -> tuple[int, ...]:
    return tuple(sorted({0 if value is None else len(value) for value in values}))


def _digest(row: Row, entries: Sequence[ImageEntry]) -> int:
    """Hash of what a mixture takes from a row by itself, and of nothing that depends on where the source is.

    `merge_rows` adds `terminate`. A chunk is not in it: it follows from the rows of its episode.
    """
    taken = [
        row.key,
        row.group,
        row.split,
        row.step,
        row.steps,
        row.timestamp,
        row.text,
        row.answers,
        row.pick,
        row.turns,
        None if row.action is None else row.action.tobytes(),
        None if row.state is None else row.state.tobytes(),
        [(entry.camera, entry.at, entry.format, entry.xxh3) for entry in entries if entry.chosen],
    ]
    return xxhash.xxh3_64_intdigest(msgspec.msgpack.encode(taken))


def _write_fragment(path: Path, columns: dict[str, list[Any]]) -> None:
    pq.write_table(
        rows_table(columns), path, row_group_size=1024, compression="lz4", use_dictionary=["split"], write_statistics=["order"]
    )
