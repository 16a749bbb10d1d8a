"""Images of a report: thumbnails by camera, with measured brightness and colours, and images of rejected rows."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import simplejpeg
from markupsafe import Markup
from PIL import Image

from rt2data.images.ready import ImageFault, ImageRule, read_header
from rt2data.io import location
from rt2data.look.report.contact_sheet import Tile, decoded
from rt2data.look.report.figures import plain
from rt2data.prepare.catalog import read_rejects
from rt2data.prepare.store import Store
from rt2data.records import Kind, Warn

SIDE, QUALITY = 192, 74
BLACK, FLAT = 0.04, 0.02
"""On a scale of 1: a darker image is black, one whose brightness varies less is flat."""
VIVID = 48
"""On a scale of 255: the minimum spread of a pixel's channels for its colour to count."""
COOL, ENOUGH = 0.8, 0.05
"""Bluish share of the vivid pixels above which red and blue may be swapped, and the minimum share of vivid pixels."""

GONE = "Check that the source is where it was prepared, and verify the mixture."
OTHER = "Choose another camera in the recipe."
UNUSED = "The mixture does not use it; do not choose it."
SWAP = "Look at the contact sheet: unless it sees a sky or another blue thing, swap the channels where the log is written."


@dataclass(frozen=True, slots=True)
class Tint:
    """Brightness and colours of one image; all in 0..1."""

    brightness: float
    contrast: float  # standard deviation of the brightness
    red: float
    green: float
    blue: float
    vivid: float  # share of pixels with a distinct colour
    cool: float  # share of vivid pixels that are more blue than red


@dataclass(frozen=True, slots=True)
class Shot:
    """A small image with its text."""

    uri: Markup  # a complete data: URI with a JPEG; empty if it cannot be decoded
    width: int
    height: int
    tile: Tile
    tint: Tint | None
    fault: str = ""

    @property
    def alt(self) -> str:
        """The alternative text."""
        words = [plain(self.tile.source, 60), plain(self.tile.note, 80), plain(self.tile.prompt, 160)]
        return ", ".join(word for word in words if word)


def shoot(tile: Tile, side: int = SIDE) -> Shot:
    """Scale the image of a tile to at most `side` square. If it cannot be decoded, the text is kept and the reason is given."""
    if not len(tile.image):
        return Shot(Markup(), side, side, tile, None, "missing")
    try:
        found = decoded(tile.image, side)
    except ImageFault as fault:
        return Shot(Markup(), side, side, tile, None, plain(fault.reason, 60))
    scale = min(1.0, side / max(found.size))
    size = max(1, round(found.width * scale)), max(1, round(found.height * scale))
    small = np.ascontiguousarray(found.resize(size, Image.Resampling.LANCZOS))
    encoded = simplejpeg.encode_jpeg(small, QUALITY, "RGB", "420")
    uri = Markup("data:image/jpeg;base64,{}").format(base64.b64encode(encoded).decode())
    return Shot(uri, *size, tile, tint(small))


def tint(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Tint:
    """The tint of uint8[height, width, 3] in RGB; brightness according to Rec. 601."""
    values = pixels.reshape(-1, 3).astype(np.float64)
    light = values @ (0.299, 0.587, 0.114)
    r, g, b = pixels.reshape(-1, 3).T  # by channel: many times faster than max() and min() of rows of three
    vivid = np.maximum(np.maximum(r, g), b) - np.minimum(np.minimum(r, g), b) >= VIVID
    cool = float((b[vivid] > r[vivid]).mean()) if vivid.any() else 0.0
    red, green, blue = (float(mean) / 255 for mean in values.mean(axis=0))
    return Tint(float(light.mean()) / 255, float(light.std()) / 255, red, green, blue, float(vivid.mean()), cool)


def mean_tint(shots: Iterable[Shot]) -> Tint | None:
    """The mean over all decoded images; None if there are none. Colours are weighted by their amount."""
    found = [shot.tint for shot in shots if shot.tint]
    if not found:
        return None
    mean = {name: float(np.mean([getattr(each, name) for each in found])) for name in Tint.__dataclass_fields__}
    colored = sum(each.vivid for each in found)
    mean["cool"] = sum(each.cool * each.vivid for each in found) / colored if colored else 0.0
    return Tint(**mean)


def image_warnings(source: str, camera: str, used: bool, shots: Sequence[Shot]) -> list[Warn]:
    """Warnings about a camera's sampled images: black, flat, red and blue swapped, unreadable."""
    found, mean = [shot.tint for shot in shots if shot.tint], mean_tint(shots)
    many, named = f"{len(found)} sampled images", plain(camera, 60) or "(unnamed)"
    level = "error" if used else "note"
    whose = "Camera" if used else "Unused camera"
    other = OTHER if used else UNUSED
    broken = len(shots) - len(found)
    warnings = []
    if broken:
        warnings.append(("unreadable_image", level, f"{broken} of {len(shots)} images of {named} cannot be decoded", GONE))
    if mean is None:
        pass
    elif all(each.brightness < BLACK for each in found):
        warnings.append(("black_camera", level, f"{whose} {named} is black in all {many}", other))
    elif all(each.contrast < FLAT for each in found):
        warnings.append(("flat_camera", level, f"{whose} {named} shows one flat colour in all {many}", other))
    elif mean.vivid >= ENOUGH and mean.cool >= COOL:
        cool = f"{whose} {named} is more blue than red in {mean.cool:.0%} of its coloured pixels: the two may be swapped (BGR)"
        warnings.append(("bgr_camera", "note", cool, SWAP))
    return [Warn(code=code, level=how, source=source, what=what + ".", do=do) for code, how, what, do in warnings]  # type: ignore[arg-type]


# By camera

MEASURED = 48
"""Images measured per camera; fewer are shown."""
NEAR = 512
"""Rows from which rows of different episodes or images are chosen."""


@dataclass(frozen=True, slots=True)
class Album:
    """Images of one camera of one source."""

    source: str
    split: str
    kind: Kind
    camera: str
    used: bool  # the one the mixture uses
    shots: tuple[Shot, ...]  # the images shown
    tint: Tint | None  # of the images measured
    warnings: tuple[Warn, ...]


def album(source: str, split: str, kind: Kind, camera: str, used: bool, tiles: Sequence[Tile], count: int) -> Album:
    """Show the first `count` tiles, or half as many if the mixture does not use this camera; measure up to MEASURED."""
    shown = count if used else -(-count // 2)
    shots = [shoot(tile) for tile in tiles[: max(count, MEASURED)]]
    warnings = tuple(image_warnings(source, camera, used, shots))
    return Album(source, split, kind, camera, used, tuple(shots[:shown]), mean_tint(shots), warnings)


def store_albums(store: Store, splits: Sequence[str], count: int) -> list[Album]:
    """One album for each camera of each split."""
    info, found = store.info, list[Album]()
    used = {info.camera, *(slot.camera for slot in info.slots)}
    for split in splits:
        rows = sampled_rows(store, split, max(count, MEASURED))
        for camera in info.cameras:
            tiles = [tile for row in rows for tile in _tile(store, row, camera)]
            if tiles:
                found.append(album(info.name, split, info.kind, camera, camera in used, tiles, count))
    return found


def sampled_rows(store: Store, split: str, count: int) -> list[dict[str, Any]]:
    """Rows of a split from as many different episodes or images as possible among its first rows, which are in random order."""
    numbers = np.arange(min(NEAR, store.info.splits[split].rows), dtype=np.int64)
    if not len(numbers):
        return []
    table = store.take(split, numbers)
    groups = table["group"].to_pylist()
    first = {group: at for at, group in reversed(list(enumerate(groups)))}
    chosen = sorted(range(len(groups)), key=lambda at: (first[groups[at]] != at, at))[:count]
    rows: list[dict[str, Any]] = table.take(chosen).to_pylist()
    return rows


def _tile(store: Store, row: dict[str, Any], camera: str) -> Iterator[Tile]:
    """The row's image of this camera, with its text; nothing if it has none."""
    for image in row["images"]:
        if image["camera"] == camera and image["at"] == 0:
            note = f"{row['group']} step {row['step']}" if row["step"] >= 0 else row["group"]
            more = sum(other["chosen"] for other in row["images"]) - 1 if image["chosen"] else 0
            yield Tile(read_place(store, image), store.info.name, store.info.kind, row["text"], said(row), note, more)
            return


def said(row: dict[str, Any]) -> str:
    """Answers, the last turn of a conversation, or the action's numbers."""
    if row["action"]:
        return " ".join(f"{value:.2g}" for value in row["action"])
    return row["turns"][-1]["text"] if row["turns"] else ", ".join(dict.fromkeys(row["answers"] or ()))


def read_place(store: Store, image: dict[str, Any]) -> bytes:
    """An image's bytes from the file that contains them; empty if they cannot be read."""
    try:
        return location.read_range(store.stamps[image["file"]].path, image["offset"], image["length"])
    except OSError:
        return b""


def fewer(albums: Sequence[Album]) -> list[Album]:
    """The same albums with half as many images."""
    return [replace(each, shots=each.shots[: len(each.shots) // 2]) for each in albums]


# Rejected rows

EACH = 5
"""Rows shown per reason."""
ROOM = 4 << 20
"""Bytes read from the start of an image whose end is unknown."""
_PLACE = re.compile(r" in (?P<path>/.+) byte (?P<offset>\d{1,15})$", re.DOTALL)


@dataclass(frozen=True, slots=True)
class LostRow:
    """A rejected row."""

    source: str
    reason: str
    where: str
    detail: str
    fault: bool
    count: int
    shot: Shot | None


def lost_rows(store: Store) -> list[LostRow]:
    """The first few rejected rows for each reason, in the order of the store."""
    shown: Counter[str] = Counter()
    found = []
    for row in read_rejects(store.path) if store.info.rejects else ():
        shown[row["reason"]] += 1
        if shown[row["reason"]] <= EACH:
            found.append(LostRow(store.info.name, **row, shot=_shot(store, row)))
    return sorted(found, key=lambda lost: (not lost.fault, lost.reason))


def _shot(store: Store, row: dict[str, Any]) -> Shot | None:
    """The image of a rejected row, whole or in part; None if its place is unknown or nothing can be decoded."""
    encoded = _bytes(row["where"])
    if not encoded:
        return None
    tile = Tile(_seen(encoded), store.info.name, store.info.kind, f"dropped: {row['reason']}", "", row["where"])
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
    """The pixels that can be decoded from a damaged JPEG; otherwise the bytes unchanged."""
    try:
        found = read_header(encoded)
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
