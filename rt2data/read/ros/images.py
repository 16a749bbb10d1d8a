"""Images in messages: encoded ones unchanged, raw ones as RGB pixels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rt2data.images.headers import ImageFault
from rt2data.io.inflate import InflateError
from rt2data.read.ros.container import Container, Ref, Topic
from rt2data.read.ros.values import Decode, MessageFault, Value, ros_type
from rt2data.records import Content, Deferred

_RAW = ("sensor_msgs/msg/Image", "foxglove.RawImage", "foxglove_msgs/msg/RawImage")
_ENCODED = ("sensor_msgs/msg/CompressedImage", "foxglove.CompressedImage", "foxglove_msgs/msg/CompressedImage")
_CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1, "8UC1": 1}
_SIGNS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF", b"GIF8", b"BM")


def is_image(topic: Topic) -> bool:
    """Whether a topic has images, according to its type."""
    return _kind(topic) in _RAW + _ENCODED


def _kind(topic: Topic) -> str:
    return topic.type if topic.type.startswith("foxglove.") else ros_type(topic.type)


def image_detail(topic: Topic, message: Mapping[str, Value]) -> str:
    """A description of the images. Raises ImageFault if they cannot be read."""
    if _kind(topic) in _RAW:
        pixels = pixels_of(message)
        return f"{message['encoding']} {pixels.shape[1]}x{pixels.shape[0]}"
    encoded_in(message)
    return str(message.get("format", ""))[:40] or "encoded"


def encoded_in(message: Mapping[str, Value]) -> memoryview:
    """The bytes of a CompressedImage: a view into the message. Raises ImageFault if they are not a supported image."""
    data = _bytes(message.get("data"))
    said = str(message.get("format", ""))
    if "compressedDepth" in said or not bytes(data[:8]).startswith(_SIGNS):
        reason = "unsupported_image" if len(data) else "empty_image"
        raise ImageFault(reason, f"format {said[:80]!r}, begins with {bytes(data[:8]).hex()}")
    return data


def _bytes(data: Value) -> memoryview:
    """The bytes of a value; JSON has them as base64."""
    if isinstance(data, str):
        from base64 import b64decode

        try:
            return memoryview(b64decode(data, validate=True))
        except ValueError as error:
            raise ImageFault("corrupt_image", f"not base64: {error}") from None
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8:
        raise ImageFault("not_an_image", "the message has no bytes")
    return data.data


def pixels_of(message: Mapping[str, Value]) -> NDArray[np.uint8]:
    """The pixels of an Image: uint8[height, width, 3] in RGB, or [height, width, 1]. A fourth channel is left out.

    Raises ImageFault: unknown_encoding, zero_size, wrong_size.
    """
    encoding = str(message.get("encoding"))
    if encoding not in _CHANNELS:
        raise ImageFault("unknown_encoding", f"{encoding[:40]!r}: known are {', '.join(_CHANNELS)}")
    height, width, step = (_size(message, name) for name in ("height", "width", "step"))
    channels, data = _CHANNELS[encoding], _bytes(message.get("data"))
    if not height or not width:
        raise ImageFault("zero_size", f"{width}x{height}")
    row = width * channels
    if step < row or (height - 1) * step + row > len(data):
        raise ImageFault("wrong_size", f"{width}x{height} {encoding} in rows of {step} bytes, and {len(data):,} bytes")
    flat = np.frombuffer(data, np.uint8)
    rows = np.lib.stride_tricks.as_strided(flat, (height, row), (step, 1), writeable=False)
    pixels = rows.reshape(height, width, channels)[:, :, : min(channels, 3)]
    return np.ascontiguousarray(pixels[:, :, ::-1] if encoding.startswith("bgr") else pixels)


def _size(message: Mapping[str, Value], name: str) -> int:
    found = message.get(name)
    if not isinstance(found, int):
        raise ImageFault("wrong_size", f"no {name}")
    return found


@dataclass(frozen=True, slots=True, eq=False)
class MessageImage(Deferred):
    """The image of one message, which is re-read from its file."""

    file: Container
    ref: Ref
    decode: Decode
    raw: bool

    def read(self) -> Content:
        try:
            message = self.decode(self.file.data(self.ref))
        except (InflateError, MessageFault) as error:
            raise ImageFault("damaged_message", str(error)) from None
        return pixels_of(message) if self.raw else bytes(encoded_in(message))


def is_raw(topic: Topic) -> bool:
    """Whether a topic's images are raw pixels."""
    return _kind(topic) in _RAW


def offset_in(data: memoryview, part: memoryview) -> int | None:
    """The offset of a view into a message; None if it is not a view into it."""
    if not len(part):
        return None
    whole, inside = (np.frombuffer(each, np.uint8).__array_interface__["data"][0] for each in (data, part))
    return inside - whole if 0 <= inside - whole <= len(data) - len(part) else None
