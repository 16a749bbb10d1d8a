"""Second pass over one file of rows: what the sums of the first ask for."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from rt2data.look.stats.numbers import ValueSums, Wanted, sum_values
from rt2data.look.stats.rows import RowSums
from rt2data.look.stats.rowset import RowSet
from rt2data.look.stats.texts import find_texts
from rt2data.order import U64
from rt2data.prepare.store import vectors
from rt2data.tally.sums import Sum


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
        return f"look again at {self.rows.place} rows {self.number}"


class Found(Sum, frozen=True, eq=False):
    """Texts by their hashes."""

    texts: dict[int, str] = msgspec.field(default_factory=dict)

    def __add__(self, other: Found) -> Found:
        return Found(self.texts | other.texts)


class SecondSums(Sum, frozen=True, eq=False):
    """What the second pass gives."""

    action: ValueSums = msgspec.field(default_factory=ValueSums)
    state: ValueSums = msgspec.field(default_factory=ValueSums)
    texts: Found = msgspec.field(default_factory=Found)


def look_again(order: ValuesOrder) -> SecondSums:
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
        Found(texts | find_texts(table["answers"].combine_chunks().flatten(), order.answers)),
    )


def second_orders(rows: RowSet, first: RowSums) -> list[ValuesOrder]:
    """What the sums of the first pass ask for."""
    action = first.action.wanted() if first.action.dims else None
    state = first.state.wanted() if first.state.dims else None
    texts, answers = first.text.top, first.answers.top
    return [ValuesOrder(rows, number, action, state, texts, answers) for number in range(rows.files)]
