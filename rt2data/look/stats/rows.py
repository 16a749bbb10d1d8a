"""First pass over one file of rows: a work order and the sums it gives."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
import pyarrow as pa

from rt2data.io.per_thread import PerThread
from rt2data.look.stats.coded import CodedSums, sum_coded
from rt2data.look.stats.lengths import LengthSums, sum_lengths
from rt2data.look.stats.numbers import NumberSums, sum_numbers
from rt2data.look.stats.pictures import CameraSums, first_hashes, sum_cameras
from rt2data.look.stats.rowset import RENDERED, RowSet, codec_from
from rt2data.look.stats.texts import TextSums, hash_groups, sum_texts
from rt2data.order import I64, U64, mix64
from rt2data.plan.job import Job
from rt2data.prepare.store import as_rows, vectors
from rt2data.records import F32
from rt2data.render.renderer import Renderer
from rt2data.tally.counts import Counts, count
from rt2data.tally.moments import Together, all_together
from rt2data.tally.sums import Sum

BATCH = 2048
"""Rows rendered together."""
MAX_MATRIX = 64
"""Dimensions whose correlation with each other is summed."""
COLUMNS = (*RENDERED, "images")


class RowSums(Sum, frozen=True, eq=False):
    """What some rows add up to."""

    rows: int = 0
    image_bytes: int = 0  # of the mixture's pictures
    terminate: int = 0
    groups: Counts = msgspec.field(default_factory=Counts)  # hash of the group -> rows
    text: TextSums = msgspec.field(default_factory=TextSums)
    answers: TextSums = msgspec.field(default_factory=TextSums)
    answers_each: Counts = msgspec.field(default_factory=Counts)
    action: NumberSums = msgspec.field(default_factory=NumberSums)
    state: NumberSums = msgspec.field(default_factory=NumberSums)
    coded: CodedSums = msgspec.field(default_factory=CodedSums)
    correlation: Together = msgspec.field(default_factory=Together)
    lengths: LengthSums = msgspec.field(default_factory=LengthSums)
    cameras: dict[str, CameraSums] = msgspec.field(default_factory=dict)
    pairs: Counts = msgspec.field(default_factory=Counts)  # hash of text and the mixture's picture -> rows


@dataclass(frozen=True, slots=True)
class RowsOrder:
    """Work order: sum up one file of rows."""

    rows: RowSet
    number: int

    @property
    def label(self) -> str:
        return f"sum {self.rows.place} rows {self.number}"


def sum_rows(order: RowsOrder) -> RowSums:
    """The sums of one file of rows. Raises DataError where it cannot be read."""
    return sum_table(order.rows, order.rows.read(order.number, COLUMNS))


def sum_table(rows: RowSet, table: pa.Table) -> RowSums:
    """The sums of a table of rows."""
    if not table.num_rows:
        return RowSums()
    columns = {name: _whole(table[name]) for name in table.column_names}
    text, hashes = sum_texts(columns["text"])
    first_lengths = _first_lengths(columns["images"])
    terminate = columns["terminate"].to_numpy(zero_copy_only=False).astype(np.bool_)
    answers = columns["answers"].flatten()
    action, state = vectors(columns["action"], rows.action_dim), vectors(columns["state"], rows.state_dim)
    return RowSums(
        rows=table.num_rows,
        image_bytes=int(first_lengths.sum()),
        terminate=int(terminate.sum()),
        groups=count(hash_groups(columns["group"])),
        text=text,
        answers=sum_texts(answers)[0] if len(answers) else TextSums(),
        answers_each=count(_lengths(columns["answers"])) if rows.kind == "web" else Counts(),
        action=NumberSums() if action is None else sum_numbers(action),
        state=NumberSums() if state is None else sum_numbers(state),
        coded=sum_coded(codec_from(rows.codec), action, terminate) if rows.codec and action is not None else CodedSums(),
        correlation=_matrix(action),
        lengths=_rendered(rows, table) if rows.job else LengthSums(),
        cameras=sum_cameras(columns["images"]),
        pairs=count(pair_hashes(hashes, first_hashes(columns["images"]))),
    )


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _matrix(action: F32 | None) -> Together:
    return Together() if action is None or action.shape[1] > MAX_MATRIX else all_together(action)


def _lengths(lists: pa.ListArray) -> I64:
    found: I64 = np.diff(lists.offsets.to_numpy()).astype(np.int64)
    return found


def _first_lengths(images: pa.ListArray) -> I64:
    offsets = images.offsets.to_numpy()
    found: I64 = images.flatten().field("length").to_numpy()[offsets[:-1] - offsets[0]].astype(np.int64)
    return found


def pair_hashes(texts: U64, pictures: U64) -> U64:
    """A hash of each pair of a text and a picture by their hashes, uint64[n]."""
    return mix64(mix64(texts, 1) + pictures, 2)


def _rendered(rows: RowSet, table: pa.Table) -> LengthSums:
    """Lengths in tokens of every row, rendered as for its first epoch."""
    renderer = open_renderer(rows.job, rows.name)
    prompt: list[int] = []
    whole: list[int] = []
    for start in range(0, table.num_rows, BATCH):
        batch = table.slice(start, BATCH).combine_chunks()
        made = renderer.render(as_rows(batch, rows, np.zeros(batch.num_rows, np.int64)))
        prompt += [spans[-1].start for spans in made.spans]
        whole += map(len, made.input_ids)
    return sum_lengths(prompt, whole)


@PerThread
def open_renderer(job: str, name: str) -> Renderer:
    """The renderer of one source of a job, opened once in each worker; too long is counted here, and not refused."""
    found = decode_job(job)
    plan = msgspec.structs.replace(found.plan, max_tokens=None)
    source = next(each for each in plan.sources if each.name == name)
    return msgspec.structs.replace(found, plan=plan).renderer(source)


decode_job = msgspec.json.Decoder(Job).decode  # made at import: two threads that make a type's first one crash
