"""Adapts our stores to the package zarr. Only this module imports zarr at the top, because it subclasses a zarr class: import it
lazily.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable
from typing import Any

from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, SuffixByteRequest
from zarr.abc.store import Store as ZarrStore
from zarr.core.buffer import Buffer, BufferPrototype

from rt2data.io.location import is_remote
from rt2data.read.zarr.arrays import Array
from rt2data.read.zarr.store import WHOLE, Store


class Held(ZarrStore):
    """A read-only zarr store that wraps one of ours."""

    supports_writes = supports_deletes = supports_listing = False

    def __init__(self, store: Store) -> None:
        super().__init__(read_only=True)
        self._store, self.path, self._far = store, store.path, is_remote(store.path)
        self.array: Array | None = None  # the array being read
        self.absent: list[str] = []  # missing keys requested since this was cleared
        self.failed: OSError | None = None

    def __eq__(self, other: object) -> bool:
        return self is other

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        part = _part(byte_range)
        try:  # concurrent requests, if each has latency
            content = await asyncio.to_thread(self._store.read, key, part) if self._far else self._store.read(key, part)
        except OSError as error:
            self.failed = error
            raise
        if content is None:
            self.absent.append(key)
            return None
        if self.array is not None:
            _check_whole(self.array, content, part)
        return prototype.buffer.from_bytes(content)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        return self._store.read(key) is not None

    async def set(self, key: str, value: Buffer) -> None:
        raise NotImplementedError

    async def delete(self, key: str) -> None:
        raise NotImplementedError

    def list(self) -> Any:
        raise NotImplementedError

    def list_prefix(self, prefix: str) -> Any:
        raise NotImplementedError

    def list_dir(self, prefix: str) -> Any:
        raise NotImplementedError


def _part(asked: ByteRequest | None) -> slice:
    match asked:
        case RangeByteRequest(start, end):
            return slice(start, end)
        case OffsetByteRequest(offset):
            return slice(offset, None)
        case SuffixByteRequest(suffix):
            return slice(-suffix, None)
    return WHOLE


def _check_whole(array: Array, content: bytes, part: slice) -> None:
    """Refuse truncated chunks. numcodecs does not tell Blosc the length of a chunk, so it would read beyond the chunk's memory.

    A Blosc chunk begins with its sizes, decompressed and compressed. Raises ValueError.
    """
    if part.stop is not None and len(content) < part.stop - part.start:
        raise ValueError(f"a shard is cut: {len(content)} bytes of {part.stop - part.start}")
    if array.codecs[-1:] == ("blosc",) and "sharding_indexed" not in array.codecs:
        unpacked, packed = struct.unpack_from("<I4xI", content, 4)
        if packed != len(content) or unpacked > 8 * array.chunk_bytes:
            raise ValueError(f"a chunk of {len(content)} bytes says that it has {packed}, and {unpacked} unpacked")
