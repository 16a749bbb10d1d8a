"""Images of one camera of an episode: raw frames, or encoded images in rows of equal length, read on demand.

Encoded rows have no `Place`: the length of the image in a row is known only after reading it, and an unused camera should cost
nothing. (ACT's files have `compress_len`, but not which of its rows belongs to which camera.)
"""

from __future__ import annotations

from math import prod
from typing import Any, Literal

import numpy as np

from rt2data.images.headers import ImageFault
from rt2data.io.hdf5 import LARGEST, Hdf5Fault, Hdf5File, require_size
from rt2data.records import Content, Deferred

SLAB = 32 << 20
"""Maximum bytes of frames to read at once."""
_SMALL = 1 << 20  # bytes to read at once by default
_LARGEST_FRAME = LARGEST >> 2
_SMALLEST = 16  # pixels: a uint8 array with a shorter side is not taken for an image
_SHORTEST = 64  # minimum bytes of a row
_SIGNS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF")


def images_in(dataset: Any) -> str:
    """A description of the images in a dataset: `640x480x3`, `encoded`, or "" if none. For rows of bytes it reads the first."""
    kind = _kind(dataset)
    if kind != "encoded":
        return "x".join(str(side) for side in (*dataset.shape[2:0:-1], dataset.shape[3])) if kind else ""
    if not len(dataset):
        return ""
    require_size(dataset, _LARGEST_FRAME, _row_bytes(dataset))
    return kind if _encoded(dataset[0]).startswith(_SIGNS) else ""


def _kind(dataset: Any) -> Literal["raw", "encoded", ""]:
    """The kind of images, from type and shape alone: frames, or rows of bytes (uint8[n], strings of a fixed length, uint8 of any
    length).
    """
    from h5py import check_vlen_dtype

    shape, kind = dataset.shape, dataset.dtype
    if kind == np.uint8 and len(shape) == 4:
        return "raw" if min(shape[1:3]) >= _SMALLEST and shape[3] in (1, 3, 4) else ""
    if kind == np.uint8:
        return "encoded" if len(shape) == 2 and shape[1] >= _SHORTEST else ""
    if len(shape) != 1:
        return ""
    return "encoded" if (kind.kind == "S" and kind.itemsize >= _SHORTEST) or check_vlen_dtype(kind) == np.uint8 else ""


def _row_bytes(dataset: Any) -> int:
    """The size of a row in memory; unknown if of any length."""
    return prod((int(dataset.dtype.itemsize), *map(int, dataset.shape[1:])))


def _encoded(row: Any) -> bytes:
    """An image without the zero padding of its row: JPEG and PNG do not end with zeros."""
    return (row if isinstance(row, bytes) else np.asarray(row, np.uint8).tobytes()).rstrip(b"\0")


class Frames:
    """The frames of one camera of an episode. It caches the last read: whole chunks, if not too large."""

    def __init__(self, file: Hdf5File, dataset: Any) -> None:
        """Raises Hdf5Fault for datasets without images, or with frames that are too large."""
        with file.reading():
            kind = _kind(dataset)
            if not kind:
                raise Hdf5Fault("wrong_type", f"{dataset.name} holds {dataset.dtype}{list(dataset.shape)}, no images")
            size = _row_bytes(dataset)
            require_size(dataset, _LARGEST_FRAME, size)
            self._path, self.total = str(dataset.name), len(dataset)
            self._raw, chunk = kind == "raw", (dataset.chunks or (max(1, _SMALL // size),))[0]
            self._at_once = max(1, min(chunk, SLAB // size))
        self._file, self._start, self._slab = file, 0, np.empty(0, np.uint8)

    def at(self, number: int) -> Content:
        """The image at an index. Raises the same errors as `Deferred.read`."""
        if not self._start <= number < self._start + len(self._slab):
            self._load(number)
        row = self._slab[number - self._start]
        return row if self._raw else _encoded(row)

    def _load(self, number: int) -> None:
        start = number - number % self._at_once
        try:
            dataset = self._file.find(self._path)
            with self._file.reading():
                self._slab, self._start = dataset[start : start + self._at_once], start
        except Hdf5Fault as fault:
            raise ImageFault("corrupt_image", fault.detail) from None


class Frame(Deferred):
    """One frame."""

    __slots__ = ("_frames", "_number")

    def __init__(self, frames: Frames, number: int) -> None:
        self._frames, self._number = frames, number

    def read(self) -> Content:
        return self._frames.at(self._number)
