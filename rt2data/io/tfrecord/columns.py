"""Encodes and decodes the values of one leaf over an episode: numbers as arrays [n, *shape], text as strings.

tf.train.Example supports only float32, int64 and bytes, flattened. TFDS stores integers and bools of any width as int64, floats of
any width as float32, and tensors whose `encoding` is bytes or zlib as one string of raw little-endian memory per step. Encoded
images need no column: they are `Feature.spans`, byte ranges of the payload.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rt2data.io.tfrecord.example import Feature, ListKind, Values
from rt2data.io.tfrecord.features import Leaf
from rt2data.io.tfrecord.wire import MalformedError


class ColumnError(ValueError):
    """Values that do not match their leaf. `step` is the first wrong one, where known."""

    def __init__(self, what: str, step: int | None = None) -> None:
        super().__init__(what)
        self.step = step


class TextError(ColumnError):
    """Bytes that are not UTF-8."""


def number_type(leaf: Leaf) -> np.dtype[np.generic]:
    """The numpy type a column of this leaf has; bfloat16 becomes float32. Raises TypeError if it is not numeric."""
    dtype = np.dtype(np.float32 if leaf.dtype == "bfloat16" else leaf.dtype)
    if dtype.kind not in "biuf" or leaf.kind not in ("tensor", "scalar"):
        raise TypeError(f"{leaf} holds no numbers")
    return dtype


# Decode


def numbers(leaf: Leaf, feature: Feature) -> NDArray[np.generic]:
    """Array [n, *shape] of the leaf's own type; it may be a view of the payload. All sizes of its shape must be known.

    Raises ColumnError if the values do not form whole steps, MalformedError if they have another type.
    """
    flat = _inflate(leaf, feature) if leaf.encoding in ("bytes", "zlib") else _flat(leaf, feature)
    if not leaf.width or flat.size % leaf.width:
        raise ColumnError(f"{leaf.key} holds {flat.size} values, which make no whole steps of {leaf.width}")
    return flat.reshape(-1, *leaf.shape)


def texts(leaf: Leaf, feature: Feature) -> list[str]:
    """n strings; each distinct one is decoded once. Rows of integers are read as bytes, without zeros (as in Language-Table).

    Raises TextError, MalformedError.
    """
    if leaf.kind == "text":
        return _decode_texts([bytes(feature.payload[start:stop]) for start, stop in feature.spans()])
    codes = numbers(leaf, feature)
    if codes.size and not (codes.min() >= 0 and codes.max() <= 255):
        raise TextError(f"{leaf.key} holds numbers that are no bytes")
    return _decode_texts([row[row != 0].tobytes() for row in codes.astype(np.uint8)])


def frames(leaf: Leaf, feature: Feature) -> NDArray[np.uint8]:
    """Raw images uint8[n, height, width, 3 or 4]: grey is converted to three channels. Raises ColumnError, MalformedError."""
    pixels = numbers(leaf, feature).astype(np.uint8, copy=False)
    return np.repeat(pixels, 3, axis=3) if pixels.shape[3] == 1 else pixels


def _flat(leaf: Leaf, feature: Feature) -> NDArray[np.generic]:
    """All values, flat. Floats stored as integers, and integers stored as floats, are accepted if the conversion is exact."""
    dtype = number_type(leaf)
    declared: ListKind = "float" if dtype.kind == "f" else "int64"
    kind = feature.kind if feature.kind in ("float", "int64") else declared
    stored = feature.floats() if kind == "float" else feature.int64s()
    if kind == declared:
        return stored.astype(dtype, copy=False)
    with np.errstate(invalid="ignore"):
        found = stored.astype(dtype)
        if not np.array_equal(found.astype(stored.dtype), stored):
            raise MalformedError(f"a list of {declared} values was expected, this one holds {kind} values that are no {dtype}")
    return found


def _inflate(leaf: Leaf, feature: Feature) -> NDArray[np.generic]:
    """All values of tensors stored as raw memory, one string per step."""
    stored = "<u2" if leaf.dtype == "bfloat16" else number_type(leaf).newbyteorder("<")
    size = (leaf.width or 0) * np.dtype(stored).itemsize
    parts = [_step_bytes(leaf, feature.payload[start:stop], size) for start, stop in feature.spans()]
    for step, part in enumerate(parts):
        if len(part) != size:
            raise ColumnError(f"{leaf.key} holds {len(part)} bytes instead of {size}", step)
    flat: NDArray[np.generic] = np.frombuffer(b"".join(parts), stored)
    return (flat.astype(np.uint32) << 16).view(np.float32) if leaf.dtype == "bfloat16" else flat


def _step_bytes(leaf: Leaf, stored: memoryview, size: int) -> bytes | memoryview:
    """The raw memory of one step; at most one byte more than expected is decompressed."""
    if leaf.encoding == "bytes":
        return stored
    try:
        return zlib.decompressobj().decompress(stored, size + 1)
    except zlib.error as error:
        raise ColumnError(f"{leaf.key} is not compressed as it should be: {error}") from error


def _decode_texts(raw: list[bytes]) -> list[str]:
    known: dict[bytes, str] = {}
    for step, text in enumerate(raw):
        if text not in known:
            try:
                known[text] = text.decode("utf-8")
            except UnicodeDecodeError as error:
                raise TextError(f"not UTF-8: {error.reason} at byte {error.start}", step) from None
    return [known[text] for text in raw]


# Encode


def pack(leaf: Leaf, values: ArrayLike | Sequence[str] | Sequence[bytes]) -> Values:
    """Values of n steps in the form that `encode_example` takes: inverse of `numbers` and `texts`. Images are already encoded
    bytes.

    Numbers are given as an array [n, *shape]. Raises ColumnError if its shape differs.
    """
    if leaf.kind in ("text", "image"):
        return [value.encode() if isinstance(value, str) else bytes(value) for value in values]  # type: ignore[union-attr,arg-type]
    array = np.asarray(values, number_type(leaf))
    if array.shape[1:] != leaf.shape:
        raise ColumnError(f"{leaf.key} has shape {list(leaf.shape)}, not {list(array.shape[1:])}")
    if leaf.encoding in ("bytes", "zlib"):
        return [_pack_step(leaf, row) for row in array]
    flat = array.reshape(-1)
    return flat.astype(np.float32) if array.dtype.kind == "f" else flat.astype(np.int64)


def _pack_step(leaf: Leaf, row: NDArray[np.generic]) -> bytes:
    raw = row.astype(row.dtype.newbyteorder("<")).tobytes()
    return zlib.compress(raw) if leaf.encoding == "zlib" else raw
