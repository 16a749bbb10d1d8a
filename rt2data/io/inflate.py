"""Decompresses blocks with the codecs of robot logs, up to a known size: a file's claims alone allocate no memory."""

from __future__ import annotations

import bz2
from collections.abc import Callable, Iterator
from typing import Any

_STEP = 1 << 20
"""Bytes to decompress at once."""
LARGEST = 256 << 20
"""Maximum bytes of a block; recorders write one or a few million."""
ZSTD = b"\x28\xb5\x2f\xfd"
"""The first bytes of a Zstandard frame."""


class InflateError(ValueError):
    """Compressed data is damaged, larger than expected, or uses an unknown codec."""


def inflate(codec: str, packed: bytes | memoryview, size: int, limit: int = LARGEST) -> bytes:
    """The content of a block of `codec`: "", none, bz2, lz4 (frames) or zstd. It must have `size` bytes, at most `limit`.

    Memory grows only with the actual data. Raises InflateError.
    """
    if size > limit:
        raise InflateError(f"a block of {size:,} bytes: at most {limit:,} are read")
    found = bytes(packed) if codec in ("", "none") else b"".join(_parts(codec, packed, size))
    if len(found) != size:
        raise InflateError(f"a block has {len(found):,} bytes, and should have {size:,}")
    return found


def zstd_size(packed: bytes | memoryview) -> int:
    """The content size stated in a Zstandard frame. Raises InflateError."""
    from zstandard import ZstdError, frame_content_size

    try:
        return int(frame_content_size(packed))
    except ZstdError as error:
        raise InflateError(f"damaged zstd block: {error}") from None


def _parts(codec: str, packed: bytes | memoryview, size: int) -> Iterator[bytes]:
    if codec not in _READERS:
        raise InflateError(f"compressed by `{codec[:40]}`: known are bz2, lz4 and zstd")
    try:
        read = _READERS[codec](packed)
        while part := read(_STEP):
            yield part
            size -= len(part)
            if size < 0:
                raise InflateError("a block holds more bytes than it says")
    except (OSError, EOFError, RuntimeError, ValueError) as error:  # each library has its own errors
        raise error if isinstance(error, InflateError) else InflateError(f"damaged {codec} block: {error}") from None


def _in_steps(codec: str, decompressor: Any, packed: bytes | memoryview) -> Callable[[int], bytes]:
    """Wraps a decompressor that takes `max_length` as a reader; a block that ends early is damaged."""
    given = iter([packed])

    def read(length: int) -> bytes:
        if decompressor.eof:
            return b""
        part: bytes = decompressor.decompress(next(given, b""), length)
        if not part and not decompressor.eof:
            raise InflateError(f"damaged {codec} block: it ends early")
        return part

    return read


def _bz2(packed: bytes | memoryview) -> Callable[[int], bytes]:
    return _in_steps("bz2", bz2.BZ2Decompressor(), packed)


def _lz4(packed: bytes | memoryview) -> Callable[[int], bytes]:
    from lz4.frame import LZ4FrameDecompressor

    return _in_steps("lz4", LZ4FrameDecompressor(), packed)


def _zstd(packed: bytes | memoryview) -> Callable[[int], bytes]:
    from zstandard import ZstdDecompressor, ZstdError

    reader = ZstdDecompressor().stream_reader(packed)

    def read(length: int) -> bytes:
        try:
            return bytes(reader.read(length))
        except ZstdError as error:
            raise InflateError(f"damaged zstd block: {error}") from None

    return read


_READERS: dict[str, Callable[[bytes | memoryview], Callable[[int], bytes]]] = {"bz2": _bz2, "lz4": _lz4, "zstd": _zstd}
