"""The two passes over files of rows: work orders, their sums, and the single function that workers call."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
import pyarrow as pa

from rt2data.io.per_thread import PerThread
from rt2data.look.stats.actions import DimensionSums, EncodedSums, ValueSums, Wanted, sum_dimensions, sum_encoded, sum_values
from rt2data.look.stats.content import (
    CameraSums,
    TextSums,
    TokenSums,
    find_texts,
    first_images,
    pair_hashes,
    sum_cameras,
    sum_texts,
    sum_tokens,
    taken_bytes,
    text_hashes,
)
from rt2data.look.stats.episodes import EpisodesOrder, sum_episodes
from rt2data.look.stats.mixture import ReadOrder, read_examples
from rt2data.look.stats.row_set import RowSet, codec_of
from rt2data.order import U64
from rt2data.plan.job import Job
from rt2data.prepare.as_rows import as_rows
from rt2data.prepare.row_table import vectors
from rt2data.records import F32
from rt2data.render.renderer import Renderer
from rt2data.tally.counts import Counts, count
from rt2data.tally.moments import Covariance, covariance
from rt2data.tally.sums import Sum

BATCH = 2048
"""Rows rendered together."""
MAX_MATRIX = 64
"""Maximum dimensions whose mutual correlations are summed."""
COLUMNS = (
    *("key", "group", "step", "steps", "timestamp", "text", "answers", "pick", "turns", "action", "state", "terminate", "images"),
)


CHUNKS = ("chunk", "real", "ends")
"""Columns also read to render rows with a horizon above 1."""


class RowSums(Sum, frozen=True, eq=False):
    """First pass over some rows."""

    rows: int = 0
    image_bytes: int = 0  # of the mixture's images
    terminate: int = 0
    groups: Counts = msgspec.field(default_factory=Counts)  # hash of the group -> rows
    text: TextSums = msgspec.field(default_factory=TextSums)
    answers: TextSums = msgspec.field(default_factory=TextSums)
    answers_each: Counts = msgspec.field(default_factory=Counts)
    action: DimensionSums = msgspec.field(default_factory=DimensionSums)
    state: DimensionSums = msgspec.field(default_factory=DimensionSums)
    encoded: EncodedSums = msgspec.field(default_factory=EncodedSums)
    correlation: Covariance = msgspec.field(default_factory=Covariance)
    tokens: TokenSums = msgspec.field(default_factory=TokenSums)
    cameras: dict[str, CameraSums] = msgspec.field(default_factory=dict)
    pairs: Counts = msgspec.field(default_factory=Counts)  # hash of text and the mixture's image -> rows


@dataclass(frozen=True, slots=True)
class RowsOrder:
    """Work order: the first pass over one file of rows."""

    rows: RowSet
    number: int

    @property
    def label(self) -> str:
        return f"sum {self.rows.place} rows {self.number}"


def sum_rows(order: RowsOrder) -> RowSums:
    """The first pass over one file of rows. Raises DataError if it cannot be read."""
    rows = order.rows
    table = rows.read(order.number, (*COLUMNS, *(CHUNKS if rows.job and rows.horizon > 1 else ())))
    if not table.num_rows:
        return RowSums()
    columns = {name: table[name].combine_chunks() for name in table.column_names}
    text, hashes = sum_texts(columns["text"])
    terminate = columns["terminate"].to_numpy(zero_copy_only=False).astype(np.bool_)
    answers = columns["answers"].flatten()
    action, state = vectors(columns["action"], rows.action_dim), vectors(columns["state"], rows.state_dim)
    return RowSums(
        rows=table.num_rows,
        image_bytes=taken_bytes(columns["images"]),
        terminate=int(terminate.sum()),
        groups=count(text_hashes(columns["group"])),
        text=text,
        answers=sum_texts(answers)[0] if len(answers) else TextSums(),
        answers_each=count(np.diff(columns["answers"].offsets.to_numpy())) if not rows.has_actions else Counts(),
        action=DimensionSums() if action is None else sum_dimensions(action),
        state=DimensionSums() if state is None else sum_dimensions(state),
        encoded=sum_encoded(codec_of(rows.codec), action, terminate) if rows.codec and action is not None else EncodedSums(),
        correlation=_matrix(action),
        tokens=_rendered(rows, table) if rows.job else TokenSums(),
        cameras=sum_cameras(columns["images"]),
        pairs=count(pair_hashes(hashes, first_images(columns["images"]))),
    )


def _matrix(action: F32 | None) -> Covariance:
    return Covariance() if action is None or action.shape[1] > MAX_MATRIX else covariance(action)


def _rendered(rows: RowSet, table: pa.Table) -> TokenSums:
    """Token lengths of every row, rendered as for its first epoch."""
    renderer = open_renderer(rows.job, rows.name)
    prompt: list[int] = []
    whole: list[int] = []
    for start in range(0, table.num_rows, BATCH):
        batch = table.slice(start, BATCH).combine_chunks()
        made = renderer.render(as_rows(batch, rows, np.zeros(batch.num_rows, np.int64), rows.horizon))
        prompt += [sum(span.stop - span.start for span in spans if not span.loss) for spans in made.spans]
        whole += map(len, made.input_ids)
    return sum_tokens(prompt, whole)


@PerThread
def open_renderer(job: str, name: str) -> Renderer:
    """The renderer of one source of a job, opened once per worker. Examples over the limit are counted, not refused."""
    found = decode_job(job)
    plan = msgspec.structs.replace(found.plan, max_tokens=None)
    source = next(each for each in plan.sources if each.name == name)
    return msgspec.structs.replace(found, plan=plan).renderer(source)


decode_job = msgspec.json.Decoder(Job).decode  # made at import: two threads creating a type's first decoder crash


# Second pass


@dataclass(frozen=True, slots=True, eq=False)
class ValuesOrder:
    """Work order: the second pass over one file of rows."""

    rows: RowSet
    number: int
    action: Wanted | None
    state: Wanted | None
    texts: U64  # hashes of the texts to find
    answers: U64

    @property
    def label(self) -> str:
        return f"count values of {self.rows.place} rows {self.number}"


class FoundTexts(Sum, frozen=True, eq=False):
    """Texts by their hashes."""

    texts: dict[int, str] = msgspec.field(default_factory=dict)

    def __add__(self, other: FoundTexts) -> FoundTexts:
        return FoundTexts(self.texts | other.texts)


class SecondSums(Sum, frozen=True, eq=False):
    """Second pass over some rows."""

    action: ValueSums = msgspec.field(default_factory=ValueSums)
    state: ValueSums = msgspec.field(default_factory=ValueSums)
    texts: FoundTexts = msgspec.field(default_factory=FoundTexts)


def second_orders(rows: RowSet, first: RowSums) -> list[ValuesOrder]:
    """The work orders required by the sums of the first pass."""
    action = first.action.wanted() if first.action.dims else None
    state = first.state.wanted() if first.state.dims else None
    return [ValuesOrder(rows, number, action, state, first.text.top, first.answers.top) for number in range(rows.files)]


def sum_again(order: ValuesOrder) -> SecondSums:
    """The second pass over one file of rows."""
    rows = order.rows
    table = rows.read(order.number, ("text", "answers", "action", "state"))
    if not table.num_rows:
        return SecondSums()
    action, state = vectors(table["action"], rows.action_dim), vectors(table["state"], rows.state_dim)
    texts = find_texts(table["text"].combine_chunks(), order.texts)
    return SecondSums(
        ValueSums() if action is None or order.action is None else sum_values(action, order.action),
        ValueSums() if state is None or order.state is None else sum_values(state, order.state),
        FoundTexts(texts | find_texts(table["answers"].combine_chunks().flatten(), order.answers)),
    )


# All work orders

Order = ReadOrder | RowsOrder | EpisodesOrder | ValuesOrder


def carry_out(order: Order) -> Sum:
    """Carry out any work order. Raises DataError if its files cannot be read."""
    match order:
        case ReadOrder():
            return read_examples(order)
        case RowsOrder():
            return sum_rows(order)
        case EpisodesOrder():
            return sum_episodes(order)
        case ValuesOrder():
            return sum_again(order)
