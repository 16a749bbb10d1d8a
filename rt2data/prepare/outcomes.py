"""Which episodes of a source succeeded. Decided once the facts of all units are known, so that no unit needs another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rt2data.errors import DataError
from rt2data.order import key64, mix64
from rt2data.prepare.row_table import ROWS
from rt2data.prepare.store import read_columns
from rt2data.records import End, Reject
from rt2data.standardize.end_marks import REQUIRED, refuted, succeeded, tells_success, wanted


def marks_against(name: str, facts: Mapping[str, int]) -> End:
    """The marks that rule out success in a source, from the facts of all its units.

    Raises DataError if the recipe asks for successes and the source marks none.
    """
    if facts.get(REQUIRED) and not tells_success(facts):
        what = f"source {name} does not say which episodes are successes"
        where = "no success or reward is set, and is_terminal is the same everywhere"
        raise DataError(what, where, "set terminate: last_step or never, and remove filters.success")
    return refuted(facts)


def judge_ends(table: pa.Table, against: End) -> pa.Table:
    """Rows with their ends decided: failed episodes get no terminate token, and are dropped if the recipe wants only successes."""
    marks = table["marks"].to_numpy()
    kept = wanted(marks, against)
    if not kept.all():
        table, marks = table.filter(pa.array(kept)), marks[kept]
    terminate = table["terminate"].to_numpy() & succeeded(marks, against)
    digest = table["digest"].to_numpy()
    digest = np.where(terminate, mix64(digest, key64("terminate")), digest)
    failed = pa.array(~succeeded(marks, against))
    ends = pc.if_else(pc.and_(failed, pc.is_valid(table["ends"])), pa.scalar(-1, pa.int32()), table["ends"])
    for column, values in (("terminate", pa.array(terminate)), ("digest", pa.array(digest)), ("ends", ends)):
        table = table.set_column(ROWS.get_field_index(column), ROWS.field(column), values)
    return table


def failed_episodes(fragments: Iterable[Path], against: End) -> list[Reject]:
    """The episodes that `judge_ends` drops from these files of rows."""
    lost: Counter[str] = Counter()
    for path in fragments:
        table = read_columns(path, ["group", "marks"])
        lost.update(table["group"].filter(pa.array(~wanted(table["marks"].to_numpy(), against))).to_pylist())
    return [Reject("failed_episode", f"episode {group}", fault=False, count=count) for group, count in sorted(lost.items())]
