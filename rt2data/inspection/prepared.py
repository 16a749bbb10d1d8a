"""Recognising a prepared store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from rt2data.inspection.sight import Sight
from rt2data.report.contact_sheet import Tile
from rt2data.store import Store, as_rows, pictures


def see(path: Path) -> Sight | None:
    """A prepared store where there is a source.json beside its list of files."""
    here = path.parent if path.name == "source.json" else path
    return StoreSight(here) if (here / "source.json").is_file() and (here / "files.parquet").is_file() else None


@dataclass(frozen=True)
class StoreSight(Sight):
    """The prepared store of one source."""

    kind = "store"

    def facts(self) -> dict[str, Any]:
        store = Store(self.path)
        found: dict[str, Any] = msgspec.to_builtins(store.info)
        return found | {"changed_files": store.changed_files()[:20]}

    def tiles(self, count: int) -> list[Tile]:
        """The first rows of each split: they lie in random order."""
        store = Store(self.path)
        each = -(-count // max(len(store.info.splits), 1))
        return [tile for split in store.info.splits for tile in _tiles(store, split, each)][:count]


def _tiles(store: Store, split: str, count: int) -> Iterator[Tile]:
    numbers = np.arange(min(count, store.info.splits[split].rows), dtype=np.int64)
    if not len(numbers):
        return
    table = store.take(split, numbers)
    rows, seen = as_rows(table, store.info, np.zeros_like(numbers)), pictures(table)
    for i in range(len(rows)):
        with Path(store.stamps[seen.file[i]].path).open("rb") as file:
            file.seek(int(seen.offset[i]))
            picture = file.read(int(seen.length[i]))
        said = ", ".join(rows.answers[i]) if rows.action is None else " ".join(f"{value:.3g}" for value in rows.action[i].tolist())
        yield Tile(picture, store.info.name, rows.kind, rows.text[i], said, split)
