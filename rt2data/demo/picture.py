"""Pictures as JPEG."""

from __future__ import annotations

import simplejpeg

from rt2data.demo.render import U8

QUALITY = 90


def jpeg(picture: U8) -> bytes:
    """JPEG of uint8[h, w, 3] RGB."""
    found: bytes = simplejpeg.encode_jpeg(picture, quality=QUALITY, colorspace="RGB", colorsubsampling="420")
    return found
