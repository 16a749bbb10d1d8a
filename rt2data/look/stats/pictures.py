"""Sums over pictures, camera by camera, from their headers and hashes: no picture is opened."""

from __future__ import annotations

import msgspec
import numpy as np
import pyarrow as pa

from rt2data.look.stats.model import Camera
from rt2data.look.stats.spreads import spread
from rt2data.order import U64
from rt2data.tally.counts import Counts, count
from rt2data.tally.sums import Sum

SIZES = 20
"""Sizes that are told."""


class CameraSums(Sum, frozen=True, eq=False):
    """Pictures of one camera."""

    hashes: Counts = msgspec.field(default_factory=Counts)
    sizes: Counts = msgspec.field(default_factory=Counts)  # width in the high 32 bits, height in the low
    bytes: Counts = msgspec.field(default_factory=Counts)
    kinds: dict[str, int] = msgspec.field(default_factory=dict)

    def summary(self, name: str, used: bool) -> Camera:
        """In words."""
        common = self.sizes.commonest(SIZES)
        return Camera(
            name=name,
            used=used,
            pictures=self.hashes.total,
            unique=len(self.hashes),
            commonest=int(self.hashes.counts.max(initial=0)),
            kinds=dict(sorted(self.kinds.items())),
            sizes=tuple((size >> 32, size & 0xFFFFFFFF, times) for size, times in common),
            bytes=spread(self.bytes),
        )


def sum_cameras(images: pa.ListArray) -> dict[str, CameraSums]:
    """Sums of the pictures of some rows, by camera."""
    every = images.flatten()
    cameras = every.field("camera").dictionary_encode()
    which = cameras.indices.to_numpy()
    return {name: _sum(every.filter(pa.array(which == i))) for i, name in enumerate(cameras.dictionary.to_pylist())}


def _sum(pictures: pa.StructArray) -> CameraSums:
    width, height, length = (pictures.field(name).to_numpy().astype(np.uint64) for name in ("width", "height", "length"))
    kinds = pictures.field("format").value_counts().to_pylist()
    return CameraSums(
        count(pictures.field("xxh3").to_numpy()),
        count(width << np.uint64(32) | height),
        count(length),
        {entry["values"]: entry["counts"] for entry in kinds},
    )


def first_hashes(images: pa.ListArray) -> U64:
    """The hash of each row's first picture, which is the mixture's, uint64[rows]. Every row has one."""
    offsets = images.offsets.to_numpy()
    found: U64 = images.flatten().field("xxh3").to_numpy()[offsets[:-1] - offsets[0]]
    return found
