"""Steps five and six for RLDS: rows regrouped by episode, then one shard of whole episodes, with images copied by range.

Each file of rows is sorted once by output position; a shard then reads one run of rows from each file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from io import FileIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from rt2data.errors import DataError, InternalError
from rt2data.formats.chunks import ChunkWriter
from rt2data.formats.rlds.dataset import DatasetPlan, ShardSpec
from rt2data.formats.rlds.episode import EpisodeBatch, episode_features, image_ranges
from rt2data.io import location
from rt2data.io.location import path_of
from rt2data.io.location.open_files import JoinedPlaces, OpenFiles, joined_places
from rt2data.io.per_thread import PerThread
from rt2data.io.tables import arrow_file
from rt2data.io.tfrecord.example import Record, record_with_room
from rt2data.order import I64
from rt2data.plan.episode_index import SplitIndex
from rt2data.plan.job import RldsJob, read_job
from rt2data.prepare.as_rows import as_rows
from rt2data.prepare.store import Store
from rt2data.render.renderer import Renderer
from rt2data.write.shard import ShardInfo, ShardOrder, SideTotals, WrittenShard, write_order

COLUMNS = ["key", "group", "step", "steps", "timestamp", "text", "answers", "pick", "turns"]
COLUMNS += ["action", "state", "terminate", "images"]
"""The columns that an episode needs."""
BATCH = 2048
"""Rows rendered together, extended to the end of an episode."""

# Regroup


@dataclass(frozen=True)
class RegroupOrder:
    """Work order: sort one file of rows by output position. `places` and `pieces` are int64[rows of the file]."""

    folder: str
    store: str
    source: str
    split: str
    number: int
    places: I64
    pieces: I64

    @property
    def label(self) -> str:
        return f"regroup {self.source} {self.split} rows {self.number}"


def regrouped_file(folder: Path, source: str, split: str, number: int) -> Path:
    """Where a regrouped file of rows is kept while the output is written."""
    return folder / f"rows-{source}.{split}.{number:05d}.arrow"  # source names have no dots


def regroup(order: RegroupOrder) -> None:
    """Write one file of rows by output position, uncompressed, so that a run can be read without the rest. Idempotent."""
    target = regrouped_file(path_of(order.folder), order.source, order.split, order.number)
    if location.is_file(target):
        return
    table = Store(path_of(order.store)).read(order.split, order.number, COLUMNS)
    table = table.append_column("place", pa.array(order.places)).append_column("piece", pa.array(order.pieces))
    by_place = table.take(pa.array(np.argsort(order.places))).combine_chunks()
    location.produce_whole(target, lambda path: _write(by_place, path))


def _write(table: pa.Table, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)


def regroup_orders(folder: Path, store: Store, split: str, index: SplitIndex) -> Iterator[RegroupOrder]:
    """A work order for each file of rows of a split; none for web rows, which are written in store order."""
    if store.info.has_actions:
        cuts = np.cumsum(store.info.splits[split].files)[:-1]
        parts = zip(np.split(index.places, cuts), np.split(index.pieces, cuts), strict=True)
        for number, part in enumerate(parts):
            yield RegroupOrder(str(folder), str(store.path), store.info.name, split, number, *part)


def _run(path: Path, first: int, stop: int) -> pa.Table:
    """The rows of a regrouped file with positions first..stop-1."""
    with arrow_file(path, mapped=True) as file:
        table = file.read_all()
        start, end = np.searchsorted(table["place"].to_numpy(), [first, stop])
        return table.take(pa.array(np.arange(start, end)))  # a copy, as the file is closed


# Write


def write_episodes(order: ShardOrder) -> ShardInfo:
    """Write one shard, whole or not at all. Idempotent. Raises SourceChangedError, OutputError, DataError."""
    return write_order(order, open_writing(order.folder, order.fingerprint, order.stores))


@PerThread
def open_writing(folder: str, fingerprint: str, _stores: str) -> EpisodeShards:
    """The job of a staging folder, opened once per worker."""
    job = read_job(path_of(folder))
    assert isinstance(job, RldsJob) and job.plan.fingerprint == fingerprint
    return EpisodeShards(path_of(folder), job)


class EpisodeShards:
    """An open job: its shards are whole episodes of one split of one source."""

    def __init__(self, folder: Path, job: RldsJob) -> None:
        self._places = job.plan.places
        self._writers = {dataset.source: DatasetWriter(folder, job, dataset) for dataset in job.plan.datasets}

    def shard_name(self, index: int) -> str:
        """Path of a shard, relative to the output folder."""
        return self._places[index].path

    def write(self, file: FileIO, index: int) -> WrittenShard:
        """Write all episodes of a shard in order."""
        place, out = self._places[index], ChunkWriter(file)
        total = self._writers[place.dataset.source].fill(out, place)
        return WrittenShard(out.close(), {place.dataset.source: total})


@dataclass
class DatasetWriter:
    """Store, images and renderer of one dataset."""

    folder: Path
    job: RldsJob
    plan: DatasetPlan

    @cached_property
    def store(self) -> Store:
        return Store(path_of(self.job.stores[self.plan.source]))

    @cached_property
    def files(self) -> OpenFiles:
        return OpenFiles(self.plan.source, self.store.stamps)

    @cached_property
    def renderer(self) -> Renderer | None:
        mixture = self.job.mixture
        return mixture.renderer(next(s for s in mixture.plan.sources if s.name == self.plan.source)) if mixture else None

    def fill(self, out: ChunkWriter, place: ShardSpec) -> SideTotals:
        """Write the episodes of a shard; return the totals, with steps as examples."""
        total, episodes = SideTotals(), 0
        for table in self._robot(place) if self.plan.has_actions else self._web(place):
            batch, edges = self._batch(table)
            self.files.will_need(_in_order(batch, edges))
            for start, stop in pairwise(edges):
                total += self._episode(out, batch, start, stop)
            episodes += len(edges) - 1
        if (episodes, total.examples) != (place.shard.episodes, place.shard.rows):
            raise InternalError("a shard without all of its episodes", place.path)
        return total

    def _robot(self, place: ShardSpec) -> Iterator[pa.Table]:
        """Rows of a shard, several whole episodes at a time. Raises InternalError if one is missing."""
        first, stop = place.shard.first, place.shard.first + place.shard.rows
        count, (source, split) = len(self.store.info.splits[place.split.name].files), (self.plan.source, place.split.name)
        runs = (_run(regrouped_file(self.folder, source, split, number), first, stop) for number in range(count))
        table = pa.concat_tables(runs).combine_chunks()
        table = table.take(pa.array(np.argsort(table["place"].to_numpy())))
        if not np.array_equal(table["place"].to_numpy(), np.arange(first, stop)):
            raise InternalError("regrouped rows do not fill this shard", place.path)
        begin = 0
        for edge in _edges(table):
            if edge - begin >= BATCH or edge == table.num_rows:
                yield table.slice(begin, edge - begin).combine_chunks()
                begin = edge

    def _web(self, place: ShardSpec) -> Iterator[pa.Table]:
        stop = place.shard.first + place.shard.rows
        for first in range(place.shard.first, stop, BATCH):
            yield self.store.take(place.split.name, np.arange(first, min(first + BATCH, stop)))

    def _batch(self, table: pa.Table) -> tuple[EpisodeBatch, list[int]]:
        """Rows as columns, rendered; and where episodes begin, followed by the end."""
        rows = as_rows(table, self.store.info, np.zeros(table.num_rows, np.int64))
        robot = rows.chunks is not None
        batch = EpisodeBatch(
            rows,
            recorded=table["steps"].to_numpy(),
            pieces=table["piece"].to_numpy() if robot else np.zeros(table.num_rows, np.int64),
            images=image_ranges(table["images"].combine_chunks(), self.plan),
            rendered=self.renderer.render(rows) if self.renderer else None,
        )
        return batch, _edges(table) if robot else list(range(table.num_rows + 1))

    def _episode(self, out: ChunkWriter, batch: EpisodeBatch, start: int, stop: int) -> SideTotals:
        try:
            record = record_with_room(episode_features(self.plan, batch, start, stop))
        except ValueError as error:
            where = f"source {self.plan.source}, episode {batch.rows.groups[start]}"
            raise DataError(f"cannot be one record: {error}", where, "drop it with filters.max_steps, or resize") from error
        image_bytes = self._copy(record, batch, start, stop)
        whole = record.close()
        out.room(len(whole))[:] = whole
        if batch.rendered is None:
            return SideTotals(stop - start, image_bytes=image_bytes)
        lengths = [len(ids) for ids in batch.rendered.input_ids[start:stop]]
        loss = sum(span.stop - span.start for spans in batch.rendered.spans[start:stop] for span in spans if span.loss)
        return SideTotals(stop - start, sum(lengths) - loss, loss, image_bytes, max(lengths))

    def _copy(self, record: Record, batch: EpisodeBatch, start: int, stop: int) -> int:
        """Read the images into their places; return the number of bytes."""
        for key, each in batch.images.items():
            here = slice(start, stop)
            where = zip(each.file[here].tolist(), each.offset[here].tolist(), each.xxh3[here].tolist(), strict=True)
            for room, row, (file, offset, digest) in zip(record.places[key], batch.rows.keys[here], where, strict=True):
                self.files.read_into(room, file, offset, digest, row)
        return sum(len(room) for rooms in record.places.values() for room in rooms)


def _in_order(batch: EpisodeBatch, edges: list[int]) -> JoinedPlaces:
    """Where the images of a batch are, in the order `_copy` reads them: per episode, one camera after another."""
    parts = [(each, slice(*edge)) for edge in pairwise(edges) for each in batch.images.values()]
    return joined_places([JoinedPlaces(each.file[here], each.offset[here], each.length[here]) for each, here in parts])


def _edges(table: pa.Table) -> list[int]:
    """Where episodes, or their pieces, begin in a table of whole ones, followed by the end."""
    groups = table["group"].combine_chunks().dictionary_encode().indices.to_numpy()
    changes = (np.diff(groups, prepend=-1) != 0) | (np.diff(table["piece"].to_numpy(), prepend=-1) != 0)
    return [*np.flatnonzero(changes).tolist(), len(groups)]
