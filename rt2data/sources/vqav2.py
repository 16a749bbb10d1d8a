"""VQAv2, OK-VQA and what is laid out like them: a JSON of questions, a JSON of answers to them, and folders of COCO pictures.

Both JSON files are streamed, so they may have any size. A unit is a range of the questions; each reads the answers file through and
keeps what belongs to its own questions, raw. The first unit also audits the answers: what is wrong there is told once.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from rt2data.errors import DataError, UsageError
from rt2data.images import ImageFault
from rt2data.jsonstream import Fault, JsonArray
from rt2data.order import key64
from rt2data.paths import PathStr
from rt2data.records import Example, Reject, SourceRecord, Unit
from rt2data.sources.base import WebSource
from rt2data.sources.misfits import Misfit, absent_folder, json_misfits
from rt2data.sources.picture_folders import Pictures, find_pictures
from rt2data.sources.survey import Part, Survey, shuffled
from rt2data.sources.vqa_rows import (
    AnnotationRow,
    Question,
    QuestionRow,
    RowFault,
    read_answers,
    read_id,
    read_question,
)

_BLOCK = 4096  # questions between two offsets that are noted
_UNITS = 16  # units of a corpus, if they can be had with 1 to 8 blocks each: each reads all answers
_BLOCKS_PER_UNIT = 8
_HEADER = 1 << 20  # room in a picture file beside its pixels

_LOOK = 64 << 20  # bytes of each JSON file that a survey streams through
_TOGETHER, _LOOKED_AT, _READ = 7, 72, 28  # questions of a block, blocks whose pictures are sized, blocks that are read

Given = dict[int, msgspec.Raw]  # question_id -> answers, not decoded yet
Asked = tuple[Question | Reject, str]  # a question, or why it cannot be asked; and where it lies


def _as_tuple(value: Any) -> Any:
    """A single path is a list of one; YAML's lists are lists."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


class VQAv2(WebSource):
    """Questions about COCO pictures with ten answers each, as VQAv2 and OK-VQA publish them."""

    kind: Literal["vqav2"] = "vqav2"
    questions: PathStr
    """JSON file with `questions`: each has question_id, image_id and question."""
    annotations: PathStr
    """JSON file with `annotations`: each has question_id and answers."""
    image_dirs: Annotated[
        tuple[PathStr, ...],
        Field(min_length=1),
        BeforeValidator(_as_tuple, json_schema_input_type=PathStr | list[PathStr]),
    ]
    """Folder or folders of pictures, searched two levels deep. A picture's id is the number that ends its name."""
    split: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] = "train"
    """The name given to all rows' split."""

    def misfits(self) -> Iterator[Misfit]:
        """Files and folders that are not there, and files that plainly hold something else."""
        yield from json_misfits(("questions",), self.questions)
        yield from json_misfits(("annotations",), self.annotations)
        for number, folder in enumerate(self.image_dirs):
            yield from absent_folder(("image_dirs", number) if len(self.image_dirs) > 1 else ("image_dirs",), folder)

    def split_names(self) -> tuple[str, ...]:
        """The one."""
        return (self.split,)

    def files(self) -> list[str]:
        """Both JSON files and every picture that has an id. Raises UsageError where one of them, or all pictures, are missing."""
        self._require_files()
        return sorted([self.questions, self.annotations, *find_pictures(self.image_dirs).values()])

    def units(self) -> list[Unit]:
        """Ranges of the questions, at most 32,768 each. Raises DataError where the questions are cut or there are none."""
        self._require_files()
        starts, count, end = array("q"), 0, 0
        for start, stop, _ in self._questions.slices():
            if count % _BLOCK == 0:
                starts.append(start)
            count, end = count + 1, stop
        if not count:
            raise DataError("there are no questions", self.questions)
        blocks = _blocks_per_unit(len(starts))
        bounds = [*starts[::blocks], end]
        return [
            Unit(i, self.questions, self.split, start, stop, first=i * blocks * _BLOCK, bytes=stop - start)
            for i, (start, stop) in enumerate(pairwise(bounds))
        ]

    def read(self, unit: Unit) -> Iterator[SourceRecord]:
        """Examples of a unit's questions in order, and a Reject for each row that is lost.

        Raises DataError where a file is no JSON, or a question's id is given twice.
        """
        if unit.index == 0:
            yield from self._audit()
        asked = list(self._asked(unit))
        given: Given = {}
        yield from self._gather(given, {question.key for question, _ in asked if isinstance(question, Question)})
        yield from self._read_asked(asked, given, Pictures(self.image_dirs, max_bytes=4 * self.images.max_pixels + _HEADER))

    def survey(self, split: str, seed: int = 0) -> Survey:
        """Questions counted by streaming, or by size where the file is large; blocks of them, and pictures' sizes, as a sample.

        Raises UsageError where something is missing, DataError where the questions are cut or there are none.
        """
        self._require_files()
        counted = _count(self._questions, Path(self.questions).stat().st_size)
        if not counted.starts:
            raise DataError("there are no questions", self.questions)
        whole = counted.total if self.may_feed(self.split, split) else 0.0
        blocks = self._sampled(counted, seed) if whole else []
        pictures = Pictures(self.image_dirs, max_bytes=4 * self.images.max_pixels + _HEADER)
        sizes = [pictures.size(question.image) for block in blocks for question, _ in block if isinstance(question, Question)]
        known, given, unread = self._answered(blocks[:_READ])
        return Survey(
            measure="questions",
            whole=whole,
            units=-(-counted.blocks // _blocks_per_unit(counted.blocks)),
            bytes=counted.stop - counted.starts[0] if counted.complete else counted.size,
            parts=[Part(len(block), 0, Unit(i, self.questions, self.split)) for i, block in enumerate(known)],
            read=lambda part: self._read_asked(known[part.place.index], given, pictures),
            picture_bytes=tuple(size for size in sizes if size),
            group_rates=tuple(_changes(block) for block in blocks if len(block) > 1),
            unchecked=unread + (() if counted.complete else ("questions beyond the first 64 MB",)),
        )

    def _sampled(self, counted: _Counted, seed: int) -> list[list[Asked]]:
        """Blocks of questions that follow each other, from all over the file."""
        edges = [*counted.starts[::_TOGETHER], counted.stop]
        spans = shuffled(list(pairwise(edges)), key64("survey", seed))[:_LOOKED_AT]
        return [list(self._asked(Unit(0, self.questions, self.split, start, stop))) for start, stop in spans]

    def _answered(self, blocks: list[list[Asked]]) -> tuple[list[list[Asked]], Given, tuple[str, ...]]:
        """The questions whose answers are known, their answers, and what was not looked at: annotations beyond the first 64 MB."""
        wanted = {question.key for block in blocks for question, _ in block if isinstance(question, Question)}
        given: Given = {}
        for offset, row in self._annotations.objects():
            if offset > _LOOK:
                found = [[asked for asked in block if isinstance(asked[0], Reject) or asked[0].key in given] for block in blocks]
                return [block for block in found if block], given, ("annotations beyond the first 64 MB",)
            if isinstance(row, AnnotationRow) and type(row.question_id) is int and row.question_id in wanted:
                given.setdefault(row.question_id, row.answers)
        return blocks, given, ()

    def _read_asked(self, block: list[Asked], given: Given, pictures: Pictures) -> Iterator[Example | Reject]:
        for question, where in block:
            yield question if isinstance(question, Reject) else self._example(question, where, given, pictures)

    def pieces(self, unit: Unit, size: int) -> list[Unit]:
        """Ranges of questions."""
        starts = [start for start, _, _ in self._questions.slices((unit.start, unit.stop))]
        edges = [at for k, at in enumerate(starts) if not k or at // size > starts[k - 1] // size]
        return [replace(unit, start=start, stop=stop, bytes=stop - start) for start, stop in pairwise([*edges, unit.stop])]

    def describe(self) -> dict[str, Any]:
        """Counts of questions, annotations and pictures, and the first question with its answers. Raises DataError, UsageError."""
        self._require_files()
        pictures = find_pictures(self.image_dirs)
        usable = (found for found, _ in self._asked() if isinstance(found, Question))
        first = next(usable, None)
        needed = {question.image for question in usable} | ({first.image} if first else set())
        given: Given = {}
        list(self._gather(given, {first.key} if first else set()))
        return {
            "kind": self.kind,
            "split": self.split,
            "questions": sum(1 for _ in self._questions.slices()),
            "annotations": sum(1 for _ in self._annotations.slices()),
            "pictures": {"found": len(pictures), "needed": len(needed), "missing": len(needed - pictures.keys())},
            "first": self._describe_first(first, given),
        }

    def _describe_first(self, first: Question | None, given: Given) -> dict[str, Any]:
        if first is None:
            return {"problem": "there is no question that can be used"}
        try:
            answers = self._answers(first, given)
        except RowFault as fault:
            return {"question": first.text, "problem": str(fault)}
        return {"question_id": first.key, "image_id": first.image, "question": first.text, "answers": list(answers)}

    @property
    def _questions(self) -> JsonArray[QuestionRow]:
        return JsonArray(self.questions, "questions", QuestionRow, self._max_element)

    @property
    def _annotations(self) -> JsonArray[AnnotationRow]:
        return JsonArray(self.annotations, "annotations", AnnotationRow, self._max_element)

    @property
    def _max_element(self) -> int:
        """Room for ten answers of the greatest length, with every character escaped."""
        return 64 * max(self.max_text_bytes, 32768)

    def _require_files(self) -> None:
        for name, path in (("questions", self.questions), ("annotations", self.annotations)):
            if not Path(path).is_file():
                raise UsageError(f"there is no file of {name}", path, f"set `{name}` to the JSON file")
            if not os.access(path, os.R_OK):
                raise UsageError(f"the file of {name} may not be read", path, "give yourself permission")

    def _asked(self, unit: Unit | None = None) -> Iterator[Asked]:
        """The questions of a unit, or all; a Reject for each that cannot be asked; and where each lies."""
        for offset, row in self._questions.objects((unit.start, unit.stop) if unit else None):
            where = f"{self.questions}: byte {offset}"
            if isinstance(row, Fault):
                yield Reject(row.reason, where, row.detail), where
                continue
            try:
                question = read_question(row, self.max_text_bytes)
                yield question, f"{where}, question {question.key}"
            except RowFault as fault:
                yield Reject(fault.reason, f"{where}, question {str(row.question_id)[:40]}", fault.detail), where

    def _gather(self, given: Given, wanted: set[int]) -> Iterator[Reject]:
        """Put the annotations of the wanted questions into `given`; the first for each counts."""
        for offset, row in self._annotations.objects():
            if isinstance(row, Fault) or type(row.question_id) is not int or row.question_id not in wanted:
                continue
            if row.question_id in given:
                yield Reject("duplicate_annotation", f"{self.annotations}: byte {offset}, question {row.question_id}")
            else:
                given[row.question_id] = row.answers

    def _example(self, question: Question, where: str, given: Given, pictures: Pictures) -> Example | Reject:
        try:
            answers = self._answers(question, given)
            image = pictures.image(question.image)
        except (RowFault, ImageFault) as fault:
            return Reject(fault.reason, where, fault.detail)
        return Example(str(question.key), str(question.image), self.split, question.text, answers, (image,))

    def _answers(self, question: Question, given: Given) -> tuple[str, ...]:
        """Raises RowFault, no_annotation among others."""
        if question.key not in given:
            raise RowFault("no_annotation", self.annotations)
        return read_answers(given[question.key], self.max_text_bytes)

    def _audit(self) -> Iterator[Reject]:
        """Annotations that cannot be used or have no question. Raises DataError where a question is given twice."""
        known, offsets, ids = self._question_ids(), array("q"), array("q")
        for offset, row in self._annotations.objects():
            if isinstance(row, Fault):
                yield Reject(row.reason, f"{self.annotations}: byte {offset}", row.detail)
                continue
            try:
                ids.append(read_id(row.question_id, "bad_question_id"))
                offsets.append(offset)
            except RowFault as fault:
                yield Reject(fault.reason, f"{self.annotations}: byte {offset}", fault.detail)
        for i in np.flatnonzero(~np.isin(np.asarray(ids), known)).tolist():
            yield Reject("annotation_without_question", f"{self.annotations}: byte {offsets[i]}, question {ids[i]}")

    def _question_ids(self) -> NDArray[np.int64]:
        """All numbers of questions, sorted: 8 bytes each."""
        ids = array("q")
        for _, row in self._questions.objects():
            with suppress(RowFault):
                ids.append(read_id(None if isinstance(row, Fault) else row.question_id, "bad_question_id"))
        known = np.sort(np.asarray(ids, np.int64))
        twice = known[1:][known[1:] == known[:-1]]
        if twice.size:
            raise DataError(f"question_id {twice[0]} is given twice", self.questions, "remove one, or make it two sources")
        return known


def _changes(block: list[Asked]) -> float:
    """How often the picture changes from one question to the next. A prime number of questions falls on all phases alike."""
    pictures = [getattr(asked, "image", None) for asked, _ in block]
    changes = sum(1 for one, other in pairwise(pictures) if one != other)
    return changes / (len(block) - 1)


def _blocks_per_unit(blocks: int) -> int:
    """A unit is of so many blocks of questions."""
    return min(_BLOCKS_PER_UNIT, -(-blocks // _UNITS))


@dataclass(frozen=True)
class _Counted:
    """Where questions begin, as far as a file was looked at."""

    starts: array[int]
    stop: int  # end of what was looked at
    size: int  # of the file
    complete: bool

    @property
    def total(self) -> float:
        """Questions of the whole file."""
        return len(self.starts) * (1 if self.complete else self.size / self.stop)

    @property
    def blocks(self) -> int:
        return -(-round(self.total) // _BLOCK)


def _count(questions: JsonArray[QuestionRow], size: int) -> _Counted:
    """Count by streaming, at most the first part of the file. Raises DataError where it is cut."""
    starts, end = array("q"), 0
    for start, stop, _ in questions.slices():
        if start > _LOOK:
            return _Counted(starts, start, size, complete=False)
        starts.append(start)
        end = stop
    return _Counted(starts, end, size, complete=True)
