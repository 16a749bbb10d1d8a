"""VQAv2 and OK-VQA: real samples come through whole, and every damaged row is a Reject that says where it lies."""

from __future__ import annotations

import json
import pickle
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

import rt2data.read.vqav2.source as module
from rt2data.errors import DataError, UsageError
from rt2data.images.ready import ImageFault, ImageRule, make_ready
from rt2data.read.source import source_class
from rt2data.read.text import clean_text
from rt2data.read.vqav2.source import VQAv2
from rt2data.records import Example, Reject
from tests.contract.toy import jpeg

Row = dict[str, Any]


def question(number: int, **changes: Any) -> Row:
    return {"image_id": number // 10, "question": f"What is {number}?", "question_id": number} | changes


def annotation(number: int, **changes: Any) -> Row:
    answers = [{"answer": f"thing {i % 3}", "answer_confidence": "yes", "answer_id": i + 1} for i in range(10)]
    return {"question_type": "what", "answers": answers, "image_id": number // 10, "question_id": number} | changes


def corpus(folder: Path, questions: list[Any], annotations: list[Any], **settings: Any) -> VQAv2:
    """A corpus with pictures 1 to 3. Rows may be JSON already, where json.dumps would not write them."""
    for number in (1, 2, 3):
        path = folder / "pictures" / f"COCO_val2014_{number:012d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(number))
    for name, rows in (("questions", questions), ("annotations", annotations)):
        body = b", ".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows)
        (folder / f"{name}.json").write_bytes(b'{"info": {}, "%s": [%s]}' % (name.encode(), body))
    paths = {"questions": str(folder / "questions.json"), "annotations": str(folder / "annotations.json")}
    return VQAv2.model_validate({**paths, "image_dirs": str(folder / "pictures"), **settings})


def read_all(source: VQAv2) -> tuple[list[Example], list[Reject]]:
    found = [record for unit in source.units() for record in source.read(unit)]
    return [r for r in found if isinstance(r, Example)], [r for r in found if isinstance(r, Reject)]


def only_reject(source: VQAv2, others: int = 1) -> Reject:
    examples, rejects = read_all(source)
    assert len(examples) == others
    assert len(rejects) == 1
    assert rejects[0].fault
    return rejects[0]


@pytest.fixture
def coco(shared_data: Path) -> VQAv2:
    folder = shared_data / "coco_web"
    name = "annotations/v2_{}mscoco_trainval2014_{}.json"
    return VQAv2(
        questions=str(folder / name.format("OpenEnded_", "questions")),
        annotations=str(folder / name.format("", "annotations")),
        image_dirs=(str(folder),),
    )


# --- real samples -----------------------------------------------------------------------------------------------------------------


def test_all_real_questions_are_joined_with_their_pictures(coco: VQAv2) -> None:
    examples, rejects = read_all(coco)
    asked = json.loads(Path(coco.questions).read_text())["questions"]
    answers = {row["question_id"]: row["answers"] for row in json.loads(Path(coco.annotations).read_text())["annotations"]}
    assert not rejects
    assert [example.key for example in examples] == [str(row["question_id"]) for row in asked]
    for example, row in zip(examples, asked, strict=True):
        (image,) = example.images
        path = next(Path(coco.image_dirs[0]).glob(f"*2017/{row['image_id']:012d}.jpg"))
        assert (example.group, example.question, example.split) == (str(row["image_id"]), row["question"], "train")
        assert list(example.answers) == [answer["answer"] for answer in answers[row["question_id"]]]
        assert image.data == path.read_bytes()
        assert image.place == (str(path), 0, path.stat().st_size)
        assert isinstance(image.data, bytes)
        assert make_ready(image.data, coco.images, decode=True).data is None
    assert sum("can't tell" in example.answers for example in examples) == 1


def test_annotations_may_have_only_ids_and_answers(shared_data: Path) -> None:
    folder = shared_data / "vqa_allennlp/test_fixtures/vision"
    source = VQAv2(
        questions=str(folder / "vqav2/questions.json"),
        annotations=str(folder / "vqav2/annotations.json"),
        image_dirs=(str(folder / "images"),),
        split="val",
    )
    examples, rejects = read_all(source)
    assert not rejects
    assert [(e.key, e.group, e.split, len(e.answers)) for e in examples] == [
        (f"45875200{i}", "458752", "val", 10) for i in range(3)
    ]
    assert len({id(e.images[0]) for e in examples}) == 1, "one picture is read once for rows that follow each other"


def test_it_describes_itself(coco: VQAv2) -> None:
    told = coco.describe()
    assert (told["questions"], told["annotations"]) == (13, 13)
    assert told["images"] == {"found": 23, "needed": 12, "missing": 0}
    assert told["first"]["question"] == "What time does the clock say?"
    assert len(told["first"]["answers"]) == 10
    json.dumps(told)


def test_files_are_the_two_lists_and_the_pictures(coco: VQAv2) -> None:
    files = coco.files()
    assert files == sorted(files)
    assert len(files) == 2 + 23
    assert {coco.questions, coco.annotations} < set(files)


# --- units ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("block", "units"), [(4096, 1), (7, 5), (2, 16), (1, 16)])
def test_units_tile_the_questions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int, units: int) -> None:
    numbers = [10 + i for i in range(30)] + [99, 98]
    source = corpus(tmp_path, [question(n) for n in numbers], [annotation(n) for n in reversed(numbers)])
    whole = read_all(source)
    monkeypatch.setattr(module, "_BLOCK", block)
    found = source.units()
    assert len(found) == units
    assert [unit.index for unit in found] == list(range(units))
    assert [unit.stop for unit in found[:-1]] == [unit.start for unit in found[1:]]
    assert read_all(source) == whole
    assert len(whole[0]) == 30
    firsts = [next((r.key for r in source.read(unit) if isinstance(r, Example)), None) for unit in found]
    wanted = [str(numbers[unit.first]) if numbers[unit.first] < 40 else None for unit in found]
    assert firsts == wanted
    assert pickle.loads(pickle.dumps(source)) == source


def test_what_is_wrong_with_annotations_is_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = list(range(10, 20))
    stray = [annotation(77), annotation(10, question_id="x"), b'{"question_id": 10, "answers": "\xff"}', annotation(11)]
    source = corpus(tmp_path, [question(n) for n in numbers], [*map(annotation, numbers), *stray])
    monkeypatch.setattr(module, "_BLOCK", 1)
    examples, rejects = read_all(source)
    assert len(source.units()) == 10
    assert len(examples) == 10
    reasons = sorted(reject.reason for reject in rejects)
    assert reasons == ["annotation_without_question", "bad_question_id", "duplicate_annotation", "duplicate_annotation"]
    orphan = next(reject for reject in rejects if reject.reason == "annotation_without_question")
    assert orphan.where.endswith("question 77")
    assert f"{source.annotations}: byte " in orphan.where


# --- one damaged row --------------------------------------------------------------------------------------------------------------

BAD_QUESTIONS: dict[str, tuple[Row | bytes, str]] = {
    "image_id_too_large": (question(20, image_id=2**70), "bad_image_id"),
    "image_id_negative": (question(20, image_id=-1), "bad_image_id"),
    "image_id_text": (question(20, image_id="../../etc/passwd"), "bad_image_id"),
    "image_id_float": (question(20, image_id=2.5), "bad_image_id"),
    "image_id_text_too_large": (question(20, image_id="9" * 19), "bad_image_id"),
    "image_id_float_too_large": (question(20, image_id=1e17), "bad_image_id"),
    "image_name_of_a_nul": (question(20, image="a\0.jpg"), "bad_image_id"),
    "image_name_above_the_folder": (question(20, image_id=None, image="../../../etc/passwd"), "missing_image"),
    "image_id_bool": (question(20, image_id=True), "bad_image_id"),
    "image_id_missing": (question(20, image_id=None), "bad_image_id"),
    "image_id_of_5000_digits": (b'{"question_id": 20, "question": "a", "image_id": ' + b"9" * 5000 + b"}", "bad_number"),
    "another_image": (question(20, image_id=3), "image_id_mismatch"),
    "blank": (question(20, question=" \t "), "blank_question"),
    "only_controls": (question(20, question="\x1b\u202e"), "blank_question"),
    "absent": (question(20, question=None), "blank_question"),
    "not_text": (question(20, question=["a"]), "bad_text"),
    "nul": (question(20, question="a\0b"), "bad_text"),
    "too_long": (question(20, question="a" * 40_000), "too_long_text"),
    "ten_thousand_emoji": (question(20, question="\N{GRINNING FACE}" * 10_000), "too_long_text"),
}


@pytest.mark.parametrize("name", BAD_QUESTIONS)
def test_a_damaged_question_is_rejected_alone(tmp_path: Path, name: str) -> None:
    row, reason = BAD_QUESTIONS[name]
    orphans = [] if isinstance(row, bytes) else [annotation(20)]
    source = corpus(tmp_path, [row, question(11), question(12)], [annotation(11), annotation(12), *orphans])
    reject = only_reject(source, others=2)
    assert reject.reason == reason
    assert f"{source.questions}: byte 27" in reject.where


@pytest.mark.parametrize("text", [b"a\xff", b"\\ud800", b"\xed\xa0\x80"])
def test_a_question_that_is_not_unicode_is_rejected(tmp_path: Path, text: bytes) -> None:
    row = b'{"question_id": 20, "image_id": 2, "question": "' + text + b'"}'
    assert only_reject(corpus(tmp_path, [question(11), row], [annotation(11)])).reason == "bad_text"


def test_a_question_id_must_be_a_number(tmp_path: Path) -> None:
    for wrong in ("12a", "-1", "", -5, 10**18, str(10**18), None, 1.5, 2.0**60, True, [1]):
        reject = only_reject(corpus(tmp_path, [question(11), question(12, question_id=wrong)], [annotation(11)]))
        assert reject.reason == "bad_question_id"


BAD_ANNOTATIONS: dict[str, tuple[Row | bytes | None, str]] = {
    "none": (None, "no_annotation"),
    "no_answers": (annotation(20, answers=[]), "no_answers"),
    "answers_missing": ({"question_id": 20}, "no_answers"),
    "no_weights": (annotation(20, answers={"answer": "a"}), "bad_answer"),
    "negative_weight": (annotation(20, answers={"a": -1}), "bad_answer"),
    "two_weights": (b'{"question_id": 20, "answers": {"a": 1, "a": 2}}', "bad_answer"),
    "empty_answer": ({"question_id": 20, "answer": ""}, "no_answers"),
    "only_blank_answers": (annotation(20, answers=[{"answer": " "}, {}, "", {"answer": None}]), "no_answers"),
    "truth": (annotation(20, answers=[{"answer": True}]), "bad_text"),
    "nul": (annotation(20, answers=["a\0"]), "bad_text"),
    "not_utf8": (b'{"question_id": 20, "answers": [{"answer": "\xff"}]}', "bad_text"),
    "too_long": (annotation(20, answers=["a" * 40_000]), "too_long_text"),
}


@pytest.mark.parametrize("name", BAD_ANNOTATIONS)
def test_a_question_without_good_answers_is_rejected(tmp_path: Path, name: str) -> None:
    row, reason = BAD_ANNOTATIONS[name]
    given = [annotation(11)] if row is None else [row, annotation(11)]
    reject = only_reject(corpus(tmp_path, [question(20), question(11)], given))
    assert reject.reason == reason
    assert reject.where.endswith("question 20")


def test_a_question_of_many_megabytes_is_passed_over(tmp_path: Path) -> None:
    huge = b'{"question_id": 20, "image_id": 2, "question": "' + b"{[" * 5_000_000 + b'"}'
    source = corpus(tmp_path, [question(11), huge], [annotation(11)])
    reject = only_reject(source)
    offset = Path(source.questions).read_bytes().index(huge)
    assert (reject.reason, reject.where) == ("too_long_text", f"{source.questions}: byte {offset}")


# --- legal, if strange ------------------------------------------------------------------------------------------------------------


def test_answers_of_ok_vqa_and_plain_strings(tmp_path: Path) -> None:
    mixed = [{"answer": "race", "raw_answer": "racing"}, {"raw_answer": "a race"}, "plain", {"answer": ""}]
    (example,), rejects = read_all(corpus(tmp_path, [question(10)], [annotation(10, answers=mixed)]))
    assert example.answers == ("race", "a race", "plain")
    assert not rejects


def test_words_are_made_plain(tmp_path: Path) -> None:
    rows = [question(10, question="Cafe\u0301\r\n\u202eopen\u202c \x1b[2J?")]
    (example,), _ = read_all(corpus(tmp_path, rows, [annotation(10, answers=["e\u0301\t"])]))
    assert example.question == "Café open [2J?"
    assert example.answers == ("é ",)


@given(st.text())
def test_clean_text_is_a_normal_form(text: str) -> None:
    clean = clean_text(text)
    assert clean_text(clean) == clean
    assert unicodedata.is_normalized("NFC", clean)
    assert not any(unicodedata.category(c) == "Cc" or c in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069" for c in clean)


def test_a_list_may_stand_alone(tmp_path: Path) -> None:
    source = corpus(tmp_path, [], [])
    Path(source.questions).write_text(json.dumps([question(10)]))
    Path(source.annotations).write_text(json.dumps([annotation(10)]))
    assert len(read_all(source)[0]) == 1


# --- pictures ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty_image"),
        (b"<html>404</html>", "not_an_image"),
        (jpeg(1)[:-40], "truncated_image"),
        (jpeg(1)[:400], "truncated_image"),
    ],
)
def test_a_bad_picture_is_found_when_it_is_made_ready(tmp_path: Path, content: bytes, reason: str) -> None:
    source = corpus(tmp_path, [question(10)], [annotation(10)])
    (tmp_path / "pictures" / "COCO_val2014_000000000001.jpg").write_bytes(content)
    (example,), _ = read_all(source)
    with pytest.raises(ImageFault) as caught:
        make_ready(example.images[0].data, source.images, decode=True)
    assert caught.value.reason == reason


def test_a_picture_file_larger_than_its_pixels_can_be_is_not_held(tmp_path: Path) -> None:
    source = corpus(tmp_path, [question(10), question(20)], [annotation(10), annotation(20)], images=ImageRule(max_pixels=1000))
    with (tmp_path / "pictures" / "COCO_val2014_000000000001.jpg").open("wb") as file:
        file.truncate(1 << 40)
    assert only_reject(source).reason == "too_large_file"


def test_a_link_to_nothing_is_a_missing_picture(tmp_path: Path) -> None:
    source = corpus(tmp_path, [question(10), question(40)], [annotation(10), annotation(40)])
    (tmp_path / "pictures" / "4.jpg").symlink_to(tmp_path / "nowhere.jpg")
    assert only_reject(source).reason == "missing_image"


# --- the whole corpus -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["questions", "annotations", "pictures"])
def test_what_is_missing_is_named(tmp_path: Path, name: str) -> None:
    source = corpus(tmp_path, [question(10)], [annotation(10)])
    path = tmp_path / (name if name == "pictures" else f"{name}.json")
    path.rename(tmp_path / "away")
    with pytest.raises(UsageError) as caught:
        source.files()
    assert str(path) == caught.value.where


def test_folders_without_pictures_are_refused(tmp_path: Path) -> None:
    source = corpus(tmp_path, [question(10)], [annotation(10)])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no images"):
        source.model_copy(update={"image_dirs": (str(tmp_path / "empty"),)}).files()


def test_a_question_given_twice_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="question_id 10 is given twice"):
        read_all(corpus(tmp_path, [question(10), question(11), question(10)], [annotation(10)]))


def test_no_questions_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no questions"):
        corpus(tmp_path, [], []).units()


BROKEN_ROWS = [
    b'{"question_id": 10, "question_id": 11}',
    b'{"question_id": NaN}',
    b'{"question_id": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b"{",
    b"10",
]


@pytest.mark.parametrize("row", BROKEN_ROWS, ids=["duplicate_key", "nan", "deep", "open", "number"])
@pytest.mark.parametrize("where", ["questions", "annotations"])
def test_broken_json_is_an_error_with_its_byte(tmp_path: Path, row: bytes, where: str) -> None:
    rows: dict[str, list[Any]] = {"questions": [question(10)], "annotations": [annotation(10)]}
    rows[where].append(row)
    source = corpus(tmp_path, rows["questions"], rows["annotations"])
    with pytest.raises(DataError) as caught:
        read_all(source)
    assert caught.value.code == 3
    assert f"{where}.json: byte " in caught.value.where


@pytest.mark.parametrize("where", ["questions", "annotations"])
def test_a_cut_file_is_an_error_wherever_it_is_cut(tmp_path: Path, where: str) -> None:
    source = corpus(tmp_path, [question(10), question(11)], [annotation(10), annotation(11)])
    path = tmp_path / f"{where}.json"
    whole = path.read_bytes()
    for length in range(0, len(whole), 13):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError) as caught:
            read_all(source)
        assert f"byte {length}" in caught.value.where


# --- settings ---------------------------------------------------------------------------------------------------------------------


def test_settings() -> None:
    assert source_class("vqav2") is VQAv2
    paths: Row = {"questions": "q", "annotations": "a", "image_dirs": ["x", "y"]}
    assert VQAv2.model_validate(paths).image_dirs == ("x", "y")
    changes: list[Row] = [{"annotations": None}, {"image_dirs": []}, {"split": "a/b"}, {"imagedirs": "x"}]
    for wrong in changes:
        with pytest.raises(ValidationError):
            VQAv2.model_validate(paths | wrong)
    with pytest.raises(ValidationError):
        VQAv2.model_validate({"questions": "q", "image_dirs": "x"})
