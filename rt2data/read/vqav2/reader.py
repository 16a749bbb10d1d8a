"""Reads the rows of a VQA corpus at the places in its index: each becomes an Example, or a Reject with a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import groupby
from typing import Any, NamedTuple

import msgspec

from rt2data.images.ready import ImageFault
from rt2data.io.json_stream import Decode, JsonArray, JsonFault
from rt2data.read.corpus.draft import RowFault
from rt2data.read.join.files import ImageReader
from rt2data.read.join.images import Found, group_of
from rt2data.read.vqav2.index import Index
from rt2data.read.vqav2.rows import (
    AnnotationRow,
    LoneAnswerRow,
    QuestionRow,
    WebQuestion,
    id_or_none,
    read_answers,
    read_question,
)
from rt2data.records import Example, Fact, Image, Reject

_NOTHING = (b"null", b"[]", b'""', b"{}")


class _Row(NamedTuple):
    """A question and its annotation, undecoded; a text is None if too long, empty if missing."""

    start: int
    question: bytes | None
    annotation_start: int
    annotation: bytes | None
    slot: int  # of its image


@dataclass
class RowReader:
    """Reads rows of one corpus and counts how they are written. One reader per unit."""

    questions: JsonArray[QuestionRow]
    annotations: JsonArray[AnnotationRow]
    index: Index
    split: str
    max_text_bytes: int
    images: ImageReader
    facts: Counter[str] = field(default_factory=Counter)
    _last: tuple[int, Found] = (-1, Found("", "missing_image"))  # rows about one image are adjacent

    def read(self, rows: range) -> Iterator[Example | Fact | Reject]:
        """Examples and rejects in order, then facts. Raises DataError."""
        self.images.expect(self._paths(rows))
        for row in self._texts(rows):
            yield self._example(row)
        for name, count in sorted((self.facts + self.index.facts(rows)).items()):
            yield Fact(name, count)

    def first(self) -> tuple[WebQuestion, tuple[str, ...] | str] | None:
        """The first usable question, and its answers or what is wrong with them."""
        for row in self._texts(self.index.all):
            question = self._question(row)
            if isinstance(question, WebQuestion):
                try:
                    return question, self._answers(row, question)
                except RowFault as fault:
                    return question, str(fault)
        return None

    def _paths(self, rows: range) -> Iterator[str]:
        """The image paths of the rows, in order, without consecutive duplicates."""
        slots = [slot for slot, _ in groupby(self.index.columns["slot"][rows.start : rows.stop].tolist()) if slot >= 0]
        return (path for path in (self.index.image(slot).path for slot in slots) if path)

    def _texts(self, rows: range) -> Iterator[_Row]:
        here = slice(rows.start, rows.stop)
        start, length, annotation, annotation_length, slot = (
            self.index.columns[name][here].tolist() for name in ("start", "length", "annotation", "annotation_length", "slot")
        )
        asked = self.questions.texts(zip(start, length, strict=True))
        given = self.annotations.texts(zip(annotation, annotation_length, strict=True))
        return map(_Row, start, asked, annotation, given, slot)

    def _example(self, row: _Row) -> Example | Reject:
        question = self._question(row)
        if isinstance(question, Reject):
            return question
        try:
            answers, image = self._answers(row, question), self._image(row.slot)
        except (RowFault, ImageFault) as fault:
            return Reject(fault.reason, f"{self._place(row)}, question {question.key}", fault.detail)
        return Example(str(question.key), group_of(question.image), self.split, question.text, answers, (image,))

    def _question(self, row: _Row) -> WebQuestion | Reject:
        found = self._decode_question(row.question, row.start)
        if isinstance(found, JsonFault):
            return Reject(found.reason, self._place(row), found.detail)
        self._count_ids(found.question_id, found.image_id)
        try:
            return read_question(found, self.max_text_bytes)
        except RowFault as fault:
            return Reject(fault.reason, f"{self._place(row)}, question {str(found.question_id)[:40]}", fault.detail)

    def _count_ids(self, *ids: Any) -> None:
        """Count questions whose ids are not written as integers."""
        kinds = {type(value) for value in ids}
        if str in kinds:
            self.facts["ids.text"] += 1
        if float in kinds:
            self.facts["ids.float"] += 1

    def _place(self, row: _Row) -> str:
        return f"{self.questions.path}: byte {row.start}"

    def _answers(self, row: _Row, question: WebQuestion) -> tuple[str, ...]:
        """The answers of a row. Raises RowFault: no_annotation, image_id_mismatch among others."""
        if row.annotation == b"":
            raise RowFault("no_annotation", self.annotations.path)
        found = self._decode_annotation(row.annotation, row.annotation_start)
        if isinstance(found, JsonFault):
            raise RowFault(found.reason, found.detail)
        image = id_or_none(found.image_id)
        if image >= 0 and question.image.number >= 0 and image != question.image.number:
            raise RowFault("image_id_mismatch", f"image {question.image.number}, but its annotation is about image {image}")
        raw, where = self._given(row, found)
        answers, written = read_answers(raw, self.max_text_bytes)
        for name in filter(None, (where, written)):
            self.facts[name] += 1
        return answers

    def _given(self, row: _Row, found: AnnotationRow) -> tuple[msgspec.Raw, str]:
        """The answers, and the fact to count if they are not in `answers`. Raises RowFault: no_answers."""
        if _holds(found.answers):
            return found.answers, ""
        if _holds(found.multiple_choice_answer):
            return found.multiple_choice_answer, "answers.multiple_choice_answer"
        lone = self._decode_lone(row.annotation, row.annotation_start)
        if isinstance(lone, JsonFault) or not _holds(lone.answer):
            raise RowFault("no_answers")
        return lone.answer, "answers.answer"

    def _image(self, slot: int) -> Image:
        if slot != self._last[0]:
            self._last = slot, self.index.image(slot)
        found = self._last[1]
        if not found.path:
            raise ImageFault(found.how, found.detail)
        return self.images.read(found.path)

    @cached_property
    def _decode_question(self) -> Decode[QuestionRow]:
        return self.questions.decoder(seen=True)

    @cached_property
    def _decode_annotation(self) -> Decode[AnnotationRow]:
        return self.annotations.decoder(seen=True)

    @cached_property
    def _decode_lone(self) -> Decode[LoneAnswerRow]:
        return JsonArray(self.annotations.path, self.annotations.key, LoneAnswerRow, self.annotations.max_element).decoder()


def _holds(raw: msgspec.Raw) -> bool:
    return len(raw) > 4 or bytes(raw) not in _NOTHING
