"""Decodes web pictures for what their bytes do not tell: their appearance and pixels. A work order."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xxhash
from numpy.typing import NDArray
from PIL import Image

from rt2data.images.headers import PILLOW_FAULTS, ImageFault, read_header
from rt2data.images.thumbnail import even_thumbnail
from rt2data.io import location
from rt2data.io.location import path_of
from rt2data.io.location.base import Range
from rt2data.look.overlaps.alike import SIDE, perceptual_hashes
from rt2data.look.overlaps.pairs import Looks
from rt2data.look.overlaps.seen import Place, Seen, joined, read_range, write_sorted
from rt2data.order import U64
from rt2data.prepare.store import Store

BATCH = 64
"""Images read and hashed together."""


class PicturesOrder(NamedTuple):
    """Pictures to decode: a range of the keys in some files."""

    places: tuple[Path, ...]
    seen: tuple[Path, ...]
    keys: tuple[int, int]
    stores: Mapping[int, str]  # by part
    looks: bool
    pixels: Path | None  # where to write keys of pixels


class Decoded(NamedTuple):
    """The appearance of pictures, and how many are too uniform or unreadable."""

    looks: Looks
    pixels: int
    plain: int
    unread: int


def decode_pictures(order: PicturesOrder) -> Decoded:
    """Decode each picture once, however many rows use it."""
    pictures = read_range(Place, order.places, order.keys).once()
    seen = read_range(Seen, order.seen, order.keys).once()
    count = len(pictures.key)
    read, even = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    hashes, pixels = np.zeros(count, np.uint64), np.zeros(count, np.uint64)
    for at, contents in _contents(pictures, order.stores):
        small = [(place, found) for place, data in zip(at, contents, strict=True) if (found := _decoded(data, order)) is not None]
        places = np.array([place for place, _ in small], np.int64)
        read[places] = True
        pixels[places] = [found.pixels for _, found in small]
        if order.looks and small:
            hashes[places], even[places] = perceptual_hashes(np.stack([found.small for _, found in small]))
    of = np.searchsorted(pictures.key, seen.key)
    wanted = (read & ~even)[of]
    looks = Looks(hashes[of][wanted], seen.key[wanted], seen.part[wanted].astype(np.int64), seen.row[wanted])
    by_pixels = seen._replace(key=pixels[of]).take(read[of]).once() if order.pixels else joined(Seen, [])
    if order.pixels:
        write_sorted(order.pixels, by_pixels)
    return Decoded(looks, len(by_pixels.key), int(even.sum()), int((~read).sum()))


def _contents(pictures: Place, stores: Mapping[int, str]) -> Iterator[tuple[list[int], list[bytes]]]:
    """Encoded bytes in batches, in file order; empty if they cannot be read."""
    order = np.lexsort((pictures.offset, pictures.file, pictures.part)).tolist()
    paths = {at: _paths(stores[int(pictures.part[at])])[int(pictures.file[at])] for at in order}
    for _, together in groupby(order, lambda at: _where(paths[at])):
        places = list(together)
        for start in range(0, len(places), BATCH):
            batch = places[start : start + BATCH]
            wanted = [Range(paths[at], int(pictures.offset[at]), int(pictures.length[at])) for at in batch]
            yield batch, _read(wanted, pictures.key[batch])


def _where(path: str) -> str:
    """The location to read from in one request group: the disk, or one bucket."""
    return "/".join(path.split("/", 3)[:3]) if location.is_remote(path) else ""


def _read(wanted: list[Range], keys: U64) -> list[bytes]:
    """The bytes of each range; empty if a source has changed or is gone, which a build also detects."""
    try:
        found = location.read_ranges(wanted)
    except OSError:
        found = [_one(each) for each in wanted]
    return [data if xxhash.xxh3_64_intdigest(data) == key else b"" for data, key in zip(found, keys.tolist(), strict=True)]


def _one(wanted: Range) -> bytes:
    try:
        return location.read_range(wanted.name, wanted.start, wanted.length)
    except OSError:
        return b""


@lru_cache(maxsize=8)
def _paths(store: str) -> list[str]:
    """The files of a store by number."""
    return [stamp.path for stamp in Store(path_of(store)).stamps]


class _Picture(NamedTuple):
    small: NDArray[np.uint8]  # [32, 32, 3]
    pixels: int  # hash


def _decoded(data: bytes, order: PicturesOrder) -> _Picture | None:
    """The decoded picture; None if it cannot be decoded."""
    try:
        small = even_thumbnail(data, SIDE) if order.looks else np.empty(0, np.uint8)
        return _Picture(small, _pixel_hash(data) if order.pixels else 0)
    except (ImageFault, *PILLOW_FAULTS):
        return None


def _pixel_hash(data: bytes) -> int:
    """A hash of size and RGB pixels, as encoded."""
    kind = read_header(data).format.upper()
    image = Image.open(io.BytesIO(data), formats=(kind,)).convert("RGB")
    return xxhash.xxh3_64_intdigest(f"{image.width}x{image.height}/".encode() + image.tobytes())
