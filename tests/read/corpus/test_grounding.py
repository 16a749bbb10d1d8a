"""Boxes and points from corpora, against independent arithmetic; and every size, EXIF, crop and family on the way to a record."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as Pillow

from rt2data.build import Site, build_plainly
from rt2data.formats.base import make_format, members_of
from rt2data.look.inspect.raw import InspectedSource, recognize_source
from rt2data.look.inspect.recognize import recognize as inspect
from rt2data.look.verify import verify
from rt2data.look.view.pages import example_page
from rt2data.plan.recipe import RecipeError, parse_recipe, read_recipe
from rt2data.read import units
from rt2data.read.corpus.grounding import Grounding
from rt2data.read.source import recognize
from rt2data.records import Example, Fact, Reject, SourceRecord
from rt2data.render.record import decode_record
from rt2data.render.regions.table import RegionText
from tests.read.corpus.writing import COLOURS, boxes_of_photographs, grounding, write_instances, write_json

Box = tuple[float, ...]


def source(*data: Path, **settings: Any) -> Grounding:
    return Grounding.model_validate({"data": list(map(str, data)), "image_dirs": [str(data[0].parent)], **settings})


def read(found: Grounding, shared: Path | None = None) -> list[SourceRecord]:
    if shared is not None:
        found.share(shared)
    named = "" if shared is None else str(shared)
    return [record for unit in found.units() for record in found.read(replace(unit, shared=named))]


def examples(found: Grounding) -> list[Example]:
    return [record for record in read(found) if isinstance(record, Example)]


def reasons(found: Grounding) -> Counter[str]:
    return Counter(record.reason for record in read(found) if isinstance(record, Reject))


def facts(found: Grounding) -> dict[str, int]:
    counts = {record.name: record.count for record in read(found) if isinstance(record, Fact)}
    return {name.removeprefix("grounding."): count for name, count in counts.items() if name.startswith("grounding.")}


def picture(path: Path, width: int, height: int, orientation: int = 1) -> Path:
    """Grey, and as large as the file says, before EXIF turns it."""
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.new("RGB", (width, height), (90, 90, 90)).save(path, exif=exif)
    return path


def iou(one: Box, other: Box) -> float:
    def area(box: Sequence[float]) -> float:
        return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)

    both = area([max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])])
    return both / (area(one) + area(other) - both)


def corners(box: Sequence[float], width: float, height: float) -> Box:
    """Of COCO's [x, y, w, h], in fractions."""
    x, y, w, h = box
    return x / width, y / height, (x + w) / width, (y + h) / height


# COCO's instances


@pytest.mark.parametrize("indexed", [True, False])
@pytest.mark.parametrize("size", [1, 1 << 26])
def test_boxes_of_real_photographs(
    indexed: bool, size: int, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every box that is no crowd is where its annotation says, in any order of the file and any part."""
    monkeypatch.setattr(units, "UNIT_BYTES", size)
    photographs = sorted((shared_data / "coco_web").glob("*2017/*.jpg"))
    boxes = boxes_of_photographs(tmp_path / "instances.json", photographs)
    found = source(tmp_path / "instances.json", image_dirs=[str(shared_data / "coco_web")])
    records = read(found, tmp_path / "shared" if indexed else None)
    made = {int(each.group): each for each in records if isinstance(each, Example)}
    assert len(made) == len(photographs) == 23
    for number, example in made.items():
        with Pillow.open(photographs[number]) as opened:
            wanted = {COLOURS[box["category_id"]]: corners(box["bbox"], *opened.size) for box in boxes if box["image_id"] == number}
        del wanted["an arm"]  # a crowd
        assert {at.label for at in example.regions} == {*wanted}
        for at in example.regions:
            assert at.coords == pytest.approx(wanted[at.label], abs=1e-6)
    assert {(each.question, each.answers, each.frame) for each in made.values()} == {
        ("Detect all objects.", ("<region> ; <region>",), "stored")
    }
    assert all(each.regions[0].coords[0] <= each.regions[1].coords[0] for each in made.values())
    assert sum(each.count for each in records if isinstance(each, Fact) and each.name == "grounding.crowds") == 23
    assert not any(isinstance(record, Reject) for record in records)


def coco(folder: Path, *boxes: tuple[int, Sequence[float]], width: int = 101, height: int = 57, **settings: Any) -> Grounding:
    """One image of an odd size with boxes, by category."""
    picture(folder / "a.png", width, height)
    annotations = [{"image_id": 0, "category_id": category, "bbox": box} for category, box in boxes]
    return source(write_instances(folder / "instances.json", {"a.png": (width, height)}, annotations), **settings)


def test_one_example_for_each_category(tmp_path: Path) -> None:
    found = examples(coco(tmp_path, (3, [50, 1, 9, 9]), (9, [1, 1, 9, 9]), (3, [5, 1, 9, 9]), per="category"))
    assert [(each.question, each.answers) for each in found] == [
        ("Detect a red block.", ("<region> ; <region>",)),
        ("Detect a plate.", ("<region>",)),
    ]
    assert [at.coords[0] * 101 for at in found[0].regions] == pytest.approx([5, 50])
    assert len({each.key for each in found}) == 2 and len({each.group for each in found}) == 1


def test_orders(tmp_path: Path) -> None:
    boxes = ((3, [50, 1, 9, 9]), (9, [1, 20, 9, 9]), (70, [1, 10, 9, 9]))
    for order, labels in (("given", [3, 9, 70]), ("left_to_right", [70, 9, 3]), ("top_to_bottom", [3, 70, 9])):
        (found,) = examples(coco(tmp_path, *boxes, order=order))
        assert [at.label for at in found.regions] == [COLOURS[label] for label in labels]


def test_boxes_beyond_the_image_and_small_ones(tmp_path: Path) -> None:
    """Clipped, left out, or cut to the largest; each is counted, and rounding at the edge is no clip."""
    boxes = ((3, [90, 50, 30, 30]), (9, [101, 3, 5, 5]), (70, [5, 5, 0.5, 30]), (9, [2, 2, 0, 5]), (3, [0, 0, 101.001, 57]))
    found = coco(tmp_path, *boxes)
    (one,) = examples(found)
    assert [at.coords for at in one.regions] == [(0, 0, 1, 1), pytest.approx((90 / 101, 50 / 57, 1, 1), abs=1e-6)]
    assert one.answers == ("<region> ; <region>",)
    assert facts(found) == {"clipped": 1, "outside": 1, "small": 2}
    assert facts(coco(tmp_path, *boxes, min_side=0)) == {"clipped": 1, "outside": 1, "small": 1}
    cut = coco(tmp_path, *boxes, max_regions=1)
    assert facts(cut) == {"clipped": 1, "outside": 1, "small": 2, "cut": 1}
    assert examples(cut)[0].regions[0].coords[2] == 1.0 and examples(cut)[0].regions[0].coords[0] == 0.0
    many = coco(tmp_path, *boxes, max_regions=1, ask="refer", prompt="{label}?")
    assert reasons(many) == {"too_many_regions": 1, "no_regions": 2}


def test_where_nothing_is(tmp_path: Path) -> None:
    """By default dropped as the recipe asks; `absent` answers instead. What lies outside alone is a fault."""
    crowd = {"image_id": 0, "category_id": 3, "bbox": [1, 1, 5, 5], "iscrowd": 1}
    picture(tmp_path / "a.png", 50, 40), picture(tmp_path / "b.png", 50, 40)
    path = write_instances(tmp_path / "i.json", {"a.png": (50, 40), "b.png": (50, 40)}, [crowd])
    lost = [(each.reason, each.detail, each.fault) for each in read(source(path)) if isinstance(each, Reject)]
    assert lost == [("no_regions", "1 for a crowd", False), ("no_regions", "nothing is marked", False)]
    assert [(each.answers, each.regions) for each in examples(source(path, absent="Nothing."))] == [(("Nothing.",), ())] * 2
    assert [len(each.regions) for each in examples(source(path, crowds="keep"))] == [1]
    (outside,) = (each for each in read(coco(tmp_path, (3, [200, 0, 5, 5]))) if isinstance(each, Reject))
    assert (outside.reason, outside.fault, outside.detail) == ("no_regions", True, "1 outside of the image")


def test_the_file_decides_what_size_an_image_has(tmp_path: Path) -> None:
    box = {"image_id": 0, "category_id": 3, "bbox": [10, 20, 30, 10]}
    picture(tmp_path / "a.jpg", 64, 48)
    (lost,) = (
        each for each in read(source(write_instances(tmp_path / "i.json", {"a.jpg": (128, 96)}, [box]))) if isinstance(each, Reject)
    )
    assert (lost.reason, lost.detail) == ("size_differs", "the corpus says 128x96, the file has 64x48")
    picture(tmp_path / "a.jpg", 64, 48, orientation=6)
    turned = write_instances(tmp_path / "i.json", {"a.jpg": (48, 64)}, [box])
    (lost,) = (each for each in read(source(turned)) if isinstance(each, Reject))
    assert "set `frame: upright`" in lost.detail
    (found,) = examples(source(turned, frame="upright"))
    assert found.frame == "upright" and found.regions[0].coords == pytest.approx(corners(box["bbox"], 48, 64))


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        ({"bbox": [1, 2, 3]}, "bad_box"),
        ({"bbox": "1 2 3 4"}, "bad_box"),
        ({"bbox": [1, 2, True, 4]}, "bad_box"),
        ({"bbox": [1, 2, -3, 4]}, "bad_box"),
        ({"category_id": 4}, "unknown_category"),
        ({"category_id": "3"}, "unknown_category"),
        ({"image_id": 12}, "box_without_image"),
        ({"image_id": None}, "bad_image_id"),
    ],
)
def test_each_damage_is_found_by_its_kind(annotation: dict[str, Any], reason: str, tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 50, 40)
    box = {"image_id": 0, "category_id": 3, "bbox": [1, 2, 3, 4]}
    found = source(write_instances(tmp_path / "i.json", {"a.png": (50, 40)}, [{**box, **annotation}]))
    lost = reasons(found)
    assert lost.pop(reason) == 1 and set(lost) <= {"no_regions"}
    right = source(write_instances(tmp_path / "i.json", {"a.png": (50, 40)}, [box]))
    assert not reasons(right) and len(examples(right)) == 1


# Expressions and points


STYLES: dict[str, Callable[[float, float, float, float], Sequence[float]]] = {
    "xywh": lambda x0, y0, x1, y1: [x0 * 101, y0 * 57, (x1 - x0) * 101, (y1 - y0) * 57],
    "xyxy": lambda x0, y0, x1, y1: [x0 * 101, y0 * 57, x1 * 101, y1 * 57],
    "xywh_norm": lambda x0, y0, x1, y1: [x0, y0, x1 - x0, y1 - y0],
    "xyxy_norm": lambda *box: box,
    "xyxy_1000": lambda *box: [1000 * each for each in box],
}


@pytest.mark.parametrize("style", STYLES)
def test_every_style_says_the_same(style: str, tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 101, 57)
    box = (0.25, 0.125, 0.75, 0.5)
    row = {
        "file_name": "a.png",
        "sentences": [{"sent": "the cup", "raw": "The cup"}, {"sent": "left"}],
        "bbox": STYLES[style](*box),
    }
    path = write_json(tmp_path / "refs.json", [row])
    found = examples(source(path, box=style))
    assert [(each.question, each.answers) for each in found] == [
        ("Where is the cup?", ("<region>",)),
        ("Where is left?", ("<region>",)),
    ]
    assert all(each.regions[0].coords == pytest.approx(box, abs=1e-9) for each in found)
    assert [each.regions[0].label for each in found] == ["the cup", "left"]
    (said,) = examples(source(path, box=style, ask="describe"))
    assert (said.question, said.answers, said.regions[0].label) == ("Describe <region>.", ("the cup", "left"), "")


def test_pixels_of_pointing_and_counting(tmp_path: Path) -> None:
    sha = "0" * 63 + "a"
    picture(tmp_path / f"{sha}.jpg", 99, 33)
    row = {"image_url": "https://localhost/1.jpg", "image_sha256": sha, "label": "cups", "count": 2}
    row |= {"points": [{"x": 75.0, "y": 20.0}, {"x": 25.5, "y": 90.0}]}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "points.parquet")
    (found,) = examples(source(tmp_path / "points.parquet"))
    assert (found.question, found.answers) == ("Point to cups.", ("<region> ; <region>",))
    assert [at.coords for at in found.regions] == [(0.255, 0.9), (0.75, 0.2)]
    (counted,) = examples(source(tmp_path / "points.parquet", ask="count", answer="{regions} {count} {label}"))
    assert (counted.question, counted.answers) == ("How many cups are there?", ("<region> ; <region> 2 cups",))
    assert reasons(source(tmp_path / "points.parquet", image_dirs=[])) == {"remote_image": 1}


def test_any_table_with_lists_of_boxes(tmp_path: Path) -> None:
    """As Hugging Face has detection: categories are numbers, which the recipe names."""
    data = io.BytesIO()
    Pillow.new("RGB", (40, 20)).save(data, "PNG")
    row = {"image": {"bytes": data.getvalue(), "path": None}, "width": 40, "height": 20}
    row |= {"objects": {"bbox": [[4.0, 2.0, 8.0, 10.0], [20.0, 0.0, 40.0, 20.0]], "category": [1, 0]}}
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist([row]), path)
    (found,) = examples(source(path, box="xyxy", categories=("cat", "dog"), image_dirs=[]))
    assert [(at.label, at.coords) for at in found.regions] == [("dog", (0.1, 0.1, 0.2, 0.5)), ("cat", (0.5, 0.0, 1.0, 1.0))]
    assert reasons(source(path, box="xyxy", image_dirs=[])) == {"unnamed_category": 1}
    assert reasons(source(path, image_dirs=[])) == {"unclear_layout": 1}
    (missing,) = source(path, image_dirs=[]).invalid_settings()
    assert missing.setting == ("box",) and "xyxy" in missing.message


def test_columns_of_any_corpus(tmp_path: Path) -> None:
    picture(tmp_path / "7.png", 50, 40)
    row = {"id": 7, "at": {"l": 5, "t": 4, "r": 25, "b": 20}, "says": "a lid", "dots": [[10, 10]]}
    path = write_json(tmp_path / "a.json", [row])
    columns = {"image": "{id}.png", "boxes": "at.l,at.t,at.r,at.b", "phrases": "says"}
    (found,) = examples(source(path, columns=columns, box="xyxy"))
    assert (found.question, found.regions[0].coords) == ("Where is a lid?", (0.1, 0.1, 0.5, 0.5))
    columns = {"image": "{id}.png", "points": "dots", "phrases": "says"}
    (found,) = examples(source(path, columns=columns, point="pixels"))
    assert (found.question, found.regions[0].coords) == ("Point to a lid.", (0.2, 0.25))


def test_tables_of_text(tmp_path: Path) -> None:
    """CSV has numbers as text: a list in one column, or a number in each of four."""
    picture(tmp_path / "a.png", 50, 40)
    (tmp_path / "a.csv").write_text(
        'image,bbox,phrase,width,height\na.png,"[5, 4, 25, 20]",a lid,50,40\na.png,"[5, 4",a lid,50,40\n'
    )
    found = source(tmp_path / "a.csv", box="xyxy")
    assert [each.regions[0].coords for each in examples(found)] == [(0.1, 0.1, 0.5, 0.5)]
    assert reasons(found) == {"bad_box": 1}
    (tmp_path / "b.csv").write_text("image,l,t,r,b,says\na.png,5,4.0,25,20,a lid\na.png,5,4.0,inf,20,a lid\n")
    found = source(tmp_path / "b.csv", box="xyxy", columns={"boxes": "l,t,r,b", "phrases": "says"})
    assert [each.regions[0].coords for each in examples(found)] == [(0.1, 0.1, 0.5, 0.5)]
    assert reasons(found) == {"bad_box": 1}


def test_expressions_of_mdetr(tmp_path: Path) -> None:
    """An image is listed once for each expression: its `id` is not that of the photograph."""
    picture(tmp_path / "COCO_train2014_000000000012.jpg", 50, 40), picture(tmp_path / "COCO_train2014_000000000001.jpg", 50, 40)
    image = {
        "file_name": "COCO_train2014_000000000012.jpg",
        "id": 1,
        "original_id": 12,
        "width": 50,
        "height": 40,
        "caption": "the lid",
    }
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [5, 4, 10, 8], "iscrowd": 0}
    whole = {"images": [image], "annotations": [box], "categories": [{"id": 1, "name": "object"}]}
    (found,) = examples(source(write_json(tmp_path / "a.json", whole)))
    assert (found.question, found.group) == ("Where is the lid?", "12")
    assert found.regions[0].coords == pytest.approx((0.1, 0.1, 0.3, 0.3)) and found.regions[0].label == "the lid"


ANNOTATED = """<annotation><filename>7.jpg</filename><size><width>50</width><height>40</height><depth>3</depth></size>
<object><name>12</name><name>13</name><bndbox><xmin>5</xmin><ymin>4</ymin><xmax>25</xmax><ymax>20</ymax></bndbox></object>
<object><name>12</name><bndbox><xmin>30</xmin><ymin>4</ymin><xmax>45</xmax><ymax>20</ymax></bndbox></object>
<object><name>14</name><scene>1</scene><nobndbox>1</nobndbox></object></annotation>"""


def entities(folder: Path, annotated: str = ANNOTATED) -> Grounding:
    """One photograph with two captions."""
    said = "[/EN#12/people/other Two men] in [/EN#14/scene a park] .\nOne holds [/EN#13/bodyparts his hand] up .\n"
    for name, text in (("Sentences/7.txt", said), ("Annotations/7.xml", annotated)):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    picture(folder / "7.jpg", 50, 40)
    return Grounding.model_validate({"data": str(folder), "image_dirs": str(folder)})


def test_captions_with_boxes_of_their_phrases(tmp_path: Path) -> None:
    found = entities(tmp_path)
    one, other = examples(found)
    assert one.answers == ("<region> ; <region> in a park .",)
    assert [(at.label, at.coords) for at in one.regions] == [("Two men", (0.1, 0.1, 0.5, 0.5)), ("Two men", (0.6, 0.1, 0.9, 0.5))]
    assert (other.answers, other.regions[0].label) == (("One holds <region> up .",), "his hand")
    phrases = examples(found.model_copy(update={"ask": "refer"}))
    assert [(each.question, len(each.regions)) for each in phrases] == [("Where is Two men?", 2), ("Where is his hand?", 1)]
    assert {str(tmp_path / name) for name in ("Sentences/7.txt", "Annotations/7.xml", "7.jpg")} == set(found.files())
    (wrong,) = found.model_copy(update={"ask": "detect"}).invalid_settings()
    assert wrong.setting == ("ask",) and not [*found.invalid_settings()]
    seen = recognize_source(tmp_path)
    assert isinstance(seen, InspectedSource) and seen.settings == {"data": [str(tmp_path)], "image_dirs": [str(tmp_path)]}
    before = found.bases(found.parts({}))
    (tmp_path / "Annotations/7.xml").write_text(ANNOTATED.replace("45", "46"))
    assert found.bases(found.parts({})) != before


def test_xml_that_is_none_or_declares_entities(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aa"><!ENTITY b SYSTEM "file:///etc/passwd">]>' + ANNOTATED.replace("<name>12", "<name>&b;")
    for text in (bomb, ANNOTATED[:-20], "", "text"):
        assert reasons(entities(tmp_path, text)) == {"bad_xml": 1}
    assert reasons(entities(tmp_path, ANNOTATED.replace("<width>50", "<width>51"))) == {"size_differs": 2}
    assert reasons(entities(tmp_path, ANNOTATED.replace("<xmin>5<", "<xmin>five<"))) == {"bad_box": 1}
    found = entities(tmp_path)
    (tmp_path / "Annotations/7.xml").unlink()
    assert reasons(found) == {"no_boxes": 1} and found.files()


def test_settings_that_cannot_be(tmp_path: Path) -> None:
    for settings, message in (
        ({"prompt": "Find {label}."}, "must not have {label}"),
        ({"prompt": "Find.", "per": "category"}, "must have {label}"),
        ({"prompt": "What?", "ask": "describe"}, "must have <region> once"),
        ({"prompt": "What is in <region>?"}, "must not have <region>"),
    ):
        (wrong,) = coco(tmp_path, (3, [1, 1, 5, 5]), **settings).invalid_settings()
        assert wrong.setting == ("prompt",) and message in wrong.message
    for wrong in ({"answer": "{count}"}, {"answer": "{regions} {other}"}, {"prompt": "{other}"}):
        with pytest.raises(ValueError, match=r"must|may"):
            coco(tmp_path, **wrong)


# Recognition


def test_instances_are_recognized(shared_data: Path, tmp_path: Path) -> None:
    photographs = sorted((shared_data / "coco_web").glob("*2017/*.jpg"))
    for photograph in photographs:
        (tmp_path / photograph.name).symlink_to(photograph)
    boxes_of_photographs(tmp_path / "instances.json", photographs)
    found = recognize_source(tmp_path / "instances.json")
    assert isinstance(found, InspectedSource) and found.kind == "grounding"
    assert found.settings == {"data": [str(tmp_path / "instances.json")], "image_dirs": [str(tmp_path)]}
    assert len(found.examples().at(0).images) == 1
    assert "Detect all objects." in str(found.facts()["first"])


def test_others_are_recognized_with_a_note(tmp_path: Path) -> None:
    grounding(tmp_path)
    for name, box in (("refs.json", {"box": "xywh"}), ("points.parquet", {}), ("genome.json", {})):
        found = recognize_source(tmp_path / "data" / name)
        assert isinstance(found, InspectedSource) and found.kind == "grounding", name
        assert {key: value for key, value in found.settings.items() if key == "box"} == box


def test_a_pickle_of_expressions_is_never_loaded(tmp_path: Path) -> None:
    """What to do instead is told, where it is met."""
    (tmp_path / "refs(unc).p").write_bytes(b"cos\nsystem\n(S'touch loaded'\ntR.")
    found = recognize(tmp_path / "refs(unc).p")
    assert found is not None and "pickle" in found.what and "kind grounding" in found.do
    recipe = f"robot_frac: 0\nweb: {{refs: {{kind: grounding, data: '{tmp_path}/refs(unc).p', image_dirs: '{tmp_path}'}}}}\n"
    with pytest.raises(RecipeError, match=r"pickle.*sentences"):
        parse_recipe(recipe, "mix.yaml", tmp_path, check=True)


# From a corpus to records


@pytest.fixture
def mixed(tmp_path: Path) -> Callable[..., tuple[Path, dict[str, Any]]]:
    """A mixture of photographs of odd sizes, one of which EXIF turns, with boxes in their stored pixels."""
    sizes = {"a.jpg": (1013, 571), "b.jpg": (333, 777), "c.png": (641, 479), "d.jpg": (1200, 900)}
    boxes: list[dict[str, Any]] = []
    for number, (name, (width, height)) in enumerate(sizes.items()):
        picture(tmp_path / "pictures" / name, width, height, orientation=6 if name == "d.jpg" else 1)
        middle = [width * 0.375 + 0.25, height * 0.375 + 0.5, width * 0.25, height * 0.25]
        boxes.append({"image_id": number, "category_id": 3, "bbox": [round(each, 2) for each in middle]})
    write_instances(tmp_path / "instances.json", sizes, boxes)
    wanted = dict[str, Any]()
    for (name, size), box in zip(sizes.items(), boxes, strict=True):
        x0, y0, x1, y1 = corners(box["bbox"], *size)
        wanted[str(box["image_id"])] = (1 - y1, x0, 1 - y0, x1) if name == "d.jpg" else (x0, y0, x1, y1)

    def build(family: str, resize: int | None = None) -> tuple[Path, dict[str, Any]]:
        images = f", images: {{resize: {resize}}}" if resize else ""
        (tmp_path / "mixture.yaml").write_text(
            f"robot_frac: 0\nstore: store-{family}-{resize}\nsize: {{of: boxes}}\nregions: {family}\n"
            f"web: {{boxes: {{kind: grounding, data: instances.json, image_dirs: pictures{images}}}}}\n"
        )
        out = tmp_path / f"out-{family}-{resize}"
        build_plainly(read_recipe(tmp_path / "mixture.yaml"), Site(out))
        return out, wanted

    return build


@pytest.mark.parametrize("resize", [None, 336])
@pytest.mark.parametrize("family", ["plain", "qwen2", "qwen2.5", "qwen3", "paligemma"])
def test_what_a_record_says_is_the_box_of_the_corpus(
    family: str, resize: int | None, mixed: Callable[..., tuple[Path, dict[str, Any]]]
) -> None:
    """On odd sizes, with EXIF, and in the largest centred square: as good as a family's numbers allow."""
    out, wanted = mixed(family, resize)
    assert verify(out).faults == ()
    form, convention, seen = make_format("webdataset"), RegionText(family=family).convention, set[str]()
    for member in (each for path in sorted(out.glob("*.tar")) for each in members_of(form, path)):
        record = decode_record(member.record)
        if record.source != "boxes":
            continue
        with Pillow.open(io.BytesIO(member.images[0].data)) as opened:
            size = opened.size
        (said,) = convention.parse(record.target, size)
        box = wanted[record.group]
        upright = SIZES[record.group]
        if resize:
            side = min(upright)
            box = tuple((each * upright[at % 2] - (upright[at % 2] - side) / 2) / side for at, each in enumerate(box))
        assert said.label == "a red block"
        assert iou(said.coords, box) > (0.96 if resize or family == "qwen2.5" else 0.98), (record.group, said.coords, box)
        seen.add(record.group)
    assert seen == {*wanted}


SIZES = {"0": (1013, 571), "1": (333, 777), "2": (641, 479), "3": (900, 1200)}
"""Of the images of `mixed`, upright."""


def test_the_page_draws_the_boxes(mixed: Callable[..., tuple[Path, dict[str, Any]]]) -> None:
    out, _ = mixed("qwen2.5")
    assert json.loads((out / "manifest.json").read_text())["plan"]["regions"]["family"] == "qwen2.5"
    found = inspect(out).examples()  # type: ignore[union-attr]
    pages = [example_page(found, "x", found.at(number, whole=True), None, "n") for number in range(found.total or 0)]
    assert pages and all("<rect x=" in page and "bbox_2d" in page and ">a red block</text>" in page for page in pages)


def test_numbers_are_not_rounded_before_they_are_written(tmp_path: Path) -> None:
    """Single precision is what the index holds: a pixel's thousandth, on images of any size."""
    random = np.random.default_rng(2)
    boxes = [(3, [*random.uniform(0, 9000, 2).round(2).tolist(), *random.uniform(1, 2000, 2).round(2).tolist()]) for _ in range(50)]
    (found,) = examples(coco(tmp_path, *boxes, width=12_000, height=2_000, order="given", images={"max_pixels": 24_000_000}))
    kept = [box for _, box in boxes if box[1] < 2_000]
    for at, box in zip(found.regions, kept, strict=True):
        exact = corners(box, 12_000, 2_000)
        assert at.coords[:2] == pytest.approx(exact[:2], abs=1e-3 / 2_000)
