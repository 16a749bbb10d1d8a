"""A small square version of an image, to examine many: colours, brightness and changes."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps

from rt2data.images.headers import PILLOW_FAULTS, Encoded, ImageFault, read_header
from rt2data.images.ready import ImageRule, Pixels, ViewRule


def thumbnail(data: Encoded | Pixels, side: int, rule: ViewRule) -> Pixels:
    """uint8[side, side, 3] in RGB: the whole image, whatever its proportions, rotated and flipped according to `rule`.

    A JPEG is decoded at an eighth of its size if that is enough. Alpha is dropped. Raises ImageFault.
    """
    whole = _of_pixels(data) if isinstance(data, np.ndarray) else _of_encoded(data, side)
    small = np.asarray(whole.resize((side, side), Image.Resampling.BOX, reducing_gap=2.0))
    return _viewed(small, rule)


def even_thumbnail(data: Encoded, side: int) -> Pixels:
    """The same, upright, resampled smoothly so that copies with another size or encoding hardly differ. Raises ImageFault.

    A JPEG is decoded at four times the side, since its own scaling would be visible at less.
    """
    whole = _of_encoded(data, 4 * side)
    return np.asarray(whole.resize((side, side), Image.Resampling.LANCZOS))


def _of_pixels(pixels: Pixels) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or not pixels.size:
        raise ImageFault("bad_pixels", f"{pixels.dtype}{list(pixels.shape)} is not uint8[height, width, 1, 3 or 4]")
    colour = np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels[:, :, :3]
    return Image.fromarray(np.ascontiguousarray(colour))


def _of_encoded(data: Encoded, side: int) -> Image.Image:
    found = read_header(data)
    if found.width * found.height > ImageRule().max_pixels:
        raise ImageFault("too_many_pixels", f"{found.width}x{found.height}")
    try:
        image = Image.open(io.BytesIO(data), formats=(found.format.upper(),))
        image.draft("RGB", (side, side))
        return ImageOps.exif_transpose(image).convert("RGB")
    except PILLOW_FAULTS as error:
        raise ImageFault("corrupt_image", f"{type(error).__name__}: {error}") from None


def _viewed(pixels: Pixels, rule: ViewRule) -> Pixels:
    """Apply the rule as `make_ready` does."""
    turned = np.rot90(pixels, -rule.turn // 90)
    flipped = {"none": turned, "vertical": turned[::-1], "horizontal": turned[:, ::-1]}[rule.flip]
    return np.ascontiguousarray(flipped[:, :, ::-1] if rule.channels == "bgr" else flipped)
