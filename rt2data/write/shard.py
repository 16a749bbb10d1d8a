"""Steps five and six: one shard of the mixture. A plain function of (job, shard number); any shard is computed by itself.

Rows are drawn and rendered a few thousand at a time; images are copied by range from where they are, never decoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from io import FileIO
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from rt2data.formats.base import Format, ShardWriter, make_format
from rt2data.io import location
from rt2data.io.digest import Digest
from rt2data.io.location import path_of, whole_file, write_whole
from rt2data.io.location.folders import make_folder
from rt2data.io.location.open_files import OpenFiles
from rt2data.io.per_thread import PerThread
from rt2data.order import EpochOrder, interleave, key64
from rt2data.plan.job import Job, RldsJob, read_job
from rt2data.plan.layout import ShardLayout, shard_file
from rt2data.plan.plan import SourcePlan
from rt2data.prepare.store import Store, as_rows
from rt2data.records import Rendered, Rows, key_name
from rt2data.render.fields import Batch, ExampleRecord, Labels
from rt2data.render.record import make_records
from rt2data.render.renderer import Renderer

BATCH = 2048
"""Examples drawn, rendered and written together."""
EXTENSIONS = {"jpeg": "jpg", "png": "png"}


def note_name(index: int) -> str:
    """File name of a shard's notes, which are there only while the output is built."""
    return f"note-{index:06d}"


@dataclass(frozen=True, slots=True)
class ShardOrder:
    """Work order: write one shard into the staging folder of a build."""

    folder: str
    fingerprint: str  # of the plan
    index: int

    @property
    def label(self) -> str:
        return f"shard {self.index}"


def shard_orders(folder: Path, job: Job | RldsJob) -> list[ShardOrder]:
    """A work order for each shard of a job."""
    return [ShardOrder(str(folder), job.plan.fingerprint, index) for index in range(job.plan.shards)]


class SideTotals(msgspec.Struct, frozen=True):
    """What one source gave to a shard or to the whole."""

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
    """What one shard holds; its file in the staging folder says that the shard is done."""

    name: str
    index: int
    examples: int
    bytes: int
    xxh3_128: str
    sha256: str
    sources: dict[str, SideTotals]
    fresh: bool = True  # False where an earlier run had written it


_decode_info = msgspec.json.Decoder(ShardInfo).decode  # made at import: two threads that make a type's first one crash


def shard_sources(layout: ShardLayout, index: int) -> NDArray[np.int32]:
    """The source of each example of a shard, as a number in `plan.sources`."""
    counts, plan = layout.counts(index).tolist(), layout.plan
    robots = sum(s.has_actions for s in plan.sources)
    return interleave([counts[:robots], counts[robots:]], key64("interleave", plan.seed, index))


class WrittenShard(NamedTuple):
    """What writing a shard gives: its file's hashes, what each source gave, what its writer noted."""

    digest: Digest
    totals: dict[str, SideTotals]
    notes: bytes = b""


class ShardFiller(Protocol):
    """A job, opened: the names of its shards and how they are written."""

    def shard_name(self, index: int) -> str: ...

    def write(self, file: FileIO, index: int) -> WrittenShard: ...


def write_shard(order: ShardOrder) -> ShardInfo:
    """Write one shard, whole or not at all. Idempotent. Raises SourceChangedError, OutputError, UsageError."""
    return write_order(order, open_mixing(order.folder, order.fingerprint))


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
def open_mixing(folder: str, fingerprint: str) -> Mixing:
    """The job of a build folder, opened once in each worker."""
    job = read_job(path_of(folder))
    assert isinstance(job, Job) and job.plan.fingerprint == fingerprint
    return Mixing(job)


@dataclass
class Mixing:
    """A job, opened: plan, stores, renderers."""

    job: Job

    @cached_property
    def format(self) -> Format:
        return make_format(self.job.plan.format)

    def shard_name(self, index: int) -> str:
        """Path of a shard, from the output's folder."""
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
        """Write all examples of a shard in order; what each source gave."""
        sources = shard_sources(self.layout, index)
        at = self.layout[index].copy()
        totals = {s.name: SideTotals() for s in self.job.plan.sources}
        for start in range(0, len(sources), BATCH):
            batch = sources[start : start + BATCH]
            counts = np.bincount(batch, minlength=len(at))
            drawn = [d.draw(int(a), int(a + n)) if n else None for d, a, n in zip(self.drawers, at, counts, strict=True)]
            _write_batch(writer, batch, drawn)
            for part in filter(None, drawn):
                totals[part.source.name] += part.totals()
            at += counts
        return {name: total for name, total in totals.items() if total.examples}


@dataclass(frozen=True)
class Drawn:
    """Some draws of one source, rendered."""

    source: SourcePlan
    rows: Rows
    rendered: Rendered
    records: Iterator[ExampleRecord]
    keys: list[str]
    files: OpenFiles

    def totals(self) -> SideTotals:
        """Sums over these draws."""
        lengths = [len(ids) for ids in self.rendered.input_ids]
        loss = sum(span.stop - span.start for spans in self.rendered.spans for span in spans if span.loss)
        image_bytes = int(self.rows.images.length.sum(dtype=np.int64))
        return SideTotals(len(lengths), sum(lengths) - loss, loss, image_bytes, max(lengths, default=0))


@dataclass
class Drawer:
    """Draws rows of one source and renders them."""

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
        """Draws start..stop-1, in order."""
        numbers, epochs = self.order.draw(start, stop)
        table = self.store.take(self.job.plan.split, numbers)
        rows = as_rows(table, self.store.info, epochs, self.source.horizon)
        rendered = self.renderer.render(rows)
        name = key_name(rows.source)
        keys = [f"{name}-{key}" + (f"-r{epoch}" if epoch else "") for key, epoch in zip(rows.keys, epochs.tolist(), strict=True)]
        records = make_records(Batch(rows, rendered, keys, self.labels))
        return Drawn(self.source, rows, rendered, records, keys, self.files)


def _write_batch(writer: ShardWriter, batch: NDArray[np.int32], drawn: Sequence[Drawn | None]) -> None:
    """Place a batch in its order: each source's draws one after another."""
    for part in filter(None, drawn):
        part.files.will_need(part.rows.images)
    steps = [_write_each(part, writer) if part else iter(()) for part in drawn]
    for number in batch.tolist():
        next(steps[number])


def _write_each(part: Drawn, writer: ShardWriter) -> Iterator[None]:
    """The draws of one source, written one at a time as they are asked for. Lists are quicker to walk than arrays."""
    images, read_into = part.rows.images, part.files.read_into
    extensions = [EXTENSIONS[kind] for kind in images.format]
    sizes = list(zip(images.slot.tolist(), extensions, images.length.tolist(), strict=True))
    sources = list(zip(images.file.tolist(), images.offset.tolist(), images.xxh3.tolist(), strict=True))
    edges = pairwise(images.starts.tolist())
    for key, record, (start, stop) in zip(part.keys, writer.encode(part.records), edges, strict=True):
        bodies = writer.add(key, sizes[start:stop], record)
        for body, (file, offset, digest) in zip(bodies, sources[start:stop], strict=True):
            read_into(body, file, offset, digest, key)
        yield


def add_totals(shards: Sequence[ShardInfo]) -> dict[str, SideTotals]:
    """Sums over shards, by source."""
    found: dict[str, SideTotals] = {}
    for shard in shards:
        for name, part in shard.sources.items():
            found[name] = found.get(name, SideTotals()) + part
    return dict(sorted(found.items()))
