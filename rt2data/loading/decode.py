"""A stored example becomes a dictionary: the record's columns as numpy arrays and plain values, the picture as pixels."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import msgspec
import numpy as np
import simplejpeg
from numpy.typing import DTypeLike, NDArray
from PIL import Image

from rt2data.errors import DataError, UsageError
from rt2data.io.words import choose
from rt2data.loading.shards import Stored
from rt2data.render.fields import ExampleRecord

Example = dict[str, Any]
Pixels = NDArray[np.uint8]
Decode = Literal["rgb", "jpeg"]
PICTURE = "picture"
COLUMNS = tuple(field.name for field in msgspec.structs.fields(ExampleRecord))
ARRAYS: Mapping[str, DTypeLike] = {
    "input_ids": np.int32,
    "loss_mask": np.bool_,
    "action": np.float32,
    "action_mask": np.bool_,
    "action_bins": np.int32,
    "state": np.float32,
}
"""Columns that become one-dimensional arrays, or None where the record has none; all others are plain values."""


@dataclass(frozen=True)
class View:
    """What an example is to look like.

    `decode`: `rgb` gives `picture` as uint8[height, width, 3]; `jpeg` its encoded bytes as they lie (PNG where the build kept
    PNG); None no picture, which then is not read. `resize` (height, width) takes the largest centred part of that aspect and
    scales it by Pillow's bilinear filter, widened for minification. Where that makes it smaller, libjpeg first scales to the next
    eighth that is not too small: fast, and not the same pixels as a full decode. `columns` are fields of the record, all by
    default.
    """

    decode: Decode | None = "rgb"
    resize: tuple[int, int] | None = None
    columns: tuple[str, ...] = COLUMNS

    def __post_init__(self) -> None:
        unknown = [name for name in self.columns if name not in COLUMNS]
        if unknown:
            raise UsageError(f"no column is called {unknown[0]!r}", do=choose(unknown[0], COLUMNS))
        if self.decode not in ("rgb", "jpeg", None):
            raise UsageError(f"decode={self.decode!r}", do='it can be "rgb", "jpeg" or None')
        if self.resize and (self.decode != "rgb" or min(self.resize) < 1):
            raise UsageError(f"resize={self.resize} with decode={self.decode!r}", do='give (height, width) and decode="rgb"')

    def example(self, stored: Stored, where: str) -> Example:
        """The dictionary. Raises DataError, naming `where` and the key, for a damaged record or picture."""
        place = f"{where} example {stored.key}"
        found = self._columns(stored.record, place)
        if self.decode == "jpeg":
            found[PICTURE] = bytes(stored.picture)
        elif self.decode:
            found[PICTURE] = _pixels(stored, self.resize, place)
        return found

    @cached_property
    def _decoder(self) -> Callable[[memoryview], msgspec.Struct]:
        types = {field.name: field.type for field in msgspec.structs.fields(ExampleRecord)}
        wanted = msgspec.defstruct("Columns", [(name, types[name]) for name in self.columns], gc=False)
        return msgspec.json.Decoder(wanted).decode

    def __getstate__(self) -> dict[str, Any]:
        return {"decode": self.decode, "resize": self.resize, "columns": self.columns}

    def _columns(self, record: memoryview, place: str) -> Example:
        try:
            found = msgspec.structs.asdict(self._decoder(record))
        except msgspec.MsgspecError as error:
            raise DataError(f"a damaged record: {error}", place, "verify the mixture: every fault is named there") from None
        for name, dtype in ARRAYS.items():
            if found.get(name) is not None:
                found[name] = np.array(found[name], dtype)
        return found


def _pixels(stored: Stored, size: tuple[int, int] | None, place: str) -> Pixels:
    """uint8[height, width, 3] of an encoded picture."""
    try:
        pixels = _decoded(stored, size)
    except (ValueError, OSError, SyntaxError) as error:
        raise DataError(
            f"a picture that does not decode: {error}", place, "verify the mixture: every fault is named there"
        ) from None
    return pixels if size is None or pixels.shape[:2] == size else _resized(pixels, size)


def _decoded(stored: Stored, size: tuple[int, int] | None) -> Pixels:
    if stored.extension != "jpg":
        with Image.open(io.BytesIO(stored.picture), formats=("PNG",)) as picture:
            return np.array(picture.convert("RGB"))
    height, width = size or (0, 0)
    pixels: Pixels = simplejpeg.decode_jpeg(stored.picture, "RGB", min_height=height, min_width=width, strict=True)
    return pixels


def _resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    height, width = pixels.shape[:2]
    scale = min(height / size[0], width / size[1])
    high, wide = size[0] * scale, size[1] * scale
    left, top = (width - wide) / 2, (height - high) / 2
    box = (left, top, min(left + wide, width), min(top + high, height))
    return np.array(Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BILINEAR, box=box))


def chosen(columns: Sequence[str] | None) -> tuple[str, ...]:
    """Columns as a View takes them; None is all."""
    return COLUMNS if columns is None else tuple(columns)
