"""Files of rows of any size, as a prepared store has them, written directly: no picture is ever made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rt2data.prepare.row_table import ROWS, UNIT_ROWS
from rt2data.prepare.runs import ROWS_PER_FILE
from rt2data.prepare.staged import file_id
from rt2data.prepare.unit import UnitSummary
from tests.look.stats.stores import lay
from tests.prepare.staging import lay_out

STEPS = 100
"""Steps of an episode."""


def write_store(folder: Path, rows: int, dims: int, cameras: int = 1, state: bool = True, seed: int = 0) -> Path:
    """A complete store of one robot source with so many rows, in whole episodes of 100 steps."""
    order = np.random.default_rng(seed).permutation(rows)
    parts = np.split(order, range(ROWS_PER_FILE, rows, ROWS_PER_FILE))
    tables = (_table(which, dims, cameras, state, np.random.default_rng((seed, at))) for at, which in enumerate(parts))
    return lay(folder, (("train", table) for table in tables), camera="image_0").path


def _table(which: np.ndarray, dims: int, cameras: int, state: bool, rng: np.random.Generator) -> pa.Table:
    n, episode, step = len(which), which // STEPS, which % STEPS
    action = rng.normal(0, 0.05, (n, dims)).astype(np.float32)
    action[:, -1] = step >= STEPS // 2
    columns = {
        "key": [f"e{e:06d}-{s:06d}" for e, s in zip(episode.tolist(), step.tolist(), strict=True)],
        "order": np.sort(rng.integers(0, 2**64, n, dtype=np.uint64)),
        "group": [f"e{e:06d}" for e in episode.tolist()],
        "split": pa.array(["train"] * n).dictionary_encode().cast(ROWS.field("split").type),
        "step": step.astype(np.int32),
        "steps": np.full(n, STEPS, np.int32),
        "text": [f"put object {e % 997} on plate {e % 13}" for e in episode.tolist()],
        "answers": pa.array([[]] * n, ROWS.field("answers").type),
        "pick": np.full(n, -1, np.int32),
        **{name: pa.nulls(n, ROWS.field(name).type) for name in ("turns", "chunk", "real", "ends")},
        "action": _lists(action),
        "state": _lists(rng.normal(0, 1, (n, dims)).astype(np.float32)) if state else pa.nulls(n, ROWS.field("state").type),
        "terminate": step == STEPS - 1,
        "marks": np.zeros(n, np.uint8),
        "timestamp": step * 0.2,
        "images": _images(n, cameras, rng),
        "digest": rng.integers(0, 2**63, n).astype(np.uint64),
    }
    return pa.table([columns[name] for name in ROWS.names], schema=ROWS)


def write_fragments(folder: Path, units: int, rows: int) -> list[UnitSummary]:
    """Rows of so many units, as preparing leaves them in a staging folder."""
    files = lay_out(folder, units, ["log"])
    for unit in range(units):
        table = _of_unit(_table(unit * rows + np.arange(rows), 7, 1, True, np.random.default_rng(unit)))
        pq.write_table(table, files.fragment(unit), row_group_size=1024, compression="lz4", write_statistics=["order"])
    none = {"rejects": (), "conversions": {}, "action_dims": (7,), "state_dims": (7,), "cameras": ("image_0",)}
    return [UnitSummary(name="arm", unit=i, rows={"train": rows}, bytes_read=0, blob_bytes=0, **none) for i in range(units)]


def _of_unit(rows: pa.Table) -> pa.Table:
    """With the id of a file instead of its number."""
    at, images = UNIT_ROWS.get_field_index("images"), rows["images"].combine_chunks()
    kind = UNIT_ROWS.field(at).type
    fields = dict(zip((field.name for field in kind.value_type), images.values.flatten(), strict=True))
    fields["file"] = pa.array(np.full(len(images.values), file_id("log"), np.uint64))
    struct = pa.StructArray.from_arrays(list(fields.values()), fields=list(kind.value_type))
    return rows.set_column(at, UNIT_ROWS.field(at), pa.ListArray.from_arrays(images.offsets, struct, kind))


def _lists(values: np.ndarray) -> pa.ListArray:
    offsets = np.arange(0, values.size + 1, values.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values.ravel()))


def _images(n: int, cameras: int, rng: np.random.Generator) -> pa.ListArray:
    size = n * cameras
    columns = {
        "camera": pa.array([f"image_{c}" for _ in range(n) for c in range(cameras)]),
        "at": np.zeros(size, np.int32),
        "chosen": np.tile(np.arange(cameras) == 0, n),
        "file": np.zeros(size, np.int32),
        "offset": rng.integers(0, 2**40, size),
        "length": rng.integers(40_000, 60_000, size).astype(np.int32),
        "width": np.full(size, 256, np.int32),
        "height": np.full(size, 256, np.int32),
        "format": pa.array(["jpeg"] * size),
        "xxh3": rng.integers(0, 2**63, size).astype(np.uint64),
    }
    kind = ROWS.field("images").type.value_type
    struct = pa.StructArray.from_arrays([pa.array(columns[f.name], f.type) for f in kind], fields=list(kind))
    return pa.ListArray.from_arrays(pa.array(np.arange(0, size + 1, cameras, dtype=np.int32)), struct)


def tables(folder: Path, column: str) -> Iterator[np.ndarray]:
    """A column of vectors, file by file."""
    for path in sorted(folder.glob("rows-train-*.parquet")):
        lists = pq.read_table(path, columns=[column], use_threads=False)[column].combine_chunks()
        yield np.asarray(lists.flatten()).reshape(len(lists), -1)
