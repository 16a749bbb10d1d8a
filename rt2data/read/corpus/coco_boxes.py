"""COCO's instances: one row per image with all its boxes. The index holds the boxes themselves, 38 bytes each."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import msgspec
import numpy as np

from rt2data.io import location
from rt2data.io.json_stream import JsonArray, JsonFault, Slice
from rt2data.read.corpus.coco import NONE, CocoIndex, CocoTable, as_id, bad_id, id_of, key_of
from rt2data.read.corpus.table import RawRow, is_table
from rt2data.read.join.images import ImageKey
from rt2data.read.known_formats import COCO_BOXES, recognize_json

COCO = "_coco"
"""A column that marks the rows of COCO's instances."""
_TAIL = 1 << 20  # bytes at the end of a file that are searched for categories to show the first row
_NO_BOX = (float("nan"),) * 4


def is_coco_boxes(path: str) -> bool:
    """Whether a file is a JSON object of images and annotations that are boxes."""
    return path.lower().endswith(".json") and is_table(path) and recognize_json(path) == COCO_BOXES


class _Annotation(msgspec.Struct):
    """The fields read from an annotation; outlines are skipped."""

    image_id: Any = None
    category_id: Any = None
    bbox: Any = None
    iscrowd: Any = 0


@dataclass(frozen=True)
class CocoBoxes(CocoTable):
    """{images: [{id, file_name, width, height}], annotations: [{image_id, category_id, bbox, iscrowd}], categories: [{id, name}]}.

    Rows have the columns `image`, `width`, `height`, and `objects` with lists of `bbox`, `category`, `iscrowd`; and `phrase` if
    images have captions, as in MDETR's files of referring expressions.
    """

    annotations: ClassVar[str] = "boxes"
    annotation: ClassVar[str] = "box"
    fields = (("category", "i4"), ("crowd", "i1"), *((name, "f4") for name in "xywh"))

    def first(self) -> RawRow | None:
        """The image of the first box, with only that box."""
        for place, found in self._annotations.located():
            if isinstance(found, _Annotation) and (number := as_id(found.image_id)) != NONE:
                images = (image for _, image in self.images.located() if id_of(image, "id") == number)
                image = next((each for each in images if isinstance(each, dict)), {})
                category = as_id(found.category_id)
                name = self._names_at_end.get(category, f"category {category}")
                objects = {"bbox": [_box(found.bbox)], "category": [name], "iscrowd": [_crowd(found.iscrowd)]}
                return RawRow(str(place.start), f"{self.path}: byte {place.start}", _row(number, image, objects))
        return None

    def scanned(self) -> Iterator[tuple[Any, ...]]:
        """Every box, in single precision."""
        for place, row in self._annotations.located():
            found = row if isinstance(row, _Annotation) else _Annotation()
            number = as_id(found.category_id)
            category = number if number < 1 << 31 else NONE
            yield as_id(found.image_id), place.start, category, _crowd(found.iscrowd), *_box(found.bbox)

    def facts(self) -> dict[str, str]:
        """The names of the categories."""
        return {"categories": json.dumps(self._categories())}

    def joined(self, images: Iterator[tuple[Slice, Any]], index: CocoIndex) -> Iterator[RawRow]:
        """Images with their boxes, which come from the index."""
        names = {int(number): name for number, name in json.loads(index.metadata[b"categories"]).items()}
        for place, image in images:
            values = image if isinstance(image, JsonFault) else self._joined(image, index, names)
            yield RawRow(str(place.start), f"{self.path}: byte {place.start}", values)

    def _joined(self, image: dict[str, Any], index: CocoIndex, names: dict[int, str]) -> dict[str, Any] | JsonFault:
        number = id_of(image, "id")
        if number == NONE:
            return bad_id(image)
        found = index.of(number)
        categories = found["category"].tolist()
        unknown = next((at for at, each in enumerate(categories) if each not in names), None)
        if unknown is not None:
            return JsonFault("unknown_category", f"the box at byte {found['start'][unknown]}: category {categories[unknown]}")
        boxes = np.stack([found[name] for name in "xywh"], axis=1)
        wrong = np.flatnonzero(~np.isfinite(boxes).all(axis=1))
        if len(wrong):
            return JsonFault("bad_box", f"the annotation at byte {found['start'][wrong[0]]} has no four numbers")
        objects = {"bbox": boxes.tolist(), "category": [names[each] for each in categories], "iscrowd": found["crowd"].tolist()}
        return _row(number, image, objects)

    @property
    def _annotations(self) -> JsonArray[_Annotation]:
        return JsonArray(self.path, "annotations", _Annotation, self.max_row, strict=False)

    def _categories(self) -> dict[int, str]:
        """Category names by id."""
        return _names(row for _, row in self.array("categories").located())

    @cached_property
    def _names_at_end(self) -> dict[int, str]:
        """The categories near the end of the file, where COCO puts them; nothing else is read."""
        with location.open_file(self.path) as file:
            size = file.seek(0, 2)
            file.seek(max(size - _TAIL, 0))
            text = file.read(_TAIL)
        _, found, rest = text.rpartition(b'"categories"')
        try:
            rows, _ = json.JSONDecoder().raw_decode(rest.decode(errors="replace").lstrip(": \r\n\t")) if found else ([], 0)
        except (ValueError, RecursionError):
            return {}
        return _names(rows if isinstance(rows, list) else [])


def _names(rows: Iterator[Any] | list[Any]) -> dict[int, str]:
    pairs = ((id_of(row, "id"), row.get("name")) for row in rows if isinstance(row, dict))
    return {number: name for number, name in pairs if number != NONE and isinstance(name, str) and name.strip()}


def _row(number: int, image: dict[str, Any], objects: dict[str, Any]) -> dict[str, Any]:
    values = {COCO: True, "image": key_of(number, image), "width": image.get("width"), "height": image.get("height")}
    said = {"phrase": image["caption"], "image": _named(image)} if isinstance(image.get("caption"), str) else {}
    return values | said | {"objects": objects}


def _named(image: dict[str, Any]) -> ImageKey:
    """The key of an image. If images are listed once per caption, `id` is the caption's, not the image's."""
    return key_of(as_id(image.get("original_id")), image)


def _box(value: Any) -> tuple[float, ...]:
    """The value as four numbers; NaN if it is not."""
    right = isinstance(value, list) and len(value) == 4 and all(type(each) in (int, float) and abs(each) < 1e9 for each in value)
    return tuple(map(float, value)) if right else _NO_BOX


def _crowd(value: Any) -> int:
    return int(value in (1, True))
