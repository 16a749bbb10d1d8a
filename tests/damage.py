"""Damaged copies of files."""

from __future__ import annotations

from collections.abc import Iterator


def footer_flips(parquet: bytes, every: int) -> Iterator[bytes]:
    """Copies of a Parquet file with one bit of the footer flipped: the first, and `every` so many bits after it."""
    start = len(parquet) - 8 - int.from_bytes(parquet[-8:-4], "little")
    for bit in range(8 * start, 8 * len(parquet), every):
        damaged = bytearray(parquet)
        damaged[bit // 8] ^= 1 << bit % 8
        yield bytes(damaged)
