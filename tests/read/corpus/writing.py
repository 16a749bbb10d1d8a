"""Corpora for tests, in the layouts that people use."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image as Pillow

from tests.contract.toy import write_web

SAID = [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "A block."}]


def conversations(folder: Path) -> Path:
    """Rows about no, one and two images in JSON and in JSON Lines: 8 that are right, and 7 that are wrong, each otherwise."""
    write_web(folder / "pictures", 4)
    right: list[dict[str, Any]] = [
        {"id": "a", "image": "pictures/0000.jpg", "conversations": SAID},
        {"id": "b", "conversations": [{"from": "human", "value": "What is 2 {times} 2?"}, {"from": "gpt", "value": "4]"}]},
        {"id": "c", "images": ["pictures/0001.jpg", "pictures/0002.jpg"], "messages": _two("<image>Left", "right<image>?")},
        {"id": "d", "image": "pictures/0003.jpg", "conversations": _llava("What is it?", "One\nline", "And?", "another")},
    ]
    wrong: list[dict[str, Any]] = [
        {"id": "e", "image": "pictures/9999.jpg", "conversations": SAID},
        {"id": "f", "image": "pictures/0000.jpg", "conversations": [SAID[0], {"from": "narrator", "value": "!"}]},
        {"id": "g", "image": "pictures/0000.jpg"},
        {"id": "h", "image": "pictures/0000.jpg", "conversations": SAID, "messages": _two("one", "two")},
        {"id": "i", "image": "https://example.com/1.jpg", "conversations": SAID},
    ]
    write_json(folder / "one.json", [*right, *wrong])
    lines = [json.dumps(row) for row in right]
    (folder / "two.jsonl").write_text("\n".join([lines[0], "", '{"id": "x", "conv', *lines[1:], "[1]"]))
    return folder


def questions(folder: Path) -> Path:
    """Questions with answers as an object of objects, an array with several in a row, and lines: 8 that are right, and 4 wrong."""
    write_web(folder / "pictures", 4)
    asked = {f"{n:08d}": {"imageId": f"{n:04d}", "question": f"Is it {n}?", "answer": "yes", "isBalanced": True} for n in range(4)}
    write_json(folder / "gqa.json", asked | {"gone": {"imageId": "9999", "question": "Is it?", "answer": "no"}})
    texts = enumerate(["What?", " ", "{Which}?"])
    several = [{"qa_id": n, "image_id": f"{n:04d}", "question": text, "answer": "A block."} for n, text in texts]
    write_json(folder / "genome.json", [{"id": 0, "qas": several}])
    lines = [{"image_id": n, "text_in": "How many?", "text_out": str(n)} for n in (1, 2)]
    (folder / "gvt.jsonl").write_text("\n".join([*map(json.dumps, lines), '{"image_id": 1, "text', '{"image_id": 1}']))
    return folder


def _llava(*said: str) -> list[dict[str, str]]:
    return [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(said)]


def _two(*asked: str) -> list[dict[str, str]]:
    """Each question with an answer, as chat templates take them."""
    pairs = [({"role": "user", "content": text}, {"role": "assistant", "content": "Yes."}) for text in asked]
    return [{"role": "system", "content": "Be short."}, *(turn for pair in pairs for turn in pair)]


def write_json(path: Path, rows: Sequence[Any] | dict[str, Any]) -> Path:
    """JSON as people write it, with line ends in it."""
    path.write_text(json.dumps(rows, indent=1))
    return path


def captions(folder: Path) -> Path:
    """Captions in a file of each kind: 19 examples that are right, and 9 rows that are wrong, each otherwise."""
    write_web(folder / "pictures", 6)
    data = folder / "data"
    data.mkdir()
    write_coco(data / "coco.json", {0: ["a", "b"], 1: ["c"], 2: [], 3: ["d"]}, strays=1)
    write_json(
        data / "karpathy.json", {"dataset": "coco", "images": [karpathy("0004.jpg", "one", "two"), karpathy("none.jpg", "x")]}
    )
    (data / "pairs.csv").write_bytes(b'\xef\xbb\xbfcaption,file_name\n"two\nlines, ""quoted""",0000.jpg\nplain,0001.jpg\na,b,c\n')
    (data / "flickr.token").write_text("0000.jpg#0\tA block.\n0000.jpg#1\tA red block.\n0001.jpg#0\tAn arm.\nnothing\n")
    pictures = [(folder / f"pictures/{n:04d}.jpg").read_bytes() for n in range(6)]
    rows = [{"image": {"bytes": pictures[n], "path": None}, "caption": f"row {n}"} for n in range(4)]
    local = {"image": {"bytes": None, "path": "pictures/0005.jpg"}, "caption": "a local file"}
    blank = {"image": {"bytes": pictures[4], "path": None}, "caption": " "}
    pq.write_table(table(*rows, blank), data / "rows.parquet", row_group_size=2)
    write_saved(data / "saved", [table(*rows[:2], local), table(blank, rows[3])])
    shard = {f"{n:09d}": {"jpg": pictures[n], "txt": f"sample {n}".encode()} for n in range(3)}
    shard["000000003"] = {"json": b'{"caption": "in json", "status": "success", "error_message": null}', "png": pictures[3]}
    failed = b'{"caption": "x", "status": "failed_to_download", "error_message": "404"}'
    write_tar(data / "shard.tar", [(f"{key}.{name}", said) for key, each in shard.items() for name, said in each.items()])
    write_tar(data / "failed.tar", [("1.json", failed), ("2.txt", b"no image")])
    return folder


def write_coco(path: Path, captions: dict[int, list[str]], strays: int = 0) -> Path:
    """COCO's captions: annotations in another order than images, and some of images that are not there."""
    images = [{"id": number, "file_name": f"{number:04d}.jpg"} for number in captions]
    said = [{"image_id": number, "caption": text} for number, texts in captions.items() for text in texts]
    said += [{"image_id": 1000 + n, "caption": "a stray"} for n in range(strays)]
    said = sorted(said, key=lambda each: -each["image_id"])
    rows = [{"id": number, **each} for number, each in enumerate(said)]
    return write_json(path, {"info": {"year": 2017}, "licenses": [{"id": 1}], "images": images, "annotations": rows})


COLOURS = {3: "a red block", 70: "an arm", 9: "a plate"}
"""Categories: their numbers have gaps, as COCO's."""


def write_instances(path: Path, sizes: dict[str, tuple[int, int]], boxes: Sequence[dict[str, Any]]) -> Path:
    """COCO's instances: images by name with width and height, annotations in an order of their own, categories last."""
    images = [
        {"id": number, "file_name": name, "width": width, "height": height}
        for number, (name, (width, height)) in enumerate(sizes.items())
    ]
    annotations = [
        {"id": n, "area": 1.0, "segmentation": [[1.5, 2.5, 3, 4, 5, 6]], "iscrowd": 0, **box} for n, box in enumerate(boxes)
    ]
    categories = [{"supercategory": "thing", "id": number, "name": name} for number, name in COLOURS.items()]
    said = {"info": {"year": 2017}, "licenses": [{"id": 1}], "images": images, "annotations": annotations, "categories": categories}
    return write_json(path, said)


def boxes_of_photographs(path: Path, photographs: Sequence[Path]) -> list[dict[str, Any]]:
    """Three boxes in each photograph, one of them a crowd; returns the annotations."""
    sizes: dict[str, tuple[int, int]] = {}
    for photograph in photographs:
        with Pillow.open(photograph) as opened:
            sizes[photograph.name] = opened.size
    random = np.random.default_rng(5)
    boxes = list[dict[str, Any]]()
    for number, (width, height) in enumerate(sizes.values()):
        for crowd, category in enumerate((9, 3, 70)):
            x, y = random.uniform(0, width / 2), random.uniform(0, height / 2)
            box = [round(float(each), 2) for each in (x, y, random.uniform(20, width - x), random.uniform(20, height - y))]
            boxes.append({"image_id": number, "category_id": category, "bbox": box, "iscrowd": crowd // 2})
    write_instances(path, sizes, [boxes[at] for at in random.permutation(len(boxes))])
    return boxes


def entities(folder: Path) -> Path:
    """Flickr30k Entities: two captions of each of four photographs, of which one has no file of boxes and one a damaged one."""
    write_web(folder / "pictures", 4)
    for name in ("Sentences", "Annotations"):
        (folder / name).mkdir()
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>31</ymax></bndbox>"
    for n in range(4):
        (folder / f"Sentences/000{n}.txt").write_text(f"[/EN#{n}/other A block] lies .\nAn arm lifts [/EN#{n}/other it] .\n")
        size = "<size><width>32</width><height>32</height></size>"
        text = f"<annotation>{size}<object><name>{n}</name>{box}</object></annotation>"
        (folder / f"Annotations/000{n}.xml").write_text(text[: 40 if n == 2 else None])
    (folder / "Annotations/0003.xml").unlink()
    return folder


def grounding(folder: Path) -> Path:
    """Boxes and points in files of several kinds: 14 examples that are right, and 11 that are wrong, each otherwise."""
    write_web(folder / "pictures", 6)
    data = folder / "data"
    data.mkdir()
    sizes = {f"{n:04d}.jpg": (32, 32) for n in range(5)} | {"0005.jpg": (64, 32), "none.jpg": (32, 32)}
    right = [{"image_id": n, "category_id": 3, "bbox": [1.5, 2, 10 + n, 12.25]} for n in (2, 0, 1)]
    wrong = [(3, 4, [1, 1, 5, 5]), (4, 3, [1, 1, -5, 5]), (5, 3, [1, 1, 5, 5]), (6, 3, [1, 1, 5, 5]), (77, 3, [1, 1, 5, 5])]
    boxes = [{"image_id": image, "category_id": category, "bbox": box} for image, category, box in wrong]
    write_instances(data / "instances.json", sizes, [*boxes, *right])
    refs: list[dict[str, Any]] = [
        {"image": f"pictures/000{n}.jpg", "sentences": [f"block {n}", f"the block {n}"], "bbox": [n, 1, 9, 9]} for n in range(3)
    ]
    refs += [{"image": "pictures/0003.jpg", "sentences": said, "bbox": [1, 1, 9, 9]} for said in ([], ["<loc>"])]
    write_json(data / "refs.json", refs)
    points = [
        {"image_path": f"000{n}.jpg", "label": "dots", "points": [{"x": 10.0 * k, "y": 50.5} for k in range(n)], "count": n}
        for n in range(6)
    ]
    points[4]["count"], points[5]["points"][0]["x"] = 9, 100.5
    pq.write_table(pa.Table.from_pylist(points), data / "points.parquet", row_group_size=2)
    genome = [{"region_id": n, "image_id": 1, "phrase": f"part {n}", "x": n, "y": 0, "width": 5, "height": 50} for n in range(3)]
    (folder / "1.jpg").write_bytes((folder / "pictures/0001.jpg").read_bytes())
    write_json(data / "genome.json", [{"id": 1, "regions": [*genome[:2], genome[2] | {"x": 40}]}])
    return folder


def karpathy(name: str, *captions: str) -> dict[str, Any]:
    """A row of Karpathy's splits."""
    return {
        "filename": name,
        "filepath": "pictures",
        "split": "train",
        "sentences": [{"raw": text, "tokens": []} for text in captions],
    }


HELD = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("caption", pa.string())])


def table(*rows: dict[str, Any]) -> pa.Table:
    """Rows with an image as Hugging Face holds it."""
    return pa.Table.from_pylist(list(rows), HELD)


def write_saved(folder: Path, shards: Sequence[pa.Table]) -> Path:
    """A dataset as `save_to_disk` writes it, with a file of a cache that does not belong to it."""
    folder.mkdir(parents=True)
    names = [f"data-{number:05d}-of-{len(shards):05d}.arrow" for number in range(len(shards))]
    for name, shard in zip([*names, "cache-0123.arrow"], [*shards, shards[0]], strict=True):
        with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, shard.schema) as writer:
            writer.write_table(shard, max_chunksize=2)
    write_json(folder / "state.json", {"_data_files": [{"filename": name} for name in names], "_split": "train"})
    write_json(folder / "dataset_info.json", {"features": {}})
    return folder


def write_tar(path: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    """A tar archive of these members."""
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path
