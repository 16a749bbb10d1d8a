"""TFRecord files compressed as a whole with gzip (TFRecordOptions("GZIP")).

TFDS neither declares nor writes such files, so they are known by their first bytes. Nothing inside them can be pointed
at, and they are read from the start; gzip's own checksum leaves nothing to search for after a fault.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from rt2data.errors import DataError
from rt2data.io.tfrecord.framing import FOOTER, FRAME, HEADER, MAX_PAYLOAD, Fault, Index, Span, cut, masked_crc, payload_length

_MAGIC = b"\x1f\x8b\x08"


def is_gzipped(path: str) -> bool:
    """Whether the file begins as gzip and not as a record of that length."""
    with open(path, "rb") as file:  # noqa: PTH123 (paths are strings here)
        start = file.read(HEADER)
    return start.startswith(_MAGIC) and (len(start) < HEADER or payload_length(start) is None)


def scan_gzipped(path: str) -> Index:
    """Every record of the file, by its offset in the uncompressed bytes. Raises DataError where the file is damaged."""
    spans = [Span(at, length) for at, length, _, _ in _frames(path)]
    return Index(spans, spans[-1].stop if spans else 0)


def read_gzipped(path: str) -> Iterator[tuple[int, memoryview] | Fault]:
    """The records, as `reading.read_records` gives them; offsets are those of the uncompressed bytes. Raises DataError."""
    for at, length, payload, intact in _frames(path):
        yield (at + HEADER, memoryview(payload)) if intact else Fault("bad_crc", at, FRAME + length)


def _frames(path: str) -> Iterator[tuple[int, int, bytes, bool]]:
    """Offset, length, payload, and whether the payload matches its checksum."""
    at = 0
    try:
        with gzip.open(path) as stream:
            while header := stream.read(HEADER):
                length, payload, footer = _frame(stream, header, path, at)
                yield at, length, payload, masked_crc(payload).to_bytes(FOOTER, "little") == footer
                at += FRAME + length
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise cut(path, at, f"or damaged as a gzip file: {error}") from error


def _frame(stream: BinaryIO | gzip.GzipFile, header: bytes, path: str, at: int) -> tuple[int, bytes, bytes]:
    length = payload_length(header) if len(header) == HEADER else None
    if length is None or length > MAX_PAYLOAD:
        raise DataError("the header of a record is damaged", f"{path}, uncompressed byte {at}", "fetch it again from where it came")
    payload, footer = stream.read(length), stream.read(FOOTER)
    if len(footer) < FOOTER:
        raise cut(path, at, f"inside a record of {length} bytes")
    return length, payload, footer
