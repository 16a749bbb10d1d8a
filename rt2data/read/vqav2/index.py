"""An index of a VQA corpus: the byte range of each question and its annotation, and the file of its image.

Both JSON files are streamed once and the image folders listed once. The index is written next to a store during preparation, so
that units read only their own data. It takes 29 bytes per question, plus the paths of the images needed.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import feather

from rt2data.errors import DataError
from rt2data.io import location
from rt2data.io.json_stream import JsonArray, JsonFault, Slice
from rt2data.io.location import path_of
from rt2data.io.location.folders import make_folder
from rt2data.read.corpus.draft import RowFault
from rt2data.read.join.images import Candidates, Conflict, Found, ImageKey, choose_images
from rt2data.read.vqav2.rows import AnnotationRow, QuestionRow, id_or_none, read_id, read_image_key
from rt2data.records import Reject

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
_NONE = -1
_LONGEST = 2**31 - 1


@dataclass(frozen=True)
class Questions:
    """All elements of the question file, in order; one entry each."""

    start: I64  # first byte
    length: I32
    ids: I64  # question_id; -1 if it cannot be read
    slot: I32  # position in `keys`; -1 if no image is named
    keys: Sequence[ImageKey]  # distinct images named

    @cached_property
    def images(self) -> I64:
        """image_id of each question; -1 if it has none."""
        return np.array([*(key.number for key in self.keys), _NONE], np.int64)[self.slot]

    def where(self, kept: NDArray[np.bool_]) -> Questions:
        """The questions selected by a mask."""
        return Questions(self.start[kept], self.length[kept], self.ids[kept], self.slot[kept], self.keys)


@dataclass(frozen=True)
class Annotations:
    """The annotation of each question: the first with its question_id. Length 0 if there is none."""

    start: I64
    length: I32
    alone: NDArray[np.bool_]  # joined by question_id alone: question or annotation names no image
    strays: Sequence[Reject] = ()  # annotations that are unusable, have no question, or are duplicates

    def where(self, kept: NDArray[np.bool_]) -> Annotations:
        """The annotations of the questions selected by a mask."""
        return Annotations(self.start[kept], self.length[kept], self.alone[kept])


def index_questions(rows: Iterable[tuple[Slice, QuestionRow | JsonFault]], path: str) -> Questions:
    """Index questions. Raises DataError if there are none, or an id occurs twice."""
    start, length, ids, slot = array("q"), array("i"), array("q"), array("i")
    keys: dict[ImageKey, int] = {}
    for place, row in rows:
        start.append(place.start)
        length.append(min(place.stop - place.start, _LONGEST))
        key = None if isinstance(row, JsonFault) else _image_key(row)
        ids.append(_NONE if isinstance(row, JsonFault) else id_or_none(row.question_id))
        slot.append(_NONE if key is None else keys.setdefault(key, len(keys)))
    if not start:
        raise DataError("there are no questions", path)
    found = Questions(np.asarray(start), np.asarray(length), np.asarray(ids), np.asarray(slot), list(keys))
    _refuse_twice(found.ids, path)
    return found


def _image_key(row: QuestionRow) -> ImageKey | None:
    try:
        return read_image_key(row)
    except RowFault:
        return None


def _refuse_twice(ids: I64, path: str) -> None:
    known = np.sort(ids[ids >= 0])
    twice = known[1:][known[1:] == known[:-1]]
    if twice.size:
        raise DataError(f"question_id {twice[0]} is given twice", path, "remove one, or make it two sources")


def index_annotations(source: JsonArray[AnnotationRow], questions: Questions) -> Annotations:
    """Stream the annotations. Raises DataError if they are not JSON, or most refer to different images than their questions."""
    given, strays, _ = scan_annotations(source)
    joined, unused = join(given, questions, source.path)
    for i, reason in unused:
        strays.append((int(given.start[i]), Reject(reason, f"{source.path}: byte {given.start[i]}, question {given.ids[i]}")))
    return replace(joined, strays=[stray for _, stray in sorted(strays, key=lambda each: each[0])])


def scan_annotations(source: JsonArray[AnnotationRow], look: int | None = None) -> tuple[Given, list[tuple[int, Reject]], bool]:
    """The annotations in a file, or in its first `look` bytes; the unusable ones, by byte; and whether the file was read to its
    end.
    """
    start, length, ids, images = array("q"), array("i"), array("q"), array("q")
    faults: list[tuple[int, Reject]] = []
    complete = True
    for place, row in source.located():
        if look is not None and place.start > look:
            complete = False
            break
        try:
            number = _question_id(row)
        except RowFault as fault:
            faults.append((place.start, Reject(fault.reason, f"{source.path}: byte {place.start}", fault.detail)))
            continue
        start.append(place.start)
        length.append(min(place.stop - place.start, _LONGEST))
        ids.append(number)
        images.append(id_or_none(row.image_id) if isinstance(row, AnnotationRow) else _NONE)
    return Given(*(np.asarray(each) for each in (start, length, ids, images))), faults, complete


def _question_id(row: AnnotationRow | JsonFault) -> int:
    if isinstance(row, JsonFault):
        raise RowFault(row.reason, row.detail)
    return read_id(row.question_id, "bad_question_id")


@dataclass(frozen=True)
class Given:
    """Annotations, in order; one entry each."""

    start: I64  # first byte
    length: I32
    ids: I64  # question_id
    images: I64  # image_id; -1 if it has none


def join(given: Given, questions: Questions, path: str) -> tuple[Annotations, list[tuple[int, str]]]:
    """The first annotation of each question, and the unused ones with the reason. Raises DataError as `refuse_another_split`
    does.
    """
    order = np.argsort(questions.ids, kind="stable")
    place = np.searchsorted(questions.ids[order], given.ids).clip(max=len(order) - 1)
    at = np.where(questions.ids[order][place] == given.ids, order[place], _NONE)
    asked, chosen = np.unique(at, return_index=True)
    asked, chosen = asked[asked >= 0], chosen[asked >= 0]
    start, length, images = (np.zeros(len(order), each.dtype) for each in (given.start, given.length, given.images))
    for into, values in ((start, given.start), (length, given.length), (images, given.images)):
        into[asked] = values[chosen]
    known = (length > 0) & (images >= 0) & (questions.images >= 0)
    refuse_another_split(int((images != questions.images)[known].sum()), int(known.sum()), path)
    second = at >= 0
    second[chosen] = False
    reasons = dict.fromkeys(np.flatnonzero(at < 0).tolist(), "annotation_without_question")
    reasons |= dict.fromkeys(np.flatnonzero(second).tolist(), "duplicate_annotation")
    return Annotations(start, length, (length > 0) & ~known), list(reasons.items())


def refuse_another_split(differ: int, both: int, path: str) -> None:
    """Raises DataError if most annotations refer to a different image than their questions."""
    if 2 * differ > both:
        what = (
            f"{differ:,} of {both:,} annotations have another image_id than their question: they look like those of another split"
        )
        raise DataError(what, path, "set `annotations` to the file that belongs to these questions")


@lru_cache(maxsize=2)
def questions_of(source: JsonArray[QuestionRow], stamp: object) -> Questions:
    """The questions of a file, indexed once per stamp."""
    return index_questions(source.located(), source.path)


@lru_cache(maxsize=2)
def annotations_of(
    source: JsonArray[AnnotationRow], questions: JsonArray[QuestionRow], stamps: tuple[object, object]
) -> Annotations:
    """The annotations for a file's questions, indexed once per pair of stamps (questions' first)."""
    return index_annotations(source, questions_of(questions, stamps[0]))


def images_of(questions: Questions, annotations: Annotations, candidates: Candidates, conflict: Conflict) -> list[Found]:
    """The image of each key; none is searched for keys without an annotated question. Raises DataError as `choose_images` does."""
    slots = np.unique(questions.slot[annotations.length > 0])
    needed = slots[slots >= 0].tolist()
    found = [Found("", "")] * len(questions.keys)
    for slot, image in zip(needed, choose_images([questions.keys[i] for i in needed], candidates, conflict), strict=True):
        found[slot] = image
    return found


@dataclass(frozen=True)
class Index:
    """The whole index, in memory or memory-mapped from a folder."""

    questions: pa.Table  # start, length, annotation, annotation_length, alone, slot
    images: pa.Table  # path, how, settled, detail: one row per slot
    strays: pa.Table  # reason, where, detail

    @staticmethod
    def of(questions: Questions, annotations: Annotations, images: Sequence[Found]) -> Index:
        """Build an index; `images` correspond to `questions.keys`."""
        columns = {
            "start": questions.start,
            "length": questions.length,
            "annotation": annotations.start,
            "annotation_length": annotations.length,
            "alone": annotations.alone,
            "slot": questions.slot,
        }
        strays = [[getattr(stray, name) for stray in annotations.strays] for name in ("reason", "where", "detail")]
        return Index(
            pa.table({name: pa.array(values) for name, values in columns.items()}),
            pa.table({name: pa.array([getattr(image, name) for image in images], pa.string()) for name in Found._fields}),
            pa.table([pa.array(each, pa.string()) for each in strays], ["reason", "where", "detail"]),
        )

    def write(self, folder: Path) -> None:
        """Write the index into a folder; each file is written atomically."""
        make_folder(folder)
        for name, table in (("questions", self.questions), ("images", self.images), ("strays", self.strays)):
            location.produce_whole(folder / f"{name}.arrow", lambda path, table=table: _write(table, path))  # type: ignore[misc]

    @staticmethod
    def read(folder: Path) -> Index:
        """Read an index written by `write`; data is loaded on use. Raises OSError."""
        return Index(*(_read(folder / f"{name}.arrow") for name in ("questions", "images", "strays")))

    @cached_property
    def columns(self) -> dict[str, NDArray[np.int64]]:
        """The columns of `questions`."""
        return {name: self.questions[name].combine_chunks().to_numpy(zero_copy_only=False) for name in self.questions.column_names}

    @cached_property
    def _found(self) -> list[pa.Array]:
        return [self.images[name].combine_chunks() for name in Found._fields]

    def image(self, slot: int) -> Found:
        """The image of a slot."""
        return Found(*(column[slot].as_py() for column in self._found))

    def between(self, start: int, stop: int) -> range:
        """The questions that begin in bytes [start, stop) of their file."""
        first, end = np.searchsorted(self.columns["start"], [start, stop]).tolist()
        return range(first, end)

    def rejects(self) -> Iterator[Reject]:
        """Rejects for annotations without a question."""
        for row in self.strays.to_pylist():
            yield Reject(**row)

    def facts(self, rows: range) -> Counter[str]:
        """Facts on how these questions are joined."""
        here = slice(rows.start, rows.stop)
        joined = self.columns["annotation_length"][here] > 0
        facts = Counter({"join.questions": len(rows), "join.annotations": int(joined.sum())})
        facts["join.by_question_id_alone"] = int(self.columns["alone"][here].sum())
        slots, counts = np.unique(self.columns["slot"][here][joined], return_counts=True)
        for slot, count in zip(slots.tolist(), counts.tolist(), strict=True):
            for name in self.image(slot).facts() if slot >= 0 else ():
                facts[name] += count
        return +facts

    @property
    def all(self) -> range:
        """All questions."""
        return range(self.questions.num_rows)


def _write(table: pa.Table, path: Path) -> None:
    feather.write_feather(table, path, compression="uncompressed")


def _read(path: Path) -> pa.Table:
    with location.local_copy_or_path(path) as local:
        return feather.read_table(local, memory_map=True)


@lru_cache(maxsize=4)
def index_at(folder: str, version: str) -> Index:
    """The index in a folder, read once per version."""
    return Index.read(path_of(folder))
