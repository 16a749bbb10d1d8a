"""A picture as it is to be shown: encoded for browsers and files, as pixels for terminals."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rt2data.images.ready import ImageRule, make_ready
from rt2data.look.inspect.examples import Picture
from rt2data.look.report.contact_sheet import decoded


def encoded(picture: Picture) -> tuple[str, bytes]:
    """`jpg` or `png`, and the bytes: its own wherever those will do. Raises ImageFault."""
    ready = make_ready(picture, ImageRule(), decode=False)
    content = bytes(picture) if ready.data is None else ready.data
    return "png" if ready.header.format == "png" else "jpg", content


def pixels(picture: Picture, width: int, height: int) -> NDArray[np.uint8]:
    """uint8[h, w, 3], as large as fits into the box with its proportions kept; h is even. Raises ImageFault."""
    found = decoded(picture, max(width, height))
    scale = min(width / found.width, height / found.height)
    size = max(1, round(found.width * scale)), max(2, 2 * round(found.height * scale / 2))
    return np.asarray(found.resize(size, Image.Resampling.LANCZOS))


def as_png(shown: NDArray[np.uint8]) -> bytes:
    """Pixels as a PNG."""
    out = io.BytesIO()
    Image.fromarray(shown).save(out, "PNG", compress_level=1)
    return out.getvalue()
