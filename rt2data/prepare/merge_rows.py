"""Step three, continued: the rows of all units, gathered in keyed order, and the store sealed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from rt2data.errors import DataError
from rt2data.io import location
from rt2data.io.installation import VERSION
from rt2data.io.location import path_of, produce_whole, write_whole
from rt2data.io.location.folders import discard_folder, rename
from rt2data.io.location.whole import output_errors, sync
from rt2data.io.publish import remove_temporaries
from rt2data.io.stamps import changed, require_unchanged, stamps_of
from rt2data.io.tables import parquet_file
from rt2data.order import U64
from rt2data.prepare.begin import SHARED, staging_folder
from rt2data.prepare.blobs import BlobsSummary, add_blobs, is_blob, remove_spills
from rt2data.prepare.filtered import TASKS_PARQUET, is_filtered, tasks_table
from rt2data.prepare.outcomes import failed_episodes, judge_ends, marks_against
from rt2data.prepare.row_builder import wanted_cameras
from rt2data.prepare.runs import Files, RunOrder, RunSummary, hash_edges, read_run, rows_files, run_name, run_orders
from rt2data.prepare.staged import StagedFiles, staged_files
from rt2data.prepare.statistics import summarize_parts
from rt2data.prepare.store import (
    FILES_PARQUET,
    REJECTS,
    ROWS,
    STORE_VERSION,
    Lost,
    SplitInfo,
    Store,
    StoreInfo,
    concat_rows,
    count_lost,
    images,
    read_columns,
    read_stamps,
    read_whole,
    readable,
    rejects_table,
    rows_file,
    vectors,
    write_rows,
    write_stamps,
)
from rt2data.prepare.unit import UnitSummary, is_sound
from rt2data.read.annotations.facts import matched
from rt2data.read.source import RobotSource, Source
from rt2data.records import F32, NO_MARKS, End, Reject, Slot
from rt2data.standardize.end_marks import refuted
from rt2data.standardize.filters import settled
from rt2data.tally.counts import count_distinct

ORDER = ROWS.get_field_index("order")


@dataclass(frozen=True, slots=True)
class GatherOrder:
    """Work order: write one file of rows: those of a split whose hash is in [low, high)."""

    name: str
    folder: str
    split: str
    number: int
    low: int
    high: int
    parts: int  # units, or runs of them
    batch: int | None = None  # of a run; None where the rows are taken from the units' fragments
    against: End = NO_MARKS  # the marks that speak against success, as all units together show

    @property
    def label(self) -> str:
        return f"gather {self.name} {self.split} rows {self.number}"


class RowsSummary(msgspec.Struct, frozen=True, kw_only=True):
    """What one file of rows holds."""

    name: str
    split: str
    number: int
    rows: int
    image_bytes: int
    fewest: int  # images that a mixture takes, in one row
    most: int
    text_bytes: int
    formats: dict[str, int]
    digest: str


def merge_orders(name: str, folder: Path, units: Sequence[UnitSummary]) -> list[RunOrder]:
    """One work order for each run; none where there is little to merge."""
    return run_orders(name, folder, units, _files(units))


def gather_orders(name: str, folder: Path, units: Sequence[UnitSummary], runs: Sequence[RunSummary] = ()) -> list[GatherOrder]:
    """One work order for each file of rows: equal ranges of the hash, as many as the rows need.

    Raises DataError where the recipe asks for successes and the source marks none.
    """
    against = marks_against(name, _added(unit.facts for unit in units))
    parts = len(runs) or len(units)
    orders = list[GatherOrder]()
    for split, files in _files(units).items():
        for number, (low, high) in enumerate(pairwise(hash_edges(files))):
            batch = len(orders) if runs else None
            orders.append(GatherOrder(name, str(folder), split, number, low, high, parts, batch, against))
    return orders


def _files(units: Iterable[UnitSummary]) -> Files:
    return rows_files(_added(unit.rows for unit in units))


def gather_rows(order: GatherOrder) -> RowsSummary:
    """Write one file of rows in keyed order. Raises DataError where two rows have one key."""
    folder = path_of(order.folder)
    table = judge_ends(staged_files(folder).numbered(concat_rows(_slices(order))), order.against)
    table = table.sort_by([("order", "ascending"), ("key", "ascending")])
    _refuse_duplicates(order, table)
    produce_whole(rows_file(folder, order.split, order.number), lambda path: write_rows(path, table))
    taken = images(table, ())
    counts = np.diff(taken.starts)
    return RowsSummary(
        name=order.name,
        split=order.split,
        number=order.number,
        rows=table.num_rows,
        image_bytes=int(taken.length.sum(dtype=np.int64)),
        fewest=int(counts.min(initial=np.iinfo(np.int32).max)),
        most=int(counts.max(initial=0)),
        text_bytes=pc.sum(pc.binary_length(table["text"])).as_py() or 0,
        formats=dict(sorted(Counter(taken.format).items())),
        digest=xxhash.xxh3_128_hexdigest(table["digest"].to_numpy().tobytes()),
    )


def _slices(order: GatherOrder) -> Iterator[pa.Table]:
    """What each run, or else each unit, has for one file of rows."""
    folder = path_of(order.folder)
    for part in range(order.parts):
        if order.batch is None:
            yield _of_fragment(staged_files(folder).fragment(part), order)
        else:
            yield read_run(folder / run_name(part), order.batch)


def _of_fragment(path: Path, order: GatherOrder) -> pa.Table:
    """Only row groups that can hold some of it are read: a fragment is in keyed order."""
    low, high = pa.scalar(order.low, pa.uint64()), pa.scalar(order.high - 1, pa.uint64())
    wanted = (pc.field("order") >= low) & (pc.field("order") <= high) & (pc.field("split") == order.split)
    with readable(path), parquet_file(path, page_checksum_verification=True) as file:
        return file.read_row_groups(_groups(file.metadata, order), use_threads=False).filter(wanted)


def _groups(fragment: pq.FileMetaData, order: GatherOrder) -> list[int]:
    """Row groups whose range of hashes meets that of the order."""
    ranges = [fragment.row_group(i).column(ORDER).statistics for i in range(fragment.num_row_groups)]
    return [
        i
        for i, found in enumerate(ranges)
        if found is None or not found.has_min_max or (found.min < order.high and found.max >= order.low)  # an empty one has none
    ]


def _refuse_duplicates(order: GatherOrder, table: pa.Table) -> None:
    keys = table["key"].combine_chunks()
    same = pc.equal(keys.slice(1), keys.slice(0, max(len(keys) - 1, 0)))
    if pc.any(same).as_py():
        key = keys[pc.index(same, True).as_py()].as_py()
        raise DataError(f"two rows of source {order.name} have one key", f"key {key}, split {order.split}", "remove one of them")


def seal_store(
    name: str,
    source: Source,
    folder: Path,
    units: list[UnitSummary],
    rows: list[RowsSummary],
    blobs: Sequence[BlobsSummary] = (),
) -> StoreInfo:
    """Add the summaries up, write statistics and rejects, give the store its name; source.json is written last.

    `blobs` are those of all rows where their images are compacted.

    Raises SourceChangedError where a file of the source is no longer as it was when preparing began.
    """
    staging = staging_folder(folder)
    files = staged_files(staging)
    failed = _failed(source, files, units)
    info = msgspec.structs.replace(_info(name, source, staging, units, rows, count_lost(failed)), compacted=bool(blobs))
    produce_whole(staging / "rejects.parquet", lambda path: _write_rejects(path, files, units, failed))
    _stamp_blobs(name, source, staging, folder, units)
    write_whole(staging / "stats.json", msgspec.json.encode(_statistics(Store(staging), info)))
    if is_filtered(source):
        produce_whole(staging / TASKS_PARQUET, lambda path: _write_tasks(path, files, Store(staging), info))
    add_blobs(staging, folder, blobs)
    _remove_parts(staging, units)
    remove_spills(staging, blobs)
    write_whole(staging / "source.json", msgspec.json.format(msgspec.json.encode(info), indent=2))
    if staging != folder:
        _publish(staging, folder)
    return info


def _publish(staging: Path, folder: Path) -> None:
    """Give a complete store its name."""
    sync(staging)
    with output_errors(folder):
        location.delete(folder / "source.json")  # a store that is half removed is none
        discard_folder(folder)
        rename(staging, folder)
    sync(folder.parent)


def _failed(source: Source, files: StagedFiles, units: list[UnitSummary]) -> list[Reject]:
    """The episodes that gathering dropped because the recipe wants successes only."""
    if not isinstance(source, RobotSource) or not source.filters.success:
        return []
    return failed_episodes((files.fragment(unit.unit) for unit in units), refuted(_added(unit.facts for unit in units)))


def _write_rejects(path: Path, files: StagedFiles, units: list[UnitSummary], failed: Sequence[Reject]) -> None:
    """What was dropped in all units, one after another, then the episodes that gathering dropped."""
    with pq.ParquetWriter(path, REJECTS) as file:
        for unit in units:
            if unit.rejects:
                file.write_table(read_whole(files.rejects(unit.unit)))
        if failed:
            file.write_table(rejects_table(failed))


def _write_tasks(path: Path, files: StagedFiles, store: Store, info: StoreInfo) -> None:
    """What is left of each task, from all rows and what units lost."""
    store.__dict__["info"] = info
    kept = (texts for split in info.splits for texts in store.parts(split, "text"))
    lost = (read_whole(path) for path in map(files.lost, range(len(files.units))))
    pq.write_table(tasks_table(kept, lost), path, compression="zstd", write_page_checksum=True)


def _remove_parts(staging: Path, units: list[UnitSummary]) -> None:
    """What only gathering needs. What units made is kept for the next store."""
    for run in range(len(merge_orders("", staging, units))):
        location.delete(staging / run_name(run))
    discard_folder(staging / SHARED)
    remove_temporaries(staging)  # of workers that were killed


def _info(
    name: str, source: Source, staging: Path, units: list[UnitSummary], rows: list[RowsSummary], failed: tuple[Lost, ...]
) -> StoreInfo:
    by_place = sorted(rows, key=lambda r: (r.split, r.number))
    cameras = sorted({camera for unit in units for camera in unit.cameras})
    return StoreInfo(
        **identity(name, source),
        digest=xxhash.xxh3_128_hexdigest("".join(f"{r.split}{r.digest}" for r in by_place).encode()),
        camera=mixture_camera(source, cameras),
        cameras=tuple(cameras),
        slots=image_slots(source, cameras),
        horizon=getattr(source, "horizon", 1),
        action_dim=one_dim(name, "action", [d for u in units for d in u.action_dims]),
        state_dim=one_dim(name, "state", [d for u in units for d in u.state_dims]),
        splits={
            split: _split(staging, split, [r for r in by_place if r.split == split]) for split in sorted({r.split for r in rows})
        },
        rejects=_lost(units, failed),
        conversions=_added(u.conversions for u in units),
        facts=_facts(source, staging, units),
        bytes_read=sum(u.bytes_read for u in units),
    )


def mixture_camera(source: Source, cameras: Sequence[str]) -> str:
    """The camera of a mixture's first image: the recipe's, else the first of `cameras`, which are sorted."""
    wanted = wanted_cameras(source, cameras) if isinstance(source, RobotSource) else ()
    return next(iter(wanted or cameras), "")


def image_slots(source: Source, cameras: Sequence[str]) -> tuple[Slot, ...]:
    """The places of an example's images: its cameras, then the same further and further back in time. None of a web source."""
    if not isinstance(source, RobotSource):
        return ()
    return tuple(Slot(camera, offset) for offset in source.offsets for camera in wanted_cameras(source, cameras))


def identity(name: str, source: Source) -> dict[str, Any]:
    """What a store says of its source before anything is read."""
    return {
        "version": STORE_VERSION,
        "tool_version": VERSION,
        "name": name,
        "kind": source.role,
        "source": str(getattr(source, "kind", type(source).__name__)),
        "settings": source.prepare_settings(),
    }


def one_dim(name: str, what: str, dims: list[int]) -> int:
    """The number of dimensions that all have, 0 where there are none. Raises DataError where they differ."""
    if len(set(dims)) > 1:
        raise DataError(
            f"source {name} has {what}s of different lengths", ", ".join(map(str, sorted(set(dims)))), "split the source"
        )
    return dims[0] if dims else 0


def _split(staging: Path, split: str, files: list[RowsSummary]) -> SplitInfo:
    rows = sum(f.rows for f in files)
    groups = (_group_hashes(rows_file(staging, split, file.number)) for file in files)
    return SplitInfo(
        rows=rows,
        groups=count_distinct(groups, rows, None if location.is_remote(staging) else staging),
        image_bytes=sum(f.image_bytes for f in files),
        fewest=min((f.fewest for f in files), default=0),
        most=max((f.most for f in files), default=0),
        text_bytes=sum(f.text_bytes for f in files),
        files=tuple(f.rows for f in files),
        formats=_added(f.formats for f in files),
    )


def _facts(source: Source, staging: Path, units: Sequence[UnitSummary]) -> dict[str, int]:
    """What all units counted."""
    found = _added(unit.facts for unit in units)
    if not isinstance(source, RobotSource):
        return found
    for name, joined in source.joined.items():
        from rt2data.read.annotations.index import index_of

        found = matched(name, found, index_of(joined, str(staging / SHARED), name).episodes)
    return settled(source.filters, found)


def _group_hashes(path: Path) -> U64:
    """Hashes of the different groups of one file of rows."""
    names = pc.unique(read_columns(path, ["group"])["group"]).to_pylist()
    return np.array([xxhash.xxh3_64_intdigest(name.encode()) for name in names], np.uint64)


def _added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Counts by name, added up; in the order of their names."""
    return dict(sorted(sum(map(Counter, counts), Counter[str]()).items()))


def _lost(units: list[UnitSummary], failed: tuple[Lost, ...]) -> tuple[Lost, ...]:
    lost: Counter[tuple[str, bool]] = Counter()
    for entry in chain(failed, *(unit.rejects for unit in units)):
        lost[entry.reason, entry.fault] += entry.count
    return tuple(Lost(reason, count, fault) for (reason, fault), count in sorted(lost.items()))


def _stamp_blobs(name: str, source: Source, staging: Path, folder: Path, units: list[UnitSummary]) -> None:
    """Blobs that were needed get real stamps now that they are written. The source's must still hold, and be all there are.

    Raises SourceChangedError.
    """
    stamps = [stamp for stamp in read_stamps(staging / FILES_PARQUET) if not is_blob(stamp, folder)]
    sources = stamps[: len(stamps) - len(units)]
    require_unchanged(name, changed(sources))
    known = {stamp.path for stamp in sources}
    now = (str(location.absolute(each)) for each in source.depends_on())
    require_unchanged(name, sorted(path for path in now if path not in known))
    made = {stamps[len(sources) + unit.unit].path: unit for unit in units if unit.blob_bytes}
    found = {stamp.path: stamp for stamp in stamps_of(list(made))}
    require_unchanged(name, [path for path, unit in made.items() if not is_sound(found[path], unit)])
    blobs = [found.get(stamp.path, stamp) for stamp in stamps[len(sources) :]]
    produce_whole(staging / FILES_PARQUET, lambda path: write_stamps(path, [*sources, *blobs]))


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
