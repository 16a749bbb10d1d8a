"""Kind and size of a picture from its header: no decoding, no copy of the picture, few steps whatever the bytes say."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

Encoded = bytes | memoryview

_SEGMENTS = 4096  # JPEG segments looked at before giving up
_CHUNKS = 65536  # PNG or WEBP chunks looked at before giving up
_TRAILER = 65536  # bytes that may follow the end mark: cameras put maps and previews there
_TEXT = 1 << 20  # unpacked bytes of all compressed text and colour profiles of a PNG together
_EXIF_ENTRIES = 512
_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})  # JPEG markers of frame headers
_NO_LENGTH = frozenset({0x00, 0x01, *range(0xD0, 0xDB)})  # JPEG markers that no segment of the header has


class ImageFault(Exception):  # noqa: N818 (a finding about data, not an error of ours)
    """A picture that cannot be used. `reason` is a short snake_case word for the Reject."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, slots=True)
class Look:
    """What a header says."""

    format: str  # jpeg, png, webp, gif, bmp
    width: int
    height: int
    channels: int  # 1 grey, 3 colour, 4 with alpha or CMYK
    orientation: int = 1  # EXIF; 1 is upright
    direct: bool = True  # samples are 8-bit grey or colour; False for a PNG with a palette or with another bit depth


def look(data: Encoded) -> Look:
    """Kind and size from the header; a JPEG, PNG or WEBP must also have its end.

    Zero bytes of any number, or up to 64 KiB of anything, may follow the end: buffers are padded and cameras add trailers.
    Raises ImageFault: empty_image, not_an_image, unsupported_image, corrupt_image, truncated_image, zero_size, text_bomb.
    """
    if not len(data):
        raise ImageFault("empty_image")
    try:
        found = _look(data)
    except (IndexError, struct.error):
        raise ImageFault("truncated_image", "the file ends inside its header") from None
    if not found.width or not found.height:
        raise ImageFault("zero_size", f"{found.width}x{found.height}")
    return found


def _look(data: Encoded) -> Look:
    if data[:3] == b"\xff\xd8\xff":
        return _jpeg(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _png(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _webp(data)
    if data[:6] in (b"GIF87a", b"GIF89a"):
        width, height = struct.unpack_from("<HH", data, 6)
        return Look("gif", width, height, 3)
    if data[:2] == b"BM":
        return _bmp(data)
    raise ImageFault("not_an_image", f"begins with {bytes(data[:12])!r}")


def _jpeg(data: Encoded) -> Look:
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


def _jpeg_frame(data: Encoded, at: int, orientation: int) -> Look:
    precision, height, width, channels = struct.unpack_from(">BHHB", data, at + 4)
    if data[at + 1] > 0xC2 or precision != 8 or channels not in (1, 3, 4):
        kind = f"frame {data[at + 1]:#x}, {precision} bits, {channels} components"
        raise ImageFault("unsupported_image", f"a JPEG neither baseline nor progressive, of 8 bits: {kind}")
    if not _ends_with(data, b"\xff\xd9", at):
        raise ImageFault("truncated_image", "no end mark")
    return Look("jpeg", width, height, channels, orientation)


def _ends_with(data: Encoded, mark: bytes, after: int) -> bool:
    """Whether the mark is there, with nothing but zeros or a short trailer behind it."""
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
    """Tag 0x0112 of the first directory of a TIFF header at `at`; 1 where there is none or it makes no sense."""
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


def _png(data: Encoded) -> Look:
    """Walk the chunks (W3C PNG, 5.3): size, transparency, orientation, and no bomb in the compressed texts."""
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    channels = {0: 1, 2: 3, 3: 3, 4: 4, 6: 4}.get(colour)
    if data[12:16] != b"IHDR" or channels is None:
        raise ImageFault("corrupt_image", "a bad PNG header")
    orientation, budget = 1, _TEXT
    for kind, start, stop in _chunks(data, 8, ">I4s", extra=4):
        if kind == b"IEND":
            return Look("png", width, height, channels, orientation, direct=bits == 8 and colour != 3)
        if kind == b"tRNS":
            channels = 4
        elif kind == b"eXIf":
            orientation = _exif_orientation(data, start)
        elif kind in (b"iCCP", b"zTXt", b"iTXt"):
            budget -= _unpacked_size(memoryview(data)[start:stop], kind, budget)
    raise ImageFault("truncated_image", "no end mark")


def _chunks(data: Encoded, at: int, header: str, extra: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and stop of each whole chunk; `extra` bytes follow each (a checksum)."""
    for _ in range(_CHUNKS):
        if at + 8 > len(data):
            return
        fields = struct.unpack_from(header, data, at)
        length, kind = fields if isinstance(fields[0], int) else fields[::-1]
        if at + 8 + length + extra > len(data):
            return
        yield kind, at + 8, at + 8 + length
        at += 8 + length + extra + (length & 1 if not extra else 0)
    raise ImageFault("corrupt_image", f"more than {_CHUNKS} chunks")


def _unpacked_size(body: memoryview, kind: bytes, budget: int) -> int:
    """Bytes that a compressed chunk unpacks to. Raises ImageFault where that is more than the budget."""
    start = bytes(body[:80]).find(b"\0") + 2  # behind the name and the method
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


def _webp(data: Encoded) -> Look:
    """The first chunk tells the kind: lossy, lossless or extended (RFC 9649)."""
    if struct.unpack_from("<I", data, 4)[0] + 8 > len(data):
        raise ImageFault("truncated_image", "shorter than its RIFF header says")
    kind = bytes(data[12:16])
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return Look("webp", width & 0x3FFF, height & 0x3FFF, 3)
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return Look("webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, 4 if bits >> 28 & 1 else 3)
    if kind != b"VP8X":
        raise ImageFault("corrupt_image", f"a WEBP that begins with {kind!r}")
    width = int.from_bytes(data[24:27], "little") + 1
    height = int.from_bytes(data[27:30], "little") + 1
    return Look("webp", width, height, 4 if data[20] & 0x10 else 3, _webp_orientation(data))


def _webp_orientation(data: Encoded) -> int:
    for kind, start, _ in _chunks(data, 12, "<4sI", extra=0):
        if kind == b"EXIF":
            return _exif_orientation(data, start + 6 if data[start : start + 6] == b"Exif\0\0" else start)
    return 1


def _bmp(data: Encoded) -> Look:
    size = struct.unpack_from("<I", data, 14)[0]
    width, height = struct.unpack_from("<HH" if size == 12 else "<ii", data, 18)
    if size not in (12, 40, 52, 56, 64, 108, 124) or width < 0:
        raise ImageFault("not_an_image", "begins like a BMP, but is none")
    return Look("bmp", width, abs(height), 3)
