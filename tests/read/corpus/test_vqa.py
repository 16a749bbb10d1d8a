"""Questions with answers in one row: each layout against examples written by hand, in each kind of JSON, and what is wrong."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow
from pydantic import ValidationError

from rt2data.errors import DataError, UsageError
from rt2data.look.inspect import recognize as inspect_recognize
from rt2data.plan.recipe import RecipeError, parse_recipe
from rt2data.prepare.begin import begin
from rt2data.prepare.unit import prepare_unit
from rt2data.read import units
from rt2data.read.corpus.facts import UNKNOWN_ROTATION
from rt2data.read.corpus.json_tables import json_table
from rt2data.read.corpus.rotations import rotations_of
from rt2data.read.corpus.vqa import VQA
from rt2data.read.corpus.vqa_layouts import LAYOUTS, value_at
from rt2data.read.source import recognize
from rt2data.records import Example, Fact, Reject
from tests.contract.toy import jpeg

NAMES = (
    "COCO_val2014_000000000042.jpg",
    "2405722.jpg",
    "n161313.jpg",
    "0054c91397f2fe05.jpg",
    "VizWiz_train_00000000.jpg",
    "train/7/image.png",
    "train/8/image.png",
    "dev-850-0-img0.png",
    "dev-850-0-img1.png",
    "3416050480.jpg",
)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Image files under the names that corpora give them."""
    for number, name in enumerate(NAMES):
        path = tmp_path / "pictures" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(number))
    return tmp_path / "pictures"


def source(path: Path, pictures: Path | None, **settings: Any) -> VQA:
    dirs = {} if pictures is None else {"image_dirs": (str(pictures),)}
    return VQA.model_validate({"data": (str(path),), **dirs, **settings})


def records(source: VQA) -> list[Any]:
    return [found for unit in source.units() for found in source.read(unit)]


def said(source: VQA) -> list[Any]:
    """(question, answers, names of image files) of each example, and the reason of each reject, in order."""
    return [_said(found) for found in records(source) if not isinstance(found, Fact)]


def _said(found: Example | Reject) -> Any:
    if isinstance(found, Reject):
        return found.reason
    return found.question, found.answers, tuple(Path(image.place.path).name for image in found.images if image.place)


def written(folder: Path, rows: Sequence[dict[str, Any]] | dict[str, Any]) -> Iterator[Path]:
    """The same rows in each kind of JSON that holds them."""
    (folder / "array.json").write_text(json.dumps(rows))
    yield folder / "array.json"
    if isinstance(rows, dict) and "data" not in rows:
        return
    rows = rows["data"] if isinstance(rows, dict) else rows
    (folder / "lines.jsonl").write_text("\n".join(map(json.dumps, rows)))
    yield folder / "lines.jsonl"
    (folder / "object.json").write_text(json.dumps({f"key {n}": row for n, row in enumerate(rows)}, indent=1))
    yield folder / "object.json"


AOKVQA = {
    "split": "train",
    "image_id": 42,
    "question_id": "22MexNkBPpdZGX6sxbxVBH",
    "question": "What is the man by the bags awaiting?",
    "choices": ["skateboarder", "train", "delivery", "cab"],
    "correct_choice_idx": 3,
    "direct_answers": ["ride", "ride", "bus", "taxi", "travelling", "traffic", "taxi", "cab", "cab", "his ride"],
    "difficult_direct_answer": False,
    "rationales": ["A train would not be on the street.", "He is waiting for a cab."],
}
GQA = {
    "02930152": {
        "semantic": [{"operation": "select", "dependencies": [], "argument": "sky (2486325)"}],
        "entailed": ["02930160"],
        "question": "Is the sky dark?",
        "imageId": "2405722",
        "isBalanced": True,
        "groups": {"global": None, "local": "06-sky_dark"},
        "answer": "yes",
        "annotations": {"answer": {}, "question": {"2": "2486325"}, "fullAnswer": {"2": "2486325"}},
        "fullAnswer": "Yes, the sky is dark.",
    },
    "07333408": {
        "imageId": "n161313",
        "question": 'What is "red"?',
        "answer": "wall",
        "fullAnswer": "The wall.",
        "isBalanced": True,
    },
}
GENOME = [
    {
        "id": 2405722,
        "qas": [
            {"a_objects": [], "question": "What color is it?", "image_id": 2405722, "qa_id": 986768, "answer": "Green."},
            {"a_objects": [], "question": " ", "image_id": 2405722, "qa_id": 986769, "answer": "Green."},
            {"a_objects": [], "question": "When?", "image_id": 2405722, "qa_id": 986770, "answer": "During the day."},
        ],
    }
]
TEXTVQA = {
    "dataset_type": "train",
    "data": [
        {
            "question": "what is the brand of phone?",
            "image_id": "0054c91397f2fe05",
            "image_classes": ["Belt"],
            "flickr_original_url": "https://example.com/o.jpg",
            "image_width": 1024,
            "image_height": 730,
            "answers": ["nokia"] * 7 + ["toshiba", "nokia lumia", "nokia"],
            "question_tokens": ["what"],
            "question_id": 0,
            "set_name": "train",
            "ocr_tokens": ["NOKIA", "7"],
        }
    ],
}
VIZWIZ = [
    {
        "image": "VizWiz_train_00000000.jpg",
        "question": "What's the name of this product?",
        "answers": [
            {"answer_confidence": "yes", "answer": "basil leaves"},
            {"answer_confidence": "maybe", "answer": "unanswerable"},
            {"answer_confidence": "no", "answer": " "},
        ],
        "answer_type": "other",
        "answerable": 1,
    },
    {"image": "VizWiz_train_00000000.jpg", "question": "What?", "answers": [{"answer": "unsuitable"}], "answerable": 0},
]
SCIENCE = {
    "7": {
        "question": "Which property do these two objects have in common?",
        "choices": ["hard", "soft"],
        "answer": 1,
        "hint": "Select the better answer.",
        "image": "image.png",
        "split": "train",
        "solution": "Both are soft.",
    },
    "8": {
        "question": "Which?",
        "choices": ["a", "b", "c"],
        "answer": 0,
        "hint": "",
        "image": None,
        "split": "train",
        "solution": "",
    },
}
GVT = [{"image_id": 42, "text_in": "Does oven exist in the image?", "text_out": "No.", "n_obj_exist": 21}]
POPE = [{"question_id": 1, "image": "COCO_val2014_000000000042.jpg", "text": "Is there a car?", "label": "yes"}]
NLVR2 = [{"sentence": "There are two dogs.", "identifier": "dev-850-0-1", "label": "False", "left_url": "x", "writer": "1"}]
SNLI_VE = [{"gold_label": "neutral", "sentence1": "a", "sentence2": "A man waits.", "Flickr30K_ID": "3416050480", "pairID": "3#0"}]
PLAIN = [
    {"image": "2405722.jpg", "question": "How many?", "answers": [2, 2.0, "two"]},
    {"image_id": 42, "question": "Who?", "answers": {"a man": 0.9, "a woman": 0.1}},
    {"image_id": "42", "question": "Who?", "answer": "a man"},
]
COCO, WALL, PHONE = (NAMES[0],), ("n161313.jpg",), ("0054c91397f2fe05.jpg",)

EXPECTED: dict[str, tuple[Any, dict[str, Any], list[Any]]] = {
    "a-okvqa": (
        [AOKVQA],
        {},
        [(AOKVQA["question"], tuple(AOKVQA["direct_answers"]), COCO)],  # type: ignore[arg-type]
    ),
    "a-okvqa by letter": (
        [AOKVQA],
        {"choices": "letter"},
        [("What is the man by the bags awaiting? (A) skateboarder (B) train (C) delivery (D) cab", ("D",), COCO)],
    ),
    "a-okvqa by text": (
        [AOKVQA],
        {"choices": "text", "ask": "{question} Choose one."},
        [("What is the man by the bags awaiting? (A) skateboarder (B) train (C) delivery (D) cab Choose one.", ("cab",), COCO)],
    ),
    "a-okvqa with rationales": (
        [AOKVQA],
        {"choices": "text", "explain": "{answer}: {rationale}"},
        [
            (
                "What is the man by the bags awaiting? (A) skateboarder (B) train (C) delivery (D) cab",
                ("cab: A train would not be on the street.", "cab: He is waiting for a cab."),
                COCO,
            )
        ],
    ),
    "gqa": (GQA, {}, [("Is the sky dark?", ("yes",), ("2405722.jpg",)), ('What is "red"?', ("wall",), WALL)]),
    "gqa in sentences": (
        GQA,
        {"full_answers": True},
        [("Is the sky dark?", ("Yes, the sky is dark.",), ("2405722.jpg",)), ('What is "red"?', ("The wall.",), WALL)],
    ),
    "visual genome": (
        GENOME,
        {},
        [
            ("What color is it?", ("Green.",), ("2405722.jpg",)),
            "blank_question",
            ("When?", ("During the day.",), ("2405722.jpg",)),
        ],
    ),
    "textvqa": (TEXTVQA, {}, [("what is the brand of phone?", (*["nokia"] * 7, "toshiba", "nokia lumia", "nokia"), PHONE)]),
    "textvqa with words in the image": (
        TEXTVQA,
        {"ask": "{question} Reference OCR tokens: {ocr_tokens}"},
        [
            (
                "what is the brand of phone? Reference OCR tokens: NOKIA, 7",
                (*["nokia"] * 7, "toshiba", "nokia lumia", "nokia"),
                PHONE,
            )
        ],
    ),
    "vizwiz": (
        VIZWIZ,
        {"where": {"answerable": {"min": 1}}},
        [
            ("What's the name of this product?", ("basil leaves", "unanswerable"), ("VizWiz_train_00000000.jpg",)),
            "where_answerable",
        ],
    ),
    "scienceqa": (
        SCIENCE,
        {},
        [("Which property do these two objects have in common? (A) hard (B) soft", ("B",), ("image.png",)), "no_image"],
    ),
    "scienceqa in words alone": (
        SCIENCE,
        {"without_image": "keep", "choices": "text", "ask": "{hint} {question}"},
        [
            (
                "Select the better answer. Which property do these two objects have in common? (A) hard (B) soft",
                ("soft",),
                ("image.png",),
            ),
            ("Which? (A) a (B) b (C) c", ("a",), ()),
        ],
    ),
    "gvt": (GVT, {}, [("Does oven exist in the image?", ("No.",), COCO)]),
    "pope": (POPE, {}, [("Is there a car?", ("yes",), COCO)]),
    "nlvr2": (
        NLVR2,
        {"ask": "Is this true? {question}"},
        [("Is this true? There are two dogs.", ("False",), ("dev-850-0-img0.png", "dev-850-0-img1.png"))],
    ),
    "snli-ve": (SNLI_VE, {}, [("A man waits.", ("neutral",), ("3416050480.jpg",))]),
    "plain": (
        PLAIN,
        {},
        [
            ("How many?", ("2", "2", "two"), ("2405722.jpg",)),
            ("Who?", (*["a man"] * 9, "a woman"), COCO),
            ("Who?", ("a man",), COCO),
        ],
    ),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_each_layout_in_each_kind_of_json(name: str, tmp_path: Path, pictures: Path) -> None:
    rows, settings, wanted = EXPECTED[name]
    for path in written(tmp_path, rows):
        assert said(source(path, pictures, **settings)) == wanted


def test_the_images_of_scienceqa_are_in_folders_of_their_problem(tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "problems.json").write_text(json.dumps(SCIENCE))
    (first, *_) = records(source(tmp_path / "problems.json", pictures))
    assert first.images[0].place.path == str(pictures / "train/7/image.png")


def test_a_number_finds_only_images_of_coco(tmp_path: Path, pictures: Path) -> None:
    """Image 42 of Visual Genome is another than that of COCO, whose names of 2014 and 2017 mean the same."""
    asked = {"question": "What?", "answer": "x"}
    rows = [{"image": "42.jpg"}, {"imageId": "42"}, {"image": "000000000042.jpg"}, {"image": "COCO_train2017_000000000042.jpg"}]
    (tmp_path / "x.json").write_text(json.dumps([row | asked for row in rows]))
    found = said(source(tmp_path / "x.json", pictures))
    assert found == ["missing_image", "missing_image", ("What?", ("x",), COCO), ("What?", ("x",), COCO)]


def test_each_layout_is_known_by_name(tmp_path: Path) -> None:
    titles = []
    for rows, _, _ in EXPECTED.values():
        path = next(written(tmp_path, rows))
        found, hint = VQA.recognize(path), recognize(path)
        assert found is not None and found.settings["data"] == [str(path)]
        assert hint is not None and "kind vqa" in hint.do
        titles.append(hint.what)
    answered = {layout.name for layout in LAYOUTS if not layout.instead} - {"questions with an answer"}
    assert set(titles) == answered


def test_keys_are_unique_and_stay_where_files_are_added(tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "b.json").write_text(json.dumps(GENOME * 2))
    before = [found.key for found in records(source(tmp_path / "data", pictures)) if isinstance(found, Example)]
    (tmp_path / "data" / "a.json").write_text(json.dumps(GQA))
    after = [found.key for found in records(source(tmp_path / "data", pictures)) if isinstance(found, Example)]
    assert len(set(after)) == len(after) == len(before) + 2
    assert set(before) < set(after)


@given(
    st.dictionaries(st.text(max_size=9), st.fixed_dictionaries({"question": st.text()}), min_size=1, max_size=9), st.integers(1, 99)
)
def test_parts_of_an_object_hold_each_member_once(
    tmp_path_factory: pytest.TempPathFactory, members: dict[str, Any], size: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "members.json"
    path.write_text(json.dumps(members), "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(units, "UNIT_BYTES", size)
        table = json_table(str(path), ("question",), 1 << 20, None, None)
        rows = [row for part in table.parts() for row in table.rows(part.start, part.stop)]
    assert [row.values for row in rows] == [value | {"_key": key} for key, value in members.items()]
    assert len({row.at for row in rows}) == len(rows)
    assert (table.first() or rows[-1]).values == rows[0].values


# Other corpora, by their columns

NESTED = {
    "meta": {"file": "2405722.jpg", "uid": 7},
    "text": {"q": "What?", "a.b": "not this"},
    "labels": [{"value": "red"}, {"value": "blue"}, {"other": 1}],
    "options": ["red", "blue"],
    "right": "B",
}


def test_columns_that_the_recipe_names(tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "x.jsonl").write_text(json.dumps(NESTED))
    columns = {"question": "text.q", "answers": "labels.value", "image": "meta.file", "id": "meta.uid"}
    assert said(source(tmp_path / "x.jsonl", pictures, columns=columns)) == ["bad_text"]
    right = NESTED | {"labels": NESTED["labels"][:2]}  # type: ignore[index]
    (tmp_path / "x.jsonl").write_text(json.dumps(right))
    assert said(source(tmp_path / "x.jsonl", pictures, columns=columns)) == [("What?", ("red", "blue"), ("2405722.jpg",))]
    columns |= {"answers": "right", "choices": "options"}
    assert said(source(tmp_path / "x.jsonl", pictures, columns=columns)) == [("What? (A) red (B) blue", ("B",), ("2405722.jpg",))]


def test_an_image_is_named_by_a_template(tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "x.jsonl").write_text(
        '{"question": "What?", "answer": "x", "a": {"b": 2405722}}\n{"question": "No?", "answer": "x"}'
    )
    found = said(source(tmp_path / "x.jsonl", pictures, columns={"image": "{a.b}.jpg"}))
    assert found == [("What?", ("x",), ("2405722.jpg",)), "no_image"]


@given(
    st.recursive(st.integers(), lambda inner: st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3), max_leaves=9)
)
def test_a_path_leads_to_what_is_there(row: Any) -> None:
    def walk(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
        if path:
            yield path, value
        for name, inner in value.items() if isinstance(value, dict) else ():
            yield from walk(inner, (*path, name))

    for path, value in walk(row, ()):
        assert value_at(row, ".".join(path)) == value
        assert value_at(row, ".".join((*path, "z"))) is None


# What is wrong

FAULTS: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    "no_answers": ({"image": "2405722.jpg", "question": "?", "answers": []}, {}, "no_answers", ""),
    "blank_answers": ({"image": "2405722.jpg", "question": "?", "answers": ["", " \n"]}, {}, "no_answers", ""),
    "answer_in_truth": ({"image": "2405722.jpg", "question": "?", "answers": True}, {}, "bad_text", "bool"),
    "no_weight": ({"image": "2405722.jpg", "question": "?", "answers": {"a": "b"}}, {}, "bad_answer", "weights"),
    "list_as_text": ({"image": "2405722.jpg", "question": "?", "answers": "['a', 'b']"}, {}, "bad_answer", "list as text"),
    "blank_question": ({"image": "2405722.jpg", "question": "\t", "answers": ["a"]}, {}, "blank_question", ""),
    "question_of_numbers": ({"image": "2405722.jpg", "question": 3, "answers": ["a"]}, {}, "bad_text", "int"),
    "half_a_pair": ({"image": "2405722.jpg", "question": "\ud800", "answers": ["a"]}, {}, "bad_text", ""),
    "nul": ({"image": "2405722.jpg", "question": "a\0b", "answers": ["a"]}, {}, "bad_text", "NUL"),
    "too_long": ({"image": "2405722.jpg", "question": "é" * 60, "answers": ["a"]}, {"max_text_bytes": 100}, "too_long_text", ""),
    "no_image": ({"question": "?", "answers": ["a"]}, {}, "no_image", ""),
    "missing_image": ({"image_id": 9, "question": "?", "answers": ["a"]}, {}, "missing_image", "image 9"),
    "remote_image": ({"image": "https://example.com/1.jpg", "question": "?", "answers": ["a"]}, {}, "remote_image", "img2dataset"),
    "place_in_question": ({"image": "2405722.jpg", "question": "<image> ?", "answers": ["a"]}, {}, "image_places", ""),
    "no_layout": ({"caption": "a dog"}, {}, "unknown_layout", "caption"),
    "no_direct_answers": (AOKVQA | {"direct_answers": None}, {}, "no_answers", AOKVQA["question_id"]),  # type: ignore[dict-item]
    "no_choices": (AOKVQA | {"choices": []}, {"choices": "text"}, "no_choices", ""),
    "one_choice": (AOKVQA | {"choices": ["a"]}, {"choices": "text"}, "bad_choices", "2 to 26"),
    "blank_choice": (AOKVQA | {"choices": ["a", " "]}, {"choices": "text"}, "bad_choices", "blank"),
    "choice_beyond": (AOKVQA | {"correct_choice_idx": 4}, {"choices": "text"}, "bad_choice", "'4'"),
    "choice_before": (AOKVQA | {"correct_choice_idx": -1}, {"choices": "letter"}, "bad_choice", "'-1'"),
    "choice_hidden": (AOKVQA | {"correct_choice_idx": None}, {"choices": "letter"}, "bad_choice", "None"),
    "choice_unclear": (AOKVQA | {"choices": ["B", "A"], "correct_choice_idx": "A"}, {"choices": "text"}, "ambiguous_choice", ""),
    "choice_twice": (AOKVQA | {"choices": ["a", "a"], "correct_choice_idx": "a"}, {"choices": "text"}, "ambiguous_choice", ""),
    "no_rationale": (AOKVQA | {"rationales": [" "]}, {"explain": "{answer} {rationale}"}, "no_rationale", ""),
    "rationale_of_numbers": (AOKVQA | {"rationales": 5}, {"explain": "{answer} {rationale}"}, "bad_text", "int"),
    "many_rationales": (AOKVQA | {"rationales": ["r"] * 9999}, {"explain": "{answer} {rationale}"}, "too_many_answers", "9999"),
    "far_weight": ({"image": "2405722.jpg", "question": "?", "answers": {"a": 1e300}}, {}, "bad_answer", "weights"),
    "no_full_answers": (AOKVQA, {"full_answers": True}, "no_answers", "A-OKVQA have no full answers"),
    "choices_of_gqa": (GQA["02930152"], {"choices": "letter"}, "no_choices", "GQA"),
    "no_pair": (NLVR2[0] | {"identifier": "x"}, {}, "bad_image", "pair"),
    "empty_list": ({"id": 1, "qas": []}, {}, "no_questions", ""),
    "no_list": ({"id": 1, "qas": 3}, {}, "bad_row", "no list"),
    "no_object": ({"id": 1, "qas": [3]}, {}, "bad_row", "int"),
    "missing_column": (GVT[0], {"ask": "{hint} {question}"}, "missing_column", "hint"),
    "column_of_objects": (GVT[0] | {"hint": {}}, {"ask": "{hint} {question}"}, "bad_text", "hint"),
    "llava_bench": ({"question_id": 1, "image": "1.jpg", "text": "What?"}, {}, "no_answers", "LLaVA-Bench"),
    "vqav2": ({"question_id": 1, "image_id": 1, "question": "What?"}, {}, "no_answers", "vqav2"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_is_wrong_is_told_and_the_next_row_is_read(name: str, tmp_path: Path, pictures: Path) -> None:
    row, settings, reason, detail = FAULTS[name]
    right = [json.dumps(each) for each in (GVT[0] | {"hint": "Look."}, AOKVQA, next(iter(GQA.values())))]
    (tmp_path / "x.jsonl").write_text("\n".join([json.dumps(row), *right]))
    first, *others = (found for found in records(source(tmp_path / "x.jsonl", pictures, **settings)) if not isinstance(found, Fact))
    assert isinstance(first, Reject)
    assert (first.reason, first.fault) == (reason, True)
    assert detail in first.detail
    assert first.where.startswith(f"{tmp_path / 'x.jsonl'}: byte 0")
    assert len(others) == 3
    assert any(isinstance(found, Example) for found in others)


def test_a_key_given_twice_stops_the_build(tmp_path: Path, pictures: Path) -> None:
    text = json.dumps(GQA)
    (tmp_path / "x.json").write_text(f'{text[:-1]}, "07333408"{text[text.index(":") :]}')
    with pytest.raises(DataError, match="'07333408' is given twice"):
        source(tmp_path / "x.json", pictures).units()


@pytest.mark.parametrize("cut", [1, 40, -1])
def test_a_cut_object_stops_the_build(cut: int, tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps(GQA)[:cut])
    with pytest.raises(DataError, match="cut"):
        source(tmp_path / "x.json", pictures).units()


def test_a_recipe_about_rows_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    def mistakes(row: dict[str, Any], more: str = "") -> list[str]:
        (tmp_path / "x.jsonl").write_text(json.dumps(row))
        recipe = f"robot_frac: 0\nweb: {{qa: {{kind: vqa, data: x.jsonl{more}}}}}\n"
        with pytest.raises(RecipeError) as caught:
            parse_recipe(recipe, "mix.yaml", tmp_path, check=True)
        return [f"{each.path}: {each.message}" for each in caught.value.mistakes]

    (bench,) = mistakes({"question_id": 1, "image": "1.jpg", "text": "What?"})
    assert bench.startswith("web.qa.data: holds LLaVA-Bench questions") and "no answers" in bench
    (unknown,) = mistakes({"caption": "a dog"})
    assert "no layout that is known" in unknown and "`question`" in unknown
    (gone,) = mistakes(GVT[0], ", rotations: gone.csv")
    assert gone.startswith("web.qa.rotations: there is no such file")


def test_templates_are_checked() -> None:
    for name, text in (
        ("ask", "What?"),
        ("ask", "{question!r}"),
        ("ask", "{question"),
        ("explain", "{answer}"),
        ("explain", "{x}"),
    ):
        with pytest.raises(ValidationError, match=name):
            VQA.model_validate({"data": ("x.json",), name: text})
    with pytest.raises(ValidationError, match=r"columns\.image"):
        VQA.model_validate({"data": ("x.json",), "columns": {"image": "{a:d}"}})


def test_llava_bench_is_refused_by_name(tmp_path: Path) -> None:
    rows = [{"question_id": n, "image": "1.jpg", "text": "What?", "category": "conv"} for n in range(2)]
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(UsageError, match=r"LLaVA-Bench questions.*no answers"):
        inspect_recognize(tmp_path / "questions.jsonl")


# Real corpora


@pytest.mark.parametrize("name", ["gvt_coco_oc", "gvt_coco_mci"])
def test_real_questions_are_what_json_reads(name: str, shared_data: Path) -> None:
    path = shared_data / "coco_web" / "annotations" / f"{name}.json"
    if not path.exists():
        pytest.skip(f"no {path}")
    rows = json.loads(path.read_text())
    wanted = [(row["text_in"], (row["text_out"],), (f"{row['image_id']:012d}.jpg",)) for row in rows]
    assert said(source(path, shared_data / "coco_web")) == wanted
    seen = inspect_recognize(path)
    assert f'image_dirs: ["{shared_data / "coco_web"}"]' in seen.suggestion()


def test_real_answers_read_as_vqav2_reads_them(shared_data: Path, tmp_path: Path) -> None:
    """Questions and annotations joined to one row each give the examples that the two files give."""
    root = shared_data / "coco_web"
    if not root.exists():
        pytest.skip(f"no {root}")
    read = {name: json.loads(next((root / "annotations").glob(f"v2_*_{name}.json")).read_text())[name] for name in PAIR}
    answers = {row["question_id"]: row["answers"] for row in read["annotations"]}
    rows = [row | {"answers": answers[row["question_id"]]} for row in read["questions"]]
    (tmp_path / "x.json").write_text(json.dumps(rows))
    found = said(source(tmp_path / "x.json", root))
    assert found == [
        (row["question"], tuple(each["answer"] for each in row["answers"]), (f"{row['image_id']:012d}.jpg",)) for row in rows
    ]
    assert len(found) == 13


PAIR = ("questions", "annotations")


# Rotations


def test_images_of_textvqa_are_turned_upright(tmp_path: Path) -> None:
    """Open Images counts counter-clockwise: what must be turned by 90 has its top at its right side."""
    upright = np.zeros((32, 48, 3), np.uint8)
    upright[:16] = 255  # the upper half is white
    images = tmp_path / "images"
    images.mkdir()
    degrees = {"0" * 15 + str(n): text for n, text in enumerate(["0.0", "90.0", "180", "270.0", ""])}
    for name, text in degrees.items():
        turned = np.rot90(upright, -int(float(text or 0)) // 90)
        Pillow.fromarray(np.ascontiguousarray(turned)).save(images / f"{name}.jpg", quality=95)
    Pillow.fromarray(upright).save(images / f"{'f' * 16}.jpg", quality=95)
    lines = [f"{name},train,{text}" for name, text in degrees.items()]
    (tmp_path / "rotation.csv").write_text("\n".join(["ImageID,Subset,Rotation", *lines]))
    row: dict[str, Any] = TEXTVQA["data"][0]  # type: ignore[assignment]
    rows = [row | {"image_id": name, "question_id": n} for n, name in enumerate([*degrees, "f" * 16])]
    (tmp_path / "x.json").write_text(json.dumps({"data": rows}))
    qa = source(tmp_path / "x.json", images, rotations=str(tmp_path / "rotation.csv"))
    assert [image.turn for found in records(qa) if isinstance(found, Example) for image in found.images] == [0, 270, 180, 90, 0, 0]
    assert Fact(UNKNOWN_ROTATION, 2) in records(qa)
    assert str(tmp_path / "rotation.csv") in qa.depends_on()
    for upper, lower, shape in made_images(qa, tmp_path / "store"):
        assert (shape, upper > 250, lower < 5) == ((32, 48), True, True)


def made_images(qa: VQA, store: Path) -> Iterator[tuple[float, float, tuple[int, ...]]]:
    """Mean of the upper and of the lower half, and the shape, of each image of a store."""
    for order in begin("qa", qa, store):
        prepare_unit(order)
    blobs = b"".join(path.read_bytes() for path in store.parent.rglob("blobs-*"))
    found = [b"\xff\xd8" + each for each in blobs.split(b"\xff\xd8\xff")[1:]]
    assert len(found) == 3
    for content in found:
        pixels = np.asarray(Pillow.open(io.BytesIO(content[:2] + b"\xff" + content[2:])).convert("L"))
        yield float(pixels[:12].mean()), float(pixels[-12:].mean()), pixels.shape


def test_a_wrong_file_of_rotations(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("ImageID,Degrees\n0000000000000001,90\n")
    with pytest.raises(UsageError, match="ImageID and Rotation"):
        rotations_of(str(tmp_path / "x.csv"))
    (tmp_path / "y.csv").write_text("ImageID,Rotation\n0000000000000001,45\n")
    with pytest.raises(DataError, match="'45' is no rotation"):
        rotations_of(str(tmp_path / "y.csv"))


def test_another_file_of_rotations_makes_other_units(tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps(TEXTVQA))
    bases = []
    for text in ("0", "90"):
        (tmp_path / "r.csv").write_text(f"ImageID,Rotation\n0054c91397f2fe05,{text}\n")
        qa = source(tmp_path / "x.json", pictures, rotations=str(tmp_path / "r.csv"))
        bases.append(qa.bases(qa.parts({})))
    assert bases[0] != bases[1]
