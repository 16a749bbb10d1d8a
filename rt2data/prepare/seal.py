"""Step three, the end: a store is sealed. Its contents are summed up, and source.json, written last, marks it complete."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import msgspec
import pyarrow.parquet as pq

from rt2data.errors import DataError
from rt2data.io import location
from rt2data.io.installation import VERSION
from rt2data.io.location import path_of, produce_whole, write_whole
from rt2data.io.location.folders import discard_folder, rename
from rt2data.io.location.whole import output_errors, sync
from rt2data.io.publish import remove_temporaries
from rt2data.io.stamps import Stamp, changed, require_unchanged, stamps_of
from rt2data.prepare.begin import SHARED, staging_folder
from rt2data.prepare.blobs import BlobsSummary, add_blobs, is_blob, remove_spills
from rt2data.prepare.filtered import TASKS_PARQUET, is_filtered, tasks_table
from rt2data.prepare.gather import RowsSummary, parts_of
from rt2data.prepare.grow import Grown, added, group_hashes, note_store, whole_digest
from rt2data.prepare.outcomes import failed_episodes
from rt2data.prepare.row_builder import wanted_cameras
from rt2data.prepare.row_places import added_file
from rt2data.prepare.row_table import vectors
from rt2data.prepare.runs import run_name, run_orders
from rt2data.prepare.staged import STAGED, StagedFiles, listed_files, staged_files
from rt2data.prepare.statistics import summarize_parts
from rt2data.prepare.store import (
    FILES_PARQUET,
    REJECTS,
    STORE_VERSION,
    Lost,
    SplitInfo,
    Store,
    StoreInfo,
    count_lost,
    read_columns,
    read_whole,
    rejects_table,
    rows_file,
    write_stamps,
)
from rt2data.prepare.unit import UnitSummary, is_sound
from rt2data.read.annotations.facts import matched
from rt2data.read.source import Growing, RobotSource, Source
from rt2data.records import F32, Reject, Slot
from rt2data.standardize.end_marks import refuted
from rt2data.standardize.filters import settled
from rt2data.tally.counts import count_distinct


def seal_store(
    name: str,
    source: Source,
    folder: Path,
    units: list[UnitSummary],
    rows: list[RowsSummary],
    blobs: Sequence[BlobsSummary] = (),
) -> StoreInfo:
    """Sum up the summaries, write statistics and rejects, and publish the store; source.json is written last.

    `blobs` cover all rows if the images are compacted.

    Raises SourceChangedError if a file of the source has changed since preparing began.
    """
    staging = staging_folder(folder)
    base = _base(rows)
    files = listed_files(staging) if base else staged_files(staging)
    failed = _failed(source, files, units)
    info = msgspec.structs.replace(_info(name, source, staging, units, rows, count_lost(failed)), compacted=bool(blobs))
    produce_whole(staging / "rejects.parquet", lambda path: _write_rejects(path, files, units, failed))
    stamps = _final_stamps(name, source, folder, units, files)
    if base:
        stamps = files.ordered(stamps, base)
    produce_whole(staging / FILES_PARQUET, lambda path: write_stamps(path, stamps))
    write_whole(staging / "stats.json", msgspec.json.encode(_statistics(Store(staging), info)))
    if is_filtered(source):
        produce_whole(staging / TASKS_PARQUET, lambda path: _write_tasks(path, files, Store(staging), info))
    add_blobs(staging, folder, blobs)
    _remove_parts(staging, units)
    remove_spills(staging, blobs)
    write_whole(staging / "source.json", msgspec.json.format(msgspec.json.encode(info), indent=2))
    if staging != folder:
        _publish(staging, folder)
    if isinstance(source, Growing) and not info.compacted:
        note_store(files, folder)
    return info


def _publish(staging: Path, folder: Path) -> None:
    """Move a complete store to its final folder."""
    sync(staging)
    with output_errors(folder):
        location.delete(folder / "source.json")  # a half-removed store must not look complete
        discard_folder(folder)
        rename(staging, folder)
    sync(folder.parent)


def _failed(source: Source, files: StagedFiles, units: list[UnitSummary]) -> list[Reject]:
    """The episodes that gathering dropped because the recipe wants only successes."""
    if not isinstance(source, RobotSource) or not source.filters.success:
        return []
    return failed_episodes((files.fragment(unit.unit) for unit in units), refuted(added(unit.facts for unit in units)))


def _write_rejects(path: Path, files: StagedFiles, units: list[UnitSummary], failed: Sequence[Reject]) -> None:
    """Rejects of all units, one after another, then the episodes that gathering dropped."""
    with pq.ParquetWriter(path, REJECTS) as file:
        for unit in units:
            if unit.rejects:
                file.write_table(read_whole(files.rejects(unit.unit)))
        if failed:
            file.write_table(rejects_table(failed))


def _write_tasks(path: Path, files: StagedFiles, store: Store, info: StoreInfo) -> None:
    """What remains of each task, from all rows and the units' losses."""
    store.__dict__["info"] = info
    kept = (texts for split in info.splits for texts in store.parts(split, "text"))
    lost = (read_whole(path) for path in map(files.lost, range(len(files.units))))
    pq.write_table(tasks_table(kept, lost), path, compression="zstd", write_page_checksum=True)


def _remove_parts(staging: Path, units: list[UnitSummary]) -> None:
    """Remove what only gathering needs. The units' files are kept for the next store."""
    for run in range(len(run_orders("", staging, units, parts_of(units)))):
        location.delete(staging / run_name(run))
    discard_folder(staging / SHARED)
    location.delete(staging / STAGED)
    remove_temporaries(staging)  # of killed workers


def _info(
    name: str, source: Source, staging: Path, units: list[UnitSummary], rows: list[RowsSummary], failed: tuple[Lost, ...]
) -> StoreInfo:
    digest, splits = _contents(name, staging, units, sorted(rows, key=lambda r: (r.split, r.number)))
    cameras = sorted({camera for unit in units for camera in unit.cameras})
    return StoreInfo(
        **identity(name, source),
        digest=digest,
        splits=splits,
        grown=tuple(split for split, found in splits.items() if location.is_file(added_file(staging, split))),
        camera=mixture_camera(source, cameras),
        cameras=tuple(cameras),
        slots=image_slots(source, cameras),
        horizon=getattr(source, "horizon", 1),
        action_dim=one_dim(name, "action", [d for u in units for d in u.action_dims]),
        state_dim=one_dim(name, "state", [d for u in units for d in u.state_dims]),
        rejects=_lost(units, failed),
        conversions=added(u.conversions for u in units),
        facts=_facts(source, staging, units),
        bytes_read=sum(u.bytes_read for u in units),
    )


def mixture_camera(source: Source, cameras: Sequence[str]) -> str:
    """The camera of a mixture's first image: the recipe's, else the first of the sorted `cameras`."""
    wanted = wanted_cameras(source, cameras) if isinstance(source, RobotSource) else ()
    return next(iter(wanted or cameras), "")


def image_slots(source: Source, cameras: Sequence[str]) -> tuple[Slot, ...]:
    """The places of an example's images: its cameras, then the same cameras further back in time. None for a web source."""
    if not isinstance(source, RobotSource):
        return ()
    return tuple(Slot(camera, offset) for offset in source.offsets for camera in wanted_cameras(source, cameras))


def identity(name: str, source: Source) -> dict[str, Any]:
    """What a store records about its source before anything is read."""
    return {
        "version": STORE_VERSION,
        "tool_version": VERSION,
        "name": name,
        "kind": source.role,
        "source": str(getattr(source, "kind", type(source).__name__)),
        "settings": source.prepare_settings(),
    }


def one_dim(name: str, what: str, dims: list[int]) -> int:
    """The number of dimensions common to all, 0 if there are none. Raises DataError if they differ."""
    if len(set(dims)) > 1:
        raise DataError(
            f"source {name} has {what}s of different lengths", ", ".join(map(str, sorted(set(dims)))), "split the source"
        )
    return dims[0] if dims else 0


def _contents(name: str, staging: Path, units: list[UnitSummary], rows: Sequence[RowsSummary]) -> tuple[str, dict[str, SplitInfo]]:
    """The digest of all rows, and what each split holds."""
    names = sorted({each.split for each in rows})
    held = {split: _held([each for each in rows if each.split == split]) for split in names}
    if base := _base(rows):
        return Grown(name, staging, Store(base)).take_rows(held, parts_of(units))
    return whole_digest((each.split, each.digest) for each in rows), {
        split: msgspec.structs.replace(found, groups=_groups_of(staging, split, found)) for split, found in held.items()
    }


def _base(rows: Sequence[RowsSummary]) -> Path | None:
    """The store that this one extends."""
    return next((path_of(each.base) for each in rows if each.base), None)


def _held(files: Sequence[RowsSummary]) -> SplitInfo:
    """Totals of the files of rows of one split, without the number of groups."""
    return SplitInfo(
        rows=sum(f.rows for f in files),
        groups=0,
        image_bytes=sum(f.image_bytes for f in files),
        fewest=min((f.fewest for f in files), default=0),
        most=max((f.most for f in files), default=0),
        text_bytes=sum(f.text_bytes for f in files),
        files=tuple(f.rows for f in files),
        formats=added(f.formats for f in files),
    )


def _groups_of(staging: Path, split: str, held: SplitInfo) -> int:
    """The number of groups in the files of rows of one split."""
    files = (rows_file(staging, split, number) for number in range(len(held.files)))
    hashes = (group_hashes(read_columns(path, ["group"])) for path in files)
    return count_distinct(hashes, held.rows, None if location.is_remote(staging) else staging)


def _facts(source: Source, staging: Path, units: Sequence[UnitSummary]) -> dict[str, int]:
    """The counts of all units."""
    found = added(unit.facts for unit in units)
    if not isinstance(source, RobotSource):
        return found
    for name, joined in source.joined.items():
        from rt2data.read.annotations.index import index_of

        found = matched(name, found, index_of(joined, str(staging / SHARED), name).episodes)
    return settled(source.filters, found)


def _lost(units: list[UnitSummary], failed: tuple[Lost, ...]) -> tuple[Lost, ...]:
    lost: Counter[tuple[str, bool]] = Counter()
    for entry in chain(failed, *(unit.rejects for unit in units)):
        lost[entry.reason, entry.fault] += entry.count
    return tuple(Lost(reason, count, fault) for (reason, fault), count in sorted(lost.items()))


def _final_stamps(name: str, source: Source, folder: Path, units: list[UnitSummary], files: StagedFiles) -> list[Stamp]:
    """The files in the order in which they were staged. Image files of units, now written, get their real stamps.

    The source's files must be unchanged and complete. Raises SourceChangedError.
    """
    stamps = [stamp for stamp in files.all() if not is_blob(stamp, folder)]
    sources = stamps[: len(stamps) - len(units)]
    require_unchanged(name, changed(sources))
    known = {stamp.path for stamp in sources}
    now = (str(location.absolute(each)) for each in source.depends_on())
    require_unchanged(name, sorted(path for path in now if path not in known))
    made = {stamps[len(sources) + unit.unit].path: unit for unit in units if unit.blob_bytes}
    found = {stamp.path: stamp for stamp in stamps_of(list(made))}
    require_unchanged(name, [path for path, unit in made.items() if not is_sound(found[path], unit)])
    return [*sources, *(found.get(stamp.path, stamp) for stamp in stamps[len(sources) :])]


def _statistics(store: Store, info: StoreInfo) -> dict[str, Any]:
    """Per-dimension statistics of each split, from the rows."""
    found: dict[str, Any] = {}
    store.__dict__["info"] = info
    for split in info.splits:
        dims = {"action": info.action_dim, "state": info.state_dim}
        found[split] = {
            what: summarize_parts(partial(_vectors, store, split, what, dim)).to_json() if dim else None
            for what, dim in dims.items()
        }
    return found


def _vectors(store: Store, split: str, name: str, dim: int) -> Iterator[F32]:
    """One column of vectors, file by file."""
    for part in store.parts(split, name):
        found = vectors(part, dim)
        if found is not None:
            yield found
