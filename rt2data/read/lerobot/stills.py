"""Images stored individually: as bytes in a column, or as files named in a column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from rt2data.images.headers import ImageFault
from rt2data.io import location
from rt2data.io.location import path_of
from rt2data.io.location.base import Stat
from rt2data.read.lerobot.dataset import Dataset, is_inside
from rt2data.read.lerobot.rows import RowStream
from rt2data.records import Content, Deferred, Image, Place

AT_ONCE = 16
"""Images that are read together."""


class Stills:
    """The images of one column of one file."""

    def __init__(self, path: str, column: str, dataset: Dataset) -> None:
        self._rows = RowStream(path, AT_ONCE, [column])
        self._column, self._dataset = column, dataset

    def get(self, row: int) -> Content:
        """Encoded bytes of a row. Raises ImageFault, OSError."""
        try:
            value = self._rows.take(row, row + 1)[self._column][0].as_py()
        except pa.ArrowException as error:
            raise ImageFault("corrupt_image", f"row {row}: {error}") from None
        except OSError as error:
            if error.errno is not None:
                raise
            raise ImageFault("corrupt_image", f"row {row}: {error}") from None
        data, name = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
        if data:
            return bytes(data)
        if not name:
            raise ImageFault("missing_image", f"row {row} has neither bytes nor a path")
        return location.read_bytes(named_file(self._dataset, str(name)))

    def close(self) -> None:
        """Close the file."""
        self._rows.close()


def named_file(dataset: Dataset, name: str) -> str:
    """The file named in a column. Raises ImageFault if it is not a plain file under the dataset's `images`."""
    path = str(path_of(dataset.root) / name) if is_inside(name) else ""
    if path not in dataset.images:
        raise ImageFault("missing_image", f"no plain file of the dataset's folder `images`: {name[:200]}")
    return path


@dataclass(frozen=True, slots=True)
class Still(Deferred):
    """One row's image."""

    stills: Stills
    row: int

    def read(self) -> Content:
        return self.stills.get(self.row)


@dataclass(frozen=True, slots=True)
class Named(Deferred):
    """An image in a file of its own."""

    path: str

    def read(self) -> Content:
        return location.read_bytes(self.path)


@dataclass(frozen=True, slots=True)
class Broken(Deferred):
    """An image that cannot be read."""

    reason: str
    detail: str

    def read(self) -> Content:
        raise ImageFault(self.reason, self.detail)


def named_image(camera: str, path: str, sizes: Mapping[str, Stat]) -> Image:
    """An image in a file of its own, with its place."""
    return Image(camera, Named(path), Place(path, 0, sizes[path].size))
