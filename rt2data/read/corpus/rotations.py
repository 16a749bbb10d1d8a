"""How Open Images must be rotated, from its CSV files of image ids. TextVQA's images are among them."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from rt2data.errors import DataError, UsageError
from rt2data.io import location
from rt2data.io.stamps import Stamp

Turn = Literal[0, 90, 180, 270]

_CLOCKWISE: dict[str, Turn] = {"0": 0, "90": 270, "180": 180, "270": 90}
"""Clockwise degrees by counter-clockwise degrees, which the files use."""
_HEXADECIMAL = re.compile(r"[0-9a-fA-F]{16}")
_UNKNOWN = 1  # instead of a rotation
_AS_TEXT = csv.ConvertOptions(
    include_columns=["ImageID", "Rotation"], column_types={"ImageID": pa.string(), "Rotation": pa.string()}, null_values=[]
)


class Rotations(NamedTuple):
    """The rotations of n images, 10 bytes each."""

    ids: NDArray[np.uint64]  # n, sorted
    turns: NDArray[np.int16]  # n

    def of(self, name: str) -> Turn | None:
        """How many degrees clockwise to rotate an image to make it upright; None if unknown."""
        number = _number(name)
        at = int(np.searchsorted(self.ids, np.uint64(number))) if number is not None else len(self.ids)
        if at == len(self.ids) or int(self.ids[at]) != number or self.turns[at] == _UNKNOWN:
            return None
        return int(self.turns[at])  # type: ignore[return-value]


def rotations_of(path: str) -> Rotations:
    """The rotations in a file, read once per process. Raises UsageError if it is not such a file, DataError if a rotation is not 0,
    90, 180 or 270.
    """
    return _read(path, Stamp.of(path))


@lru_cache(maxsize=2)
def _read(path: str, stamp: Stamp) -> Rotations:
    ids, turns = [], []
    try:
        with location.open_file(path) as file, csv.open_csv(file, convert_options=_AS_TEXT) as batches:
            for batch in batches:
                some_ids, some_turns = _columns(batch, path)
                ids.append(some_ids)
                turns.append(some_turns)
    except (pa.ArrowInvalid, KeyError) as error:
        do = "name a CSV of image ids of Open Images"
        raise UsageError(f"no CSV with the columns ImageID and Rotation: {error}", path, do) from None
    found, turned = np.concatenate([*ids, np.empty(0, np.uint64)]), np.concatenate([*turns, np.empty(0, np.int16)])
    order = np.argsort(found, kind="stable")
    return Rotations(found[order], turned[order])


def _columns(batch: Any, path: str) -> tuple[NDArray[np.uint64], NDArray[np.int16]]:
    """Ids and rotations of the rows about Open Images."""
    names, rotations = (batch.column(name).to_pylist() for name in ("ImageID", "Rotation"))
    numbers = [(_number(name), text, name) for name, text in zip(names, rotations, strict=True)]
    kept = [(number, _turn(text, path, name)) for number, text, name in numbers if number is not None]
    return np.array([number for number, _ in kept], np.uint64), np.array([turn for _, turn in kept], np.int16)


def _number(name: str) -> int | None:
    return int(name, 16) if _HEXADECIMAL.fullmatch(name) else None


def _turn(text: str, path: str, name: str) -> int:
    bare = text.strip().lower().removesuffix(".0")
    if bare in ("", "nan"):
        return _UNKNOWN
    if bare not in _CLOCKWISE:
        raise DataError(f"{text[:20]!r} is no rotation of 0, 90, 180 or 270", f"{path}: image {name}", "fetch the file again")
    return _CLOCKWISE[bare]
