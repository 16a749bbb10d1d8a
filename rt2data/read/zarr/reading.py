"""Reads array values with the package zarr. It gets bytes only from our stores, and only for arrays whose codecs were checked."""

from __future__ import annotations

import lzma
import re
import struct
import warnings
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rt2data.errors import UsageError
from rt2data.images.ready import ImageFault
from rt2data.io.zipped import ZipFault
from rt2data.read.zarr.arrays import Array
from rt2data.read.zarr.store import Store
from rt2data.records import Deferred

BLOCK = 4 << 20
"""Bytes of images to read at once if chunks are smaller: a zarr call takes about a millisecond."""
LARGEST = 1 << 30
"""Maximum bytes of an episode's numbers."""
_FIRST = re.compile(r"(?:c[./])?(\d+)")
"""Matches the chunk index along the first dimension, in the part of a key after the array's path."""


class Unpacked(Exception):  # noqa: N818 (a finding about data, not an error of ours)
    """Values that cannot be decompressed."""


_FAULTS_OF_CODECS = (
    *(RuntimeError, ValueError, TypeError, LookupError, ArithmeticError, OSError, EOFError, MemoryError),
    *(zlib.error, lzma.LZMAError, struct.error, ZipFault),
)
"""What zarr and codecs raise for damaged data. An OSError may also come from our store, which then sets `failed`."""


class Values:
    """The arrays of a store, each opened once."""

    def __init__(self, store: Store) -> None:
        from rt2data.read.zarr.held import Held

        self._held = Held(store)
        self._opened: dict[str, Any] = {}
        self.absent = set[str]()  # keys of number chunks missing from the store

    def rows(self, array: Array, start: int, stop: int) -> NDArray[Any]:
        """Entries [start, stop) of an array of numbers or texts. Raises Unpacked, OSError, UsageError."""
        if (stop - start) * array.bytes > LARGEST:
            raise Unpacked(f"{array.path}: {stop - start:,} entries of {array.bytes} bytes are more than {LARGEST >> 30} GiB")
        found = self._read(array, start, stop)
        self.absent.update(self._held.absent)
        return found

    def block(self, array: Array, start: int, stop: int) -> tuple[NDArray[Any], set[int]]:
        """The same for images, with the indices of missing chunks along the first dimension."""
        found = self._read(array, start, stop)
        return found, {_place(array, key) for key in self._held.absent}

    def _read(self, array: Array, start: int, stop: int) -> NDArray[Any]:
        if array.unreadable:
            raise UsageError(f"the array {array.path} cannot be read: {array.unreadable}", self._held.path)
        try:
            found: NDArray[Any] = np.asarray(self._open(array)[start:stop])
        except _FAULTS_OF_CODECS as error:  # OSError: gzip and bz2 raise it for damaged data
            if self._held.failed:
                raise self._held.failed from None
            raise Unpacked(f"{array.path}: {type(error).__name__} {error}") from None
        if len(found) != stop - start:
            raise Unpacked(f"{array.path}: it has {len(found)} entries from {start:,} on, not {stop - start}")
        return found

    def _open(self, array: Array) -> Any:
        self._held.array = None
        if array.path not in self._opened:
            from zarr import open_array

            with warnings.catch_warnings():  # zarr warns about text types that may change
                warnings.simplefilter("ignore")
                self._opened[array.path] = open_array(store=self._held, path=array.path, mode="r", zarr_format=array.version)
        self._held.array = array
        self._held.absent.clear()
        return self._opened[array.path]


class Frames:
    """The images of one camera. The last block read together is cached."""

    def __init__(self, values: Values, array: Array) -> None:
        self._values, self._array = values, array
        chunk = array.chunk[0]
        self._together = chunk * max(1, BLOCK // max(1, chunk * array.bytes))
        self._start, self._block, self._absent = 0, np.empty((0,)), set[int]()

    def at(self, number: int) -> NDArray[np.uint8]:
        """Pixels uint8[H, W, C] of one entry. Raises ImageFault, OSError."""
        if not self._start <= number < self._start + len(self._block):
            self._turn_to(number)
        if number // self._array.stored in self._absent:
            raise ImageFault("absent_chunk", f"{self._array.path}: the chunk of entry {number} is not in the store")
        found = self._block[number - self._start]
        if self._array.channels_first:
            found = found.transpose(1, 2, 0)
        return found if found.dtype == np.uint8 else _whole(found)

    def _turn_to(self, number: int) -> None:
        start = number // self._together * self._together
        self._block = np.empty((0,))  # free the last block before reading the next
        try:
            block, absent = self._values.block(self._array, start, min(start + self._together, self._array.shape[0]))
        except Unpacked as error:
            raise ImageFault("corrupt_chunk", str(error)) from None
        self._start, self._block, self._absent = start, block, absent


class Frame(Deferred):
    """One image, decompressed on demand."""

    __slots__ = ("_frames", "_number")

    def __init__(self, frames: Frames, number: int) -> None:
        self._frames, self._number = frames, number

    def read(self) -> NDArray[np.uint8]:
        return self._frames.at(self._number)


def _whole(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Converts whole-numbered floats from 0 to 255 to bytes. Raises ImageFault for others, whose scale is unknown."""
    if not np.isfinite(pixels).all() or pixels.min() < 0 or pixels.max() > 255 or (pixels != np.floor(pixels)).any():
        raise ImageFault("bad_pixels", f"{pixels.dtype} that are not whole numbers from 0 to 255")
    return pixels.astype(np.uint8)


def _place(array: Array, key: str) -> int:
    found = _FIRST.match(key, len(array.path) + 1)
    return int(found[1]) if found else -1


def chunk_places(array: Array, keys: Iterable[str]) -> dict[int, list[str]]:
    """Keys of an array's chunks, by index along the first dimension."""
    found: dict[int, list[str]] = {}
    for key in keys:
        if key.startswith(f"{array.path}/") and (place := _place(array, key)) >= 0:
            found.setdefault(place, []).append(key)
    return found
