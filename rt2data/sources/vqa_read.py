"""Rows of a VQA corpus, read where its index says they lie: each becomes an Example, or a Reject with a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import msgspec
import xxhash

from rt2data.images import ImageFault
from rt2data.jsonstream import Fault, JsonArray
from rt2data.records import Example, Fact, Image, Reject
from rt2data.sources.image_folders import ImageReader
from rt2data.sources.image_join import ImageKey
from rt2data.sources.image_names import numbers_of
from rt2data.sources.vqa_index import Index
from rt2data.sources.vqa_rows import (
    AnnotationRow,
    LoneAnswerRow,
    Question,
    QuestionRow,
    RowFault,
    id_facts,
    id_or_none,
    read_answers,
    read_question,
)

_NOTHING = (b"null", b"[]", b'""', b"{}")


@dataclass
class Rows:
    """Reads rows of one corpus and counts how they are written. Made anew for each unit."""

    questions: JsonArray[QuestionRow]
    annotations: JsonArray[AnnotationRow]
    index: Index
    split: str
    max_text_bytes: int
    images: ImageReader
    facts: Counter[str] = field(default_factory=Counter)

    def read(self, rows: range) -> Iterator[Example | Fact | Reject]:
        """Examples and rejects in order, then facts. Raises DataError."""
        for i, asked, given in self._texts(rows):
            yield self._example(i, asked, given)
        for name, count in sorted((self.facts + self.index.facts(rows)).items()):
            yield Fact(name, count)

    def first(self) -> tuple[Question, tuple[str, ...] | str] | None:
        """The first question that can be asked, and its answers or what is wrong with them."""
        for i, asked, given in self._texts(self.index.all):
            question = self._question(i, asked)
            if isinstance(question, Question):
                try:
                    return question, self._answers(i, question, given)
                except RowFault as fault:
                    return question, str(fault)
        return None

    def _texts(self, rows: range) -> Iterator[tuple[int, bytes | None, bytes | None]]:
        """The texts of each question and its annotation; empty where it has none, None where it is too long."""
        here = slice(rows.start, rows.stop)
        start, length, annotation, annotation_length = (
            self.index.columns[name][here].tolist() for name in ("start", "length", "annotation", "annotation_length")
        )
        asked = self.questions.texts(zip(start, length, strict=True))
        given = self.annotations.texts(zip(annotation, annotation_length, strict=True))
        yield from zip(rows, asked, given, strict=True)

    def _example(self, i: int, asked: bytes | None, given: bytes | None) -> Example | Reject:
        question = self._question(i, asked)
        if isinstance(question, Reject):
            return question
        try:
            answers, image = self._answers(i, question, given), self._image(i)
        except (RowFault, ImageFault) as fault:
            return Reject(fault.reason, f"{self._place(i)}, question {question.key}", fault.detail)
        return Example(str(question.key), group_of(question.image), self.split, question.text, answers, (image,))

    def _question(self, i: int, text: bytes | None) -> Question | Reject:
        row = self._decode_question(text, self.index.columns["start"][i])
        if isinstance(row, Fault):
            return Reject(row.reason, self._place(i), row.detail)
        self.facts.update(id_facts(row.question_id, row.image_id))
        try:
            return read_question(row, self.max_text_bytes)
        except RowFault as fault:
            return Reject(fault.reason, f"{self._place(i)}, question {str(row.question_id)[:40]}", fault.detail)

    def _place(self, i: int) -> str:
        return f"{self.questions.path}: byte {self.index.columns['start'][i]}"

    def _answers(self, i: int, question: Question, text: bytes | None) -> tuple[str, ...]:
        """Raises RowFault: no_annotation, image_id_mismatch among others."""
        if text == b"":
            raise RowFault("no_annotation", self.annotations.path)
        start = self.index.columns["annotation"][i]
        row = self._decode_annotation(text, start)
        if isinstance(row, Fault):
            raise RowFault(row.reason, row.detail)
        image = id_or_none(row.image_id)
        if image >= 0 and question.image.number >= 0 and image != question.image.number:
            raise RowFault("image_id_mismatch", f"image {question.image.number}, but its annotation is about image {image}")
        raw, where = self._given(row, text, start)
        answers, written = read_answers(raw, self.max_text_bytes)
        self.facts.update(filter(None, (where, written)))
        return answers

    def _given(self, row: AnnotationRow, text: bytes | None, start: int) -> tuple[msgspec.Raw, str]:
        """The answers, and what there is to count where they are not in `answers`. Raises RowFault: no_answers."""
        if bytes(row.answers) not in _NOTHING:
            return row.answers, ""
        if bytes(row.multiple_choice_answer) not in _NOTHING:
            return row.multiple_choice_answer, "answers.multiple_choice_answer"
        lone = self._decode_lone(text, start)
        if isinstance(lone, Fault) or bytes(lone.answer) in _NOTHING:
            raise RowFault("no_answers")
        return lone.answer, "answers.answer"

    def _image(self, i: int) -> Image:
        found = self.index.image(int(self.index.columns["slot"][i]))
        if not found.path:
            raise ImageFault(found.how, found.detail)
        return self.images.read(found.path)

    @cached_property
    def _decode_question(self):  # type: ignore[no-untyped-def]
        return self.questions.decoder()

    @cached_property
    def _decode_annotation(self):  # type: ignore[no-untyped-def]
        return self.annotations.decoder()

    @cached_property
    def _decode_lone(self):  # type: ignore[no-untyped-def]
        return JsonArray(self.annotations.path, self.annotations.key, LoneAnswerRow, self.annotations.max_element).decoder()


def group_of(image: ImageKey) -> str:
    """What keeps all questions about one image in one split: its number, or a hash of its name."""
    numbers = (image.number,) if image.number >= 0 else numbers_of(image.name.rpartition("/")[2])
    return str(numbers[0]) if len(numbers) == 1 else f"n{xxhash.xxh3_64_hexdigest(image.name.encode())}"
