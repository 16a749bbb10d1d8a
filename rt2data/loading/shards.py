"""Random access into tar shards: example `i` of a shard, and its neighbours in the same read."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np

from rt2data.errors import DataError, command
from rt2data.io import location
from rt2data.io.location.open_files import RangeFiles
from rt2data.io.tar import BLOCK, padded, read_header
from rt2data.loading.contents import ShardFacts, require_size
from rt2data.loading.sampling import Run

_OPEN_FILES = 16


class Stored(NamedTuple):
    """One example as a shard holds it: views that live as long as somebody holds them."""

    key: str
    extension: str
    picture: memoryview  # empty where pictures were not asked for
    record: memoryview


@dataclass
class Shards:
    """The shards of one mixture. Where examples begin is read from `shard.tar.idx` (unsigned 64-bit offsets, one for each example
    and one past the last) where that lies beside a shard, else from the shard's headers, only as far as needed and only once.

    Can be copied to other processes: each opens its own files.
    """

    folder: Path
    facts: Sequence[ShardFacts]
    _starts: dict[int, array[int]] = field(default_factory=dict)

    @cached_property
    def _files(self) -> RangeFiles:
        return RangeFiles([str(self.path(shard)) for shard in range(len(self.facts))], _OPEN_FILES, sequential=True)

    def path(self, shard: int) -> Path:
        """Where a shard lies."""
        return self.folder / self.facts[shard].name

    def read(self, run: Run, pictures: bool = True) -> Iterator[Stored]:
        """The examples of a run, read at once. Raises DataError naming shard and byte where it is cut or malformed."""
        starts = self._starts_to(run.shard, run.stop)
        if not pictures:
            yield from (self._record(run.shard, starts[i], starts[i + 1]) for i in range(run.start, run.stop))
            return
        whole = self._bytes(run.shard, starts[run.start], starts[run.stop])
        for i in range(run.start, run.stop):
            first, last = starts[i] - starts[run.start], starts[i + 1] - starts[run.start]
            yield self._example(run.shard, starts[i], whole[first:last])

    def _example(self, shard: int, at: int, whole: memoryview) -> Stored:
        name, size = self._header(shard, at, whole)
        end = BLOCK + padded(size)
        other, length = self._header(shard, at + end, whole[end:])
        key, extension = self._pair(shard, at, name, other)
        record = whole[end + BLOCK : end + BLOCK + length]
        if len(record) != length:
            raise self._fault(shard, at, f"{name} and its record do not fill their place")
        return Stored(key, extension, whole[BLOCK : BLOCK + size], record)

    def _record(self, shard: int, at: int, end: int) -> Stored:
        """An example without its picture, which is not read."""
        name, size = self._header(shard, at, self._bytes(shard, at, at + BLOCK))
        start = at + BLOCK + padded(size)
        if start >= end:
            raise self._fault(shard, at, f"{name} does not fit its place")
        whole = self._bytes(shard, start, end)
        other, length = self._header(shard, start, whole)
        key, extension = self._pair(shard, at, name, other)
        return Stored(key, extension, memoryview(b""), whole[BLOCK : BLOCK + length])

    def _starts_to(self, shard: int, last: int) -> array[int]:
        """Offsets of the examples of a shard, at least up to example `last`."""
        if shard not in self._starts:
            self._starts[shard] = self._indexed(shard) or array("Q", [0])
        starts = self._starts[shard]
        while len(starts) <= last:
            starts.append(self._following(shard, starts[-1]))
        return starts

    def _indexed(self, shard: int) -> array[int] | None:
        """The offsets that `shard.tar.idx` holds, if it is there."""
        path = self.folder / f"{self.facts[shard].name}.idx"
        if not location.is_file(path):
            return None
        content = location.read_bytes(path) if location.stat(path).size == 8 * (self.facts[shard].examples + 1) else b""
        found = np.frombuffer(content, "<u8")
        if not len(found) or found[0] or found[-1] > self.facts[shard].bytes or not (found[1:] > found[:-1]).all():
            raise DataError("an index that is not of its shard", str(path), "remove it, or make it again")
        return array("Q", found.tolist())

    def _following(self, shard: int, at: int) -> int:
        """Where the example after the one at `at` begins."""
        name, size = self._header(shard, at, self._bytes(shard, at, at + BLOCK))
        middle = at + BLOCK + padded(size)
        other, length = self._header(shard, middle, self._bytes(shard, middle, middle + BLOCK))
        self._pair(shard, at, name, other)
        return middle + BLOCK + padded(length)

    def _header(self, shard: int, at: int, whole: memoryview) -> tuple[str, int]:
        """Name and size of a member, if its header is exactly the one that would be written."""
        try:
            return read_header(whole)
        except ValueError:
            raise self._fault(shard, at, "a damaged member header") from None

    def _pair(self, shard: int, at: int, name: str, other: str) -> tuple[str, str]:
        key, _, extension = name.partition(".")
        if other != f"{key}.json":
            raise self._fault(shard, at, f"member {name!r} is not followed by its record but by {other!r}")
        return key, extension

    def _fault(self, shard: int, at: int, what: str) -> DataError:
        return DataError(
            what, f"{self.path(shard)} byte {at}", f"look at it: {command('verify', self.folder)}; build it again, or copy it anew"
        )

    def _bytes(self, shard: int, start: int, stop: int) -> memoryview:
        if shard not in self._files:
            require_size(self.path(shard), self.facts[shard].bytes)
        found = self._files.read(shard, start, stop - start)
        if len(found) != stop - start:
            raise self._fault(shard, start, f"cut: {stop - start:,} bytes are to lie here and {len(found):,} do")
        return memoryview(found)
