"""Examples become a batch: arrays of one shape, filled up where a row is shorter or has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from rt2data.errors import UsageError
from rt2data.loading.decode import ARRAYS, PICTURE, Example

Batch = dict[str, Any]
TOKENS = ("input_ids", "loss_mask")


@dataclass(frozen=True)
class Collate:
    """Examples -> batch.

    - `input_ids` int32[B, T] filled up with `pad_id`; `attention_mask` bool[B, T] and `loss_mask` bool[B, T], False there. T is
      that of the longest row, or `length` where given (JAX likes shapes that stay).
    - `action` f32[B, D], `action_mask` bool[B, D], `action_bins` int32[B, K], `terminate` bool[B], `state` f32[B, S] with
      `state_mask` bool[B, S]: 0 and False where a row (all web rows) has none or fewer. D, K and S are those of the whole mixture
      (`widths`).
    - `picture` uint8[B, height, width, 3] where all have one size, else a list.
    - all other columns as lists.
    """

    pad_id: int
    widths: Mapping[str, int]
    length: int | None = None

    def __call__(self, examples: Sequence[Example]) -> Batch:
        """A batch of at least one example. Raises UsageError where a row is longer than `length`."""
        batch: Batch = {name: self._column(name, [example[name] for example in examples]) for name in examples[0]}
        if "input_ids" in batch:
            lengths = np.array([len(example["input_ids"]) for example in examples])
            batch["attention_mask"] = np.arange(batch["input_ids"].shape[1]) < lengths[:, None]
        if "state" in batch:
            sizes = np.array([0 if example["state"] is None else len(example["state"]) for example in examples])
            batch["state_mask"] = np.arange(self.widths["state"]) < sizes[:, None]
        return batch

    def _column(self, name: str, rows: list[Any]) -> Any:
        if name in TOKENS:
            return filled(rows, self._width(rows), ARRAYS[name], self.pad_id if name == "input_ids" else 0)
        if name in ARRAYS:
            return filled(rows, self.widths[name], ARRAYS[name])
        if name == "terminate":
            return np.array([bool(row) for row in rows])
        if name == PICTURE and isinstance(rows[0], np.ndarray) and len({row.shape for row in rows}) == 1:
            return np.stack(rows)
        return rows

    def _width(self, rows: Sequence[NDArray[Any]]) -> int:
        longest = max(map(len, rows))
        if self.length is not None and longest > self.length:
            raise UsageError(f"a row of {longest} tokens in batches of length {self.length}", do="give a larger length, or none")
        return self.length or longest


def filled(rows: Sequence[NDArray[Any] | None], width: int, dtype: DTypeLike, fill: int = 0) -> NDArray[Any]:
    """Rows of different lengths, or None, as one array [rows, width]."""
    found = np.full((len(rows), width), fill, dtype)
    for i, row in enumerate(rows):
        if row is not None:
            found[i, : len(row)] = row
    return found
