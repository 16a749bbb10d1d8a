"""Step three: a unit of a source becomes rows of its prepared store. `prepare_unit` is a work order, any runner calls it.

Rows go through the store's own folder, not through the runner: a unit writes its rows sorted by their keyed hash, and `gather` then
takes one range of hashes from all units for each file of rows. So memory is bounded by one unit or one file of rows, and a killed
run redoes only unfinished units.
"""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from io import FileIO
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq
import xxhash

from rt2data.errors import DataError, InternalError, RtError, SourceChangedError, UsageError
from rt2data.images.ready import ImageFault, ImageRule, Ready, make_ready, only_point
from rt2data.io.publish import output_errors, produce_whole, remove_temporaries, whole_file, write_all, write_whole
from rt2data.io.stamps import Stamp, require_unchanged, unchanged
from rt2data.order import key64
from rt2data.prepare.store import ROWS, STORE_VERSION, Lost, Store, count_lost, read_stamps, rejects_table, rows_table, write_stamps
from rt2data.read.action_space import SPACE, load_space
from rt2data.read.source import RobotSource, Source
from rt2data.records import Fact, Image, Reject, Row, SourceRecord, Unit
from rt2data.standardize import standardize
from rt2data.standardize.end_marks import DROPPED

KEY = re.compile(r"[A-Za-z0-9_-]{1,48}")
"""With the source's name (`names.key_name`), the epoch and an ending it fits the 100 bytes that tar has for a name."""
SPLIT = re.compile(r"[A-Za-z0-9_-]{1,64}")

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
    return root / f"{name}-{xxhash.xxh3_64_hexdigest(content)}"


def ready_store(folder: Path) -> Store | None:
    """The complete store in this folder, unless there is none or its source has changed."""
    store = Store(folder)
    try:
        _ = store.info
        return None if store.changed_files() else store
    except (UsageError, DataError):
        return None


def staging_folder(folder: Path) -> Path:
    """Where a store grows until it is complete."""
    return folder.with_name(f".{folder.name}.partial")


def begin(name: str, source: Source, folder: Path, units: Sequence[Unit] | None = None) -> list[UnitOrder]:
    """Lay out the staging folder and the work orders: of all units, or of these, numbered from 0 on.

    What an interrupted run did on the same files is kept. Raises UsageError or DataError where the source cannot be read.
    """
    staging = staging_folder(folder)
    units = source.units() if units is None else units
    require_something(name, units)
    stamps = [replace(stamp, path=str(Path(stamp.path).absolute())) for stamp in _stamps_of(name, source)]
    blobs = [Stamp(str((folder / blob_name(unit.index)).absolute()), 0, 0, 0, 0) for unit in units]
    with output_errors(folder):
        if staging.exists() and not _same_files(staging, stamps, len(units)):
            shutil.rmtree(staging)
        staging.mkdir(parents=True, exist_ok=True)
        remove_temporaries(staging)
    produce_whole(staging / "files.parquet", lambda path: write_stamps(path, [*stamps, *blobs]))
    shared = staging / SHARED
    source.share(shared)
    return [UnitOrder(name, source, replace(unit, shared=str(shared) if shared.is_dir() else ""), str(staging)) for unit in units]


def require_something(name: str, parts: Sequence[object]) -> None:
    """Raises DataError where a source has nothing to read."""
    if not parts:
        raise DataError(f"source {name} has nothing to read", do="look at its path")


def _stamps_of(name: str, source: Source) -> list[Stamp]:
    """Stamps of a source's files, under the paths it gives. Raises SourceChangedError where one goes away meanwhile."""
    try:
        return [Stamp.of(path) for path in source.files()]
    except FileNotFoundError as error:
        raise SourceChangedError(f"a file of source {name} is gone", str(error.filename), "run the build again") from None


def _same_files(staging: Path, stamps: list[Stamp], units: int) -> bool:
    """Whether what lies there was begun on the same files, cut into as many units."""
    try:
        known = read_stamps(staging / "files.parquet")
        return known[: len(stamps)] == stamps and len(known) == len(stamps) + units
    except DataError:
        return False


def blob_name(unit: int) -> str:
    """The file of the pictures that one unit had to make."""
    return f"blobs-{unit:05d}.bin"


def prepare_unit(order: UnitOrder) -> UnitSummary:
    """Read, standardize and lay down one unit. Idempotent. Raises DataError, SourceChangedError, OutputError."""
    folder, index = Path(order.folder), order.unit.index
    done = folder / f"unit-{index:05d}.json"
    if done.is_file():
        return msgspec.structs.replace(_decode_summary(done.read_bytes()), fresh=False)
    stamps = _stamps(order.folder, (folder / "files.parquet").stat().st_mtime_ns)
    with whole_file(folder / blob_name(index)) as blob:
        laying = Laying(order, stamps.index, len(stamps.stamps) - stamps.blobs + index, blob)
        _lay_unchanged(order, laying, stamps)
    produce_whole(folder / f"fragment-{index:05d}.parquet", lambda path: _write_fragment(path, laying.columns))
    produce_whole(folder / f"rejects-{index:05d}.parquet", lambda path: pq.write_table(rejects_table(laying.rejects), path))
    summary = laying.summary()
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
        require_unchanged(name, [stamp.path for stamp in sources if not unchanged(stamp)])


@lru_cache(maxsize=4)
def _stamps(folder: str, written_ns: int) -> _Files:
    stamps = read_stamps(Path(folder) / "files.parquet")
    blobs = sum(1 for s in stamps if s.inode == 0 and s.size == 0 and Path(s.path).name.startswith("blobs-"))
    return _Files(stamps, {s.path: i for i, s in enumerate(stamps)}, blobs)


def _lay_unchanged(order: UnitOrder, laying: Laying, files: _Files) -> None:
    """Lay down what files hold that do not change meanwhile: what comes of a change is not the file's own fault."""
    try:
        laying.lay()
    except RtError:
        files.require_unchanged(order.name)
        raise
    except OSError as error:
        files.require_unchanged(order.name)
        raise unreadable(order.name, order.unit.path, error) from error
    _require_unit_unchanged(order, files, laying)


def unreadable(name: str, path: str, error: OSError) -> DataError:
    """What is told of a source that the system does not let us read."""
    return DataError(f"source {name} cannot be read: {error.strerror}", str(error.filename or path), "see that the disk is well")


def _require_unit_unchanged(order: UnitOrder, files: _Files, laying: Laying) -> None:
    """A file that changed while it was read is not to be trusted."""
    used = {*(part.path for part in order.unit.each), *(files.stamps[i].path for i in laying.files_used)}
    for path in used:
        at = files.index.get(str(Path(path).absolute()))
        if at is not None and not unchanged(files.stamps[at]):
            raise SourceChangedError(f"source {order.name} changed while it was read", path, "run the build again")


@dataclass
class Laying:
    """The rows of one unit while they are laid down, as columns."""

    order: UnitOrder
    file_index: Mapping[str, int]  # by absolute path
    blob_index: int
    blob: FileIO | None  # where pictures go that have to be made
    columns: dict[str, list[Any]] = field(default_factory=lambda: {name: [] for name in ROWS.names})
    rejects: list[Reject] = field(default_factory=list)
    conversions: Counter[str] = field(default_factory=Counter)
    facts: Counter[str] = field(default_factory=Counter)
    cameras: set[str] = field(default_factory=set)
    files_used: set[int] = field(default_factory=set)
    blob_bytes: int = 0
    numbers: dict[str, int] = field(default_factory=dict)  # of files, by path as the source says it
    last: tuple[Image, dict[str, Any]] | None = None  # questions about one picture follow each other

    def lay(self) -> None:
        """Take every record of the unit."""
        self.take(self.order.source.read(self.order.unit))

    def take(self, records: Iterable[SourceRecord]) -> None:
        """Lay down the rows of some records."""
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

    def _row(self, row: Row, rule: ImageRule, decode: bool) -> None:
        try:
            images = self._pictures(row, rule, decode)
        except ImageFault as fault:
            self.rejects.append(Reject(fault.reason, f"row {row.key}{_picture_place(row)}", fault.detail))
            self.facts[DROPPED] += row.terminate
            return
        values = {
            "key": row.key,
            "order": key64("row", row.key),
            "group": row.group,
            "split": row.split,
            "step": row.step,
            "steps": row.steps,
            "text": row.text,
            "answers": list(row.answers),
            "pick": row.pick,
            "action": row.action,
            "state": row.state,
            "terminate": row.terminate,
            "marks": int(row.marks),
            "timestamp": row.timestamp,
            "images": images,
            "digest": _digest(row, images[0]),
        }
        for name, value in values.items():
            self.columns[name].append(value)

    def _pictures(self, row: Row, rule: ImageRule, decode: bool) -> list[dict[str, Any]]:
        """The mixture's picture, made ready; then the others, where they lie encoded. Raises ImageFault."""
        if not row.images:
            raise ImageFault("no_image")
        chosen, *others = _chosen_first(row.images, self.order.source)
        if self.last is None or self.last[0] is not chosen:
            self.last = chosen, self._entry(chosen, make_ready(chosen.data, rule, decode))
        return [self.last[1]] + [self._entry(other, only_point(other.data, decode)) for other in others if other.place]

    def _entry(self, image: Image, ready: Ready) -> dict[str, Any]:
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
        return {
            "camera": image.camera,
            "file": file,
            "offset": offset,
            "length": len(content),
            "width": ready.header.width,
            "height": ready.header.height,
            "format": ready.header.format,
            "xxh3": xxhash.xxh3_64_intdigest(content),
        }

    def _file(self, path: str) -> int:
        """Number of a source file, by its path as the source says it."""
        if path not in self.numbers:
            number = self.file_index.get(path) if path in self.file_index else self.file_index.get(str(Path(path).absolute()))
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
        """What was left out, by reason."""
        return count_lost(self.rejects)

    def summary(self) -> UnitSummary:
        """Counts of what was laid down and left out."""
        return UnitSummary(
            name=self.order.name,
            unit=self.order.unit.index,
            rows=dict(Counter(self.columns["split"])),
            rejects=self.lost(),
            conversions=dict(sorted(self.conversions.items())),
            facts={name: count for name, count in sorted(self.facts.items()) if count},
            action_dims=_dims(self.columns["action"]),
            state_dims=_dims(self.columns["state"]),
            cameras=tuple(sorted(self.cameras)),
            bytes_read=self.order.unit.bytes,
            blob_bytes=self.blob_bytes,
        )


def _decodes(source: Source) -> bool:
    """Web pictures come from anywhere: they are decoded once, unless the recipe says otherwise."""
    check = source.images.check
    return check == "decode" or (check == "auto" and source.role == "web")


def _chosen_first(images: tuple[Image, ...], source: Source) -> list[Image]:
    """The camera for the mixture first. Raises UsageError where the recipe names one that is not there."""
    wanted = source.camera if isinstance(source, RobotSource) else None
    by_name = sorted(images, key=lambda image: (image.camera != wanted, image.camera))
    if wanted is not None and by_name[0].camera != wanted:
        raise ImageFault("missing_camera", f"{wanted} is not among {', '.join(i.camera for i in by_name)}")
    return by_name


def _picture_place(row: Row) -> str:
    place = row.images[0].place if row.images else None
    return f" in {place.path} byte {place.offset}" if place else ""


def _dims(values: list[Any]) -> tuple[int, ...]:
    return tuple(sorted({0 if value is None else len(value) for value in values}))


def _digest(row: Row, image: dict[str, Any]) -> int:
    """Hash of what a mixture takes from a row, and of nothing that depends on where the source lies; `gather` adds `terminate`."""
    taken = [
        row.key,
        row.group,
        row.split,
        row.step,
        row.text,
        row.answers,
        row.pick,
        None if row.action is None else row.action.tobytes(),
        None if row.state is None else row.state.tobytes(),
        image["format"],
        image["xxh3"],
    ]
    return xxhash.xxh3_64_intdigest(msgspec.msgpack.encode(taken))


def _write_fragment(path: Path, columns: dict[str, list[Any]]) -> None:
    pq.write_table(
        rows_table(columns), path, row_group_size=1024, compression="lz4", use_dictionary=["split"], write_statistics=["order"]
    )
