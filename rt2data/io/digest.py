"""Digests of bytes: size, xxh3-128 for quick checks, and sha256 for tools that support only that."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import xxhash

from rt2data.io import location

CHUNK = 1 << 20


class Digest(NamedTuple):
    """Size and hashes of some bytes."""

    bytes: int
    xxh3_128: str
    sha256: str


class Digester:
    """Computes a digest incrementally."""

    def __init__(self) -> None:
        self._bytes, self._xxh3, self._sha256 = 0, xxhash.xxh3_128(), hashlib.sha256()

    def update(self, part: bytes | memoryview) -> None:
        """Add the next bytes."""
        self._bytes += len(part)
        self._xxh3.update(part)
        self._sha256.update(part)

    def digest(self) -> Digest:
        """The digest of all bytes so far."""
        return Digest(self._bytes, self._xxh3.hexdigest(), self._sha256.hexdigest())


def digest_of(content: bytes) -> Digest:
    """The digest of bytes in memory."""
    seen = Digester()
    seen.update(content)
    return seen.digest()


def digest_file(path: location.Name) -> Digest:
    """The digest of a file. Raises OSError."""
    seen = Digester()
    for part in _parts(path):
        seen.update(part)
    return seen.digest()


def sized_hash(path: location.Name) -> tuple[int, str]:
    """Size and xxh3-128 of a file's bytes, which is all that a check needs. Raises OSError."""
    seen, size = xxhash.xxh3_128(), 0
    for part in _parts(path):
        seen.update(part)
        size += len(part)
    return size, seen.hexdigest()


def _parts(path: location.Name) -> Iterator[memoryview]:
    """A file's bytes in parts; each part is valid until the next one is requested."""
    buffer = memoryview(bytearray(CHUNK))
    with location.open_unbuffered(path) as file:
        while got := file.readinto(buffer):
            yield buffer[:got]
