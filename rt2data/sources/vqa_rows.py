"""One row of a VQA corpus: its numbers and words are checked here, and what is wrong is said in one word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from rt2data.text.clean import clean_text

_NULL = msgspec.Raw(b"null")
_MAX_ID = 10**18  # numbers in file names have at most 18 digits


class QuestionRow(msgspec.Struct):
    """An element of `questions`."""

    question_id: Any = None
    image_id: Any = None
    question: Any = None


class AnnotationRow(msgspec.Struct):
    """An element of `annotations`; its answers wait to be decoded until their question has come."""

    question_id: Any = None
    answers: msgspec.Raw = _NULL


for _row in (QuestionRow, AnnotationRow):
    msgspec.json.Decoder(_row)  # looks at the type once, at import: two threads that do so at once crash


class RowFault(Exception):  # noqa: N818 (a finding about data, not an error of ours)
    """A row that cannot be used. `reason` is a short snake_case word for the Reject."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, slots=True)
class Question:
    """A question that can be asked."""

    key: int
    image: int
    text: str


def read_question(row: QuestionRow, max_bytes: int) -> Question:
    """Check one question. Raises RowFault: bad_question_id, bad_image_id, blank_question, bad_text, too_long_text."""
    key, image = read_id(row.question_id, "bad_question_id"), read_id(row.image_id, "bad_image_id")
    text = _words("" if row.question is None else row.question, max_bytes)
    if not text.strip():
        raise RowFault("blank_question")
    return Question(key, image, text)


def read_id(value: Any, reason: str) -> int:
    """A number from 0 to 10^18 - 1. Raises RowFault with this reason."""
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _MAX_ID:
        raise RowFault(reason, f"{str(value)[:40]!r} is not a number from 0 to 10^18 - 1")
    return value


def read_answers(raw: msgspec.Raw, max_bytes: int) -> tuple[str, ...]:
    """All answers that are not blank, in order: strings, or objects with `answer` (or `raw_answer`, where there is no other).

    Raises RowFault: no_answers, bad_answer, bad_text, too_long_text.
    """
    try:
        rows = msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RowFault("bad_text", str(error)) from None
    texts = [_words(_answer(row), max_bytes) for row in rows] if isinstance(rows, list) else []
    answers = tuple(text for text in texts if text.strip())
    if not answers:
        raise RowFault("no_answers")
    return answers


def _answer(row: Any) -> Any:
    if not isinstance(row, dict):
        return row
    answer = row.get("answer")
    return row.get("raw_answer", "") if answer is None else answer


def _words(text: Any, max_bytes: int) -> str:
    """Clean text. A NUL is no slip of the keyboard: what holds one is not text."""
    if not isinstance(text, str):
        raise RowFault("bad_text", f"{type(text).__name__} is not text")
    if "\0" in text:
        raise RowFault("bad_text", "a NUL character")
    if len(text.encode()) > max_bytes:
        raise RowFault("too_long_text", f"{len(text)} characters")
    return clean_text(text)
