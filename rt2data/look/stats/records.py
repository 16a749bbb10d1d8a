"""A finished mixture as files of rows again: its stores may be gone. Each shard is laid down by itself, and read only once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from rt2data.errors import DataError, command
from rt2data.formats.base import Member, make_format, members_of
from rt2data.images.headers import ImageFault, read_header
from rt2data.io.per_thread import PerThread
from rt2data.io.publish import produce_whole
from rt2data.look.stats.lengths import LengthSums, sum_lengths
from rt2data.look.stats.rowset import RowSet, written
from rt2data.plan.plan import SourcePlan
from rt2data.prepare.store import ROWS, rows_file
from rt2data.render.codecs.table import codec_from_json
from rt2data.render.record import ExampleRecord, decode_record
from rt2data.seal.manifest import Manifest, read_manifest
from rt2data.tally.sums import Sum

IMAGE = "image"
"""What stands for a camera where an image is not of a robot."""


@dataclass(frozen=True, slots=True)
class LayOrder:
    """Work order: lay the records of one shard down as rows."""

    out: str
    fingerprint: str  # of the plan
    index: int
    scratch: str

    @property
    def label(self) -> str:
        return f"read shard {self.index}"


class LaidSums(Sum, frozen=True, eq=False):
    """What the examples of some shards add up to; their rows lie in the scratch folder."""

    examples: int = 0
    lengths: dict[str, LengthSums] = msgspec.field(default_factory=dict)  # by source, of all examples


def lay_orders(out: Path, manifest: Manifest, scratch: Path) -> list[LayOrder]:
    """One for each shard; the scratch folder gets a folder for each source."""
    for source in manifest.plan.sources:
        (scratch / source.name).mkdir(parents=True, exist_ok=True)
    return [LayOrder(str(out), manifest.plan.fingerprint, index, str(scratch)) for index in range(len(manifest.shards))]


def mixture_rowsets(manifest: Manifest, scratch: Path) -> list[RowSet]:
    """The sources of a mixture, as they lie in the scratch folder once all shards are laid down."""
    return [_rowset(manifest, source, scratch) for source in manifest.plan.sources if source.draws]


def _rowset(manifest: Manifest, source: SourcePlan, scratch: Path) -> RowSet:
    codec = codec_from_json(source.codec) if source.codec else None
    state = (manifest.statistics.get(source.name) or {}).get("state")
    bare = RowSet(
        name=source.name,
        kind=source.kind,
        source=source.source,
        split=manifest.plan.split,
        folder=str(scratch / source.name),
        files=len(manifest.shards),
        rows=min(source.rows, source.draws),
        digest=source.digest,
        camera=source.camera or IMAGE,
        action_dim=source.action_dim if codec else 0,
        state_dim=len(state["mean"]) if state else 0,
        lost=manifest.rejects.get(source.name, ()),
        conversions=tuple(sorted(manifest.conversions.get(source.name, {}).items())),
    )
    if codec is None:
        return bare
    return replace(bare, space=written(codec.space), codec=msgspec.json.encode(source.codec).decode())


@PerThread
def _open(out: str, fingerprint: str) -> Manifest:
    manifest = read_manifest(Path(out))
    if manifest.plan.fingerprint != fingerprint:
        raise DataError("another mixture took the place of this one", out, "run the command again")
    return manifest


def lay_shard(order: LayOrder) -> LaidSums:
    """Lay the rows of one shard down, each of its first epoch only; sums of all examples. Raises DataError."""
    manifest = _open(order.out, order.fingerprint)
    rows: dict[str, list[dict[str, Any]]] = {source.name: [] for source in manifest.plan.sources}
    tokens: dict[str, list[tuple[int, int]]] = {source.name: [] for source in manifest.plan.sources}
    sizes = {source.name: source.action_dim for source in manifest.plan.sources}
    for member, record in read_shard(order, manifest):
        learned = record.loss_mask.count(1)
        tokens[record.source].append((len(record.input_ids) - learned, len(record.input_ids)))
        if record.epoch == 0:
            rows[record.source].append(_row(member, record, sizes[record.source]))
    for name, found in rows.items():
        _write(rows_file(Path(order.scratch) / name, manifest.plan.split, order.index), found)
    lengths = {name: sum_lengths(*zip(*found, strict=True)) for name, found in tokens.items() if found}
    return LaidSums(sum(map(len, tokens.values())), lengths)


def read_shard(order: LayOrder, manifest: Manifest) -> Iterator[tuple[Member, ExampleRecord]]:
    """The examples of one shard. Raises DataError naming the shard where one cannot be read."""
    path = Path(order.out) / manifest.shards[order.index].name
    names = {source.name for source in manifest.plan.sources}
    for member in members_of(make_format(manifest.plan.format), path):
        try:
            record = decode_record(member.record)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            advice = f"{command('verify', order.out)} names every fault"
            raise DataError(f"not an example record: {error}", f"{path} key {member.key}", advice) from None
        if record.source not in names:
            raise DataError(
                f"source {record.source!r} is not in the plan", f"{path} key {member.key}", command("verify", order.out)
            )
        yield member, record


def _row(member: Member, record: ExampleRecord, size: int) -> dict[str, Any]:
    """A row of the store, as far as the record says it."""
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
        "action": None if record.action is None else list(record.action[:size]),
        "state": None if record.state is None else list(record.state),
        "terminate": bool(record.terminate),
        "marks": 0,
        "timestamp": None,
        "images": [_picture(member.image, record.camera or IMAGE)],
        "digest": 0,
    }


def _picture(content: memoryview, camera: str) -> dict[str, Any]:
    """Kind and size by the header; a picture without a sound one is told by its fault."""
    try:
        seen = read_header(content)
        kind, width, height = seen.format, seen.width, seen.height
    except ImageFault as fault:
        kind, width, height = fault.reason, 0, 0
    facts = {"camera": camera, "file": 0, "offset": 0, "length": len(content), "xxh3": xxhash.xxh3_64_intdigest(content)}
    return facts | {"width": width, "height": height, "format": kind}


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    table = pa.Table.from_pylist(rows, schema=ROWS)
    produce_whole(path, lambda place: pq.write_table(table, place, compression="lz4", write_page_checksum=True))
