"""Rows that were left out, with their place, and their picture where it can still be read."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import simplejpeg

from rt2data.images.ready import ImageFault, ImageRule, look
from rt2data.io import location
from rt2data.look.report.contact_sheet import Tile
from rt2data.look.report.thumbnails import Shot, shoot
from rt2data.prepare.catalog import read_rejects
from rt2data.prepare.store import Store

EACH = 5
"""Rows shown for each reason."""
ROOM = 4 << 20
"""Bytes read from where a picture begins: where it ends is not known."""
_PLACE = re.compile(r" in (?P<path>/.+) byte (?P<offset>\d{1,15})$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class LostRow:
    """One of them."""

    source: str
    reason: str
    where: str
    detail: str
    fault: bool
    count: int
    shot: Shot | None


def lost_rows(store: Store) -> list[LostRow]:
    """The first few for each reason, in the order in which they were met."""
    shown: Counter[str] = Counter()
    found = []
    for row in read_rejects(store.path) if store.info.rejects else ():
        shown[row["reason"]] += 1
        if shown[row["reason"]] <= EACH:
            found.append(LostRow(store.info.name, **row, shot=_shot(store, row)))
    return sorted(found, key=lambda lost: (not lost.fault, lost.reason))


def _shot(store: Store, row: dict[str, Any]) -> Shot | None:
    """Its picture, whole or in part; none where its place is not told or nothing can be seen of it."""
    encoded = _bytes(row["where"])
    if not encoded:
        return None
    tile = Tile(_seen(encoded), store.info.name, store.info.kind, f"left out: {row['reason']}", "", row["where"])
    shot = shoot(tile, 128)
    return shot if shot.uri else None


def _bytes(where: str) -> bytes:
    place = _PLACE.search(where)
    if not place:
        return b""
    try:
        return location.read_range(place["path"], int(place["offset"]), ROOM)
    except OSError:
        return b""


def _seen(encoded: bytes) -> Any:
    """Pixels as far as a damaged JPEG shows any; else the bytes as they are."""
    try:
        found = look(encoded)
        small = found.width * found.height <= ImageRule().max_pixels
    except ImageFault as fault:
        small = fault.reason in ("truncated_image", "corrupt_image") and encoded[:2] == b"\xff\xd8"
    if not small or encoded[:2] != b"\xff\xd8":
        return encoded
    try:
        height, width, *_ = simplejpeg.decode_jpeg_header(encoded, strict=False)
        if height * width > ImageRule().max_pixels:
            return b""
        return simplejpeg.decode_jpeg(encoded, "RGB", strict=False, min_height=128, min_width=128)
    except ValueError:
        return encoded
