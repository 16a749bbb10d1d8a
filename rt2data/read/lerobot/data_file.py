"""One Parquet file of episodes: numbers, words and images of rows, read in order."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rt2data.images.headers import ImageFault
from rt2data.io.tables import column_chunks
from rt2data.read.features import Part
from rt2data.read.lerobot.columns import DONE, EPISODE, FRAME, TASK_INDEX, TIME, is_image
from rt2data.read.lerobot.dataset import Dataset
from rt2data.read.lerobot.rows import RowStream, damage_named, matrix, numbers
from rt2data.read.lerobot.stills import Broken, Still, Stills, named_file, named_image
from rt2data.read.log import LogLayout
from rt2data.read.recorded import EpisodeFault
from rt2data.records import F32, Image, Unit

_ROWS = 4096
"""Rows whose numbers are decoded together."""


class DataFile:
    """A data file, opened for one layout. Only the current rows are in memory."""

    def __init__(self, path: str, dataset: Dataset, layout: LogLayout) -> None:
        self.path, self._dataset = path, dataset
        self._rows = RowStream(path, _ROWS)
        file = self._rows.file
        self._schema, self._total = file.schema_arrow, file.metadata.num_rows
        with damage_named(path):
            self._named = [name for name in layout.cameras.values() if _only_named(file, name)]
        wanted = [part.path for part in (*layout.action, *layout.state)]
        wanted += [layout.instruction or "", layout.success or "", layout.reward or "", DONE, TIME, FRAME, EPISODE, TASK_INDEX]
        wanted += [f"{name}.path" for name in self._named]
        there = self._schema.names
        self._rows.columns = [name for name in dict.fromkeys(wanted) if name.removesuffix(".path") in there]
        self._stills: dict[str, Stills] = {}

    def rows(self, part: Unit) -> pa.Table:
        """The rows of an episode, without its images. Raises EpisodeFault if they cannot be decoded, OSError."""
        stop = part.stop or self._total
        try:
            return self._rows.take(part.start, stop)
        except pa.ArrowException as error:
            raise EpisodeFault("corrupt_rows", str(error)[:200], stop - part.start) from None
        except OSError as error:
            if error.errno is not None:
                raise
            raise EpisodeFault("corrupt_rows", str(error)[:200], stop - part.start) from None

    def holds_images(self, column: str) -> bool:
        """Whether a camera's images are in a column of this file."""
        if column not in self._schema.names:
            return False
        kind = self._schema.field(column).type
        return is_image(kind) or bool(pa.types.is_binary(kind))

    def images(self, part: Unit, rows: pa.Table, camera: str, column: str) -> list[Image]:
        """The images of an episode, none of them read yet."""
        if column in self._named:
            return [self._by_name(camera, value and value.get("path")) for value in rows[column].to_pylist()]
        stills = self._stills.setdefault(column, Stills(self.path, column, self._dataset))
        return [Image(camera, Still(stills, part.start + row)) for row in range(rows.num_rows)]

    def _by_name(self, camera: str, name: str | None) -> Image:
        try:
            return named_image(camera, named_file(self._dataset, name or ""), self._dataset.images)
        except ImageFault as fault:
            return Image(camera, Broken(fault.reason, fault.detail))

    def close(self) -> None:
        """Close the file."""
        self._rows.close()
        for stills in self._stills.values():
            stills.close()


def _only_named(file: pq.ParquetFile, column: str) -> bool:
    """Whether an image column has only paths and no bytes, according to its statistics."""
    if column not in file.schema_arrow.names or not is_image(file.schema_arrow.field(column).type):
        return False
    return all(_all_null(file, group, column) for group in range(file.num_row_groups))


def _all_null(file: pq.ParquetFile, group: int, column: str) -> bool:
    rows = file.metadata.row_group(group).num_rows
    known = [chunk.statistics for chunk in column_chunks(file, group, [f"{column}.bytes"])]
    return bool(known) and all(each is not None and each.null_count == rows for each in known)


# Columns of an episode


def joined(rows: pa.Table, parts: Sequence[Part]) -> F32:
    """Columns, or ranges of them, concatenated: float32[T, D]. Raises EpisodeFault if one is missing or ragged."""
    return np.concatenate([_part(rows, part) for part in parts], axis=1)


def _part(rows: pa.Table, part: Part) -> F32:
    require_column(rows, part.path)
    return matrix(rows, part.path)[:, part.start : part.stop]


def values(rows: pa.Table, name: str) -> NDArray[np.float64]:
    """One number per step: float64[T]. Raises EpisodeFault if there is none."""
    require_column(rows, name)
    if pa.types.is_nested(rows.schema.field(name).type):
        return matrix(rows, name)[:, 0].astype(np.float64)
    return numbers(rows[name].combine_chunks()).astype(np.float64)


def require_column(rows: pa.Table, name: str) -> None:
    """Raises EpisodeFault if the file lacks this column."""
    if name not in rows.column_names:
        raise EpisodeFault("missing_column", f"there is no column {name} in this file", rows.num_rows)
