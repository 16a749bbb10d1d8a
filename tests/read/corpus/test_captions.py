"""Captions from every kind of file, against independent readings; each damage is found by its kind, and no other."""

from __future__ import annotations

import csv
import io
import json
import struct
import tarfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image as Pillow

from rt2data.errors import UsageError
from rt2data.images.ready import ImageFault, make_ready
from rt2data.look.inspect.raw import InspectedSource, recognize_source
from rt2data.read import units
from rt2data.read.corpus.captions import Captions
from rt2data.records import Example, Fact, Image, Reject, SourceRecord
from tests.contract.toy import jpeg
from tests.read.corpus.writing import captions, karpathy, table, write_coco, write_json, write_saved, write_tar


def source(*data: Path, **settings: Any) -> Captions:
    return Captions.model_validate({"data": list(map(str, data)), **settings})


def read(found: Captions, folder: Path | None = None) -> list[SourceRecord]:
    """Without facts."""
    shared = ""
    if folder is not None:
        found.share(folder)
        shared = str(folder)
    work = [part for unit in found.units() for part in found.pieces(unit.__class__(**_of(unit, shared)), 1)]
    return [record for part in work for record in found.read(part) if not isinstance(record, Fact)]


def _of(unit: Any, shared: str) -> dict[str, Any]:
    return {name: getattr(unit, name) for name in unit.__slots__} | {"shared": shared}


def examples(records: list[SourceRecord]) -> list[Example]:
    return [record for record in records if isinstance(record, Example)]


def reasons(records: list[SourceRecord]) -> Counter[str]:
    return Counter(record.reason for record in records if isinstance(record, Reject))


def ready(records: list[SourceRecord], found: Captions) -> Counter[str]:
    """Reasons of rejects, those of images too; `right` is what is left."""
    counts = reasons(records)
    for example in examples(records):
        try:
            for image in example.images:
                make_ready(image.content(), found.images, decode=True)  # type: ignore[arg-type]
            counts["right"] += 1
        except ImageFault as fault:
            counts[fault.reason] += 1
    return counts


def content(image: Image) -> bytes:
    return bytes(image.content())  # type: ignore[arg-type]


# Real corpora


def test_coco_is_joined_as_json_says(shared_data: Path, tmp_path: Path) -> None:
    root = shared_data / "coco_web"
    for split in ("train2017", "val2017"):
        path = root / "annotations" / f"captions_{split}.json"
        whole = json.loads(path.read_text())
        said: dict[int, list[str]] = {image["id"]: [] for image in whole["images"]}
        for each in whole["annotations"]:
            said[each["image_id"]].append(" ".join(each["caption"].split()))
        found = examples(read(source(path, image_dirs=[str(root)]), tmp_path / split))
        assert {int(each.group): list(each.answers) for each in found} == said
        assert [int(each.group) for each in found] == [image["id"] for image in whole["images"]]
        for each in found:
            assert content(each.images[0]) == (root / split / f"{int(each.group):012d}.jpg").read_bytes()
            assert each.question == "Describe the image."


def test_img2dataset_is_what_tarfile_reads(shared_data: Path) -> None:
    path = shared_data / "wds_img2dataset" / "shard-0013.tar"
    with tarfile.open(path) as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    found = examples(read(source(path)))
    texts = {name[:-4]: held.decode() for name, held in members.items() if name.endswith(".txt")}
    pictures = {name[:-5]: held for name, held in members.items() if name.endswith(".webp")}
    assert sorted(each.answers[0] for each in found) == sorted(texts.values())
    assert {(each.answers[0], content(each.images[0])) for each in found} == {(texts[key], pictures[key]) for key in texts}


def test_where_keeps_what_img2dataset_knows(shared_data: Path) -> None:
    path = shared_data / "wds_img2dataset" / "shard-0013.tar"
    found = read(source(path, where={"width": {"min": 300}, "status": {"among": ("success",)}}))
    with tarfile.open(path) as tar:
        widths = [json.load(tar.extractfile(each))["width"] for each in tar if each.name.endswith("json")]  # type: ignore[arg-type]
    assert len(examples(found)) == sum(width >= 300 for width in widths) < len(widths)
    assert reasons(found) == {"where_width": sum(width < 300 for width in widths)}


SUGGESTED = {
    "wds_img2dataset": ["wds_img2dataset/shard-0013.tar"],
    "wds_img2dataset/shard-0013.tar": ["wds_img2dataset/shard-0013.tar"],
    "coco_web/annotations/captions_val2017.json": ["coco_web/annotations/captions_val2017.json"],
}


@pytest.mark.parametrize("path", SUGGESTED)
def test_real_captions_are_recognized(path: str, shared_data: Path) -> None:
    found = recognize_source(shared_data / path)
    assert isinstance(found, InspectedSource) and found.kind == "captions"
    assert found.settings["data"] == [str(shared_data / each) for each in SUGGESTED[path]]
    assert found.examples().at(0).images
    assert "Describe the image." in str(found.facts()["first"])


@pytest.mark.parametrize("path", ["coco_web/annotations/coco_pope_random.json", "coco_web/annotations/gvt_coco_oc.json"])
def test_questions_are_no_captions(path: str, shared_data: Path) -> None:
    found = recognize_source(shared_data / path)
    assert found is None or found.kind != "captions"  # type: ignore[attr-defined]


# COCO


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("size", [1, 1 << 26])
def test_captions_are_joined_in_any_order_and_part(
    indexed: bool, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(units, "UNIT_BYTES", size)
    random = np.random.default_rng(1)
    said = {n: [f"caption {n} {k}" for k in range(random.integers(0, 4))] for n in range(0, 60, 2)}
    (tmp_path / "pictures").mkdir()
    for n in said:
        (tmp_path / "pictures" / f"{n:04d}.jpg").write_bytes(jpeg(n))
    found = source(write_coco(tmp_path / "a.json", said, strays=3), image_dirs=[str(tmp_path)])
    records = read(found, tmp_path / "shared" if indexed else None)
    assert {int(each.group): list(each.answers) for each in examples(records)} == {n: each for n, each in said.items() if each}
    assert reasons(records) == {"no_caption": sum(not each for each in said.values()), "caption_without_image": 3}


def test_one_row_for_each_caption_where_the_recipe_asks(tmp_path: Path) -> None:
    path = write_coco(tmp_path / "a.json", {1: ["a", "b"]})
    (tmp_path / "0001.jpg").write_bytes(jpeg(1))
    found = source(path, image_dirs=[str(tmp_path)], rows="annotations")
    assert [each.answers for each in examples(read(found))] == [("a",), ("b",)]
    assert source(path, answers="all").prepare_settings()["answers"] == "all"
    assert source(path).answers == "sample"


# Other tables


def test_all_kinds_of_files_say_the_same(tmp_path: Path) -> None:
    captions(tmp_path)
    found = read(source(tmp_path / "data", image_dirs=[str(tmp_path)]))
    with (tmp_path / "data" / "pairs.csv").open(encoding="utf-8-sig", newline="") as file:
        pairs = [" ".join(row["caption"].split()) for row in csv.DictReader(file) if None not in row]
    rows = [each for each in pq.read_table(tmp_path / "data" / "rows.parquet")["caption"].to_pylist() if each.strip()]
    said = [answer for each in examples(found) for answer in each.answers]
    assert set(pairs) | set(rows) | {"one", "two", "a local file", "in json", "A block.", "A red block."} <= set(said)
    wrong = {"no_caption": 3, "caption_without_image": 1, "failed_to_download": 1, "no_image": 1}
    assert reasons(found) == wrong | {"bad_row": 1, "missing_image": 1, "wrong_fields": 1}
    failed = next(each for each in found if isinstance(each, Reject) and each.reason == "failed_to_download")
    assert not failed.fault


def test_karpathys_splits_are_kept_by_where(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    for n in range(3):
        (tmp_path / "pictures" / f"{n}.jpg").write_bytes(jpeg(n))
    rows = [karpathy(f"{n}.jpg", f"one {n}", f"two {n}") | {"split": ("train", "restval", "test")[n]} for n in range(3)]
    path = write_json(tmp_path / "dataset.json", {"images": rows, "dataset": "coco"})
    found = read(source(path, image_dirs=[str(tmp_path)], where={"split": {"among": ("train", "restval")}}))
    assert [each.answers for each in examples(found)] == [("one 0", "two 0"), ("one 1", "two 1")]


def test_two_captions_that_differ_are_not_settled(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "a.tar", [("1.jpg", jpeg(1)), ("1.txt", b"a cat"), ("1.json", b'{"caption": "a dog"}')])
    assert reasons(read(source(path))) == {"ambiguous_caption": 1}
    assert examples(read(source(path, caption="txt")))[0].answers == ("a cat",)


def test_addresses_are_not_fetched(tmp_path: Path) -> None:
    path = tmp_path / "cc3m.tsv"
    path.write_text("a cat\thttp://localhost/1.jpg\n")
    assert reasons(read(source(path, header=("caption", "image")))) == {"remote_image": 1}


def test_a_saved_split_is_chosen_by_name(tmp_path: Path) -> None:
    rows = [{"image": {"bytes": jpeg(n), "path": None}, "caption": f"c {n}"} for n in range(3)]
    write_saved(tmp_path / "all" / "train", [table(*rows[:2])])
    write_saved(tmp_path / "all" / "test", [table(rows[2])])
    write_json(tmp_path / "all" / "dataset_dict.json", {"splits": ["test", "train"]})
    for split, expected in (("train", ["c 0", "c 1"]), ("test", ["c 2"])):
        found = examples(read(source(tmp_path / "all", split=split)))
        assert [each.answers[0] for each in found] == expected
        assert all(each.images[0].place is not None for each in found)
    assert any("no split 'dev'" in each.message for each in source(tmp_path / "all", split="dev").invalid_settings())
    with pytest.raises(UsageError, match="no split 'dev'"):
        source(tmp_path / "all", split="dev").units()
    suggested = recognize_source(tmp_path / "all")
    assert isinstance(suggested, InspectedSource)
    assert suggested.settings == {"data": [str(tmp_path / "all")], "split": "train"}


def test_what_img2dataset_tells_of_a_shard_is_no_table(tmp_path: Path) -> None:
    write_tar(tmp_path / "00000.tar", [("1.jpg", jpeg(1)), ("1.txt", b"a")])
    pq.write_table(table({"image": None, "caption": "told twice"}), tmp_path / "00000.parquet")
    write_json(tmp_path / "00000_stats.json", {"count": 1})
    assert [each.inside for each in source(tmp_path).tables()] == ["00000.tar"]


# Damage


def bomb() -> bytes:
    """A PNG whose header says 40,000 x 40,000 pixels."""
    head = struct.pack(">IIBBBBB", 40000, 40000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(each)) + name + each + struct.pack(">I", zlib.crc32(name + each)) for name, each in chunks
    )


def gif() -> bytes:
    found = io.BytesIO()
    Pillow.new("P", (32, 32)).save(found, "GIF")
    return found.getvalue()


PICTURES: dict[str, bytes] = {
    "empty_image": b"",
    "truncated_image": jpeg(1)[:300],
    "not_an_image": b"<!DOCTYPE html><html><body>404</body></html>",
    "too_many_pixels": bomb(),
}


def test_each_damage_in_a_tar_is_found_by_its_kind(tmp_path: Path) -> None:
    members = [(f"{reason}.{name}", data) for reason, image in PICTURES.items() for name, data in (("jpg", image), ("txt", b"a"))]
    members += [("gif.jpg", gif()), ("gif.txt", b"a gif is made a JPEG"), ("fine.jpg", jpeg(2)), ("fine.txt", b"fine")]
    members += [
        ("no_image.txt", b"alone"),
        ("no_caption.jpg", jpeg(3)),
        ("bad_text.jpg", jpeg(4)),
        ("bad_text.txt", b"\xff\xfe\xfa"),
    ]
    members += [("too_long.jpg", jpeg(5)), ("too_long.txt", b"x" * 100_000_000)]
    members += [("bad_json.jpg", jpeg(6)), ("bad_json.txt", b"a"), ("bad_json.json", b'{"caption": "a"')]
    found = source(write_tar(tmp_path / "a.tar", members))
    once = dict.fromkeys((*PICTURES, "no_image", "no_caption", "bad_text", "too_long_text", "bad_json"), 1)
    assert ready(read(found), found) == once | {"right": 2}


def test_each_damage_in_parquet_is_found_by_its_kind(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"image": {"bytes": image, "path": None}, "caption": "a"} for image in PICTURES.values()]
    rows += [{"image": {"bytes": each, "path": None}, "caption": "fine"} for each in (gif(), jpeg(2))]
    rows += [{"image": None, "caption": "alone"}, {"image": {"bytes": None, "path": "absent.jpg"}, "caption": "a"}]
    rows += [{"image": {"bytes": jpeg(3), "path": None}, "caption": each} for each in (None, "x" * 100_000_000, "a\0b")]
    rows += [{"image": {"bytes": None, "path": None}, "caption": "neither"}]
    pq.write_table(table(*rows), tmp_path / "a.parquet")
    found = source(tmp_path / "a.parquet")
    once = dict.fromkeys((*PICTURES, "no_image", "missing_image", "no_caption", "too_long_text", "bad_text", "bad_image"), 1)
    assert ready(read(found), found) == once | {"right": 2}
