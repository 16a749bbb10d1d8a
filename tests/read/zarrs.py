"""Replay buffers in zarr, written with zarr as Diffusion Policy writes them."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import zarr

SIDE = 24


def buffer(lengths: Sequence[int], behind: int = 0, seed: int = 0) -> dict[str, Any]:
    """Arrays by path, for episodes of so many steps, and some steps behind the last."""
    random, total = np.random.default_rng(seed), sum(lengths) + behind
    return {
        "data/action": random.normal(size=(total, 7)).astype(np.float32),
        "data/state": random.normal(size=(total, 4)),
        "data/front": random.integers(0, 256, (total, SIDE, SIDE + 8, 3), dtype=np.uint8),
        "data/wrist": random.integers(0, 256, (total, 3, SIDE, SIDE), dtype=np.uint8),
        "data/timestamp": np.arange(total) / 10,
        "data/reward": random.random(total).astype(np.float32),
        "meta/episode_ends": np.cumsum(lengths),
        "meta/instruction": np.array([f"lift block {number}" for number in range(len(lengths))]),
    }


def write(
    path: Path,
    lengths: Sequence[int] = (5, 7, 4),
    version: Literal[2, 3] = 2,
    behind: int = 0,
    compressor: Any = "auto",
    **changes: Any,
) -> Path:
    """A store of such a buffer. `changes` give other arrays, by the last part of their path, or None for none."""
    arrays = {name: changes.get(name.rpartition("/")[2], values) for name, values in buffer(lengths, behind).items()}
    return write_arrays(
        path, {name: values for name, values in arrays.items() if values is not None}, version, compressor=compressor
    )


def write_arrays(path: Path, arrays: dict[str, Any], version: Literal[2, 3] = 2, rows: int = 4, compressor: Any = "auto") -> Path:
    """A store of arrays, in chunks of so many rows."""
    root = zarr.open_group(str(path), mode="w", zarr_format=version)
    for name, values in arrays.items():
        chunks = (min(rows, max(1, len(values))), *values.shape[1:])
        root.create_array(name, data=values, chunks=chunks, compressors=compressor)
    return path


def zipped(path: Path) -> Path:
    """The same store as an archive, members stored as they are."""
    out = path.with_name(f"{path.name}.zip")
    with zipfile.ZipFile(out, "w") as archive:
        for file in sorted(path.rglob("*")):
            if file.is_file():
                archive.write(file, str(file.relative_to(path)))
    return out
