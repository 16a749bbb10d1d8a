"""Sampled pictures of a store or a mixture, camera by camera, for a page to show and to measure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from rt2data.io import location
from rt2data.look.report.contact_sheet import Tile
from rt2data.look.report.thumbnails import Shot, Tint, mean_tint, picture_warnings, shoot
from rt2data.prepare.store import Store
from rt2data.records import Kind, Warn

MEASURED = 48
"""Pictures of each camera whose looks are measured; fewer are shown."""
NEAR = 512
"""Rows from which those of different episodes or pictures are chosen."""


@dataclass(frozen=True, slots=True)
class Album:
    """Pictures of one camera of one source."""

    source: str
    split: str
    kind: Kind
    camera: str
    used: bool  # the one the mixture takes
    shots: tuple[Shot, ...]  # those that are shown
    tint: Tint | None  # of those that were measured
    warnings: tuple[Warn, ...]


def album(source: str, split: str, kind: Kind, camera: str, used: bool, tiles: Sequence[Tile], count: int) -> Album:
    """Show the first `count` tiles, half of them where the mixture does not take this camera; measure up to MEASURED."""
    shown = count if used else -(-count // 2)
    shots = [shoot(tile) for tile in tiles[: max(count, MEASURED)]]
    warnings = tuple(picture_warnings(source, camera, used, shots))
    return Album(source, split, kind, camera, used, tuple(shots[:shown]), mean_tint(shots), warnings)


def store_albums(store: Store, splits: Sequence[str], count: int) -> list[Album]:
    """One album for each camera of each split."""
    info = store.info
    found = []
    for split in splits:
        rows = sampled_rows(store, split, max(count, MEASURED))
        for camera in info.cameras:
            tiles = [tile for row in rows for tile in _tile(store, row, camera)]
            if tiles:
                found.append(album(info.name, split, info.kind, camera, camera == info.camera, tiles, count))
    return found


def sampled_rows(store: Store, split: str, count: int) -> list[dict[str, Any]]:
    """Rows of a split, of as many different episodes or pictures as there are near its beginning: rows lie in random order."""
    numbers = np.arange(min(NEAR, store.info.splits[split].rows), dtype=np.int64)
    if not len(numbers):
        return []
    table = store.take(split, numbers)
    groups = table["group"].to_pylist()
    first = {group: at for at, group in reversed(list(enumerate(groups)))}
    chosen = sorted(range(len(groups)), key=lambda at: (first[groups[at]] != at, at))[:count]
    rows: list[dict[str, Any]] = table.take(chosen).to_pylist()
    return rows


def _tile(store: Store, row: dict[str, Any], camera: str) -> Iterator[Tile]:
    """The row's picture of this camera, with its words; none where it has none."""
    for image in row["images"]:
        if image["camera"] == camera:
            note = f"{row['group']} step {row['step']}" if row["step"] >= 0 else row["group"]
            yield Tile(read_place(store, image), store.info.name, store.info.kind, row["text"], said(row), note)
            return


def said(row: dict[str, Any]) -> str:
    """Answers, or the action's numbers."""
    action = row["action"]
    return " ".join(f"{value:.2g}" for value in action) if action else ", ".join(dict.fromkeys(row["answers"] or ()))


def read_place(store: Store, image: dict[str, Any]) -> bytes:
    """A picture's bytes from where they lie; none where they lie there no more."""
    try:
        return location.read_range(store.stamps[image["file"]].path, image["offset"], image["length"])
    except OSError:
        return b""


def fewer(albums: Sequence[Album]) -> list[Album]:
    """The same albums with half as many pictures."""
    return [replace(each, shots=each.shots[: len(each.shots) // 2]) for each in albums]
