"""Pictures: what kind and size they are without decoding, and the one recorded rule that makes them JPEG when they are not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

Encoded = bytes | memoryview


class ImageRule(BaseModel):
    """What is checked, kept and made of a source's pictures."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)

    resize: Annotated[int, Field(ge=16, le=4096)] | None = None
    """Scale and centre-crop to this many pixels square; by default pictures are copied as they are, byte for byte."""
    keep_png: bool = False
    """Keep PNG bytes (as .png) instead of making JPEG of them."""
    check: Literal["auto", "header", "decode"] = "auto"
    """`header` parses headers and looks for the end mark; `decode` decodes every picture once; `auto` decodes web pictures only."""
    quality: Annotated[int, Field(ge=1, le=100)] = 95
    """JPEG quality of pictures we have to make."""
    max_pixels: Annotated[int, Field(ge=1)] = 32_000_000
    """Larger pictures are rejected from their header, before any decoding."""


class ImageFault(Exception):  # noqa: N818 (a finding about data, not an error of ours)
    """A picture that cannot be used. `reason` is a short snake_case word for the Reject."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, slots=True)
class Look:
    """What a header says."""

    format: str  # jpeg, png, webp, gif, ...
    width: int
    height: int
    channels: int  # 1 grey, 3 colour, 4 with alpha or CMYK
    orientation: int = 1  # EXIF; 1 is upright


@dataclass(frozen=True, slots=True)
class Ready:
    """A picture as the mixture will hold it. `data` is None where the source's own bytes are right as they are."""

    look: Look
    data: bytes | None = None
    conversion: str | None = None  # the recorded rule that was applied, e.g. png_to_jpeg, cmyk_to_rgb, resized


def look(data: Encoded) -> Look:
    """Kind and size from the header. Raises ImageFault."""
    raise NotImplementedError


def make_ready(data: Encoded | NDArray[np.uint8], rule: ImageRule, decode: bool) -> Ready:
    """Check one picture by `rule` and make it ready for the mixture. Raises ImageFault."""
    raise NotImplementedError
