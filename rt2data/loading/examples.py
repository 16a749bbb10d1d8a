"""Stored examples as dictionaries, and dictionaries as batches. Columns, dtypes and fill values follow from the field table."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import msgspec
import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from rt2data.errors import DataError, UsageError
from rt2data.formats.base import Member, MemberImage
from rt2data.render.fields import FIELDS, MORE_FIELDS, ExampleRecord, Field

Example = dict[str, Any]
Batch = dict[str, Any]
Pixels = NDArray[np.uint8]
Decode = Literal["rgb", "jpeg"]

IMAGE, IMAGES = "image", "images"
TOKENS = ("input_ids", "loss_mask")
PLACES: Mapping[str, Any] = {"image_names": "", "image_offsets": 0, "image_mask": False}
"""Columns with one value per image place, and the value for an empty place."""
MASKS: Mapping[str, str] = {"input_ids": "attention_mask", "state": "state_mask"}
"""Masks added to batches: where a row has values of its own."""
_VERIFY = "verify the mixture: it names every fault"


def _dtype(field: Field) -> np.dtype[Any]:
    """The column's dtype; bytes are masks of 0 and 1."""
    return np.dtype(np.bool_ if field.type == "uint8" else field.type)


COLUMNS = tuple(field.name for field in FIELDS)
ALL_COLUMNS = tuple(field.name for field in (*FIELDS, *MORE_FIELDS))
ARRAYS = {field.name: _dtype(field) for field in FIELDS if field.shape != "one" and not field.parts and field.type != "string"}
"""Columns that are arrays in an example, or None for null; all others are plain values."""
_NUMBERS = [field for field in FIELDS if field.shape == "one" and field.type in ("bool", "float32", "float64")]
BATCHED = ARRAYS | {field.name: _dtype(field) for field in _NUMBERS}
"""Columns that are arrays in a batch, if the mixture has one shape for all rows."""
FILLS = {field.name: field.fill or 0 for field in FIELDS}
"""Values for null and padding in a batch."""


@dataclass(frozen=True)
class ExampleView:
    """What an example contains.

    `decode`: `rgb` gives pixels uint8[height, width, 3]; `jpeg` gives the encoded bytes as stored (PNG if the build kept PNG); None
    gives no images and does not read them. `resize` (height, width) crops the largest centered part with that aspect ratio and
    scales it with Pillow's bilinear filter, widened for minification. For smaller sizes libjpeg first scales to the next eighth
    that is large enough: fast, but not the same pixels as a full decode. `columns` are fields of the record.

    With `slots`, numbers of image places from 0, an example has `images` in these places and `image_mask`, bool[N]. Without, it has
    its one image as `image`.
    """

    decode: Decode | None = "rgb"
    resize: tuple[int, int] | None = None
    columns: tuple[str, ...] = COLUMNS
    slots: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        unknown = [name for name in self.columns if name not in ALL_COLUMNS]
        if unknown:
            raise UsageError(f"no column is called {unknown[0]!r}", do=f"it can be {', '.join(ALL_COLUMNS)}")
        if self.decode not in ("rgb", "jpeg", None):
            raise UsageError(f"decode={self.decode!r}", do='it can be "rgb", "jpeg" or None')
        if self.resize and (self.decode != "rgb" or min(self.resize) < 1):
            raise UsageError(f"resize={self.resize} with decode={self.decode!r}", do='give (height, width) and decode="rgb"')

    def example(self, member: Member, where: str) -> Example:
        """The dictionary of an example.

        Raises DataError, naming `where` and the key, for a damaged record or image, UsageError if images of one example differ in
        size and there is no `resize`.
        """
        place = f"{where} example {member.key}"
        found = self._columns(member.record, place)
        if self.decode is None:
            return found
        if self.slots is None:
            if not member.images:
                raise DataError("no image", place, _VERIFY)
            found[IMAGE] = self._image(member.images[0], place)
            return found
        by_slot = {image.slot: image for image in member.images}
        images = [by_slot.get(slot) for slot in self.slots]
        mask = np.array([image is not None for image in images], np.bool_)
        return found | {IMAGES: self._images(images, place), "image_mask": mask}

    def _images(self, images: Sequence[MemberImage | None], place: str) -> Pixels | list[bytes]:
        found = [None if image is None else self._image(image, place) for image in images]
        if self.decode == "jpeg":
            return [image or b"" for image in found]
        height, width = self.resize or common_size((image.shape[:2] for image in found if image is not None), place)
        pixels = np.zeros((len(found), height, width, 3), np.uint8)
        for slot, image in enumerate(found):
            if image is not None:
                pixels[slot] = image
        return pixels

    def _image(self, image: MemberImage, place: str) -> Any:
        return bytes(image.data) if self.decode == "jpeg" else pixels_of(image, self.resize, place)

    @cached_property
    def _decoder(self) -> Callable[[memoryview], msgspec.Struct]:
        types: dict[str, Any] = {field.name: field.type for field in msgspec.structs.fields(ExampleRecord)}
        types |= {field.name: list[dict[str, Any]] | None for field in (*FIELDS, *MORE_FIELDS) if field.parts}
        absent: dict[str, Any] = {field.name: msgspec.field(default=None) for field in MORE_FIELDS}
        wanted = msgspec.defstruct(
            "Columns",
            [(name, types[name], absent[name]) if name in absent else (name, types[name]) for name in self.columns],
            gc=False,
            kw_only=True,
        )
        return msgspec.json.Decoder(wanted).decode

    def __getstate__(self) -> dict[str, Any]:
        return {"decode": self.decode, "resize": self.resize, "columns": self.columns, "slots": self.slots}

    def _columns(self, record: memoryview, place: str) -> Example:
        try:
            found = msgspec.structs.asdict(self._decoder(record))
        except msgspec.MsgspecError as error:
            raise DataError(f"a damaged record: {error}", place, _VERIFY) from None
        if self.slots is not None:
            found |= {name: _chosen(found[name], self.slots, fill) for name, fill in PLACES.items() if name in found}
        for name, dtype in ARRAYS.items():
            if found.get(name) is not None:
                found[name] = np.array(found[name], dtype)
        return found


def _chosen(values: Sequence[Any], slots: Sequence[int], fill: Any) -> list[Any]:
    return [values[slot] if slot < len(values) else fill for slot in slots]


# Images


def common_size(sizes: Iterable[tuple[int, ...]], where: str = "") -> tuple[int, int]:
    """Height and width of images; (0, 0) if there are none. Raises UsageError if they differ."""
    found = sorted(set(sizes))
    if len(found) > 1:
        seen = " and ".join(f"{height} x {width}" for height, width in found[:2])
        raise UsageError(f"images of several sizes, such as {seen} (height x width)", where, "give load a resize")
    return (found[0][0], found[0][1]) if found else (0, 0)


def pixels_of(image: MemberImage, size: tuple[int, int] | None, place: str) -> Pixels:
    """uint8[height, width, 3] of an encoded image, resized to `size` (height, width). Raises DataError naming `place`."""
    try:
        pixels = _decoded(image, size)
    except (ValueError, OSError, SyntaxError) as error:
        raise DataError(f"an image that does not decode: {error}", place, _VERIFY) from None
    return pixels if size is None or pixels.shape[:2] == size else _resized(pixels, size)


def _decoded(image: MemberImage, size: tuple[int, int] | None) -> Pixels:
    if image.extension != "jpg":
        with Image.open(io.BytesIO(image.data), formats=("PNG",)) as opened:
            return np.array(opened.convert("RGB"))
    height, width = size or (0, 0)
    pixels: Pixels = simplejpeg.decode_jpeg(image.data, "RGB", min_height=height, min_width=width, strict=True)
    return pixels


def _resized(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    height, width = pixels.shape[:2]
    scale = min(height / size[0], width / size[1])
    high, wide = size[0] * scale, size[1] * scale
    left, top = (width - wide) / 2, (height - high) / 2
    box = (left, top, min(left + wide, width), min(top + high, height))
    return np.array(Image.fromarray(pixels).resize((size[1], size[0]), Image.Resampling.BILINEAR, box=box))


# Batches


@dataclass(frozen=True)
class Collate:
    """Turns examples into a batch.

    B is the batch size, N the number of image places, H the horizon, D the action dimensions of the mixture.

    - `input_ids` int32[B, T], padded with `pad_id`; `attention_mask` and `loss_mask` bool[B, T], False there. T is the length of
      the longest row, or `length` if given (JAX compiles once for fixed shapes).
    - `actions` f32[B, H, D], `action_is_pad` bool[B, H], `action` f32[B, D], `action_mask` bool[B, D], `action_bins` int32[B, K],
      `terminate` bool[B], `state` f32[B, S] with `state_mask` bool[B, S]. A row without them (all web rows) or with fewer has 0
      and False there, and True in `action_is_pad`. K and S are the largest of the mixture.
    - `loss_weight` f32[B]; `timestamp` f64[B], -1 if there is none.
    - `images` uint8[B, N, height, width, 3] with `image_mask` bool[B, N], zeros where it is False; without slots `image`
      uint8[B, height, width, 3] if all have one size, else a list.
    - all other columns as lists.
    """

    pad_id: int
    shapes: Mapping[str, tuple[int, ...]]
    length: int | None = None

    def __call__(self, examples: Sequence[Example]) -> Batch:
        """A batch of at least one example. Raises UsageError if a row is longer than `length`, or images differ in size."""
        batch: Batch = {name: self._column(name, [example[name] for example in examples]) for name in examples[0]}
        for name, mask in MASKS.items():
            if name in batch:
                sizes = np.array([0 if example[name] is None else len(example[name]) for example in examples])
                batch[mask] = np.arange(batch[name].shape[1]) < sizes[:, None]
        return batch

    def _column(self, name: str, rows: list[Any]) -> Any:
        if name in TOKENS:
            return padded_rows(rows, (self._width(rows),), ARRAYS[name], self.pad_id if name == "input_ids" else 0)
        if name in BATCHED and name in self.shapes:
            return padded_rows(rows, self.shapes[name], BATCHED[name], FILLS[name])
        if name == IMAGE and isinstance(rows[0], np.ndarray) and len({row.shape for row in rows}) == 1:
            return np.stack(rows)
        if name == IMAGES and isinstance(rows[0], np.ndarray):
            size = common_size(row.shape[1:3] for row in rows if row.size)
            return padded_rows(rows, (len(rows[0]), *size, 3), np.dtype(np.uint8))
        return rows

    def _width(self, rows: Sequence[NDArray[Any]]) -> int:
        longest = max(map(len, rows))
        if self.length is not None and longest > self.length:
            raise UsageError(f"a row of {longest} tokens in batches of length {self.length}", do="give a larger length, or none")
        return self.length or longest


def padded_rows(rows: Sequence[Any], shape: tuple[int, ...], dtype: np.dtype[Any], fill: float = 0) -> NDArray[Any]:
    """Rows that are smaller than `shape`, or None, padded into one array [rows, *shape]."""
    if not shape:
        return np.array([fill if row is None else row for row in rows], dtype)
    found = np.full((len(rows), *shape), fill, dtype)
    for i, row in enumerate(rows):
        if row is None:
            continue
        if row.shape == shape:
            found[i] = row
        else:
            found[i][tuple(map(slice, row.shape))] = row
    return found
