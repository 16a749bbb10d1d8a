"""Checks the ids and texts of a VQA corpus's rows; each fault has a reason."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import msgspec

from rt2data.read.corpus.answers import EXACT, answers_of, by_weight
from rt2data.read.corpus.draft import RowFault, words
from rt2data.read.join.images import ImageKey

_NULL = msgspec.Raw(b"null")
_MAX_ID = 10**18  # numbers in file names have at most 18 digits
_MAX_NAME = 1024


class QuestionRow(msgspec.Struct):
    """An element of `questions`."""

    question_id: Any = None
    image_id: Any = None
    question: Any = None
    image: Any = None
    file_name: Any = None
    image_file: Any = None


class AnnotationRow(msgspec.Struct):
    """An element of `annotations`; its answers are decoded only when the question is read."""

    question_id: Any = None
    image_id: Any = None
    answers: msgspec.Raw = _NULL
    multiple_choice_answer: msgspec.Raw = _NULL


class LoneAnswerRow(msgspec.Struct):
    """An element of `annotations` without `answers`, but with `answer`. Separate because `answer` is also a key inside
    `answers`.
    """

    answer: msgspec.Raw = _NULL


for _row in (QuestionRow, AnnotationRow, LoneAnswerRow):
    msgspec.json.Decoder(_row)  # inspects the type at import: two threads doing so at once crash


@dataclass(frozen=True, slots=True)
class WebQuestion:
    """A valid question."""

    key: int
    image: ImageKey
    text: str


def read_question(row: QuestionRow, max_bytes: int) -> WebQuestion:
    """Check one question. Raises RowFault: bad_question_id, bad_image_id, blank_question, bad_text, too_long_text."""
    key, image = read_id(row.question_id, "bad_question_id"), read_image_key(row)
    text = words("" if row.question is None else row.question, max_bytes)
    if not text.strip():
        raise RowFault("blank_question")
    return WebQuestion(key, image, text)


def read_image_key(row: QuestionRow) -> ImageKey:
    """The image named by a question: by file name, by image_id, or both. Raises RowFault: bad_image_id."""
    given = (row.image, row.file_name, row.image_file)
    name = "" if given == (None, None, None) else next((each for each in given if isinstance(each, str) and each.strip()), "")
    name = name.strip()
    if not name:
        return ImageKey(read_id(row.image_id, "bad_image_id"))
    if len(name) > _MAX_NAME or "\0" in name:
        raise RowFault("bad_image_id", "a file's name that cannot be one")
    return ImageKey(id_or_none(row.image_id), name)


def read_id(value: Any, reason: str) -> int:
    """An integer from 0 to 10^18 - 1, written as an integer, as text ("000000000042") or as a float (42.0).

    Raises RowFault with `reason`.
    """
    number = id_or_none(value)
    if number < 0:
        large = " (too large)" if isinstance(value, int) and value >= _MAX_ID else ""
        raise RowFault(reason, f"{str(value)[:40]!r}{large} is not a whole number from 0 to 10^18 - 1")
    return number


def id_or_none(value: Any) -> int:
    """The result of `read_id`, or -1 if it raises."""
    if type(value) is int:
        return value if 0 <= value < _MAX_ID else -1
    if type(value) is str:
        value = int(value) if value.isascii() and value.isdigit() and len(value.lstrip("0")) <= 18 else -1
    elif type(value) is float:
        value = int(value) if value.is_integer() and abs(value) < EXACT else -1
    return value if type(value) is int and value < _MAX_ID else -1


def read_answers(raw: msgspec.Raw, max_bytes: int) -> tuple[tuple[str, ...], str]:
    """As `answers_of`. Raises RowFault: no_answers, bad_answer, bad_text, too_long_text."""
    try:
        given = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RowFault("bad_text", str(error)) from None
    if isinstance(given, dict):
        pairs = json.loads(bytes(raw), object_pairs_hook=list)  # an answer may occur twice
        return answers_of(by_weight(pairs), max_bytes)[0], "answers.weights"
    return answers_of(given, max_bytes)
