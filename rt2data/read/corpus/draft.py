"""Examples that layouts make from rows, before their images are found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from rt2data.read.join.images import ImageKey
from rt2data.read.text import clean_text
from rt2data.records import Content, Frame, Image, Place, Region, Turn


class RowFault(Exception):  # noqa: N818 (a finding about data, not an error of ours)
    """A row that cannot be used. `reason` is a short snake_case word for the Reject; `wanted` is true if the recipe asks to drop
    it.
    """

    def __init__(self, reason: str, detail: str = "", wanted: bool = False) -> None:
        super().__init__(reason, detail)
        self.reason, self.detail, self.wanted = reason, detail, wanted


class Embedded(NamedTuple):
    """An image embedded in the row."""

    content: Content
    place: Place | None = None  # where the encoded bytes are, if a file holds them unchanged


Picture = ImageKey | Embedded
"""An image named by a row, or embedded in it."""


@dataclass(frozen=True, slots=True)
class Draft:
    """An example whose images are not found yet. As in `records.Example`, with `turns` it is a conversation."""

    question: str = ""
    answers: tuple[str, ...] = ()
    turns: tuple[Turn, ...] = ()
    pictures: tuple[Picture, ...] = ()
    turn: Literal[0, 90, 180, 270] = 0  # degrees, clockwise, to turn its images upright
    regions: tuple[Region, ...] = ()
    frame: Frame = "upright"
    facts: tuple[str, ...] = ()  # names of facts to count

    @property
    def embeds(self) -> bool:
        """Whether it has an embedded image."""
        return any(isinstance(picture, Embedded) for picture in self.pictures)

    @property
    def shown_answers(self) -> tuple[str, ...]:
        """The answers, as shown to users."""
        return self.answers

    def with_images(self, images: tuple[Image, ...]) -> Draft:
        """The draft completed with data from its images. Raises RowFault, ImageFault if they are unsuitable."""
        return self


def words(text: Any, max_bytes: int) -> str:
    """Clean text on one line. Raises RowFault: bad_text, too_long_text."""
    return clean_text(_checked(text, max_bytes))


def lines(text: Any, max_bytes: int) -> str:
    """Clean text of several lines. Raises RowFault: bad_text, too_long_text."""
    found = _checked(text, max_bytes).replace("\r\n", "\n")
    return "\n".join(map(clean_text, found.split("\n"))).strip() if "\n" in found else clean_text(found).strip()


def _checked(text: Any, max_bytes: int) -> str:
    """The text, unless it contains a NUL or half a surrogate pair."""
    if not isinstance(text, str):
        raise RowFault("bad_text", f"{type(text).__name__} is not text")
    if "\0" in text:
        raise RowFault("bad_text", "a NUL character")
    try:
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        raise RowFault("bad_text", "half a surrogate pair") from None
    if size > max_bytes:
        raise RowFault("too_long_text", f"{len(text)} characters")
    return text


def pictures_of(value: Any) -> tuple[Picture, ...]:
    """The images of a value: a name, an id, a list of these, or images as in Hugging Face's tables.

    Raises RowFault: bad_image.
    """
    if value is None or value == "":
        return ()
    if isinstance(value, Sequence) and not isinstance(value, str | bytes | ImageKey | Embedded):
        return tuple(each for one in value for each in pictures_of(one))
    return (_picture(value),)


_MAX_NAME = 1024
_MAX_ID = 10**18


def _picture(value: Any) -> Picture:
    if isinstance(value, ImageKey | Embedded):
        return value
    if isinstance(value, bytes):
        return Embedded(value)
    if isinstance(value, dict):
        return _from_struct(value)
    if isinstance(value, str):
        return _named(value)
    if type(value) is int and 0 <= value < _MAX_ID:
        return ImageKey(value)
    raise RowFault("bad_image", f"{str(value)[:40]!r} names no image")


def _from_struct(value: dict[str, Any]) -> Picture:
    """Hugging Face's {bytes, path}."""
    held = value.get("bytes")
    if isinstance(held, Embedded | bytes):
        return held if isinstance(held, Embedded) else Embedded(held)
    name = next((value[key] for key in ("path", "file_name", "filename", "image") if isinstance(value.get(key), str)), None)
    if not name:
        raise RowFault(
            "bad_image", f"an object with {', '.join(map(str, list(value)[:6])) or 'nothing'}, but neither bytes nor a path"
        )
    return _named(name)


def _named(name: str) -> Picture:
    if name.startswith("data:"):
        return Embedded(_from_data_uri(name))
    if name.startswith(("http://", "https://")):
        raise RowFault("remote_image", f"{name[:80]}: rt2data fetches no images; download them, as img2dataset does")
    name = name.removeprefix("file://").strip()
    if not name or len(name) > _MAX_NAME or "\0" in name:
        raise RowFault("bad_image", "a file's name that cannot be one")
    number = int(name) if name.isascii() and name.isdigit() and len(name) <= 18 else -1
    return ImageKey(number, name)


def _from_data_uri(text: str) -> bytes:
    from base64 import b64decode

    head, _, body = text.partition(",")
    try:
        if not head.endswith(";base64"):
            raise ValueError
        return b64decode(body, validate=True)
    except ValueError:
        raise RowFault("bad_image", f"{head[:40]}: not an image in base64") from None
