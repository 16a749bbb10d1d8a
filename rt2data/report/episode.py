"""An episode as a film strip with its actions under it: what the robot saw, and what it was told to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rt2data.report.contact_sheet import Tile
from rt2data.report.pictures import read_place
from rt2data.report.shots import Shot, shoot
from rt2data.store import Store

FRAMES, SIDE = 10, 128
LOOKED = 64
"""Rows among whose episodes one of usual length is chosen."""


@dataclass(frozen=True, slots=True)
class Film:
    """One episode. Steps that were left out are missing in the curves too."""

    source: str
    split: str
    episode: str
    camera: str
    instruction: str
    steps: int  # as recorded
    kept: int  # steps that are here
    frames: tuple[Shot, ...]
    curves: tuple[tuple[float, ...], ...]  # by dimension, then by step; NaN where a step is missing


def store_film(store: Store, split: str) -> Film | None:
    """An episode of usual length; None where the store has no episodes."""
    if store.info.kind != "robot" or not store.info.splits[split].rows:
        return None
    near = store.take(split, np.arange(min(LOOKED, store.info.splits[split].rows), dtype=np.int64))
    lengths = sorted(zip(near["steps"].to_pylist(), near["group"].to_pylist(), strict=True))
    episode = lengths[len(lengths) // 2][1]
    numbers = np.flatnonzero(pc.equal(store.column(split, "group"), episode).to_numpy()).astype(np.int64)
    return film(store, split, store.take(split, numbers).sort_by("step"))


def film(store: Store, split: str, rows: pa.Table) -> Film:
    """The film of one episode's rows, in order of their steps."""
    steps = rows["step"].to_numpy()
    last = rows.slice(len(rows) - 1).to_pylist()[0]
    chosen = rows.take(pa.array(spread(len(rows), FRAMES)))
    frames = [_frame(store, row) for row in chosen.to_pylist()]
    actions = np.array(rows["action"].to_pylist(), np.float64).reshape(len(rows), -1)
    length = int(max(last["steps"], steps[-1] + 1))
    curves = tuple(_placed(steps, column, length) for column in actions.T)
    return Film(store.info.name, split, last["group"], store.info.camera, last["text"], length, len(rows), tuple(frames), curves)


def spread(total: int, count: int) -> list[int]:
    """The middles of `count` equal parts of 0..total-1: frame and curve stand one under the other. All where there are fewer."""
    parts = min(total, count)
    return [int((part + 0.5) * total / parts) for part in range(parts)]


def _frame(store: Store, row: dict[str, object]) -> Shot:
    images: Sequence[dict[str, object]] = row["images"]  # type: ignore[assignment]
    tile = Tile(read_place(store, images[0]), store.info.name, "robot", str(row["text"]), "", f"step {row['step']}")
    return shoot(tile, SIDE)


def _placed(steps: NDArray[np.int32], values: NDArray[np.float64], length: int) -> tuple[float, ...]:
    """Values at their steps, NaN elsewhere."""
    curve = np.full(length, np.nan)
    curve[steps] = values
    return tuple(curve.tolist())
