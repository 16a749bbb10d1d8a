"""Work orders over whole episodes. Rows are in keyed random order, so each work order takes the episodes in its share of the hashes
from all files of rows, reads only the necessary columns, sorts and sums."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from rt2data.look.stats.content import distribution, text_hashes
from rt2data.look.stats.model import Episodes
from rt2data.look.stats.motion import MotionSums, Steps, sum_motion
from rt2data.look.stats.row_set import RowSet, space_from_json
from rt2data.order import I64, U64, key64, mix64
from rt2data.prepare.row_table import vectors
from rt2data.read.action_space import ActionSpace
from rt2data.records import F32
from rt2data.tally.counts import Counts, count, histogram, quantiles_of
from rt2data.tally.moments import F64
from rt2data.tally.sums import Sum, add_up

MOST_ROWS, MOST_BYTES = 2_000_000, 48 << 20
"""Limits of one work order: rows, and bytes of their numbers, whichever is reached first."""
BATCH = 1 << 16
"""Minimum rows (of whole episodes) summed together."""
COLUMNS = ("group", "step", "action", "state", "timestamp")
GAP = 1.5
"""An interval of more than this many medians is a gap."""


class EpisodeSums(Sum, frozen=True, eq=False):
    """Sums over whole episodes."""

    lengths: Counts = msgspec.field(default_factory=Counts)  # steps -> episodes
    incomplete: int = 0
    intervals: Counts = msgspec.field(default_factory=Counts)  # microseconds to the next step -> steps
    backwards: int = 0
    motion: MotionSums = msgspec.field(default_factory=MotionSums)

    def summary(self) -> Episodes:
        """Episodes, without their motion."""
        fps, jitter, gaps = _rates(self.intervals)
        return Episodes(
            count=self.lengths.total,
            steps=distribution(self.lengths),
            lengths=histogram(self.lengths),
            short=int(self.lengths.counts[self.lengths.keys < 2].sum()),
            incomplete=self.incomplete,
            fps=fps,
            jitter=jitter,
            backwards=self.backwards,
            gaps=gaps,
        )


def _rates(intervals: Counts) -> tuple[float | None, float | None, int]:
    """Frames per second, jitter, and the number of gaps."""
    if not len(intervals):
        return None, None, 0
    low, median, high = quantiles_of(intervals.keys.astype(np.float64), intervals.counts, (0.25, 0.5, 0.75))
    return 1e6 / median, (high - low) / median, int(intervals.counts[intervals.keys > GAP * median].sum())


@dataclass(frozen=True, slots=True)
class EpisodesOrder:
    """Work order: sum the episodes of one part of the hashes."""

    rows: RowSet
    part: int
    parts: int

    @property
    def label(self) -> str:
        return f"sum {self.rows.place} episodes {self.part}"


def episode_orders(rows: RowSet) -> list[EpisodesOrder]:
    """As many work orders as the rows need; none for web."""
    if not rows.has_actions:
        return []
    width = 4 * (rows.action_dim + rows.state_dim) + 28
    parts = max(-(-rows.rows // MOST_ROWS), -(-rows.rows * width // MOST_BYTES))
    return [EpisodesOrder(rows, part, parts) for part in range(parts)]


def sum_episodes(order: EpisodesOrder) -> EpisodeSums:
    """The sums of all episodes of a part. Raises DataError if rows cannot be read."""
    found = [_read(order, number) for number in range(order.rows.files)]
    group, step = np.concatenate([each[0] for each in found]), np.concatenate([each[1] for each in found])
    timestamp = np.concatenate([each[2] for each in found])
    action, state = [each[3] for each in found], [each[4] for each in found]
    del found
    every = Steps(group.view(np.int64), step, _join(action), _join(state) if order.rows.state_dim else None, timestamp)
    space = space_from_json(order.rows.space)
    return add_up(EpisodeSums(), (_sum(_take(every, at), space) for at in _batches(np.lexsort((step, group)), group)))


def _read(order: EpisodesOrder, number: int) -> tuple[U64, NDArray[np.int32], F64, F32, F32]:
    """Group hashes, steps, timestamps, actions and states of a file's rows of this part."""
    table = order.rows.read(number, COLUMNS)
    group = text_hashes(table["group"].combine_chunks())
    mine = part_of(group, order.parts) == order.part
    action, state = vectors(table["action"], order.rows.action_dim), vectors(table["state"], order.rows.state_dim)
    assert action is not None
    timestamp = table["timestamp"].to_numpy().astype(np.float64)
    return group[mine], table["step"].to_numpy()[mine], timestamp[mine], action[mine], (action if state is None else state)[mine]


def part_of(groups: U64, parts: int) -> U64:
    """The part each group belongs to, by its keyed hash, uint64[n]."""
    return (mix64(groups, key64("episodes")) >> np.uint64(32)) * np.uint64(parts) >> np.uint64(32)


def _join(parts: list[F32]) -> F32:
    """The concatenation; each part is freed as soon as it is copied."""
    whole = np.empty((sum(map(len, parts)), parts[0].shape[1]), np.float32)
    at = len(whole)
    while parts:
        part = parts.pop()
        whole[at - len(part) : at] = part
        at -= len(part)
    return whole


def _batches(by_step: I64, group: U64) -> Iterator[I64]:
    """Rows of whole episodes, at least BATCH at a time."""
    rising = group[by_step]
    ends = np.flatnonzero(np.append(rising[1:] != rising[:-1], True)) + 1 if len(rising) else np.empty(0, np.int64)
    start = 0
    for end in ends.tolist():
        if end - start >= BATCH or end == len(rising):
            yield by_step[start:end]
            start = end


def _take(every: Steps, at: I64) -> Steps:
    """The steps at these rows, which are whole episodes in order, with the episodes renumbered from 0."""
    group = every.episode[at]
    number = np.cumsum(np.append(False, group[1:] != group[:-1]))
    state = None if every.state is None else every.state[at]
    return Steps(number, every.step[at], every.action[at], state, every.timestamp[at])


def _sum(steps: Steps, space: ActionSpace) -> EpisodeSums:
    lengths = np.diff(steps.starts, append=len(steps))
    last = np.append(steps.starts[1:], len(steps)) - 1
    spans = steps.step[last] - steps.step[steps.starts] + 1
    micros = np.rint(np.diff(steps.timestamp, prepend=np.nan) * 1e6)[steps.consecutive]
    micros = micros[np.isfinite(micros)]
    return EpisodeSums(
        count(lengths),
        int((spans != lengths).sum()),
        count(micros[micros > 0].astype(np.int64)),
        int((micros <= 0).sum()),
        sum_motion(steps, space),
    )
