"""One row of a VQA corpus: its ids and texts are checked here, and each fault has a reason."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import msgspec

from rt2data.read.join.images import ImageKey
from rt2data.read.text import clean_text

_NULL = msgspec.Raw(b"null")
_MAX_ID = 10**18  # numbers in file names have at most 18 digits
_MAX_NAME = 1024
_EXACT = 2**53  # from here on not every whole number is a float
_VOTES = 10
"""How often the heaviest of weighted answers is given: VQA has ten answers to a question, and their weights are tenths."""


class QuestionRow(msgspec.Struct):
    """An element of `questions`."""

    question_id: Any = None
    image_id: Any = None
    question: Any = None
    image: Any = None
    file_name: Any = None
    image_file: Any = None


class AnnotationRow(msgspec.Struct):
    """An element of `annotations`; its answers wait to be decoded until their question is read."""

    question_id: Any = None
    image_id: Any = None
    answers: msgspec.Raw = _NULL
    multiple_choice_answer: msgspec.Raw = _NULL


class LoneAnswerRow(msgspec.Struct):
    """An element of `annotations` that has neither: `answer` is a key inside of `answers`, too."""

    answer: msgspec.Raw = _NULL


for _row in (QuestionRow, AnnotationRow, LoneAnswerRow):
    msgspec.json.Decoder(_row)  # looks at the type once, at import: two threads that do so at once crash


class RowFault(Exception):  # noqa: N818 (a finding about data, not an error of ours)
    """A row that cannot be used. `reason` is a short snake_case word for the Reject."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, slots=True)
class WebQuestion:
    """A question that can be asked."""

    key: int
    image: ImageKey
    text: str


def read_question(row: QuestionRow, max_bytes: int) -> WebQuestion:
    """Check one question. Raises RowFault: bad_question_id, bad_image_id, blank_question, bad_text, too_long_text."""
    key, image = read_id(row.question_id, "bad_question_id"), read_image_key(row)
    text = _words("" if row.question is None else row.question, max_bytes)
    if not text.strip():
        raise RowFault("blank_question")
    return WebQuestion(key, image, text)


def read_image_key(row: QuestionRow) -> ImageKey:
    """The image that a question names, by a file's name, by image_id, or both. Raises RowFault: bad_image_id."""
    given = (row.image, row.file_name, row.image_file)
    name = "" if given == (None, None, None) else next((each for each in given if isinstance(each, str) and each.strip()), "")
    name = name.strip()
    if not name:
        return ImageKey(read_id(row.image_id, "bad_image_id"))
    if len(name) > _MAX_NAME or "\0" in name:
        raise RowFault("bad_image_id", "a file's name that cannot be one")
    return ImageKey(id_or_none(row.image_id), name)


def read_id(value: Any, reason: str) -> int:
    """A whole number from 0 to 10^18 - 1: as such, as text of digits ("000000000042") or as a float (42.0).

    Raises RowFault with this reason.
    """
    number = id_or_none(value)
    if number < 0:
        large = " (too large)" if isinstance(value, int) and value >= _MAX_ID else ""
        raise RowFault(reason, f"{str(value)[:40]!r}{large} is not a whole number from 0 to 10^18 - 1")
    return number


def id_or_none(value: Any) -> int:
    """The number that `read_id` gives, -1 where it raises."""
    if type(value) is int:
        return value if 0 <= value < _MAX_ID else -1
    if type(value) is str:
        value = int(value) if value.isascii() and value.isdigit() and len(value.lstrip("0")) <= 18 else -1
    elif type(value) is float:
        value = int(value) if value.is_integer() and abs(value) < _EXACT else -1
    return value if type(value) is int and value < _MAX_ID else -1


def read_answers(raw: msgspec.Raw, max_bytes: int) -> tuple[tuple[str, ...], str]:
    """All answers that are not blank, in order, and the fact to count of how they are written, or nothing.

    They may be a list of texts, numbers, or objects with `answer` (or `raw_answer`, where there is no other); one text or number
    alone; or an object of weights by answer. Raises RowFault: no_answers, bad_answer, bad_text, too_long_text.
    """
    try:
        given = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RowFault("bad_text", str(error)) from None
    written = ""
    if isinstance(given, dict):
        given, written = _by_weight(raw), "answers.weights"
    elif given is not None and not isinstance(given, list):
        given = [given]
    found = [_answer(row) for row in given or ()]
    if not written and any(isinstance(answer, int | float) for answer in found):
        written = "answers.numbers"
    answers = tuple(text for answer in found if (text := _words(_spelled(answer), max_bytes)).strip())
    if not answers:
        raise RowFault("no_answers")
    return answers, written


def _by_weight(raw: msgspec.Raw) -> list[str]:
    """Each answer as often as its weight says, so that commonest and sampled answers are those of the weights."""
    pairs = json.loads(bytes(raw), object_pairs_hook=list)
    weights = [weight for _, weight in pairs]
    if not all(isinstance(weight, int | float) and not isinstance(weight, bool) and weight >= 0 for weight in weights):
        raise RowFault("bad_answer", "an object whose values are not weights")
    if len({answer for answer, _ in pairs}) < len(pairs):
        raise RowFault("bad_answer", "an answer is given two weights")
    scale = _VOTES / max([1, *weights])
    return [answer for answer, weight in pairs if weight for _ in range(max(1, round(scale * weight)))]


def _answer(row: Any) -> Any:
    if not isinstance(row, dict):
        return row
    answer = row.get("answer")
    return row.get("raw_answer", "") if answer is None else answer


def _spelled(answer: Any) -> Any:
    """A number as text, whole numbers without a point."""
    if isinstance(answer, float) and answer.is_integer() and abs(answer) < _EXACT:
        return str(int(answer))
    return str(answer) if isinstance(answer, int | float) and not isinstance(answer, bool) else answer


def _words(text: Any, max_bytes: int) -> str:
    """Clean text. What holds a NUL is not text."""
    if not isinstance(text, str):
        raise RowFault("bad_text", f"{type(text).__name__} is not text")
    if "\0" in text:
        raise RowFault("bad_text", "a NUL character")
    if len(text.encode()) > max_bytes:
        raise RowFault("too_long_text", f"{len(text)} characters")
    return clean_text(text)
