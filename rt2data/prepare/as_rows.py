"""Rows of a store in the form that the renderer takes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rt2data.order import I64, key64, keyed_permutation
from rt2data.prepare.row_table import vectors
from rt2data.records import Chunks, Images, Kind, Note, Region, Rows, Slot, Turn


class Shape(Protocol):
    """What all rows of a source have in common."""

    @property
    def name(self) -> str: ...

    @property
    def kind(self) -> Kind: ...

    @property
    def action_dim(self) -> int: ...

    @property
    def state_dim(self) -> int: ...

    @property
    def slots(self) -> tuple[Slot, ...]: ...


def as_rows(table: pa.Table, info: Shape, epochs: I64, horizon: int = 1) -> Rows:
    """Convert a table of rows for the renderer, with chunks of `horizon` actions, which the rows must hold."""
    own: list[str] = table["text"].to_pylist()
    text = _chosen_texts(table, own, epochs)
    return Rows(
        source=info.name,
        kind=info.kind,
        keys=table["key"].to_pylist(),
        groups=table["group"].to_pylist(),
        steps=table["step"].to_numpy(),
        lengths=table["steps"].to_numpy(),
        timestamps=table["timestamp"].to_pylist(),
        images=images(table, info.slots),
        text=text,
        answers=table["answers"].to_pylist(),
        picks=table["pick"].to_numpy(),
        turns=_turns(table["turns"]),
        chunks=_chunks(table, info.action_dim, horizon),
        state=vectors(table["state"], info.state_dim),
        terminate=table["terminate"].to_numpy(),
        epochs=epochs,
        notes=_notes(table["notes"]) if "notes" in table.column_names else None,
        originals=None if text is own else [a if a != b else None for a, b in zip(own, text, strict=True)],
        regions=_regions(table["regions"]) if "regions" in table.column_names else None,
    )


def _chosen_texts(table: pa.Table, own: list[str], epochs: I64) -> list[str]:
    """The instruction of each row: its own, or one from its pool."""
    if "pool" not in table.column_names:
        return own
    columns = (table[name].to_pylist() for name in ("group", "pool", "pool_at", "pool_of"))
    return [
        pool[balanced(group, epoch * count + at, len(pool))] if pool else text
        for text, epoch, group, pool, at, count in zip(own, epochs.tolist(), *columns, strict=True)
    ]


def balanced(group: str, number: int, size: int) -> int:
    """Which of `size` things a group takes on turn `number`: each once in a block of `size` turns, in a new order per block.

    The turns of successive epochs follow on, so after any whole epochs all were taken equally often, to within one.
    """
    block, at = divmod(number, size)
    return int(_order_of(size, key64("instruction", group, block))[at])


@lru_cache(maxsize=4096)
def _order_of(size: int, key: int) -> I64:
    return keyed_permutation(size, key)


def _notes(column: pa.ChunkedArray) -> Sequence[Sequence[Note] | None]:
    """The notes of each row; None for a row without any."""
    return [None if notes is None else tuple(Note(**note) for note in notes) for notes in column.to_pylist()]


def _regions(column: pa.ChunkedArray) -> list[tuple[Region, ...]]:
    """The boxes and points of each row."""
    return [tuple(_region(**each) for each in row or ()) for row in column.to_pylist()]


def _region(image: int, x0: float, y0: float, x1: float, y1: float, label: str) -> Region:
    return Region(image, (x0, y0) if (x0, y0) == (x1, y1) else (x0, y0, x1, y1), label)


def _turns(column: pa.ChunkedArray) -> Sequence[Sequence[Turn] | None]:
    """The turns of each conversation; None for other rows."""
    if column.null_count == len(column):
        return (None,) * len(column)
    return [None if turns is None else tuple(Turn(**turn) for turn in turns) for turns in column.to_pylist()]


def _chunks(table: pa.Table, dim: int, horizon: int) -> Chunks | None:
    """The first `horizon` actions of each row's chunk."""
    if horizon == 1:
        own = vectors(table["action"], dim)
        ends = np.where(table["terminate"].to_numpy(), 0, -1).astype(np.int32)
        return None if own is None else Chunks(own[:, None], np.ones(len(own), np.int32), ends)
    flat = vectors(table["chunk"], dim)
    if flat is None:
        return None
    ends, real = table["ends"].to_numpy(), table["real"].to_numpy()
    actions = flat.reshape(table.num_rows, -1, dim)[:, :horizon]
    return Chunks(actions, np.minimum(real, horizon), np.where(ends < horizon, ends, -1))


def images(table: pa.Table, slots: Sequence[Slot]) -> Images:
    """The images of each row that a mixture uses. If a source has several `slots`, each image has the number of its slot."""
    column = table["images"].combine_chunks()
    values, chosen = column.flatten(), pc.struct_field(column.flatten(), "chosen").to_numpy(zero_copy_only=False)
    ends = np.concatenate([[0], np.cumsum(chosen)])
    starts = ends[np.asarray(column.offsets) - column.offsets[0].as_py()].astype(np.int64)
    if not chosen.all():
        values = values.filter(pa.array(chosen))
    field = {name: pc.struct_field(values, name) for name in ("camera", "at", "file", "offset", "length", "xxh3", "format")}
    return Images(
        starts=starts,
        slot=_slot_numbers(field["camera"], field["at"], slots) if len(slots) > 1 else _counted(starts),
        camera=field["camera"].to_pylist(),
        file=field["file"].to_numpy(),
        offset=field["offset"].to_numpy(),
        length=field["length"].to_numpy(),
        xxh3=field["xxh3"].to_numpy(),
        format=field["format"].to_pylist(),
        sizes=_sizes(values) if "regions" in table.column_names else None,
    )


def _sizes(images: pa.StructArray) -> NDArray[np.int32]:
    """[m, 2]: width and height in pixels."""
    return np.stack([pc.struct_field(images, name).to_numpy() for name in ("width", "height")], axis=1)


def _counted(starts: I64) -> NDArray[np.int32]:
    """0, 1, 2, ... in each row."""
    counts = np.diff(starts)
    return (np.arange(starts[-1]) - np.repeat(starts[:-1], counts)).astype(np.int32)


def _slot_numbers(cameras: pa.Array, at: pa.Array, slots: Sequence[Slot]) -> NDArray[np.int32]:
    """The slot number of each image."""
    names = list(dict.fromkeys(slot.camera for slot in slots))
    offsets = list(dict.fromkeys(slot.offset for slot in slots))
    camera = pc.index_in(cameras, pa.array(names)).to_numpy()
    back = pc.index_in(at, pa.array(offsets, pa.int32())).to_numpy()
    found: NDArray[np.int32] = (back * len(names) + camera).astype(np.int32)
    return found
