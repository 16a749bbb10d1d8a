"""The arrays of a zarr store, as described by their metadata. No values are read, and zarr is not imported."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np

from rt2data.errors import DataError
from rt2data.io.zipped import ZipFault
from rt2data.read.log import Holds
from rt2data.read.zarr.store import Store

CODECS = frozenset(
    {
        *("blosc", "zstd", "lz4", "gzip", "zlib", "bz2", "lzma"),
        *("delta", "shuffle", "fixedscaleoffset", "quantize", "bitround", "packbits", "astype", "transpose", "bytes"),
        *("crc32", "crc32c", "adler32", "fletcher32", "jenkins_lookup3", "sharding_indexed", "vlen-utf8"),
    }
)
"""Safe codecs: they only convert bytes to numbers and texts. `pickle`, in contrast, runs code in the data."""
MAX_CHUNK = 1 << 31
"""Maximum bytes of a decompressed chunk: Blosc's own limit."""
MAX_WIDTH = 1024
"""Maximum numbers per step of a state or action; more make a depth image or a point cloud."""
_NUMBERS = re.compile(r"[<>|=]?([biuf])(1|2|4|8)")
_V3_NUMBERS = re.compile(r"bool|u?int(?:8|16|32|64)|float(?:16|32|64)")
_V3_WORDS = frozenset({"string", "fixed_length_utf32"})
_LEVELS = 4
_CHANNELS = (1, 3, 4)
_SIDE = 8  # minimum side of an image


@dataclass(frozen=True, slots=True)
class Array:
    """One array of a store."""

    path: str
    version: Literal[2, 3]
    shape: tuple[int, ...]
    dtype: np.dtype[Any] | None  # of numbers; None for text and anything else
    is_words: bool
    chunk: tuple[int, ...]  # shape of a chunk
    stored: int  # entries along the first dimension stored under one key
    codecs: tuple[str, ...]

    @property
    def holds(self) -> Holds | None:
        """The kind of feature the array can be; None if it cannot be a per-step feature."""
        if self.is_words:
            return "words" if math.prod(self.shape[1:]) == 1 else None
        if self.dtype is None:
            return None
        if self.is_images:
            return "images"
        return "numbers" if self.width <= MAX_WIDTH else None

    @property
    def is_images(self) -> bool:
        """uint8 or floats [N, H, W, C], or channels-first [N, C, H, W]."""
        if self.dtype is None or len(self.shape) != 4 or (self.dtype.kind != "f" and self.dtype != np.uint8):
            return False
        channels = (3,) if self.dtype.kind == "f" else _CHANNELS
        sides = self.shape[2:] if self.channels_first else self.shape[1:3]
        return min(sides) >= _SIDE and self.shape[1 if self.channels_first else 3] in channels

    @property
    def channels_first(self) -> bool:
        """Whether images are [C, H, W]."""
        return self.shape[3] not in _CHANNELS and self.shape[1] in _CHANNELS

    @property
    def width(self) -> int:
        """Numbers of each entry."""
        return math.prod(self.shape[1:])

    @property
    def bytes(self) -> int:
        """Decompressed size of an entry."""
        return self.width * (self.dtype.itemsize if self.dtype else 0)

    @property
    def chunk_bytes(self) -> int:
        """Decompressed size of a chunk; for texts, assuming their widest type."""
        return math.prod(self.chunk) * (self.dtype.itemsize if self.dtype else 1 << 14)

    @property
    def detail(self) -> str:
        """float32[2], uint8[96, 96, 3], words."""
        return f"{self.dtype}{list(self.shape[1:])}" if self.dtype else "words"

    @property
    def unreadable(self) -> str:
        """Why the values cannot be read; empty if they can."""
        unknown = [codec for codec in self.codecs if codec not in CODECS]
        if "pickle" in unknown:
            return "it holds pickles, which can run any code when they are read"
        if unknown and self.dtype is None:
            return f"it holds objects packed by {', '.join(unknown)}: of those only vlen-utf8 is read"
        if unknown:
            return f"it is packed by {', '.join(unknown)}, which is not read"
        if self.dtype and self.chunk_bytes > MAX_CHUNK:
            return f"its chunks are larger than {MAX_CHUNK >> 30} GiB"
        return ""


def all_arrays(store: Store, group: str) -> Iterator[Array]:
    """The arrays in and below a group, by name. Raises DataError if metadata is damaged."""
    yield from _below(store, group, _LEVELS)


def _below(store: Store, group: str, levels: int) -> Iterator[Array]:
    for name in store.folders(group):
        path = f"{group}/{name}" if group else name
        found = array_at(store, path)
        if found is not None:
            yield found
        elif levels:
            yield from _below(store, path, levels - 1)


def array_at(store: Store, path: str) -> Array | None:
    """The array at a path; None if there is none. Raises DataError if its metadata is damaged."""
    if (said := _json(store, f"{path}/.zarray")) is not None:
        read = _version_2
    elif (said := _json(store, f"{path}/zarr.json")) is not None and said.get("node_type") != "group":
        read = _version_3
    else:
        return None
    try:
        found = read(path, said)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise DataError(f"damaged metadata of an array: {type(error).__name__} {error}", f"{store.path}, {path}") from None
    if not found.shape or min(found.shape) < 0 or len(found.chunk) != len(found.shape) or min(found.chunk) < 1:
        raise DataError(f"an array has shape {list(found.shape)} and chunks {list(found.chunk)}", f"{store.path}, {path}")
    return found


def _version_2(path: str, said: Mapping[str, Any]) -> Array:
    codecs = [each["id"] for each in (*(said["filters"] or ()), said["compressor"]) if each is not None]
    dtype = said["dtype"] if isinstance(said["dtype"], str) else ""
    numbers = _NUMBERS.fullmatch(dtype)
    words = dtype == "|O" or dtype.lstrip("<>|=").startswith("U")
    if dtype == "|O" and codecs[:1] != ["vlen-utf8"] and CODECS.issuperset(codecs):
        codecs.append("no codec of words")
    chunk = _whole(said["chunks"])
    return Array(path, 2, _whole(said["shape"]), np.dtype(dtype) if numbers else None, words, chunk, chunk[0], tuple(codecs))


def _version_3(path: str, said: Mapping[str, Any]) -> Array:
    kind = said["data_type"] if isinstance(said["data_type"], str) else said["data_type"]["name"]
    outer = chunk = _whole(said["chunk_grid"]["configuration"]["chunk_shape"])
    codecs = list(_named(said["codecs"]))
    shards = [each for each in said["codecs"] if isinstance(each, dict) and each["name"] == "sharding_indexed"]
    if shards:
        chunk = _whole(shards[0]["configuration"]["chunk_shape"])
        codecs += _named(shards[0]["configuration"]["codecs"])
    dtype = np.dtype(kind) if _V3_NUMBERS.fullmatch(kind) else None
    return Array(path, 3, _whole(said["shape"]), dtype, kind in _V3_WORDS, chunk, outer[0], tuple(codecs))


def _named(codecs: Any) -> Iterator[str]:
    for each in codecs:
        name: str = each if isinstance(each, str) else each["name"]
        yield name.removeprefix("numcodecs.")


def _whole(numbers: Any) -> tuple[int, ...]:
    found = tuple(numbers)
    if not all(type(each) is int for each in found):
        raise ValueError(f"not whole numbers: {found}")
    return found


def attributes(store: Store, group: str) -> Mapping[str, Any]:
    """The attributes of a group, by name; empty if damaged or missing."""
    prefix = f"{group}/" if group else ""
    found = _json(store, f"{prefix}.zattrs")
    if found is None:
        found = (_json(store, f"{prefix}zarr.json") or {}).get("attributes")
    return found if isinstance(found, dict) else {}


def _json(store: Store, key: str) -> dict[str, Any] | None:
    try:
        raw = store.read(key)
        found = {} if raw is None else msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ZipFault) as error:
        raise DataError(f"damaged metadata: {error}", f"{store.path}, {key}", "fetch it again") from None
    if not isinstance(found, dict):
        raise DataError("damaged metadata: not an object", f"{store.path}, {key}", "fetch it again")
    return None if raw is None else found
