"""Prepared stores written directly: any rows, no images."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rt2data.io.stamps import Stamp
from rt2data.order import WINDOW, key64
from rt2data.prepare.row_table import ROWS
from rt2data.prepare.statistics import summarize
from rt2data.prepare.store import REJECTS, STORE_VERSION, Lost, SplitInfo, Store, StoreInfo, rows_file, write_stamps


def lay(
    folder: Path,
    tables: Iterable[tuple[str, pa.Table]],
    space: str = "generic_nd",
    name: str = "arm",
    camera: str = "front",
    lost: Sequence[Lost] = (),
) -> Store:
    """A complete store of these files of rows: (split, rows). With actions it is a robot's."""
    folder.mkdir(parents=True)
    files: dict[str, list[int]] = defaultdict(list)
    numbers: dict[str, dict[str, list[np.ndarray]]] = defaultdict(lambda: {"action": [], "state": []})
    groups: dict[str, set[str]] = defaultdict(set)
    for split, table in tables:
        path = rows_file(folder, split, len(files[split]))
        pq.write_table(table, path, row_group_size=WINDOW, compression="zstd", write_page_checksum=True)
        files[split].append(table.num_rows)
        groups[split].update(table["group"].unique().to_pylist())
        for what, found in numbers[split].items():
            found.append(_vectors(table[what]))
    sums = {split: {what: _summary(found) for what, found in parts.items()} for split, parts in numbers.items()}
    (folder / "stats.json").write_text(json.dumps(sums))
    write_stamps(folder / "files.parquet", [Stamp.of(__file__)])
    rejects = [{"reason": each.reason, "where": "step 3", "detail": "", "fault": each.fault, "count": each.count} for each in lost]
    pq.write_table(pa.Table.from_pylist(rejects, schema=REJECTS), folder / "rejects.parquet")
    first = next(iter(numbers.values()))
    dims = [0 if found[0] is None else found[0].shape[1] for found in first.values()]
    info = StoreInfo(
        version=STORE_VERSION,
        tool_version="test",
        name=name,
        kind="robot" if dims[0] else "web",
        source="test",
        settings={"action_space": space},
        digest="0" * 32,
        camera=camera,
        cameras=(camera,),
        action_dim=dims[0],
        state_dim=dims[1],
        splits={split: SplitInfo(sum(each), len(groups[split]), 0, 0, tuple(each), {}) for split, each in files.items()},
        rejects=tuple(lost),
        conversions={},
        bytes_read=0,
    )
    (folder / "source.json").write_bytes(msgspec.json.encode(info))
    return Store(folder)


def _vectors(column: pa.ChunkedArray) -> np.ndarray | None:
    flat = np.asarray(column.combine_chunks().flatten())
    return flat.reshape(len(column), -1) if len(flat) else None


def _summary(found: list[Any]) -> dict[str, Any] | None:
    if found[0] is None:
        return None
    values = np.concatenate(found)
    return summarize(values[np.isfinite(values).all(axis=1)]).to_json()


def robot_rows(
    episode: str,
    action: np.ndarray,
    state: np.ndarray | None = None,
    text: str = "pick the can",
    split: str = "train",
    images: Sequence[int] | None = None,
    hz: float | None = None,
    steps: Sequence[int] | None = None,
) -> list[dict[str, Any]]:
    """The rows of one episode."""
    count = len(action)
    seen = [key64("picture", episode, i) for i in range(count)] if images is None else images
    return [
        row(
            f"{episode}-{step:06d}",
            split=split,
            group=episode,
            step=step,
            steps=count,
            text=text,
            action=action[i].astype(np.float32),
            state=None if state is None else state[i].astype(np.float32),
            terminate=i == count - 1,
            timestamp=None if hz is None else step / hz,
            images=[image(seen[i])],
        )
        for i, step in enumerate(range(count) if steps is None else steps)
    ]


def web_row(key: str, text: str, answers: Sequence[str], hash_: int, split: str = "train") -> dict[str, Any]:
    """One question."""
    return row(key, split=split, group=f"g{hash_}", text=text, answers=list(answers), images=[image(hash_)])


def row(key: str, **values: Any) -> dict[str, Any]:
    """A row with what is not given left empty."""
    empty: dict[str, Any] = {"step": -1, "steps": -1, "answers": [], "pick": -1, "terminate": False, "marks": 0, "digest": 0}
    return dict.fromkeys(ROWS.names) | empty | {"key": key, "order": key64("row", key)} | values


def image(hash_: int, camera: str = "front", size: int = 64) -> dict[str, Any]:
    """Where a image would lie."""
    place = {"camera": camera, "at": 0, "chosen": True, "file": 0, "offset": 0, "length": 1000 + hash_ % 7, "xxh3": hash_}
    return place | {"width": size, "height": size, "format": "jpeg"}


def files_of(rows: Sequence[dict[str, Any]], most: int = 50) -> list[tuple[str, pa.Table]]:
    """Files of rows in keyed order, each of a few rows."""
    found = []
    for split in sorted({each["split"] for each in rows}):
        mine = sorted((each for each in rows if each["split"] == split), key=lambda each: int(each["order"]))
        found += [(split, pa.Table.from_pylist(mine[at : at + most], schema=ROWS)) for at in range(0, len(mine), most)]
    return found
