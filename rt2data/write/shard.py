"""Steps five and six: one shard of the mixture. A plain function of (job, shard number); each shard is computed on its own.

Rows are drawn and rendered a few thousand at a time; images are copied by range from where they are, never decoded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import FileIO
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec
import numpy as np
import xxhash
from numpy.typing import NDArray

from rt2data.formats.base import Format, ShardWriter, make_format
from rt2data.io import location
from rt2data.io.digest import Digest
from rt2data.io.location import path_of, whole_file, write_whole
from rt2data.io.location.folders import make_folder
from rt2data.io.location.open_files import OpenFiles, joined_places
from rt2data.io.per_thread import PerThread
from rt2data.order import I64, EpochOrder, interleave, key64
from rt2data.plan.job import Job, RldsJob, read_job
from rt2data.plan.layout import ShardLayout, shard_file
from rt2data.plan.model import SourcePlan
from rt2data.prepare.as_rows import as_rows
from rt2data.prepare.store import FILES_PARQUET, Store
from rt2data.records import Rendered, Rows, key_name
from rt2data.render.fields import Batch, ExampleRecord, Labels
from rt2data.render.record import make_records
from rt2data.render.renderer import Renderer

BATCH = 2048
"""Examples drawn, rendered and written together."""
SPAN = 320 << 20
"""Bytes of images fetched together from an object store: the more of a window at once, the longer the runs."""
EXTENSIONS = {"jpeg": "jpg", "png": "png"}


def note_name(index: int) -> str:
    """File name of a shard's notes, which exist only while the output is built."""
    return f"note-{index:06d}"


@dataclass(frozen=True, slots=True)
class ShardOrder:
    """Work order: write one shard into the staging folder of a build."""

    folder: str
    fingerprint: str  # of the plan
    index: int
    stores: str = ""  # digest of the stores' versions: makes a worker that outlives a build reopen them

    @property
    def label(self) -> str:
        return f"shard {self.index}"


def shard_orders(folder: Path, job: Job | RldsJob) -> list[ShardOrder]:
    """A work order for each shard of a job."""
    versions = [location.stat(path_of(store) / FILES_PARQUET).version for _, store in sorted(job.stores.items())]
    stores = xxhash.xxh3_64_hexdigest(msgspec.json.encode(versions))
    return [ShardOrder(str(folder), job.plan.fingerprint, index, stores) for index in range(job.plan.shards)]


class SideTotals(msgspec.Struct, frozen=True):
    """What one source contributed to a shard or to the whole."""

    examples: int = 0
    prompt_tokens: int = 0
    target_tokens: int = 0
    image_bytes: int = 0
    longest: int = 0  # tokens

    def __add__(self, other: SideTotals) -> SideTotals:
        return SideTotals(
            self.examples + other.examples,
            self.prompt_tokens + other.prompt_tokens,
            self.target_tokens + other.target_tokens,
            self.image_bytes + other.image_bytes,
            max(self.longest, other.longest),
        )


class ShardInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What one shard holds; its file in the staging folder marks the shard as done."""

    name: str
    index: int
    examples: int
    bytes: int
    xxh3_128: str
    sha256: str
    sources: dict[str, SideTotals]
    fresh: bool = True  # False if an earlier run wrote it


_decode_info = msgspec.json.Decoder(ShardInfo).decode  # made at import: threads making a type's first decoder at once crash


def shard_sources(layout: ShardLayout, index: int) -> NDArray[np.int32]:
    """The source of each example of a shard, as an index into `plan.sources`."""
    counts, plan = layout.counts(index).tolist(), layout.plan
    robots = sum(s.has_actions for s in plan.sources)
    return interleave([counts[:robots], counts[robots:]], key64("interleave", plan.seed, index))


class WrittenShard(NamedTuple):
    """The result of writing a shard: its file's hashes, totals per source, notes of its writer."""

    digest: Digest
    totals: dict[str, SideTotals]
    notes: bytes = b""


class ShardFiller(Protocol):
    """An open job: names its shards and writes them."""

    def shard_name(self, index: int) -> str: ...

    def write(self, file: FileIO, index: int) -> WrittenShard: ...


def write_shard(order: ShardOrder) -> ShardInfo:
    """Write one shard, whole or not at all. Idempotent. Raises SourceChangedError, OutputError, UsageError."""
    return write_order(order, open_mixing(order.folder, order.fingerprint, order.stores))


def write_order(order: ShardOrder, shards: ShardFiller) -> ShardInfo:
    """`write_shard` for any kind of shard."""
    folder, name = path_of(order.folder), shards.shard_name(order.index)
    done, path = folder / f"info-{order.index:06d}.json", folder / name
    if location.is_file(done) and location.is_file(path):
        return msgspec.structs.replace(_decode_info(location.read_bytes(done)), fresh=False)
    make_folder(path.parent, path)
    with whole_file(path, direct=True) as file:
        written = shards.write(file, order.index)
    if written.notes:
        write_whole(folder / note_name(order.index), written.notes)
    info = ShardInfo(
        name=name,
        index=order.index,
        examples=sum(t.examples for t in written.totals.values()),
        **written.digest._asdict(),
        sources=written.totals,
    )
    write_whole(done, msgspec.json.encode(info))
    return info


@PerThread
def open_mixing(folder: str, fingerprint: str, _stores: str) -> Mixing:
    """The job of a build folder, opened once per worker."""
    job = read_job(path_of(folder))
    assert isinstance(job, Job) and job.plan.fingerprint == fingerprint
    return Mixing(job)


@dataclass
class Mixing:
    """An open job: plan, stores, renderers."""

    job: Job

    @cached_property
    def format(self) -> Format:
        return make_format(self.job.plan.format)

    def shard_name(self, index: int) -> str:
        """Path of a shard, relative to the output folder."""
        return shard_file(self.job.plan, self.format, index, self.job.plan.shards)

    @cached_property
    def drawers(self) -> list[Drawer]:
        return [Drawer(source, self.job) for source in self.job.plan.sources]

    @cached_property
    def layout(self) -> ShardLayout:
        return ShardLayout(self.job.plan)

    def write(self, file: FileIO, index: int) -> WrittenShard:
        """Write all examples of a shard in order."""
        writer = self.format.open(file, self.job.plan.sizes)
        totals = self.fill(writer, index)
        return WrittenShard(writer.close(), totals, writer.notes())

    def fill(self, writer: ShardWriter, index: int) -> dict[str, SideTotals]:
        """Write all examples of a shard in order; return totals per source."""
        sources = shard_sources(self.layout, index)
        at = self.layout[index].copy()
        totals = {s.name: SideTotals() for s in self.job.plan.sources}
        for span in _spans(self._batches(sources, at)):
            _announce(span)
            for batch in span:
                _write_batch(writer, batch)
                for part in filter(None, batch.drawn):
                    totals[part.source.name] += part.totals()
        return {name: total for name, total in totals.items() if total.examples}

    def _batches(self, sources: NDArray[np.int32], at: I64) -> Iterator[DrawnBatch]:
        """The examples of a shard in batches; `at` int64[sources] is where the draws of each source begin."""
        for start in range(0, len(sources), BATCH):
            batch = sources[start : start + BATCH]
            counts = np.bincount(batch, minlength=len(at))
            drawn = [d.draw(int(a), int(a + n)) if n else None for d, a, n in zip(self.drawers, at, counts, strict=True)]
            yield DrawnBatch(batch, drawn)
            at += counts


@dataclass(frozen=True)
class Drawn:
    """Some draws of one source. They are rendered only when written: their images may be in transit by then."""

    source: SourcePlan
    rows: Rows
    keys: list[str]
    drawer: Drawer

    @cached_property
    def rendered(self) -> Rendered:
        """Prompts, targets, tokens."""
        return self.drawer.renderer.render(self.rows)

    def records(self) -> Iterator[ExampleRecord]:
        """What is written of each draw besides its images."""
        return make_records(Batch(self.rows, self.rendered, self.keys, self.drawer.labels))

    def totals(self) -> SideTotals:
        """Sums over these draws."""
        lengths = [len(ids) for ids in self.rendered.input_ids]
        loss = sum(span.stop - span.start for spans in self.rendered.spans for span in spans if span.loss)
        image_bytes = int(self.rows.images.length.sum(dtype=np.int64))
        return SideTotals(len(lengths), sum(lengths) - loss, loss, image_bytes, max(lengths, default=0))


@dataclass
class Drawer:
    """Draws rows of one source."""

    source: SourcePlan
    job: Job

    @cached_property
    def store(self) -> Store:
        return Store(path_of(self.job.stores[self.source.name]))

    @cached_property
    def files(self) -> OpenFiles:
        return OpenFiles(self.source.name, self.store.stamps)

    @cached_property
    def renderer(self) -> Renderer:
        return self.job.renderer(self.source)

    @cached_property
    def labels(self) -> Labels:
        return self.job.labels(self.source)

    @cached_property
    def order(self) -> EpochOrder:
        return EpochOrder(self.source.rows, self.job.plan.seed, self.source.name)

    def draw(self, start: int, stop: int) -> Drawn:
        """Draws start..stop-1 of the source, in order."""
        numbers, epochs = self.order.draw(start, stop)
        table = self.store.take(self.job.plan.split, numbers)
        rows = as_rows(table, self.store.info, epochs, self.source.horizon)
        name = key_name(rows.source)
        keys = [f"{name}-{key}" + (f"-r{epoch}" if epoch else "") for key, epoch in zip(rows.keys, epochs.tolist(), strict=True)]
        return Drawn(self.source, rows, keys, self)


class DrawnBatch(NamedTuple):
    """Examples that are written together: the source of each, and the draws of each source."""

    sources: NDArray[np.int32]
    drawn: Sequence[Drawn | None]

    @property
    def fetched(self) -> int:
        """Bytes of images to fetch from an object store."""
        parts = (part for part in self.drawn if part and part.drawer.files.is_far)
        return sum(int(part.rows.images.length.sum(dtype=np.int64)) for part in parts)


def _spans(batches: Iterable[DrawnBatch]) -> Iterator[list[DrawnBatch]]:
    """Batches whose images are announced together: up to `SPAN` bytes if fetched from an object store, else one at a time."""
    span, size = list[DrawnBatch](), 0
    for batch in batches:
        if span and size + batch.fetched > SPAN:
            yield span
            span, size = [], 0
        span.append(batch)
        size += batch.fetched
        if not batch.fetched:
            yield span
            span, size = [], 0
    if span:
        yield span


def _announce(span: Sequence[DrawnBatch]) -> None:
    for parts in zip(*(batch.drawn for batch in span), strict=True):
        if there := [part for part in parts if part]:
            there[0].drawer.files.will_need(joined_places([part.rows.images for part in there]))


def _write_batch(writer: ShardWriter, batch: DrawnBatch) -> None:
    """Write a batch in mixture order, taking each source's draws in turn."""
    steps = [_write_each(part, writer) if part else iter(()) for part in batch.drawn]
    for number in batch.sources.tolist():
        next(steps[number])


def _write_each(part: Drawn, writer: ShardWriter) -> Iterator[None]:
    """Write the draws of one source, one per iteration. Lists are faster to iterate than arrays."""
    images, read_into = part.rows.images, part.drawer.files.read_into
    extensions = [EXTENSIONS[kind] for kind in images.format]
    sizes = list(zip(images.slot.tolist(), extensions, images.length.tolist(), strict=True))
    sources = list(zip(images.file.tolist(), images.offset.tolist(), images.xxh3.tolist(), strict=True))
    edges = pairwise(images.starts.tolist())
    for key, record, (start, stop) in zip(part.keys, writer.encode(part.records()), edges, strict=True):
        bodies = writer.add(key, sizes[start:stop], record)
        for body, (file, offset, digest) in zip(bodies, sources[start:stop], strict=True):
            read_into(body, file, offset, digest, key)
        yield


def add_totals(shards: Sequence[ShardInfo]) -> dict[str, SideTotals]:
    """Totals by source, summed over shards."""
    found: dict[str, SideTotals] = {}
    for shard in shards:
        for name, part in shard.sources.items():
            found[name] = found.get(name, SideTotals()) + part
    return dict(sorted(found.items()))
