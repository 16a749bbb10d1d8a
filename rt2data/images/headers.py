"""Format and size of an encoded image from its header, in a bounded number of steps, without decoding pixels.

JPEG and PNG, which are copied byte for byte, are checked here up to their end markers. Other formats are decoded and re-encoded
anyway, so Pillow reads their headers.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.WebPImagePlugin import WebPImageFile

Encoded = bytes | memoryview

_SEGMENTS = 4096  # maximum JPEG segments to examine
_CHUNKS = 65536  # maximum PNG chunks to examine
_TRAILER = 65536  # bytes that may follow the end marker: cameras put maps and previews there
_TEXT = 1 << 20  # total decompressed bytes of a PNG's texts and colour profiles
_EXIF_ENTRIES = 512
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # JPEG markers of frame headers
_NO_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xDB)})  # JPEG markers that have no header segment


class ImageFault(Exception):  # noqa: N818 (a finding about data, not an error of ours)
    """An image that cannot be used. `reason` is a short snake_case word for the Reject."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """The content of a header."""

    format: str  # jpeg, png, webp, gif, bmp
    width: int
    height: int
    channels: int  # 1 grey, 3 colour, 4 with alpha or CMYK
    orientation: int = 1  # EXIF; 1 is upright
    direct: bool = True  # samples are 8-bit grey or colour; False for a PNG with a palette or another bit depth


def read_header(data: Encoded) -> ImageHeader:
    """Format and size from the header; a JPEG, PNG or WEBP must also have its end marker.

    Zero bytes of any number, or up to 64 KiB of anything, may follow the end: buffers are padded and cameras add trailers.
    Raises ImageFault: empty_image, not_an_image, unsupported_image, corrupt_image, truncated_image, zero_size, text_bomb.
    """
    if not len(data):
        raise ImageFault("empty_image")
    try:
        found = _parse(data)
    except (IndexError, struct.error):
        raise ImageFault("truncated_image", "the file ends inside its header") from None
    if not found.width or not found.height:
        raise ImageFault("zero_size", f"{found.width}x{found.height}")
    return found


def _parse(data: Encoded) -> ImageHeader:
    if data[:3] == b"\xff\xd8\xff":
        return _jpeg(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _png(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        if struct.unpack_from("<I", data, 4)[0] + 8 > len(data):
            raise ImageFault("truncated_image", "shorter than its RIFF header says")
        return _by_pillow(data, "webp")
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return _by_pillow(data, "gif")
    if data[:2] == b"BM":
        return _by_pillow(data, "bmp")
    raise ImageFault("not_an_image", f"begins with {bytes(data[:12])!r}")


def _jpeg(data: Encoded) -> ImageHeader:
    """Walk the segments to the frame header (ITU T.81, B.1 and B.2.2)."""
    at, orientation = 2, 1
    for _ in range(_SEGMENTS):
        if data[at] != 0xFF:
            raise ImageFault("corrupt_image", f"no JPEG marker at byte {at}")
        marker = data[at + 1]
        if marker in _FRAMES:
            return _jpeg_frame(data, at, orientation)
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker in _NO_LENGTH:
            raise ImageFault("corrupt_image", f"JPEG marker {marker:#x} before the frame header")
        if marker == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            orientation = _exif_orientation(data, at + 10)
        at += 2 + (data[at + 2] << 8 | data[at + 3])
    raise ImageFault("corrupt_image", "no JPEG frame header")


def _jpeg_frame(data: Encoded, at: int, orientation: int) -> ImageHeader:
    precision, height, width, channels = struct.unpack_from(">BHHB", data, at + 4)
    if data[at + 1] > 0xC2 or precision != 8 or channels not in (1, 3, 4):
        kind = f"frame {data[at + 1]:#x}, {precision} bits, {channels} components"
        raise ImageFault("unsupported_image", f"a JPEG neither baseline nor progressive, of 8 bits: {kind}")
    if not _ends_with(data, b"\xff\xd9", at):
        raise ImageFault("truncated_image", "no end mark")
    return ImageHeader("jpeg", width, height, channels, orientation)


def _ends_with(data: Encoded, mark: bytes, after: int) -> bool:
    """Whether the end marker exists, followed only by zeros or a short trailer."""
    stop = len(data)
    if data[stop - len(mark) :] == mark:
        return True
    while stop > after + len(mark):
        window = bytes(data[max(after, stop - _TRAILER) : stop])
        if mark in window:
            return True
        if window.strip(b"\0"):
            return False
        stop -= _TRAILER - len(mark)
    return False


def _exif_orientation(data: Encoded, at: int) -> int:
    """Tag 0x0112 of the first directory of a TIFF header at `at`; 1 if it is missing or invalid."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[at : at + 2]))
    if order is None:
        return 1
    try:
        entries = at + struct.unpack_from(f"{order}I", data, at + 4)[0]
        count = struct.unpack_from(f"{order}H", data, entries)[0]
        for entry in range(entries + 2, entries + 2 + 12 * min(count, _EXIF_ENTRIES), 12):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", data, entry)
            if tag == 0x0112 and kind == 3:
                return value if 1 <= value <= 8 else 1
    except struct.error:
        return 1
    return 1


def _png(data: Encoded) -> ImageHeader:
    """Walk the chunks (W3C PNG, 5.3): size, transparency, orientation, and a check for bombs in compressed texts."""
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    channels = {0: 1, 2: 3, 3: 3, 4: 4, 6: 4}.get(colour)
    if data[12:16] != b"IHDR" or channels is None:
        raise ImageFault("corrupt_image", "a bad PNG header")
    orientation, budget = 1, _TEXT
    for kind, start, stop in _chunks(data):
        if kind == b"IEND":
            return ImageHeader("png", width, height, channels, orientation, direct=bits == 8 and colour != 3)
        if kind == b"tRNS":
            channels = 4
        elif kind == b"eXIf":
            orientation = _exif_orientation(data, start)
        elif kind in (b"iCCP", b"zTXt", b"iTXt"):
            budget -= _unpacked_size(memoryview(data)[start:stop], kind, budget)
    raise ImageFault("truncated_image", "no end mark")


def _chunks(data: Encoded) -> Iterator[tuple[bytes, int, int]]:
    """Type, start and stop of each complete chunk of a PNG; a four-byte checksum follows each."""
    at = 8
    for _ in range(_CHUNKS):
        if at + 8 > len(data):
            return
        length, kind = struct.unpack_from(">I4s", data, at)
        if at + 12 + length > len(data):
            return
        yield kind, at + 8, at + 8 + length
        at += 12 + length
    raise ImageFault("corrupt_image", f"more than {_CHUNKS} chunks")


def _unpacked_size(body: memoryview, kind: bytes, budget: int) -> int:
    """Decompressed size of a chunk. Raises ImageFault if it exceeds the budget."""
    start = bytes(body[:80]).find(b"\0") + 2  # after the name and the method
    if kind == b"iTXt":
        if body[start - 1] != 1:
            return 0
        tags = bytes(body[start + 1 : start + 1025])
        start += 1 + tags.find(b"\0", tags.find(b"\0") + 1) + 1
    try:
        size = len(zlib.decompressobj().decompress(body[start : start + _TEXT], budget + 1))
    except zlib.error:
        return 0
    if size > budget:
        raise ImageFault("text_bomb", f"{kind.decode()} unpacks to more than {_TEXT} bytes")
    return size


PILLOW = {"webp": WebPImageFile, "gif": GifImageFile, "bmp": BmpImageFile}
"""Readers of the other formats; they do not run or open anything else. Each reads the header on construction."""
PILLOW_FAULTS = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, OverflowError, MemoryError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)
"""What Pillow raises on bad bytes."""


def _by_pillow(data: Encoded, form: str) -> ImageHeader:
    try:
        image = PILLOW[form](io.BytesIO(data))
    except PILLOW_FAULTS as error:
        if isinstance(error.__cause__ or error, IndexError | struct.error | EOFError):
            raise ImageFault("truncated_image", "the file ends inside its header") from None
        reason = "not_an_image" if form == "bmp" else "corrupt_image"  # two letters do not identify a BMP reliably
        raise ImageFault(reason, f"a bad {form.upper()} header: {error}") from None
    exif = image.info.get("exif", b"")
    orientation = _exif_orientation(exif, 6 if exif[:6] == b"Exif\0\0" else 0)
    return ImageHeader(form, image.width, image.height, 4 if image.mode == "RGBA" else 3, orientation)
