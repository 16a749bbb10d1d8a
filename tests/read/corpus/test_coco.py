"""The join of COCO's images and annotations is the one that a dictionary makes, however few annotations fit in memory."""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.io import sorted_rows
from rt2data.io.json_stream import JsonFault
from rt2data.read.corpus.coco_boxes import CocoBoxes
from rt2data.read.corpus.coco_captions import CocoCaptions
from rt2data.read.corpus.table import RawRow

ids = st.integers(0, 6) | st.sampled_from([10**17, None])
"""Several images and annotations have the same, or none."""


def rows(table: CocoBoxes | CocoCaptions, shared: bool) -> list[RawRow]:
    with tempfile.TemporaryDirectory() as folder:
        if shared:
            table.write_index(Path(folder))
            table = type(table)(table.path, table.columns, table.max_row, shared=folder)
        return [row for part in table.parts() for row in table.rows(part.start, part.stop)]


def joined(images: list[int | None], annotations: list[int | None]) -> tuple[list[list[int] | None], int]:
    """Numbers of the annotations of each image, None where it has no id; and how many have no image."""
    found = defaultdict[int, list[int]](list)
    for number, image in enumerate(annotations):
        if image is not None:
            found[image].append(number)
    held = [None if image is None else found.get(image, []) for image in images]
    return held, sum(image is None or image not in images for image in annotations)


@given(st.lists(ids, max_size=12), st.lists(ids, max_size=40), st.integers(1, 4), st.booleans())
def test_the_join_is_that_of_a_dictionary(images: list[int | None], annotations: list[int | None], run: int, shared: bool) -> None:
    said: dict[str, Any] = {"images": [{"id": each, "file_name": "a.jpg", "width": 9, "height": 9} for each in images]}
    said["annotations"] = [
        {"image_id": each, "category_id": 1, "bbox": [number, 0, 1, 1], "caption": str(number)}
        for number, each in enumerate(annotations)
    ]
    said["categories"] = [{"id": 1, "name": "x"}]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorted_rows, "RUN", 2 * run)
        patch.setattr(sorted_rows, "SAMPLE", run)
        path = Path(folder) / "a.json"
        path.write_text(json.dumps(said))
        boxes = rows(CocoBoxes(str(path), (), 1 << 20), shared)
        captions = rows(CocoCaptions(str(path), (), 1 << 20), shared)
    held, strays = joined(images, annotations)
    strays = strays if images else 0  # they come with the first image
    for found in (boxes, captions):
        assert len(found) == len(images) + strays
        assert all(isinstance(row.values, JsonFault) for row in found[len(images) :])
    for numbers, box, caption in zip(held, boxes, captions, strict=False):
        if isinstance(box.values, JsonFault) or isinstance(caption.values, JsonFault):
            assert numbers is None
        else:
            assert numbers == [int(each[0]) for each in box.values["objects"]["bbox"]]
            assert numbers == [int(each) for each in caption.values["captions"]]
