"""Checks images, and converts those that cannot be copied to JPEG, by a single recorded rule."""

from __future__ import annotations

import io
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, model_validator

from rt2data.images.headers import PILLOW_FAULTS, Encoded, ImageFault, ImageHeader, read_header
from rt2data.settings import Settings

__all__ = ["Encoded", "ImageFault", "ImageHeader", "ImageRule", "Ready", "make_ready", "only_point", "read_header"]

Pixels = NDArray[np.uint8]

_SCANS = 64  # a progressive JPEG has about ten; each may cost as much as a whole image
_SIDE = 65500  # libjpeg's limit


class ViewRule(Settings):
    """How a camera's images must be changed to be upright and in RGB. Changed images are re-encoded."""

    later: ClassVar[frozenset[str]] = frozenset({"turn", "flip", "channels"})

    turn: Literal[0, 90, 180, 270] = 0
    """Rotate by this many degrees, clockwise."""
    flip: Literal["none", "vertical", "horizontal"] = "none"
    """`vertical` swaps top and bottom, as needed for images rendered by OpenGL; `horizontal` swaps left and right."""
    channels: Literal["rgb", "bgr"] = "rgb"
    """`bgr` if red and blue are swapped in the source: they are swapped back."""

    @property
    def changes(self) -> bool:
        """Whether the rule changes images."""
        return bool(self.turn) or self.flip != "none" or self.channels != "rgb"


class ImageRule(ViewRule):
    """How a source's images are checked, kept and converted."""

    later: ClassVar[frozenset[str]] = ViewRule.later | {"encode", "chroma", "cameras"}

    resize: Annotated[int, Field(ge=16, le=4096)] | None = None
    """Scale and centre-crop to this many pixels square; by default images are copied as they are, byte for byte."""
    png: Literal["keep", "jpeg"] = "keep"
    """`keep` copies PNG byte for byte, as .png; `jpeg` converts it to JPEG, smaller and lossy. PNG that loaders read differently
    (16 bits, palette, alpha, rotated by EXIF) always becomes upright JPEG."""
    check: Literal["auto", "header", "decode"] = "auto"
    """`header` parses headers and looks for the end marker; `decode` decodes every image once; `auto` decodes web images only."""
    quality: Annotated[int, Field(ge=1, le=100)] = 95
    """JPEG quality of converted images."""
    max_pixels: Annotated[int, Field(ge=1)] = 32_000_000
    """Larger images are rejected based on their header, before any decoding."""
    encode: Literal["jpeg", "png"] = "jpeg"
    """Format of images that are not copied: JPEG, or PNG, which is lossless and larger."""
    chroma: Literal["444", "422", "420"] = "444"
    """Colour resolution of converted JPEGs: full, half, a quarter."""
    cameras: dict[str, ViewRule] = Field(default_factory=dict)
    """`turn`, `flip` and `channels` for individual cameras, by name, instead of those for all."""

    def of(self, camera: str) -> ImageRule:
        """The rule for the images of one camera."""
        own = self.cameras.get(camera)
        return self if own is None else self.model_copy(update=dict(own))

    def turned(self, turn: int) -> ImageRule:
        """The rule for an image that must first be rotated by this many degrees, clockwise."""
        return self.model_copy(update={"turn": (self.turn + turn) % 360}) if turn else self

    @model_validator(mode="before")
    @classmethod
    def _refuse_keep_png(cls, given: Any) -> Any:
        """Refuse the old key, whose default was the opposite."""
        if isinstance(given, dict) and "keep_png" in given:
            now = "keep" if given["keep_png"] is True else "jpeg"
            raise ValueError(f"keep_png is now png: write `png: {now}` (PNG is kept by default)")
        return given


@dataclass(frozen=True, slots=True)
class Ready:
    """An image in its final form for the mixture. `data` is None if the source's bytes can be copied."""

    header: ImageHeader
    data: bytes | None = None
    conversion: str | None = None  # the recorded rule that was applied, e.g. png_to_jpeg, cmyk_to_rgb, resized
    seen: ImageHeader | None = field(default=None, compare=False)  # of the source, if the image was changed

    @property
    def source(self) -> ImageHeader:
        """The header of the source image: its size and orientation."""
        return self.seen or self.header


def make_ready(data: Encoded | Pixels, rule: ImageRule, decode: bool) -> Ready:
    """Check one image by `rule` and prepare it for the mixture: encoded bytes, or pixels uint8[height, width, 1, 3 or 4].

    An upright JPEG of 1 or 3 components is kept byte for byte, and an upright PNG of 8-bit grey or RGB unless `png` is `jpeg`;
    `decode` decodes it once to verify it. Everything else is converted to JPEG (or PNG), without metadata and deterministically.
    Alpha, encoded or in pixels, is composited on white. `conversion` lists the steps applied, joined by "+": png_to_jpeg,
    webp_to_jpeg, gif_to_jpeg, bmp_to_jpeg (the first frame), raw_to_jpeg, cmyk_to_rgb, sixteen_bit_to_eight (the high byte),
    palette_to_rgb, alpha_on_white, exif_upright, turned_90, flipped_vertical, bgr_to_rgb, resized. Raises ImageFault.
    """
    if isinstance(data, np.ndarray):
        pixels, done = _raw_pixels(_checked_pixels(data, rule))
        height, width, channels = data.shape
        return replace(_made(*_viewed(pixels, done, rule), rule, (height, width)), seen=ImageHeader("raw", width, height, channels))
    found = read_header(data)
    _check_size(found.width, found.height, rule)
    if _is_right(found, rule):
        if decode:
            _check_decodes(data, found)
        return Ready(found)
    pixels, done = _jpeg_pixels(data, found, rule) if found.format == "jpeg" else _other_pixels(data, found, rule)
    if found.orientation != 1:
        pixels, done = _turned(pixels, found.orientation), [*done, "exif_upright"]
    return replace(_made(*_viewed(pixels, done, rule), rule, (found.height, found.width)), seen=found)


def only_point(data: Encoded | Pixels, decode: bool) -> Ready:
    """An image of an unused camera: an upright PNG is kept, even with 16 bits or alpha; others as in `make_ready`."""
    if not isinstance(data, np.ndarray):
        found = read_header(data)
        if found.format == "png" and found.orientation == 1 and not _is_right(found, ImageRule()):
            return Ready(found)
    return make_ready(data, ImageRule(), decode)


def _check_size(width: int, height: int, rule: ImageRule) -> None:
    if width * height > rule.max_pixels:
        raise ImageFault("too_many_pixels", f"{width}x{height}, the limit is {rule.max_pixels}")


def _is_right(found: ImageHeader, rule: ImageRule) -> bool:
    """Whether the source's bytes can be copied unchanged."""
    sized = rule.resize is None or found.width == found.height == rule.resize
    kept = found.format == "jpeg" or (found.format == "png" and rule.png == "keep")
    return sized and kept and found.direct and found.channels != 4 and found.orientation == 1 and not rule.changes


def _check_decodes(data: Encoded, found: ImageHeader) -> None:
    """Decode once and discard. A JPEG is decoded at an eighth of its size, in grey: all entropy-coded bytes are read, but few
    pixels are computed.
    """
    if found.format == "jpeg":
        _decode_jpeg(data, "GRAY", min_factor=8)
    else:
        _open(data, found)


def _decode_jpeg(data: Encoded, colorspace: str, **scale: int) -> Pixels:
    """Strict decoding: anything libjpeg would only warn about is a fault. (Pillow ignores most flipped bits.)"""
    _check_scans(data)
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(data, colorspace=colorspace, strict=True, **scale)
    except ValueError as error:
        raise ImageFault("corrupt_image", str(error)) from None
    return pixels


def _check_scans(data: Encoded) -> None:
    """Count start-of-scan markers, which cannot occur in entropy-coded bytes (T.81, F.1.2.3)."""
    marks = np.frombuffer(data, np.uint8)
    if np.count_nonzero((marks[:-1] == 0xFF) & (marks[1:] == 0xDA)) > _SCANS:
        raise ImageFault("corrupt_image", f"more than {_SCANS} scans")


def _jpeg_pixels(data: Encoded, found: ImageHeader, rule: ImageRule) -> tuple[Pixels, list[str]]:
    """The pixels of a JPEG. If it is to be resized, libjpeg scales it down while decoding, to the smallest multiple of an eighth
    that is large enough.
    """
    if found.channels == 4:
        _decode_jpeg(data, "CMYK", min_factor=8)
        return np.asarray(_open(data, found).convert("RGB")), ["cmyk_to_rgb"]
    side = rule.resize or 0
    return _decode_jpeg(data, "GRAY" if found.channels == 1 else "RGB", min_height=side, min_width=side), []


def _other_pixels(data: Encoded, found: ImageHeader, rule: ImageRule) -> tuple[Pixels, list[str]]:
    image = _open(data, found, rule)
    done = [f"{found.format}_to_jpeg"]
    if image.mode.startswith("I"):
        high = np.asarray(image).astype(np.uint32) >> 8
        return high.clip(0, 255).astype(np.uint8)[:, :, None], [*done, "sixteen_bit_to_eight"]
    if found.format == "png" and data[24] == 16:  # Pillow has taken the high bytes
        done.append("sixteen_bit_to_eight")
    if image.mode == "P":
        done.append("palette_to_rgb")
    if image.has_transparency_data:
        return np.asarray(_on_white(image)), [*done, "alpha_on_white"]
    grey = image.mode in ("1", "L")
    pixels = np.asarray(image.convert("L" if grey else "RGB"))
    return pixels[:, :, None] if grey else pixels, done


def _open(data: Encoded, found: ImageHeader, rule: ImageRule | None = None) -> Image.Image:
    """Decode the first frame with Pillow, using only the decoder for the format in the header."""
    try:
        image = Image.open(io.BytesIO(data), formats=(found.format.upper(),))
        if rule is not None:
            _check_size(image.width, image.height, rule)  # a GIF's first frame may exceed its header's size
        image.load()
    except PILLOW_FAULTS as error:
        raise ImageFault("corrupt_image", f"{type(error).__name__}: {error}") from None
    return image


def _raw_pixels(pixels: Pixels) -> tuple[Pixels, list[str]]:
    """Pixels without alpha, by the same rule as for encoded images."""
    if pixels.shape[2] != 4:
        return pixels, ["raw_to_jpeg"]
    return np.asarray(_on_white(Image.fromarray(np.ascontiguousarray(pixels)))), ["raw_to_jpeg", "alpha_on_white"]


def _on_white(image: Image.Image) -> Image.Image:
    layered = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(layered, mask=layered.getchannel("A"))
    return white


def _viewed(pixels: Pixels, done: list[str], rule: ViewRule) -> tuple[Pixels, list[str]]:
    """Pixels rotated, flipped and in RGB, according to the rule."""
    if rule.turn:
        pixels, done = np.rot90(pixels, -rule.turn // 90), [*done, f"turned_{rule.turn}"]
    if rule.flip != "none":
        pixels, done = (pixels[::-1] if rule.flip == "vertical" else pixels[:, ::-1]), [*done, f"flipped_{rule.flip}"]
    if rule.channels == "bgr" and pixels.shape[2] == 3:
        pixels, done = pixels[:, :, ::-1], [*done, "bgr_to_rgb"]
    return pixels, done


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    """Undo an EXIF orientation of 2 to 8."""
    if orientation >= 5:
        pixels = pixels.swapaxes(0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return pixels[::rows, ::columns]


def _checked_pixels(pixels: Pixels, rule: ImageRule) -> Pixels:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4):
        raise ImageFault("bad_pixels", f"{pixels.dtype}{list(pixels.shape)} is not uint8[height, width, 1, 3 or 4]")
    if not pixels.size:
        raise ImageFault("zero_size", f"{pixels.shape[1]}x{pixels.shape[0]}")
    _check_size(pixels.shape[1], pixels.shape[0], rule)
    return pixels


def _made(pixels: Pixels, done: list[str], rule: ImageRule, seen: tuple[int, ...]) -> Ready:
    """The JPEG or PNG of these pixels, resized if the rule says so. `seen` is the source's height and width."""
    if rule.resize is not None and seen != (rule.resize, rule.resize):
        pixels, done = _squared(pixels, rule.resize), [*done, "resized"]
    encoded = _png if rule.encode == "png" else _jpeg
    return encoded(np.ascontiguousarray(pixels), "+".join(done), rule)


def _jpeg(pixels: Pixels, done: str, rule: ImageRule) -> Ready:
    height, width, channels = pixels.shape
    if max(height, width) > _SIDE:
        raise ImageFault("too_many_pixels", f"{width}x{height}, a JPEG's side has at most {_SIDE}")
    space, sampling = ("GRAY", "Gray") if channels == 1 else ("RGB", rule.chroma)
    data = simplejpeg.encode_jpeg(pixels, rule.quality, space, sampling)
    return Ready(ImageHeader("jpeg", width, height, channels), data, done)


def _png(pixels: Pixels, done: str, rule: ImageRule) -> Ready:
    height, width, channels = pixels.shape
    found = io.BytesIO()
    Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels).save(found, "PNG", compress_level=1)
    return Ready(ImageHeader("png", width, height, channels), found.getvalue(), done.replace("to_jpeg", "to_png"))


def _squared(pixels: Pixels, side: int) -> Pixels:
    """The largest centred square, scaled to `side` by Lanczos (a=3, widened for minification, so without aliasing)."""
    height, width = pixels.shape[:2]
    square = min(height, width)
    left, top = (width - square) / 2, (height - square) / 2
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    small = image.resize((side, side), Image.Resampling.LANCZOS, box=(left, top, left + square, top + square))
    return np.asarray(small).reshape(side, side, -1)
