"""An episode as a film strip with its actions under it: what the robot saw and what it did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rt2data.look.inspect.mixture import InspectedMixture
from rt2data.look.report.contact_sheet import Tile
from rt2data.look.report.images import Shot, read_place, shoot
from rt2data.prepare.row_table import vectors
from rt2data.prepare.store import Store
from rt2data.records import F32
from rt2data.render.fields import ExampleRecord

FRAMES, SIDE = 10, 128
LOOKED = 64
"""Rows searched for an episode of median length."""


@dataclass(frozen=True, slots=True)
class Film:
    """One episode. Dropped steps are missing from the curves too."""

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
    """An episode of median length; None if the store has no episodes. Reads the rows file by file."""
    info = store.info
    if not info.has_actions or not info.splits[split].rows:
        return None
    near = store.take(split, np.arange(min(LOOKED, info.splits[split].rows), dtype=np.int64))
    lengths = sorted(zip(near["steps"].to_pylist(), near["group"].to_pylist(), strict=True))
    length, episode = lengths[len(lengths) // 2]
    rows = episode_rows(store, split, episode).sort_by("step")
    steps, actions = rows["step"].to_numpy(), vectors(rows["action"], info.action_dim)
    seen = store.take(split, rows["number"].to_numpy()[spread(len(rows), FRAMES)]).to_pylist()
    return Film(
        source=info.name,
        split=split,
        episode=episode,
        camera=info.camera,
        instruction=seen[0]["text"],
        steps=max(length, int(steps[-1]) + 1),
        kept=len(rows),
        frames=tuple(_frame(store, row) for row in seen),
        curves=() if actions is None else tuple(_placed(steps, column, max(length, int(steps[-1]) + 1)) for column in actions.T),
    )


def mixture_films(mixture: InspectedMixture) -> list[Film]:
    """For each robot source, the episode with the most steps in the first shards; steps that were not drawn are missing."""
    found: dict[str, dict[str, dict[int, tuple[bytes, ExampleRecord]]]] = {}
    for shard in mixture.first_shards():
        for member, record in mixture.of_shard(shard.name):
            if record.episode is not None and record.step is not None:
                found.setdefault(record.source, {}).setdefault(record.episode, {})[record.step] = bytes(member.image), record
    return [_longest(episodes) for _, episodes in sorted(found.items())]


def _longest(episodes: Mapping[str, Mapping[int, tuple[bytes, ExampleRecord]]]) -> Film:
    episode = max(sorted(episodes), key=lambda name: len(episodes[name]))
    steps = sorted(episodes[episode])
    records = [episodes[episode][step] for step in steps]
    _, first = records[0]
    size = sum(first.action_mask or ())
    actions = np.array([(record.action or ())[:size] for _, record in records], np.float32).reshape(len(steps), -1)
    chosen = [(step, records[at][0]) for at in spread(len(steps), FRAMES) for step in (steps[at],)]
    frames = [shoot(Tile(data, first.source, "robot", first.text, "", f"step {step}"), SIDE) for step, data in chosen]
    placed = [_placed(np.array(steps, np.int32), column, steps[-1] + 1) for column in actions.T]
    return Film(first.source, first.split, episode, "", first.text, steps[-1] + 1, len(steps), tuple(frames), tuple(placed))


def episode_rows(store: Store, split: str, episode: str) -> pa.Table:
    """Number, step and action of the rows of one episode, in stored order."""
    found, before = [], 0
    for file, count in enumerate(store.info.splits[split].files):
        here = store.read(split, file, ["group", "step", "action"])
        here = here.append_column("number", pa.array(np.arange(before, before + count)))
        found.append(here.filter(pc.equal(here["group"], episode)))
        before += count
    return pa.concat_tables(found)


def spread(total: int, count: int) -> list[int]:
    """The midpoints of `count` equal parts of 0..total-1, so that frames align with the curves; all indexes if there are fewer."""
    parts = min(total, count)
    return [int((part + 0.5) * total / parts) for part in range(parts)]


def _frame(store: Store, row: dict[str, object]) -> Shot:
    images: Sequence[dict[str, object]] = row["images"]  # type: ignore[assignment]
    data = read_place(store, images[0]) if images else b""
    tile = Tile(data, store.info.name, "robot", str(row["text"]), "", f"step {row['step']}")
    return shoot(tile, SIDE)


def _placed(steps: NDArray[np.int32], values: F32, length: int) -> tuple[float, ...]:
    """Values at their steps, NaN elsewhere."""
    curve = np.full(length, np.nan)
    curve[steps] = values
    return tuple(curve.tolist())
