"""Time windows over the kept steps of one episode: action chunks and history. None crosses a gap or the end of an episode."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rt2data.records import F32, Chunks

I32 = NDArray[np.int32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Runs:
    """Runs of consecutive steps. For each of n steps, where its run starts and stops (exclusive), int32[n]."""

    start: I32
    stop: I32

    @staticmethod
    def of(steps: Sequence[int], join: bool = False) -> Runs:
        """The runs in these ascending step numbers. With `join` they are one run, as if no step was dropped between them."""
        numbers = np.asarray(steps, np.int64)
        breaks = np.flatnonzero(np.diff(numbers) != 1) + 1 if not join else np.empty(0, np.int64)
        edges = np.concatenate([[0], breaks, [len(numbers)]]).astype(np.int32)
        lengths = np.diff(edges)
        return Runs(np.repeat(edges[:-1], lengths), np.repeat(edges[1:], lengths))

    def cut(self, horizon: int, earliest: int) -> int:
        """How many steps have a window, from `earliest` (0 or negative) to `horizon` - 1, that ends at a gap."""
        at = np.arange(len(self.start))
        ahead = (at + horizon > self.stop) & (self.stop < len(at))
        back = (at + earliest < self.start) & (self.start > 0)
        return int((ahead | back).sum())


def action_chunks(actions: F32, terminate: Bools, runs: Runs, horizon: int) -> Chunks:
    """The chunk of each of n steps: its own action and the following ones, `horizon` in all.

    `actions` is f32[n, D], `terminate` bool[n]. Past the end of a run, its last action is repeated as padding.
    """
    ahead = np.arange(len(actions), dtype=np.int32)[:, None] + np.arange(horizon, dtype=np.int32)
    last = runs.stop[:, None] - 1
    taken = np.minimum(ahead, last)
    ending = terminate[taken] & (ahead <= last)
    ends = np.where(ending.any(axis=1), ending.argmax(axis=1), -1).astype(np.int32)
    return Chunks(actions[taken], np.minimum(runs.stop - ahead[:, 0], horizon).astype(np.int32), ends)


def history(runs: Runs, offset: int) -> I32:
    """int32[n]: for each step, the step `offset` (0 or negative) steps away; -1 if that is before the start of its run."""
    at = np.arange(len(runs.start), dtype=np.int32) + offset
    return np.where(at >= runs.start, at, -1).astype(np.int32)
