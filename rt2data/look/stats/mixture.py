"""Statistics of a finished mixture: shares and order from the manifest, and examples converted to files of rows, because its stores
may be gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from rt2data.errors import DataError, command
from rt2data.formats.base import Member, MemberImage, make_format, members_of
from rt2data.images.headers import ImageFault, read_header
from rt2data.io.location import path_of, produce_whole
from rt2data.io.location.folders import make_folder
from rt2data.io.per_thread import PerThread
from rt2data.look.stats.content import TokenSums, sum_tokens
from rt2data.look.stats.model import MixtureStats, Share, Window
from rt2data.look.stats.row_set import RowSet, space_to_json
from rt2data.order import BLOCK, I64, boundaries
from rt2data.plan.layout import ShardLayout
from rt2data.plan.model import SourcePlan
from rt2data.prepare.row_table import ROWS
from rt2data.prepare.store import rows_file
from rt2data.render.codecs.table import codec_from_json
from rt2data.render.fields import ExampleRecord
from rt2data.render.record import decode_record
from rt2data.seal.manifest import Manifest, read_manifest
from rt2data.tally.sums import Sum
from rt2data.write.shard import SideTotals, shard_sources

WINDOWS = (64, 256, 1024)
POINTS = 256
"""Maximum points of the running share."""
IMAGE = "image"
"""The camera name of images that are not a robot's."""


# Shares and order, without reading a shard


def mixture_stats(manifest: Manifest) -> MixtureStats:
    """Statistics of the mixture; no shard is read."""
    plan, asked = manifest.plan, float(Fraction(manifest.plan.robot_frac))
    order = _RobotOrder(asked, manifest.examples)
    for robots in _robots(manifest):
        order.add(robots)
    return MixtureStats(
        examples=plan.num_examples if plan.parts else manifest.examples,
        shards=len(manifest.shards),
        bytes=manifest.bytes,
        asked_robot=asked,
        shares=tuple(_share(manifest, source) for source in plan.sources),
        windows=tuple(order.windows()),
        shard_worst=order.shard_worst,
        running=tuple(order.running),
        format=plan.format,
        template=plan.template,
        codec=plan.codec,
        tokenizer=str(plan.tokenizer.get("kind", "")),
        seed=plan.seed,
        fingerprint=plan.fingerprint,
    )


def _share(manifest: Manifest, source: SourcePlan) -> Share:
    total = manifest.totals.get(source.name, SideTotals())
    times = Fraction(source.draws, max(manifest.plan.written(source), 1))  # how often an example that is written once is read
    return Share(
        source=source.name,
        kind=source.kind,
        asked=float(Fraction(source.share)),
        examples=round(times * total.examples),
        tokens=round(times * (total.prompt_tokens + total.target_tokens)),
        loss_tokens=round(times * total.target_tokens),
        image_bytes=total.image_bytes,
        epochs=source.epochs,
        unseen=max(source.rows - source.draws, 0),
        unique=min(source.rows, source.draws),
        place=source.place if source.path else msgspec.UNSET,
        takes="; ".join(line for line in (source.camera_line, source.window_line) if line),
    )


def _robots(manifest: Manifest) -> Iterator[I64]:
    """For each shard the running count of robot examples, int64[examples + 1], in the plan's order; none if mixing is left to
    readers.
    """
    plan = manifest.plan
    if plan.parts:
        return
    layout, robots = ShardLayout(plan), sum(s.has_actions for s in plan.sources)
    for index in range(plan.shards):
        yield np.concatenate([[0], np.cumsum(shard_sources(layout, index) < robots)])


@dataclass
class _RobotOrder:
    """Measures how evenly robot examples are spread, shard by shard, in constant memory."""

    asked: float  # robot share
    examples: int  # of the mixture
    seen: int = 0
    robots: int = 0
    shard_worst: float = 0.0  # largest |robot share - asked| of a shard
    running: list[tuple[int, float]] = field(default_factory=list)  # number of examples, robot share so far
    _held: dict[int, I64] = field(default_factory=lambda: {length: np.zeros(length + 1, np.int64) for length in WINDOWS})

    def add(self, robots: I64) -> None:
        """The next shard, by its running count of robot examples, int64[examples + 1]."""
        for length, held in self._held.items():
            starts = np.arange(0, max(len(robots) - length, 0), BLOCK)
            held += np.bincount(robots[starts + length] - robots[starts], minlength=length + 1)
        points = self._points[(self._points > self.seen) & (self._points < self.seen + len(robots))]
        shares = (self.robots + robots[points - self.seen]) / points
        self.running += zip(points.tolist(), shares.tolist(), strict=True)
        self.seen += len(robots) - 1
        self.robots += int(robots[-1])
        if len(robots) > 1:
            self.shard_worst = max(self.shard_worst, abs(int(robots[-1]) / (len(robots) - 1) - self.asked))

    @cached_property
    def _points(self) -> I64:
        return np.unique(boundaries(self.examples, min(POINTS, self.examples))) if self.examples else np.empty(0, np.int64)

    def windows(self) -> Iterator[Window]:
        """Windows that start at a multiple of 16 inside a shard; lengths beyond every shard are left out."""
        for length, held in self._held.items():
            deviations = np.abs(np.arange(length + 1) / length - self.asked)
            if held.any():
                mean = float((deviations * held).sum() / held.sum())
                yield Window(examples=length, worst=float(deviations[held > 0].max()), mean=mean)


# Examples as rows


@dataclass(frozen=True, slots=True)
class ReadOrder:
    """Work order: write the records of one shard as files of rows."""

    out: str
    fingerprint: str  # of the plan
    index: int
    scratch: str

    @property
    def label(self) -> str:
        return f"read shard {self.index}"


class ShardSums(Sum, frozen=True, eq=False):
    """Sums over the examples of some shards; their rows are in the scratch folder."""

    examples: int = 0
    tokens: dict[str, TokenSums] = msgspec.field(default_factory=dict)  # by source, over all examples


def shard_orders(out: Path, manifest: Manifest, scratch: Path) -> list[ReadOrder]:
    """One work order per shard; creates a folder per source in the scratch folder."""
    for source in manifest.plan.sources:
        make_folder(scratch / source.name)
    return [ReadOrder(str(out), manifest.plan.fingerprint, index, str(scratch)) for index in range(len(manifest.shards))]


def mixture_row_sets(manifest: Manifest, scratch: Path) -> list[RowSet]:
    """Row sets of a mixture's sources in the scratch folder, valid after all shard orders."""
    return [_row_set(manifest, source, scratch) for source in manifest.plan.sources if source.draws]


def _row_set(manifest: Manifest, source: SourcePlan, scratch: Path) -> RowSet:
    codec = codec_from_json(source.codec) if source.codec else None
    state = (manifest.statistics.get(source.name) or {}).get("state")
    found = RowSet(
        name=source.name,
        kind=source.kind,
        source=source.source,
        split=manifest.plan.split,
        folder=str(scratch / source.name),
        files=len(manifest.shards),
        rows=min(source.rows, source.draws),
        digest=source.digest,
        camera=source.camera or IMAGE,
        slots=source.slots,
        action_dim=source.action_dim if codec else 0,
        state_dim=len(state["mean"]) if state else 0,
        lost=manifest.rejects.get(source.name, ()),
        conversions=tuple(sorted(manifest.conversions.get(source.name, {}).items())),
    )
    if codec is None:
        return found
    return replace(found, space=space_to_json(codec.space), codec=msgspec.json.encode(source.codec).decode())


@PerThread
def _open(out: str, fingerprint: str) -> Manifest:
    manifest = read_manifest(path_of(out))
    if manifest.plan.fingerprint != fingerprint:
        raise DataError("the mixture was replaced while it was read", out, "run the command again")
    return manifest


def read_examples(order: ReadOrder) -> ShardSums:
    """Write the rows of one shard (first epoch only); returns sums over all its examples. Raises DataError."""
    manifest = _open(order.out, order.fingerprint)
    rows: dict[str, list[dict[str, Any]]] = {source.name: [] for source in manifest.plan.sources}
    tokens: dict[str, list[tuple[int, int]]] = {source.name: [] for source in manifest.plan.sources}
    sizes = {source.name: source.action_dim for source in manifest.plan.sources}
    for member, record in _examples(order, manifest):
        loss = record.loss_mask.count(1)
        tokens[record.source].append((len(record.input_ids) - loss, len(record.input_ids)))
        if record.epoch == 0:
            rows[record.source].append(_row(member, record, sizes[record.source]))
    for name, found in rows.items():
        _write(rows_file(path_of(order.scratch) / name, manifest.plan.split, order.index), found)
    lengths = {name: sum_tokens(*zip(*found, strict=True)) for name, found in tokens.items() if found}
    return ShardSums(sum(map(len, tokens.values())), lengths)


def _examples(order: ReadOrder, manifest: Manifest) -> Iterator[tuple[Member, ExampleRecord]]:
    """The examples of one shard. Raises DataError, naming the shard and key of an unreadable example."""
    path = path_of(order.out) / manifest.shards[order.index].name
    names = {source.name for source in manifest.plan.sources}
    verify = command("verify", order.out)
    for member in members_of(make_format(manifest.plan.format), path):
        where = f"{path} key {member.key}"
        try:
            record = decode_record(member.record)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise DataError(f"not an example record: {error}", where, f"{verify} names every fault") from None
        if record.source not in names:
            raise DataError(f"source {record.source!r} is not in the plan", where, verify)
        yield member, record


def _row(member: Member, record: ExampleRecord, size: int) -> dict[str, Any]:
    """A row as in a store, as far as the record contains it."""
    return {
        "key": record.key,
        "order": 0,
        "group": record.group,
        "split": record.split,
        "step": -1 if record.step is None else record.step,
        "steps": -1,
        "text": record.text,
        "answers": list(record.answers),
        "pick": -1,
        "turns": None,
        "chunk": None,
        "real": None,
        "ends": None,
        "action": None if record.action is None else list(record.action[:size]),
        "state": None if record.state is None else list(record.state),
        "terminate": bool(record.terminate),
        "marks": 0,
        "timestamp": None,
        "images": [_image(image, record) for image in member.images],
        "digest": 0,
    }


def _image(image: MemberImage, record: ExampleRecord) -> dict[str, Any]:
    """Format and size from an image's header; for a damaged image, the format is the name of its fault."""
    try:
        seen = read_header(image.data)
        kind, width, height = seen.format, seen.width, seen.height
    except ImageFault as fault:
        kind, width, height = fault.reason, 0, 0
    camera, at = record.image_names[image.slot], record.image_offsets[image.slot]
    place = {"file": 0, "offset": 0, "length": len(image.data), "xxh3": xxhash.xxh3_64_intdigest(image.data)}
    facts = {"camera": camera if record.action is not None else IMAGE, "at": at, "chosen": True} | place
    return facts | {"width": width, "height": height, "format": kind}


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(rows, schema=ROWS)
    produce_whole(path, lambda place: pq.write_table(table, place, compression="lz4", write_page_checksum=True))
