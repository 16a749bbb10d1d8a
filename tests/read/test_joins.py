"""How questions, answers and images are joined: every candidate is kept, nothing is chosen in silence, all of it is counted."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from rt2data.errors import DataError, UsageError
from rt2data.prepare.begin import begin, staging_folder
from rt2data.prepare.unit import prepare_unit
from rt2data.read.join.facts import join_line, written_line
from rt2data.read.join.files import NamePattern, checked_pattern, numbers_of
from rt2data.read.json_shape import shape_of
from rt2data.read.vqav2 import index
from rt2data.read.vqav2 import source as module
from rt2data.read.vqav2.recognize import other_layout
from rt2data.read.vqav2.source import VQAv2
from rt2data.records import Example, Fact, Reject
from tests.contract.toy import jpeg

Row = dict[str, Any]


def corpus(folder: Path, images: dict[str, bytes], questions: list[Row], annotations: list[Row], **settings: Any) -> VQAv2:
    """A corpus whose image files lie where their names say, below folders that `image_dirs` names (by default `images`)."""
    for name, content in images.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    (folder / "questions.json").write_text(json.dumps({"questions": questions}))
    (folder / "annotations.json").write_text(json.dumps({"annotations": annotations}))
    settings["image_dirs"] = [str(folder / each) for each in settings.get("image_dirs", ["images"])]
    paths = {name: str(folder / f"{name}.json") for name in ("questions", "annotations")}
    return VQAv2.model_validate({**paths, **settings})


def asked(number: int, **changes: Any) -> Row:
    return {"question_id": number, "image_id": number // 10, "question": f"What is {number}?"} | changes


def answered(number: int, **changes: Any) -> Row:
    return {"question_id": number, "image_id": number // 10, "answers": [{"answer": "yes"}]} | changes


def one(folder: Path, images: dict[str, bytes], **settings: Any) -> VQAv2:
    """A corpus of one question, about image 1."""
    return corpus(folder, images, [asked(10)], [answered(10)], **settings)


def read(source: VQAv2) -> Iterator[Example | Reject | Fact]:
    return (record for unit in source.units() for record in source.read(unit))  # type: ignore[misc]


def examples(source: VQAv2) -> list[Example]:
    return [record for record in read(source) if isinstance(record, Example)]


def rejects(source: VQAv2) -> list[Reject]:
    return [record for record in read(source) if isinstance(record, Reject)]


def facts(source: VQAv2) -> dict[str, int]:
    counted: Counter[str] = Counter()
    for record in read(source):
        if isinstance(record, Fact):
            counted[record.name] += record.count
    return dict(counted)


def taken(source: VQAv2) -> bytes:
    """The image of the only question."""
    (example,) = examples(source)
    return bytes(example.images[0].data)


RED, BLUE = jpeg(1), jpeg(2)


# --- images -----------------------------------------------------------------------------------------------------------------------


def test_hidden_files_and_resource_forks_are_passed_over(tmp_path: Path) -> None:
    forks = ["images/__MACOSX/sub/._1.jpg", "images/__MACOSX/1.jpg", "images/.thumbnails/1.jpg", "images/.1.jpg", "images/._1.jpg"]
    source = one(tmp_path, {"images/sub/1.jpg": RED} | dict.fromkeys(forks, b"fork"))
    assert taken(source) == RED
    assert [Path(path).name for path in source.files()] == ["annotations.json", "1.jpg", "questions.json"]


def test_several_files_with_the_same_bytes_are_one(tmp_path: Path) -> None:
    source = one(tmp_path, {"images/a/1.jpg": RED, "images/b/COCO_000000000001.jpg": RED})
    assert taken(source) == RED
    assert facts(source)["join.same_bytes"] == 1


def test_files_that_differ_are_refused_with_both_paths_and_a_count(tmp_path: Path) -> None:
    images = {f"photos/COCO_val2014_{i:012d}.jpg": RED for i in (1, 2)} | {f"masks/{i:012d}.png": BLUE for i in (1, 2)}
    source = corpus(tmp_path, images, [asked(10), asked(20)], [answered(10), answered(20)], image_dirs=["photos", "masks"])
    with pytest.raises(DataError) as caught:
        list(read(source))
    told = str(caught.value)
    assert "2 images that questions name can be several files that differ, such as image 1" in told
    assert str(tmp_path / "photos/COCO_val2014_000000000001.jpg") in told and str(tmp_path / "masks/000000000001.png") in told
    assert 'set `name` (such as "COCO_val2014_{id:012d}.jpg")' in told and "image_conflict: first" in told
    assert caught.value.code == 3
    assert source.describe()["problem"] == told
    with pytest.raises(DataError, match="several files that differ"):
        source.sample_plan("train")


def test_only_images_that_questions_need_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = {"a/1.jpg": RED, "a/2.jpg": RED, "b/2.jpg": BLUE}
    source = one(tmp_path, images, image_dirs=["a", "b"])
    monkeypatch.setattr("rt2data.read.join.images.sized_hash", lambda path: pytest.fail(f"{path} is read"))
    assert taken(source) == RED


@pytest.mark.parametrize("dirs", [["a", "b"], ["b", "a"]])
def test_the_order_of_folders_decides_where_the_recipe_says_so(tmp_path: Path, dirs: list[str]) -> None:
    source = one(tmp_path, {"a/1.jpg": RED, "b/1.jpg": BLUE}, image_dirs=dirs, image_conflict="first")
    assert taken(source) == (RED if dirs[0] == "a" else BLUE)
    assert facts(source)["join.first_folder"] == 1


def test_the_order_of_folders_says_nothing_of_files_in_one_folder(tmp_path: Path) -> None:
    source = one(tmp_path, {"images/1.jpg": RED, "images/masks/1.png": BLUE}, image_conflict="first")
    with pytest.raises(DataError, match="several files that differ") as caught:
        list(read(source))
    assert "image_conflict" not in caught.value.do


def test_a_name_pattern_settles_it(tmp_path: Path) -> None:
    images = {"images/train/COCO_1.jpg": RED, "images/val/COCO_1.jpg": BLUE, "images/val/000000000001.jpg": BLUE}
    for pattern, wanted in (("train/COCO_{id}.jpg", RED), ("{id:012d}.jpg", BLUE), ("val/COCO_{id:d}.jpg", BLUE)):
        source = one(tmp_path, images, name=pattern)
        assert taken(source) == wanted
        assert facts(source)["join.image_by_pattern"] == 1
    with pytest.raises(UsageError, match="no image is named like x_"):
        one(tmp_path, images, name="x_{id}.jpg").files()


@pytest.mark.parametrize(
    "pattern",
    [
        "a.jpg",
        "{id}{id}.jpg",
        "{id:x}.jpg",
        "{id:012}.jpg",
        "{id:099d}.jpg",
        "{id!r}.jpg",
        "{name}_{id}.jpg",
        "{id}.txt",
        "{id.x}.jpg",
        "/{id}.jpg",
        "../{id}.jpg",
        "a/./{id}.jpg",
        "a//{id}.jpg",
        "a\\{id}.jpg",
        "{id}",
        "{{id}}.jpg",
    ],
)
def test_a_pattern_that_cannot_be_one_is_refused_with_the_recipe(tmp_path: Path, pattern: str) -> None:
    with pytest.raises(ValidationError, match="must"):
        one(tmp_path, {"images/1.jpg": RED}, name=pattern)


@given(st.integers(0, 10**18 - 1), st.integers(1, 18), st.sampled_from(["", "a_", "sub/COCO_"]))
def test_a_pattern_reads_what_it_writes(number: int, width: int, before: str) -> None:
    pattern = NamePattern(checked_pattern(f"{before}{{id:0{width}d}}.jpg"))
    name = f"{before}{number:0{width}d}.jpg"
    assert pattern.number(name) == pattern.number(f"below/{name}") == number
    assert pattern.number(f"x{name}") is None
    longer = f"{before}0{number:0{width}d}.jpg"
    assert pattern.number(longer) is None


NAMES = {
    "000000000042.jpg": (42,),
    "COCO_train2014_000000000042.jpg": (42,),
    "42_0054c913.jpg": (42,),
    "abstract_v002_val2015_000000000042.png": (42,),
    "img42.JPG": (42,),
    "42-42.jpg": (42,),
    "000000000042_640.jpg": (42, 640),
    "0054c913.jpg": (913,),
    "cat.jpg": (),
    "1234567890123456789.jpg": (),
    "42é.jpg": (),
}


@pytest.mark.parametrize("name", NAMES)
def test_the_number_of_an_image_is_the_one_whole_number_in_its_name(name: str) -> None:
    assert numbers_of(name) == NAMES[name]


def test_a_name_of_several_numbers_is_not_guessed_at(tmp_path: Path) -> None:
    images = {"images/000000000001_640.jpg": RED, "images/2.jpg": BLUE}
    rows = [asked(10), asked(20)], [answered(10), answered(20)]
    (reject,) = rejects(corpus(tmp_path, images, *rows))
    assert reject.reason == "unclear_image_name" and "{id:012d}_640.jpg" in reject.detail
    with pytest.raises(DataError, match="names of images have several numbers") as caught:
        list(read(one(tmp_path / "alone", {"images/000000000001_640.jpg": RED})))
    assert "{id:012d}_640.jpg" in caught.value.do
    assert taken(one(tmp_path / "named", {"images/000000000001_640.jpg": RED}, name="{id:012d}_640.jpg")) == RED


@pytest.mark.parametrize(
    "name", ["1.JPG", "1.bmp", "a/b/c/d/e/f/1.jpeg", "1_0054c913.jpg", "x/a-1.gif", "1.webp", "000000000001.PNG"]
)
def test_images_are_found_whatever_their_kind_and_folder(tmp_path: Path, name: str) -> None:
    assert taken(one(tmp_path, {f"images/{name}": b"whatever", "images/1.txt": b"no image"})) == b"whatever"


def test_links_that_lead_in_a_circle_end(tmp_path: Path) -> None:
    source = one(tmp_path, {"images/1.jpg": RED})
    for name in ("self", "again"):
        (tmp_path / "images" / name).symlink_to(tmp_path / "images")
    assert taken(source) == RED
    assert len(source.files()) == 3


NAMED = {
    "image": ("train/1.jpg", "name"),
    "file_name": ("coco/1.jpg", "base_name"),
    "image_file": ("./b/2.jpg", "name"),
}


@pytest.mark.parametrize("key", NAMED)
def test_a_question_may_name_its_image(tmp_path: Path, key: str) -> None:
    name, how = NAMED[key]
    images = {"images/train/1.jpg": RED, "images/b/2.jpg": RED, "images/c/2.jpg": BLUE}
    source = corpus(tmp_path, images, [asked(10, image_id=None, **{key: name})], [answered(10)])
    assert taken(source) == RED
    assert facts(source)[f"join.image_by_{how}"] == 1
    assert examples(source)[0].group == name[-5]


def test_a_name_that_is_not_there_leaves_the_number(tmp_path: Path) -> None:
    source = corpus(tmp_path, {"images/1.jpg": RED}, [asked(10, image="COCO_val2014_000000000001.jpg")], [answered(10)])
    assert taken(source) == RED
    assert facts(source)["join.image_by_number"] == 1


# --- answers ----------------------------------------------------------------------------------------------------------------------


def test_an_annotation_about_another_image_is_rejected(tmp_path: Path) -> None:
    images = {f"images/{i}.jpg": RED for i in (1, 2, 3)}
    rows = [asked(i) for i in (10, 20, 30)]
    source = corpus(tmp_path, images, rows, [answered(10, image_id=2), answered(20), answered(30)])
    assert [reject.reason for reject in rejects(source)] == ["image_id_mismatch"]
    assert len(examples(source)) == 2


def test_annotations_of_another_split_are_refused(tmp_path: Path) -> None:
    images = {f"images/{i}.jpg": RED for i in (1, 2, 3)}
    rows = [asked(i) for i in (10, 20, 30)]
    source = corpus(tmp_path, images, rows, [answered(10, image_id=7), answered(20, image_id=8), answered(30)])
    for use in (lambda: list(read(source)), lambda: source.sample_plan("train"), source.describe):
        with pytest.raises(DataError, match=r"2 of 3 annotations have another image_id.*another split"):
            use()


def test_annotations_without_image_id_are_counted(tmp_path: Path) -> None:
    source = corpus(tmp_path, {"images/1.jpg": RED}, [asked(10), asked(11)], [answered(10, image_id=None), answered(11)])
    assert facts(source)["join.by_question_id_alone"] == 1
    line = source.describe()["join"]
    assert line == "2 of 2 questions have annotations (1 by question_id alone); images: 2 matched by number"


IDS = [("10", "000000000001", "ids.text"), (10.0, 1.0, "ids.float"), ("0010", 1, "ids.text")]


@pytest.mark.parametrize(("number", "image", "fact"), IDS)
def test_ids_may_be_text_or_whole_floats(tmp_path: Path, number: Any, image: Any, fact: str) -> None:
    rows = {"question_id": number, "image_id": image}
    for here, there in ((rows, {}), (rows, rows)):
        source = corpus(tmp_path, {"images/1.jpg": RED}, [asked(10, **here)], [answered(10, **there)])
        (example,) = examples(source)
        assert (example.key, example.group) == ("10", "1")
        assert facts(source)[fact] == 1


LONE: dict[str, tuple[Row, tuple[str, ...], str]] = {
    "multiple choice": ({"multiple_choice_answer": "red"}, ("red",), "answers.multiple_choice_answer"),
    "beside empty answers": ({"answers": [], "multiple_choice_answer": "red"}, ("red",), "answers.multiple_choice_answer"),
    "answer": ({"answer": "red"}, ("red",), "answers.answer"),
    "a list in answer": ({"answer": ["red", "blue"]}, ("red", "blue"), "answers.answer"),
    "one text": ({"answers": "red"}, ("red",), ""),
    "numbers": ({"answers": [2, 2.0, 2.5]}, ("2", "2", "2.5"), "answers.numbers"),
    "number objects": ({"answers": [{"answer": 0}]}, ("0",), "answers.numbers"),
    "weights": ({"answers": {"2": 0.7, "two": 0.3, "none": 0}}, ("2",) * 7 + ("two",) * 3, "answers.weights"),
    "counts": ({"answers": {"2": 20, "two": 10}}, ("2",) * 10 + ("two",) * 5, "answers.weights"),
    "light": ({"answers": {"2": 0.01}}, ("2",), "answers.weights"),
}


@pytest.mark.parametrize("name", LONE)
def test_answers_as_other_sets_write_them(tmp_path: Path, name: str) -> None:
    row, wanted, fact = LONE[name]
    source = corpus(tmp_path, {"images/1.jpg": RED}, [asked(10)], [{"question_id": 10, "image_id": 1} | row])
    (example,) = examples(source)
    assert example.answers == wanted
    assert not fact or facts(source)[fact] == 1


def test_questions_and_answers_may_be_one_list(tmp_path: Path) -> None:
    source = one(tmp_path, {"images/1.jpg": RED})
    row = {"question_id": 10, "question": "What?", "image": "images/1.jpg", "answer": ["red", "blue"], "dataset": "vqa"}
    Path(source.questions).write_text(json.dumps([row]))
    both = source.model_copy(update={"annotations": source.questions})
    (example,) = examples(both)
    assert example.answers == ("red", "blue")


def test_the_join_is_told_in_one_line() -> None:
    counted = {"join.questions": 2000, "join.annotations": 1999, "join.image_by_number": 1990, "join.missing_image": 9}
    line = join_line(counted | {"join.same_bytes": 3, "join.first_folder": 1})
    assert line == (
        "1,999 of 2,000 questions have annotations; images: 1,990 matched by number, 9 missing; "
        "3 of several files with the same bytes, "
        "1 of several files that differ, taken from the first of image_dirs"
    )
    assert join_line({}) == "" == written_line({})
    assert written_line({"ids.text": 8, "answers.weights": 2}) == "ids are strings (8), answers have weights (2)"


# --- the index --------------------------------------------------------------------------------------------------------------------


def test_both_files_are_streamed_and_the_folders_listed_once_for_all_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = range(10, 40)
    source = corpus(
        tmp_path, {f"images/{i}.jpg": RED for i in (1, 2, 3)}, [asked(i) for i in numbers], [answered(i) for i in reversed(numbers)]
    )
    monkeypatch.setattr(module, "_BLOCK", 2)
    whole = sorted(map(repr, examples(source)))
    for cache in (index.questions_of, index.annotations_of):
        cache.cache_clear()
    scans: list[str] = []
    located = index.JsonArray.located
    monkeypatch.setattr(index.JsonArray, "located", lambda self, *w: scans.append(self.key) or located(self, *w))
    orders = begin("qa", source, tmp_path / "store")
    assert len(orders) == 15 and sorted(scans) == ["annotations", "questions"]
    monkeypatch.setattr(module, "list_images", lambda *_: pytest.fail("listed again"))
    done = [prepare_unit(order) for order in reversed(orders)]
    assert sum(each.rows["train"] for each in done) == 30
    assert sorted(scans) == ["annotations", "questions"], "nothing is streamed again"
    shared = [r for order in orders for r in source.read(order.unit) if isinstance(r, Example)]
    assert sorted(map(repr, shared)) == whole


def test_an_index_is_written_again_with_the_same_bytes(tmp_path: Path) -> None:
    source = one(tmp_path, {"images/1.jpg": RED})
    contents = []
    for _ in range(2):
        index.annotations_of.cache_clear()
        begin("qa", source, tmp_path / "store")
        folder = staging_folder(tmp_path / "store") / "shared"
        contents.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert contents[0] == contents[1] and len(contents[0]) == 3


# --- other layouts ----------------------------------------------------------------------------------------------------------------

OTHERS: dict[str, tuple[str, Any]] = {
    "GQA": ("questions", {"02930": {"imageId": "2350", "question": "is 0?", "answer": "yes"}}),
    "LLaVA": ("questions", [{"id": "1", "image": "a.jpg", "conversations": [{"from": "human", "value": "x"}]}]),
    "ShareGPT": ("annotations", [{"messages": [{"role": "user", "content": "x"}], "images": ["a.jpg"]}]),
    "A-OKVQA": ("questions", [{"question_id": "22Mex", "image_id": 1, "question": "?", "choices": [], "direct_answers": ["a"]}]),
    "TextVQA": ("questions", {"dataset_name": "x", "data": [{"question": "?", "image_id": "0054c913", "answers": ["a"]}]}),
    "COCO captions": ("annotations", {"info": {}, "annotations": [{"image_id": 1, "id": 2, "caption": "a dog"}]}),
    "COCO captions or instances": ("questions", {"info": {}, "images": [{"id": 1, "file_name": "1.jpg"}], "annotations": []}),
    "COCO instances": ("annotations", {"annotations": [{"image_id": 1, "segmentation": [], "bbox": []}]}),
    "Visual Genome": ("questions", [{"id": 1, "qas": [{"question": "?"}]}]),
    "VizWiz": ("questions", [{"image": "a.jpg", "question": "?", "answers": []}]),
    "image captions": ("questions", [{"image": "a.jpg", "caption": "a dog"}]),
    "VQAv2 annotations": ("questions", {"annotations": [{"question_id": 10, "answers": []}]}),
    "VQAv2 questions": ("annotations", {"questions": [{"question_id": 10, "question": "?"}]}),
}


@pytest.mark.parametrize("name", OTHERS)
def test_valid_json_of_another_layout_is_named(tmp_path: Path, name: str) -> None:
    role, content = OTHERS[name]
    source = one(tmp_path, {"images/1.jpg": RED})
    (tmp_path / f"{role}.json").write_text(json.dumps(content))
    with pytest.raises(UsageError) as caught:
        source.files()
    assert f"the file of {role} looks like {name}" in caught.value.what
    assert ("swap" if name.startswith("VQAv2") else f'{{"{role}": [') in caught.value.do


def test_json_lines_are_named(tmp_path: Path) -> None:
    source = one(tmp_path, {"images/1.jpg": RED})
    Path(source.questions).write_text('{"question_id": 1, "image": "a.jpg", "text": "?"}\n{"question_id": 2}\n')
    with pytest.raises(UsageError, match=r"looks like JSON Lines \(LLaVA-Bench questions\)"):
        source.units()


def test_an_unknown_layout_is_not_called_broken(tmp_path: Path) -> None:
    source = one(tmp_path, {"images/1.jpg": RED})
    Path(source.questions).write_text('{"items": [{"q": 1}]}')
    with pytest.raises(DataError, match="there is no array named 'questions'") as caught:
        source.units()
    assert "not valid" not in str(caught.value)


@given(st.binary(max_size=60) | st.text(alphabet='{}[]",:\\ an1\n', max_size=60).map(str.encode))
def test_any_bytes_have_a_shape(head: bytes) -> None:
    for before in (b"", b'{"questions": [', b"[{"):
        assert shape_of(before + head).lines in (True, False)


def test_real_files_have_their_layouts(shared_data: Path) -> None:
    folder = shared_data / "coco_web" / "annotations"
    questions, annotations = "v2_OpenEnded_mscoco_trainval2014_questions.json", "v2_mscoco_trainval2014_annotations.json"
    assert not other_layout(str(folder / questions), "questions") and not other_layout(str(folder / annotations), "annotations")
    assert other_layout(str(folder / questions), "annotations") == "VQAv2 questions"
    assert other_layout(str(folder / "captions_val2017.json"), "annotations") == "COCO captions"
