"""Finds pictures that look alike: a 64-bit perceptual hash, and all pairs of hashes that differ in few bits.

The hash has one bit for each of the 64 lowest frequencies of the picture (grey, scaled to 32 x 32): whether it is above their
median.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, combinations

import numpy as np
from numpy.typing import NDArray

from rt2data.order import I64, U64

SIDE, LOW = 32, 8
EVEN = 2.0
"""On a scale of 255: if the grey of a picture varies less, its hash would only reflect noise."""
CHUNKS, CHUNK_BITS = 4, 16
PAIRS = 1 << 20
"""Number of candidates compared together."""
_GREY = np.array([0.299, 0.587, 0.114])


def perceptual_hashes(pictures: NDArray[np.uint8]) -> tuple[U64, NDArray[np.bool_]]:
    """Hashes uint64[n] of uint8[n, 32, 32, 3] in RGB; and which are too uniform to have one, bool[n]."""
    from scipy.fft import dctn

    grey = pictures @ _GREY
    low = dctn(grey, axes=(1, 2))[:, :LOW, :LOW].reshape(len(pictures), LOW * LOW)
    bits = low > np.median(low, axis=1, keepdims=True)
    packed = np.packbits(bits, axis=1).view(np.uint64).ravel()
    return packed, grey.std(axis=(1, 2)) < EVEN


def distances(some: U64, others: U64) -> NDArray[np.uint8]:
    """The number of differing bits of each pair of hashes, uint8[n]."""
    bits = some ^ others
    for shift, mask in ((1, 0x5555555555555555), (2, 0x3333333333333333), (4, 0x0F0F0F0F0F0F0F0F)):
        bits = (bits & np.uint64(mask)) + ((bits >> np.uint64(shift)) & np.uint64(mask))
    found: NDArray[np.uint8] = ((bits * np.uint64(0x0101010101010101)) >> np.uint64(56)).astype(np.uint8)
    return found


def close_pairs(hashes: U64, most: int) -> tuple[I64, I64]:
    """All pairs i < j of different hashes that differ in at most `most` bits, in order.

    Such a pair differs in at most `most` / 4 bits in at least one of four 16-bit chunks, so only hashes with such chunks are
    compared. This is exact, and takes about n * n / 16384 comparisons for n hashes up to three bits, 17 times as many up to seven.
    """
    found = [pairs for chunk in range(CHUNKS) for mask in _masks(most // CHUNKS) for pairs in _meeting(hashes, chunk, mask, most)]
    codes = np.unique(np.concatenate([np.empty(0, np.int64), *(i * len(hashes) + j for i, j in found)]))
    return codes // max(len(hashes), 1), codes % max(len(hashes), 1)


def _masks(most: int) -> Iterator[int]:
    """All 16-bit numbers with at most `most` bits set."""
    some = chain.from_iterable(combinations(range(CHUNK_BITS), count) for count in range(most + 1))
    return (sum(1 << bit for bit in bits) for bits in some)


def _meeting(hashes: U64, chunk: int, mask: int, most: int) -> Iterator[tuple[I64, I64]]:
    """Close pairs whose chunks differ in exactly the bits of a mask."""
    values = ((hashes >> np.uint64(chunk * CHUNK_BITS)) & np.uint64(0xFFFF)).astype(np.int64)
    order = np.argsort(values, kind="stable")
    edges = np.searchsorted(values[order], np.arange(0x10001))
    start, count = edges[values ^ mask], edges[(values ^ mask) + 1] - edges[values ^ mask]
    total = np.cumsum(count)
    first = 0
    while first < len(hashes):
        done = total[first - 1] if first else 0
        stop = max(int(np.searchsorted(total, done + PAIRS, "right")), first + 1)
        i = np.repeat(np.arange(first, stop), count[first:stop])
        inside = np.arange(len(i)) - np.repeat(total[first:stop] - count[first:stop] - done, count[first:stop])
        j = order[start[i] + inside]
        near = (i < j) & (distances(hashes[i], hashes[j]) <= most)
        yield i[near], j[near]
        first = stop
