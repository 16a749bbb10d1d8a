"""One shard of one dataset: a plain function of its order. Pictures are copied by range from where they lie, never decoded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from io import FileIO
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import xxhash

from rt2data.errors import DataError, InternalError
from rt2data.io.location.open_files import OpenFiles
from rt2data.io.per_thread import PerThread
from rt2data.io.publish import whole_file, write_all, write_whole
from rt2data.io.tfrecord.room import Record, record_with_room
from rt2data.order import I64
from rt2data.prepare.store import Store, as_rows
from rt2data.render.renderer import Renderer
from rt2data.rlds.episode import Batch, episode_features, shots
from rt2data.rlds.plan import DatasetPlan, RldsJob, ShardPlan, read_job
from rt2data.rlds.regroup import regrouped

BATCH = 2048
"""Rows rendered together, and then to the end of an episode."""


@dataclass(frozen=True, slots=True)
class RldsOrder:
    """Work order: write one shard of one dataset into the staging folder."""

    folder: str
    fingerprint: str
    dataset: str
    split: str
    index: int

    @property
    def label(self) -> str:
        return f"{self.dataset} {self.split} shard {self.index}"


class RldsShard(msgspec.Struct, frozen=True, kw_only=True):
    """What one shard holds; its file in the staging folder says that the shard is done."""

    dataset: str
    split: str
    index: int
    name: str
    episodes: int
    steps: int
    bytes: int
    image_bytes: int
    tokens: int
    xxh3_128: str
    fresh: bool = True  # False where an earlier run had written it


_decode_shard = msgspec.json.Decoder(RldsShard).decode  # made at import: two threads that make a type's first one crash


def done_path(folder: Path, dataset: str, split: str, index: int) -> Path:
    """The file that says that a shard is done."""
    return folder / "done" / f"{dataset}-{split}-{index:05d}.json"


def write_rlds_shard(order: RldsOrder) -> RldsShard:
    """Write one shard, whole or not at all. Idempotent. Raises SourceChangedError, OutputError, DataError."""
    folder, writing = Path(order.folder), open_writing(order.folder, order.fingerprint)
    plan = writing.job.plan.dataset(order.dataset)
    done = done_path(folder, order.dataset, order.split, order.index)
    path = folder / plan.folder / plan.shard_name(order.split, order.index)
    if done.is_file() and path.is_file():
        return msgspec.structs.replace(_decode_shard(done.read_bytes()), fresh=False)
    with whole_file(path) as file:
        filling = Filling(file)
        writing.source(order.dataset).fill(filling, order.split, order.index)
    found = filling.info(order, path.name)
    write_whole(done, msgspec.json.encode(found))
    return found


@dataclass
class Filling:
    """A shard while it is written: its bytes are hashed and counted on the way."""

    file: FileIO

    def __post_init__(self) -> None:
        self._digest = xxhash.xxh3_128()
        self.episodes = self.steps = self.bytes = self.image_bytes = self.tokens = 0

    def add(self, record: bytearray, steps: int, image_bytes: int, tokens: int) -> None:
        """Append one record."""
        write_all(self.file, record)
        self._digest.update(record)
        self.episodes += 1
        self.steps += steps
        self.bytes += len(record)
        self.image_bytes += image_bytes
        self.tokens += tokens

    def info(self, order: RldsOrder, name: str) -> RldsShard:
        """What was written."""
        return RldsShard(
            dataset=order.dataset,
            split=order.split,
            index=order.index,
            name=name,
            episodes=self.episodes,
            steps=self.steps,
            bytes=self.bytes,
            image_bytes=self.image_bytes,
            tokens=self.tokens,
            xxh3_128=self._digest.hexdigest(),
        )


@PerThread
def open_writing(folder: str, fingerprint: str) -> Writing:
    """The job of a staging folder, opened once in each worker."""
    job = read_job(Path(folder))
    if job.plan.fingerprint != fingerprint:
        raise InternalError("a work order of another plan", folder)
    return Writing(Path(folder), job)


@dataclass
class Writing:
    """A job, opened."""

    folder: Path
    job: RldsJob

    def __post_init__(self) -> None:
        self._sources: dict[str, SourceWriter] = {}

    def source(self, dataset: str) -> SourceWriter:
        """The writer of one dataset, opened when first needed."""
        if dataset not in self._sources:
            self._sources[dataset] = SourceWriter(self.folder, self.job, self.job.plan.dataset(dataset))
        return self._sources[dataset]


@dataclass
class SourceWriter:
    """Store, pictures and renderer of one dataset."""

    folder: Path
    job: RldsJob
    plan: DatasetPlan

    @cached_property
    def store(self) -> Store:
        return Store(Path(self.job.stores[self.plan.source]))

    @cached_property
    def files(self) -> OpenFiles:
        return OpenFiles(self.plan.source, self.store.stamps)

    @cached_property
    def renderer(self) -> Renderer | None:
        mixture = self.job.mixture
        if mixture is None:
            return None
        return mixture.renderer(next(s for s in mixture.plan.sources if s.name == self.plan.source))

    def fill(self, filling: Filling, split: str, index: int) -> None:
        """Write all episodes of a shard in order."""
        shard = next(s for s in self.plan.splits if s.name == split).shards[index]
        tables = self._robot(split, shard) if self.plan.kind == "robot" else self._web(split, shard)
        for table in tables:
            self._write(filling, table)
        if (filling.episodes, filling.steps) != (shard.episodes, shard.rows):
            raise InternalError("a shard without all of its episodes", f"{self.plan.dataset} {split} shard {index}")

    def _robot(self, split: str, shard: ShardPlan) -> Iterator[pa.Table]:
        """Rows of a shard, some whole episodes at a time."""
        table = regrouped(self.folder, self.plan.dataset, split, len(self.store.info.splits[split].files), shard)
        edges = _edges(table)
        first = 0
        for edge in edges[1:].tolist():
            if edge - first >= BATCH or edge == table.num_rows:
                yield table.slice(first, edge - first).combine_chunks()
                first = edge

    def _web(self, split: str, shard: ShardPlan) -> Iterator[pa.Table]:
        stop = shard.first + shard.rows
        for first in range(shard.first, stop, BATCH):
            yield self.store.take(split, np.arange(first, min(first + BATCH, stop)))

    def _write(self, filling: Filling, table: pa.Table) -> None:
        rows = as_rows(table, self.store.info, np.zeros(table.num_rows, np.int64))
        rendered = self.renderer.render(rows) if self.renderer else None
        images = table["images"].combine_chunks()
        pieces = table["piece"].to_numpy() if rows.kind == "robot" else np.zeros(table.num_rows, np.int64)
        batch = Batch(rows, table["steps"].to_numpy(), pieces, shots(images, self.plan), rendered)
        edges = _edges(table).tolist() if rows.kind == "robot" else range(table.num_rows + 1)
        for start, stop in pairwise(edges):
            self._episode(filling, batch, start, stop)

    def _episode(self, filling: Filling, batch: Batch, start: int, stop: int) -> None:
        try:
            record = record_with_room(episode_features(self.plan, batch, start, stop))
        except ValueError as error:
            where = f"source {self.plan.source}, episode {batch.rows.groups[start]}"
            raise DataError(f"cannot be one record: {error}", where, "leave it out with filters.max_steps, or resize") from error
        image_bytes = self._copy(record, batch, start, stop)
        ids = batch.rendered.input_ids[start:stop] if batch.rendered else ()
        filling.add(record.close(), stop - start, image_bytes, sum(map(len, ids)))

    def _copy(self, record: Record, batch: Batch, start: int, stop: int) -> int:
        """Read the pictures into their places; how many bytes."""
        for key, each in batch.shots.items():
            here = slice(start, stop)
            where = zip(each.file[here].tolist(), each.offset[here].tolist(), each.xxh3[here].tolist(), strict=True)
            for place, row, (file, offset, digest) in zip(record.places[key], batch.rows.keys[here], where, strict=True):
                self.files.read_into(place, file, offset, digest, row)
        return sum(len(place) for places in record.places.values() for place in places)


def _edges(table: pa.Table) -> I64:
    """Where episodes, or their pieces, begin in a table of whole ones, and its end."""
    groups = table["group"].combine_chunks().dictionary_encode().indices.to_numpy()
    changes = (np.diff(groups, prepend=-1) != 0) | (np.diff(table["piece"].to_numpy(), prepend=-1) != 0)
    return np.append(np.flatnonzero(changes), len(groups))
