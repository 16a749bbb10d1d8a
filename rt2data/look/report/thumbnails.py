"""One picture of a page: scaled to a small JPEG that lies in the page itself, with its brightness and colours measured."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import simplejpeg
from markupsafe import Markup
from PIL import Image

from rt2data.images.ready import ImageFault
from rt2data.look.report.contact_sheet import Tile, decoded
from rt2data.look.report.figures import plain
from rt2data.records import Warn

SIDE, QUALITY = 192, 74
BLACK, FLAT = 0.04, 0.02
"""Of 1: a picture that is darker than this is black, one whose brightness varies less is flat."""
VIVID = 48
"""Of 255: how far the channels of a pixel lie apart for its colour to count."""
COOL, ENOUGH = 0.8, 0.05
"""Of the vivid pixels, the bluish share above which red and blue may be swapped, where so many of all pixels are vivid."""

GONE = "Check that the source lies where it was prepared, and verify the mixture."
OTHER = "Choose another camera in the recipe."
UNUSED = "The mixture does not use it; do not choose it."
SWAP = "Look at the contact sheet: unless it sees a sky or another blue thing, swap the channels where the log is written."


@dataclass(frozen=True, slots=True)
class Tint:
    """Brightness and colours of one picture; all in 0..1."""

    brightness: float
    contrast: float  # standard deviation of the brightness
    red: float
    green: float
    blue: float
    vivid: float  # share of pixels with a colour of their own
    cool: float  # share of those that are more blue than red


@dataclass(frozen=True, slots=True)
class Shot:
    """A small picture with its words."""

    uri: Markup  # data: and a JPEG, whole; empty where it cannot be decoded
    width: int
    height: int
    tile: Tile
    tint: Tint | None
    fault: str = ""

    @property
    def alt(self) -> str:
        """What a screen reader says of it."""
        words = [plain(self.tile.source, 60), plain(self.tile.note, 80), plain(self.tile.prompt, 160)]
        return ", ".join(word for word in words if word)


def shoot(tile: Tile, side: int = SIDE) -> Shot:
    """Scale the picture of a tile to at most `side` square. One that cannot be decoded keeps its words and says why."""
    if not len(tile.picture):
        return Shot(Markup(), side, side, tile, None, "nothing lies there")
    try:
        found = decoded(tile.picture, side)
    except ImageFault as fault:
        return Shot(Markup(), side, side, tile, None, plain(fault.reason, 60))
    scale = min(1.0, side / max(found.size))
    size = max(1, round(found.width * scale)), max(1, round(found.height * scale))
    small = np.ascontiguousarray(found.resize(size, Image.Resampling.LANCZOS))
    encoded = simplejpeg.encode_jpeg(small, QUALITY, "RGB", "420")
    uri = Markup("data:image/jpeg;base64,{}").format(base64.b64encode(encoded).decode())
    return Shot(uri, *size, tile, tint(small))


def tint(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Tint:
    """Of uint8[height, width, 3] in RGB; brightness by Rec. 601."""
    values = pixels.reshape(-1, 3).astype(np.float64)
    light = values @ (0.299, 0.587, 0.114)
    vivid = values.max(axis=1) - values.min(axis=1) >= VIVID
    cool = float((values[vivid, 2] > values[vivid, 0]).mean()) if vivid.any() else 0.0
    red, green, blue = (float(mean) / 255 for mean in values.mean(axis=0))
    return Tint(float(light.mean()) / 255, float(light.std()) / 255, red, green, blue, float(vivid.mean()), cool)


def mean_tint(shots: Iterable[Shot]) -> Tint | None:
    """Of all that could be decoded; None where there are none. Colours weigh as much as there is of them."""
    found = [shot.tint for shot in shots if shot.tint]
    if not found:
        return None
    mean = {name: float(np.mean([getattr(each, name) for each in found])) for name in Tint.__dataclass_fields__}
    colored = sum(each.vivid for each in found)
    mean["cool"] = sum(each.cool * each.vivid for each in found) / colored if colored else 0.0
    return Tint(**mean)


def picture_warnings(source: str, camera: str, used: bool, shots: Sequence[Shot]) -> list[Warn]:
    """What the looks of a camera's sampled pictures give reason to say: black, flat, red and blue swapped, unreadable."""
    found, mean = [shot.tint for shot in shots if shot.tint], mean_tint(shots)
    many, named = f"{len(found)} sampled pictures", plain(camera, 60) or "(unnamed)"
    level = "error" if used else "note"
    whose = "Camera" if used else "Unused camera"
    other = OTHER if used else UNUSED
    broken = len(shots) - len(found)
    told = []
    if broken:
        told.append(("unreadable_picture", level, f"{broken} of {len(shots)} sampled pictures of {named} cannot be shown", GONE))
    if mean is None:
        pass
    elif all(each.brightness < BLACK for each in found):
        told.append(("black_camera", level, f"{whose} {named} is black in all {many}", other))
    elif all(each.contrast < FLAT for each in found):
        told.append(("flat_camera", level, f"{whose} {named} shows one flat colour in all {many}", other))
    elif mean.vivid >= ENOUGH and mean.cool >= COOL:
        cool = f"{whose} {named} is more blue than red in {mean.cool:.0%} of its coloured pixels: the two may be swapped (BGR)"
        told.append(("bgr_camera", "note", cool, SWAP))
    return [Warn(code=code, level=how, source=source, what=what + ".", do=do) for code, how, what, do in told]  # type: ignore[arg-type]
