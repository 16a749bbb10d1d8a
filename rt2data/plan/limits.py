"""Limits that common homes and readers of data sets have, and what to set where an output would break them."""

from __future__ import annotations

from collections.abc import Iterator

from rt2data.io import words
from rt2data.records import Warn

FILES_IN_A_FOLDER = 10_000
FILE_BYTES = 5_000_000_000
ENERGON_SHARDS = 10_000
SOME_READERS = 16
BESIDE = 16
"""Files beside the shards: manifest, cards, statistics."""


def layout_warnings(form: str, shards: int, size: int) -> tuple[Warn, ...]:
    """What of an output of `size` bytes in `shards` files is too much or too little for whom, and the shard size that mends it.

    Hubs of data sets take 10,000 files in a folder and files of 5 GB without special care; Energon wants fewer than 10,000 shards.
    """
    found = [Warn(code, "warning", "", what, f"set shards.bytes to {fit}") for code, what, fit in _found(form, shards, size)]
    if form == "webdataset" and shards == 1:
        what = "one shard: at most 1 reader of webdataset (rank x worker) gets examples"
        found.append(Warn("one_shard", "note", "", what, f"for more, set shards.bytes to {_bytes(size // SOME_READERS)} or less"))
    return tuple(found)


def _found(form: str, shards: int, size: int) -> Iterator[tuple[str, str, str]]:
    each = 2 if form == "webdataset" else 1  # every tar has an index
    files = each * shards + BESIDE
    if files > FILES_IN_A_FOLDER:
        fit = -(-size * each // (FILES_IN_A_FOLDER - BESIDE))
        yield "many_files", f"{files:,} files in one folder: hubs take {FILES_IN_A_FOLDER:,}", f"{_bytes(fit)} or more"
    if form == "webdataset" and shards >= ENERGON_SHARDS:
        fit = -(-size // (ENERGON_SHARDS - 1))
        yield "many_shards", f"{shards:,} shards: Energon wants fewer than {ENERGON_SHARDS:,}", f"{_bytes(fit)} or more"
    if size / shards > FILE_BYTES:
        yield "large_shards", f"shards of about {words.size(size / shards)}: hubs take files of 5 GB", "3GB or less"


def _bytes(count: int) -> str:
    """A whole number of megabytes that is not smaller, with a margin: sizes are estimates."""
    return f"{-(-count * 11 // 10_000_000)}MB"
