"""Read COCO's instances as a worker does, or decode the whole file at once; print what it took. A process of its own."""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple


class Written(NamedTuple):
    """What a file of instances holds."""

    images: int
    boxes: int


def write(path: Path, size: int) -> Written:
    """About `size` bytes: seven boxes for each image, in an order of their own, each with an outline as long as most are."""
    outline = [round(n * 7.31 % 480, 2) for n in range(40)]
    images = max(size // 3100, 1)
    with path.open("w") as file:
        file.write('{"info": {"year": 2017}, "licenses": [{"id": 1}], "images": [')
        for number in range(images):
            file.write(f'{", " if number else ""}{{"id": {number}, "file_name": "{number:012d}.jpg", "height": 480, "width": 640}}')
        file.write('], "annotations": [')
        for number in range(images * 7):
            box = [number * 31 % 500, number * 17 % 400 + 0.25, 20 + number % 97, 30 + number % 43]
            said = {"segmentation": [outline], "area": 100.5, "iscrowd": 0, "image_id": number * 7919 % images, "bbox": box}
            file.write(f"{', ' if number else ''}{json.dumps(said | {'category_id': number % 80 + 1, 'id': number})}")
        categories = [{"supercategory": "thing", "id": number + 1, "name": f"thing {number}"} for number in range(80)]
        file.write(f'], "categories": {json.dumps(categories)}}}')
    return Written(images, images * 7)


def whole(path: str) -> int:
    """The plain way: all of it in memory, and the boxes of each image beside it."""
    import orjson

    found = orjson.loads(Path(path).read_bytes())
    boxes: dict[int, list[list[float]]] = {image["id"]: [] for image in found["images"]}
    for each in found["annotations"]:
        boxes[each["image_id"]].append(each["bbox"])
    return len(boxes)


def drafts(path: str) -> int:
    """Every image made an example with all its boxes, as far as that goes without the image itself."""
    from rt2data.read.corpus.draft import Draft
    from rt2data.read.corpus.grounding import Grounding

    source = Grounding(data=(path,))
    with tempfile.TemporaryDirectory() as shared:
        source.share(Path(shared))
        units = [replace(unit, shared=shared) for unit in source.units()]
        rows = (row for unit in units for part in unit.each for row in source.table(path, shared).rows(part.start, part.stop))
        return sum(isinstance(draft, Draft) for row in rows for draft in source.drafts(row.values))  # type: ignore[arg-type]


if __name__ == "__main__":
    way = {each.__name__: each for each in (whole, drafts)}[sys.argv[1]]
    started = time.process_time()
    count = way(sys.argv[2])
    seconds = time.process_time() - started
    peak = int(re.findall(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[0]) / 1024
    print(json.dumps({"count": count, "seconds": seconds, "peak_mb": peak}))
