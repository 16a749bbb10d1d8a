"""Step three: a unit of a source becomes rows of its prepared store. `prepare_unit` is a work order that any runner can call.

Rows go through files, not through the runner: a unit writes its rows sorted by keyed hash; for each file of rows, `gather` then
takes one hash range from all units. So memory is bounded by one unit or one file of rows, and a finished unit is never redone,
whether a run resumes or the source has grown.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import xxhash

from rt2data.errors import DataError, RtError, SourceChangedError
from rt2data.io import location
from rt2data.io.location import path_of, produce_whole, whole_file, write_whole
from rt2data.io.stamps import Stamp, changed
from rt2data.prepare.filtered import is_filtered, lost_by_task
from rt2data.prepare.staged import StagedFiles, staged_files
from rt2data.prepare.store import Lost, rejects_table
from rt2data.prepare.unit_rows import UnitRows
from rt2data.prepare.units import (
    blob_name,
    fragment_name,
    lost_name,
    rejects_name,
    summary_name,
)
from rt2data.read.source import Source
from rt2data.records import Unit


@dataclass(frozen=True, slots=True)
class UnitOrder:
    """Work order: prepare one unit of a source into its staging folder."""

    name: str
    source: Source
    unit: Unit
    folder: str  # of the store being built
    units: str = ""  # folder for the units' files
    known_as: str = ""  # the unit's name there

    @property
    def label(self) -> str:
        return f"prepare {self.name} {self.unit.label}"


class UnitSummary(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one unit; its file marks the unit as done."""

    name: str
    unit: int
    rows: dict[str, int]  # by split
    rejects: tuple[Lost, ...]
    conversions: dict[str, int]
    action_dims: tuple[int, ...]  # all distinct vector lengths seen
    state_dims: tuple[int, ...]
    cameras: tuple[str, ...]
    bytes_read: int
    blob_bytes: int
    blob_version: str = ""  # see `Stat`
    blob_hash: str = ""  # xxh3-128, checked if the version differs
    facts: dict[str, int] = msgspec.field(default_factory=dict)  # counts from reading and standardizing, by name
    fresh: bool = True  # False if an earlier run did it


_decode_summary = msgspec.json.Decoder(UnitSummary).decode  # made at import: threads making a type's first decoder at once crash


def prepare_unit(order: UnitOrder) -> UnitSummary:
    """Read and standardize one unit, and write its rows. Idempotent. Raises DataError, SourceChangedError, OutputError."""
    if known := _known(order):
        return known
    home, unit = path_of(order.units), order.known_as
    files = staged_files(path_of(order.folder))
    with whole_file(home / blob_name(unit)) as blob:
        rows = UnitRows(order.name, order.source, blob_name(unit), blob)
        _build_unchanged(order, rows, files)
    if not rows.blob_bytes:
        location.delete(home / blob_name(unit))
    produce_whole(home / fragment_name(unit), rows.write_fragment)
    produce_whole(home / rejects_name(unit), lambda path: pq.write_table(rejects_table(rows.rejects), path))
    if is_filtered(order.source):
        produce_whole(home / lost_name(unit), lambda path: pq.write_table(lost_by_task(rows.rejects), path))
    summary = msgspec.structs.replace(_summary(order, rows), **_blob_now(home / blob_name(unit), rows))
    write_whole(home / summary_name(unit), msgspec.json.encode(summary))
    return summary


def _known(order: UnitOrder) -> UnitSummary | None:
    """The unit's earlier result, if it is done and all its files are present."""
    home, unit = path_of(order.units), order.known_as
    try:
        found = _decode_summary(location.read_bytes(home / summary_name(unit)))
    except (FileNotFoundError, msgspec.MsgspecError):
        return None
    needed = [fragment_name(unit), rejects_name(unit), *([lost_name(unit)] if is_filtered(order.source) else ())]
    needed += [blob_name(unit)] if found.blob_bytes else []
    stats = location.stats([home / name for name in needed])
    whole = all(stats) and (not found.blob_bytes or is_sound(Stamp.of(str(home / blob_name(unit)), stats[-1]), found))
    return msgspec.structs.replace(found, name=order.name, unit=order.unit.index, fresh=False) if whole else None


def _blob_now(blob: Path, rows: UnitRows) -> dict[str, str]:
    """Version and hash by which a unit's image file is recognized."""
    if not rows.blob_bytes:
        return {}
    return {"blob_version": location.stat(blob).version, "blob_hash": rows.blob_digest.hexdigest()}


def is_sound(blob: Stamp, unit: UnitSummary) -> bool:
    """Whether a unit's image file is unchanged. It is read only if its version differs."""
    if not unit.blob_hash or (blob.size, blob.version) == (unit.blob_bytes, unit.blob_version):
        return True
    return xxhash.xxh3_128_hexdigest(location.mapped(blob.path)) == unit.blob_hash


def _build_unchanged(order: UnitOrder, rows: UnitRows, files: StagedFiles) -> None:
    """Build the rows and check that the files stay unchanged: errors caused by a change are reported as such."""
    try:
        rows.take(order.source.annotated(order.source.read(order.unit), order.unit.shared))
    except RtError:
        files.require_unchanged(order.name)
        raise
    except OSError as error:
        files.require_unchanged(order.name)
        raise unreadable(order.name, order.unit.path, error) from error
    _require_unit_unchanged(order, files, rows)


def unreadable(name: str, path: str, error: OSError) -> DataError:
    """The error for a source that the system cannot read."""
    return DataError(f"source {name} cannot be read: {error.strerror}", str(error.filename or path), "check the disk")


def _require_unit_unchanged(order: UnitOrder, files: StagedFiles, rows: UnitRows) -> None:
    """Raises SourceChangedError: a file that changed while being read cannot be trusted."""
    images = sorted(rows.files_used)
    stamps = files.stamps(images)
    for path in (path for path, stamp in zip(images, stamps, strict=True) if stamp is None):
        raise SourceChangedError(f"source {order.name} grew while it was read", path, "run the build again")
    parts = sorted({str(location.absolute(part.path)) for part in order.unit.each} - rows.files_used)
    known = [stamp for stamp in (*stamps, *files.stamps(parts)) if stamp is not None]  # a part may be a folder
    for path in changed(known)[:1]:
        raise SourceChangedError(f"source {order.name} changed while it was read", path, "run the build again")


def _summary(order: UnitOrder, rows: UnitRows) -> UnitSummary:
    """Counts of what was kept and dropped."""
    return UnitSummary(
        name=rows.name,
        unit=order.unit.index,
        rows=dict(rows.splits),
        rejects=rows.lost(),
        conversions=dict(sorted(rows.conversions.items())),
        facts=rows.found_facts(),
        action_dims=rows.dims("action"),
        state_dims=rows.dims("state"),
        cameras=tuple(sorted(rows.cameras)),
        bytes_read=order.unit.bytes,
        blob_bytes=rows.blob_bytes,
    )
