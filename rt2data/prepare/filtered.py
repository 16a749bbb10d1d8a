"""What a source's filters dropped, by reason and by task: each unit writes a file of its tasks, the store one for all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from rt2data.read.source import RobotSource, Source
from rt2data.records import Reject
from rt2data.standardize.reasons import BLANK, STEP_FILTERS

TASKS_PARQUET = "tasks.parquet"
LOST_BY_TASK = pa.schema([("reason", pa.string()), ("task", pa.string()), ("steps", pa.int64())])
"""Per unit: steps that filters dropped."""
TASKS = pa.schema([("task", pa.string()), ("kept", pa.int64()), ("dropped", pa.int64()), ("left_out", pa.int64())])
"""Per store: steps of each instruction that were kept, dropped by step filters, or left out by other filters."""
_EPISODE = r"(?:^|\W)episode (?P<episode>[A-Za-z0-9_-]+)"


class Drop(NamedTuple):
    """What one filter dropped; for a sample, scaled up to the whole."""

    steps: float
    episodes: float  # episodes that lost a step to it


class Filtered(NamedTuple):
    """What a source's filters dropped."""

    drops: Mapping[str, Drop]  # by reason
    tasks: pa.Table | None  # as in `TASKS`; None if the store's version did not count them


def is_filtered(source: Source) -> bool:
    """Whether the recipe sets filters for a source."""
    return isinstance(source, RobotSource) and source.filtered


def lost_by_task(rejects: Iterable[Reject]) -> pa.Table:
    """A table as in `LOST_BY_TASK` from what a unit dropped. A step without words has no task."""
    counts = Counter[tuple[str, str]]()
    for reject in rejects:
        if not reject.fault and reject.reason != BLANK.word:
            counts.update({(reject.reason, task): steps for task, steps in reject.tasks})
    rows = [{"reason": reason, "task": task, "steps": steps} for (reason, task), steps in sorted(counts.items())]
    return pa.Table.from_pylist(rows, schema=LOST_BY_TASK)


def tasks_table(kept: Iterable[pa.ChunkedArray], lost: Iterable[pa.Table]) -> pa.Table:
    """A table as in `TASKS`, sorted by task, from the instructions of all rows and the units' losses."""
    gone = pa.concat_tables([LOST_BY_TASK.empty_table(), *lost])
    of_steps = pc.is_in(gone["reason"], pa.array([reason.word for reason in STEP_FILTERS]))
    steps = {"dropped": gone.filter(of_steps), "left_out": gone.filter(pc.invert(of_steps))}
    counts = [pa.table({"task": table["task"], name: table["steps"]}) for name, table in steps.items()]
    counts += [_counted(texts) for texts in kept]
    sums = pa.concat_tables([TASKS.empty_table(), *counts], promote_options="default").group_by("task")
    found = sums.aggregate([(name, "sum") for name in TASKS.names[1:]])
    return pa.table([found["task"], *(pc.fill_null(found[f"{name}_sum"], 0) for name in TASKS.names[1:])], schema=TASKS).sort_by(
        "task"
    )


def _counted(texts: pa.ChunkedArray) -> pa.Table:
    found = pc.value_counts(texts)
    return pa.table({"task": found.field("values"), "kept": found.field("counts")})


def drops(rejects: pa.Table, scale: float = 1.0) -> dict[str, Drop]:
    """What filters dropped, by reason, from a table of rejects; each counts `scale` times."""
    asked = rejects.filter(pc.invert(rejects["fault"]))
    names = pc.struct_field(pc.extract_regex(asked["where"], _EPISODE), "episode")
    named = pa.table({"reason": asked["reason"], "count": asked["count"], "episode": names})
    found = named.group_by("reason").aggregate([("count", "sum"), ("episode", "count_distinct")]).sort_by("reason")
    return {row["reason"]: Drop(row["count_sum"] * scale, row["episode_count_distinct"] * scale) for row in found.to_pylist()}
