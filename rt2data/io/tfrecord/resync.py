"""Find the next whole record of a damaged file: where a header and the payload it announces both match their checksums."""

from __future__ import annotations

import os

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from rt2data.io.tfrecord import framing

_WINDOW = 1 << 20
_TRIES = 64
"""Headers that match by themselves but announce a payload that does not. More than a few are no accident; the search ends there."""


def next_record(fd: int, start: int, stop: int, size: int) -> int:
    """Offset of the first whole, matching record at or after `start`, or `stop` where there is none before it.

    `size` is that of the file. Memory is bounded by the search window whatever the headers announce. Empty records are
    passed over: a run of zeros would be full of their lengths.
    """
    tries = 0
    for base in range(start, stop, _WINDOW):
        window = os.pread(fd, min(_WINDOW, stop - base) + framing.HEADER - 1, base)
        for at in (base + int(place) for place in _headers(window)):
            if _payload_matches(fd, at, size):
                return at
            tries += 1
            if tries == _TRIES:
                return stop
    return stop


def _headers(window: bytes) -> NDArray[np.intp]:
    """Places in the window where 12 bytes are a header: a length of 1 to MAX_PAYLOAD that matches its checksum."""
    if len(window) < framing.HEADER:
        return np.zeros(0, np.intp)
    raw = np.frombuffer(window, np.uint8)
    zero = raw == 0
    one, two, three, four, *high = (zero[k : len(raw) - framing.HEADER + 1 + k] for k in range(8))
    places = np.flatnonzero(high[0] & high[1] & high[2] & high[3] & ~(one & two & three & four))
    found = np.lib.stride_tricks.sliding_window_view(raw, framing.HEADER)[places]
    announced = np.ascontiguousarray(found[:, 8:12]).view("<u4")[:, 0]
    right: NDArray[np.intp] = places[_masked_crcs(found[:, :8]) == announced]
    return right


def _payload_matches(fd: int, at: int, size: int) -> bool:
    """Whether the payload of the record at byte `at` matches its checksum, read piece by piece."""
    length = framing.payload_length(os.pread(fd, framing.HEADER, at))
    if length is None or at + framing.FRAME + length > size:
        return False
    crc, place, left = 0, at + framing.HEADER, length
    while left:
        piece = os.pread(fd, min(_WINDOW, left), place)
        if not piece:
            return False
        crc, place, left = google_crc32c.extend(crc, piece), place + len(piece), left - len(piece)
    return framing.mask(crc).to_bytes(framing.FOOTER, "little") == os.pread(fd, framing.FOOTER, place)


def _crc_table() -> NDArray[np.uint32]:
    """crc32c of each byte value: Castagnoli's polynomial, bits reversed (RFC 3720, appendix B.4)."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> np.uint32(1)) ^ (table & np.uint32(1)) * np.uint32(0x82F63B78)
    return table


_TABLE = _crc_table()


def _masked_crcs(words: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Masked crc32c of each row of bytes [n, k] -> [n]."""
    crc = np.full(len(words), 0xFFFFFFFF, np.uint32)
    for column in words.T:
        crc = _TABLE[(crc ^ column) & np.uint32(0xFF)] ^ (crc >> np.uint32(8))
    crc = ~crc
    return ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(0xA282EAD8)
