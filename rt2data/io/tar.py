"""Plain ustar, encoding and decoding. The bytes equal those of Python's tarfile; modes are 0444 and time stamps 0."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from typing import TypeVar
from zlib import adler32

import numpy as np
from numpy.typing import NDArray

from rt2data.errors import DataError

Size = TypeVar("Size", int, NDArray[np.int64])

BLOCK = tarfile.BLOCKSIZE
_NAME, _SIZE, _CHECKSUM = slice(0, 100), slice(124, 135), slice(148, 156)


def _blank_header() -> bytes:
    info = tarfile.TarInfo("")
    info.mode, info.mtime = 0o444, 0
    header = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    header[_CHECKSUM] = b" " * 8
    return bytes(header)


_BLANK = _blank_header()
_MODE, _TIME, _REST = _BLANK[_NAME.stop : _SIZE.start], _BLANK[_SIZE.stop : _CHECKSUM.start], _BLANK[_CHECKSUM.stop :]
_BLANK_SUM = sum(_BLANK) - sum(_BLANK[_SIZE])


def tar_header(name: bytes, size: int) -> bytes:
    """A ustar header, 512 bytes. `name` has at most 100 bytes, `size` is below 8 GiB."""
    octal = b"%011o" % size
    total = _BLANK_SUM + (adler32(name + octal) & 0xFFFF) - 1  # for so few bytes the low half is 1 plus their sum: RFC 1950
    return b"".join((name.ljust(_NAME.stop, b"\0"), _MODE, octal, _TIME, b"%06o\0 " % total, _REST))


def padded(size: Size) -> Size:
    """A number of bytes, or an array of them, rounded up to whole blocks."""
    return -(-size // BLOCK) * BLOCK


def end_bytes(size: int) -> int:
    """Zero bytes at the end of an archive whose members take `size` bytes: two empty blocks, then padding to a whole tar record."""
    end = 2 * BLOCK
    return end + -(size + end) % tarfile.RECORDSIZE


def read_header(block: bytes | memoryview) -> tuple[str, int]:
    """Name and size of a member. Raises ValueError unless the header is exactly as we write it, so any flipped bit is detected."""
    raw = bytes(block[:BLOCK])
    name, size = raw[_NAME].rstrip(b"\0"), int(raw[_SIZE], 8)
    if size < 0 or raw != tar_header(name, size):
        raise ValueError("a damaged member header")
    return name.decode("ascii"), size


def members(path: str, whole: memoryview) -> Iterator[tuple[str, memoryview]]:
    """Names and contents in order. Raises DataError if a member is damaged, padding is not zero, or the file is truncated."""
    at = 0
    while at + BLOCK <= len(whole):
        block = whole[at : at + BLOCK]
        if _is_blank(block):
            if len(whole) != at + end_bytes(at) or not _is_blank(whole[at:]):
                raise _damaged("bytes behind the end-of-archive mark, or a cut end", path, at)
            return
        try:
            name, size = read_header(block)
        except ValueError:
            raise _damaged("a damaged member header", path, at) from None
        start, at = at + BLOCK, at + BLOCK + padded(size)
        if at > len(whole):
            raise _damaged(f"cut inside {name}", path, len(whole))
        if not _is_blank(whole[start + size : at]):
            raise _damaged(f"bytes between {name} and its next member", path, start + size)
        yield name, whole[start : start + size]
    raise _damaged("no end-of-archive mark: the shard is cut", path, len(whole))


def _is_blank(part: memoryview) -> bool:
    return bytes(part).count(0) == len(part)


def _damaged(what: str, path: str, at: int) -> DataError:
    return DataError(what, f"{path} byte {at}", "build it again")
