"""COCO's captions: one row per image with all its captions. The index takes 21 bytes per caption."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

from rt2data.io import location
from rt2data.io.json_stream import JsonArray, JsonFault, Slice
from rt2data.read.corpus.coco import NONE, CocoIndex, CocoTable, bad_id, id_of, key_of
from rt2data.read.corpus.table import RawRow, is_table
from rt2data.read.known_formats import recognize_json

_TOGETHER = 512  # images whose captions are read together
LAYOUT = "COCO captions"


def is_coco_captions(path: str) -> bool:
    """Whether a file is a JSON object of images and annotations that are captions."""
    return path.lower().endswith(".json") and is_table(path) and recognize_json(path) == LAYOUT


@dataclass(frozen=True)
class CocoCaptions(CocoTable):
    """{images: [{id, file_name}], annotations: [{image_id, caption}]}. Rows have the columns `image` and `captions`."""

    annotations: ClassVar[str] = "captions"
    annotation: ClassVar[str] = "caption"
    fields = (("length", "i4"),)

    def first(self) -> RawRow | None:
        """The image of the first caption, with only that caption."""
        for place, found in self.array("annotations").located():
            number = id_of(found, "image_id")
            if isinstance(found, dict) and number != NONE:
                images = (image for _, image in self.images.located() if id_of(image, "id") == number)
                image = next((each for each in images if isinstance(each, dict)), {})
                values = {"image": key_of(number, image), "captions": [found.get("caption")]}
                return RawRow(str(place.start), f"{self.path}: byte {place.start}", values)
        return None

    def scanned(self) -> Iterator[tuple[Any, ...]]:
        """Where each caption is."""
        for place, row in self.array("annotations").located():
            yield id_of(row, "image_id"), place.start, min(place.stop - place.start, 2**31 - 1)

    def joined(self, images: Iterator[tuple[Slice, Any]], index: CocoIndex) -> Iterator[RawRow]:
        """Images with their captions, read in groups."""
        with location.local_copy_or_path(self.path) as local:
            captions = self.array("annotations", str(local))
            while some := list(islice(images, _TOGETHER)):
                yield from self._some(some, index, captions)

    def _some(self, images: Sequence[tuple[Slice, Any]], index: CocoIndex, captions: JsonArray[dict[str, Any]]) -> Iterator[RawRow]:
        """A group of images; their captions are read in file order."""
        found = [_places(index, id_of(image, "id")) for _, image in images]
        wanted = sorted({place for places in found for place in places})
        decode = captions.decoder(seen=True)
        texts = {place: decode(text, place[0]) for place, text in zip(wanted, captions.texts(wanted), strict=True)}
        for (place, image), places in zip(images, found, strict=True):
            values = image if isinstance(image, JsonFault) else _row(image, [texts[each] for each in places])
            yield RawRow(str(place.start), f"{self.path}: byte {place.start}", values)


def _places(index: CocoIndex, image: int) -> list[tuple[int, int]]:
    """Byte and length of each caption of an image."""
    found = index.of(image)
    return list(zip(found["start"].tolist(), found["length"].tolist(), strict=True))


def _row(image: dict[str, Any], annotations: Sequence[Any]) -> dict[str, Any] | JsonFault:
    number = id_of(image, "id")
    if number == NONE:
        return bad_id(image)
    wrong = next((each for each in annotations if isinstance(each, JsonFault)), None)
    if wrong is not None:
        return wrong
    return {"image": key_of(number, image), "captions": [each.get("caption") for each in annotations]}
