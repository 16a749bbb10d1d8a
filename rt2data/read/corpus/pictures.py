"""The images of drafts: files named by rows are found and read; embedded images are used as is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import xxhash

from rt2data.images.ready import ImageFault
from rt2data.read.corpus.draft import Draft, Embedded, Picture
from rt2data.read.join.files import ImageReader
from rt2data.read.join.images import Conflict, Found, ImageKey, choose_image
from rt2data.read.join.images import group_of as image_group
from rt2data.read.join.listing import Listing
from rt2data.records import Image


class Pictures:
    """Finds and reads the images of one unit, and counts how they were found."""

    def __init__(self, listing: Listing | None, conflict: Conflict, max_bytes: int) -> None:
        self._listing, self._conflict = listing, conflict
        self._reader = ImageReader(max_bytes)
        self._max_bytes = max_bytes
        self._find = lru_cache(maxsize=4096)(self._found)
        self.facts: Counter[str] = Counter()

    def expect(self, drafts: Sequence[Draft]) -> None:
        """Announce which drafts are read next, in order: images in an object store are prefetched."""
        keys = [picture for draft in drafts for picture in draft.pictures if isinstance(picture, ImageKey)]
        self._reader.expect([found.path for key in keys if (found := self._find(key)).path])

    def of(self, draft: Draft) -> tuple[Image, ...]:
        """The images of a draft, named in order. Raises ImageFault: missing_image, ambiguous_image, unreadable_image,
        too_large_file.
        """
        found = [self._image(picture) for picture in draft.pictures]
        names = [f"image_{number}" for number in range(len(found))] if len(found) > 1 else ["image"]
        return tuple(_named(image, name, draft.turn) for name, image in zip(names, found, strict=False))

    def _image(self, picture: Picture) -> Image:
        if isinstance(picture, Embedded):
            if len(_bytes(picture)) > self._max_bytes:
                raise ImageFault("too_large_file", f"more than {self._max_bytes} bytes")
            return Image("image", picture.content, picture.place)
        found = self._find(picture)
        self.facts.update(found.facts())
        if not found.path:
            raise ImageFault(found.how, found.detail)
        return self._reader.read(found.path)

    def _found(self, key: ImageKey) -> Found:
        if self._listing is None:
            return Found("", "missing_image", "", f"{key}: no folder of images is named: set `image_dirs`")
        found = choose_image(key, self._listing, self._conflict)
        if not isinstance(found, Found):
            one, other = found
            return Found("", "ambiguous_image", "", f"{key} can be {one.path} or {other.path}, which differ")
        other_place = self._listing.elsewhere(key.name) if found.how == "missing_image" and key.name else None
        if other_place is None:
            return found
        detail = f"{key}: there is {other_place.path}, in another folder; `folders: ignore` takes it"
        return Found("", "missing_image", "", detail)


def _named(image: Image, name: str, turn: Literal[0, 90, 180, 270]) -> Image:
    """The image under this name. If it has the name already, the same object: rows about one image are adjacent, so it is prepared
    only once.
    """
    return image if (image.camera, image.turn) == (name, turn) else Image(name, image.data, image.place, turn)


def group_of(draft: Draft, key: str) -> str:
    """The group that keeps all rows about one image in one split: the first image's number, or a hash of its name or bytes."""
    if not draft.pictures:
        return key
    first = draft.pictures[0]
    if isinstance(first, Embedded):
        return f"e{xxhash.xxh3_64_hexdigest(_bytes(first))}"
    return image_group(first)


def _bytes(picture: Embedded) -> Any:
    """The content of an embedded image: encoded bytes or pixels."""
    return picture.content
