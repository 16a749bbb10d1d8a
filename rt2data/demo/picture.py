"""Pictures as JPEG."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import simplejpeg

from rt2data.demo.render import U8

QUALITY = 90
Draw = Callable[[Callable[[Any], Any], list[Any]], Iterable[Any]]
"""As `map`: results in the order of the work orders."""


def jpeg(picture: U8) -> bytes:
    """JPEG of uint8[h, w, 3] RGB."""
    found: bytes = simplejpeg.encode_jpeg(picture, quality=QUALITY, colorspace="RGB", colorsubsampling="420")
    return found
