"""VQAv2, OK-VQA and corpora of the same layout: a JSON of questions, a JSON of answers, and folders of images.

Both JSON files are streamed once into an index, so they may have any size. A unit is a range of questions; it reads them and their
annotations at the places in the index. The first unit also yields rejects for annotations without a question.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Field

from rt2data.errors import DataError, UsageError
from rt2data.io import location
from rt2data.io.json_stream import JsonArray
from rt2data.io.stamps import Stamp
from rt2data.read.join.facts import join_line, written_line
from rt2data.read.join.files import ImageReader, NamePattern, checked_pattern, list_images
from rt2data.read.join.images import Candidates, Conflict
from rt2data.read.known_formats import Recognized
from rt2data.read.sample import InvalidSetting, SamplePlan
from rt2data.read.source import Suggestion, WebSource, absent_folder
from rt2data.read.vqav2.index import Annotations, Index, Questions, annotations_of, images_of, index_at, questions_of
from rt2data.read.vqav2.reader import RowReader
from rt2data.read.vqav2.recognize import Role, invalid_json, recognize_vqav2, require_layout, vqav2_hint
from rt2data.read.vqav2.rows import AnnotationRow, QuestionRow
from rt2data.read.vqav2.sample import sample_plan
from rt2data.records import SourceRecord, Unit
from rt2data.settings import PathStr

_BLOCK = 4096  # units begin at multiples of this many questions
_UNITS = 16  # units per corpus, if that gives 1 to 8 blocks each
_BLOCKS_PER_UNIT = 8
_HEADER = 1 << 20  # bytes of an image file in addition to its pixels


def _as_tuple(value: Any) -> Any:
    """Turn a single path into a list of one; accept YAML lists."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


class VQAv2(WebSource):
    """Questions about COCO images with ten answers each, as VQAv2 and OK-VQA publish them."""

    looks_for: ClassVar[str] = "JSON files of questions and of annotations in a folder or below"

    kind: Literal["vqav2"] = "vqav2"
    questions: PathStr
    """JSON file with `questions`: each has question_id, image_id (or the name of an image file) and question."""
    annotations: PathStr
    """JSON file with `annotations`: each has question_id and answers."""
    image_dirs: Annotated[
        tuple[PathStr, ...],
        Field(min_length=1),
        BeforeValidator(_as_tuple, json_schema_input_type=PathStr | list[PathStr]),
    ]
    """Folder or folders of images, searched eight levels deep. An image's id is the only integer in its name."""
    name: Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(checked_pattern)] | None = None
    """How image files are named, such as COCO_train2014_{id:012d}.jpg; others are ignored. May begin with folders."""
    image_conflict: Conflict = "refuse"
    """If a question's image matches several different files: `refuse` to build, or take the file in the `first` of `image_dirs`."""
    split: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")] = "train"
    """The split name for all rows."""

    @classmethod
    def recognize(cls, path: Path) -> Suggestion | None:
        """A pair of JSON files at or below a path, and folders of images."""
        return recognize_vqav2(path)

    @classmethod
    def hint(cls, path: Path) -> Recognized | None:
        """JSON files in VQAv2's layout, and folders of them."""
        return vqav2_hint(path)

    def invalid_settings(self) -> Iterator[InvalidSetting]:
        """Files and folders that do not exist, and files that clearly hold something else."""
        yield from invalid_json("questions", self.questions)
        yield from invalid_json("annotations", self.annotations)
        for number, folder in enumerate(self.image_dirs):
            yield from absent_folder(("image_dirs", number) if len(self.image_dirs) > 1 else ("image_dirs",), folder)

    def split_names(self) -> tuple[str, ...]:
        """The name in `split`."""
        return (self.split,)

    def files(self) -> list[str]:
        """Both JSON files and every image that may be needed. Raises UsageError if a JSON file, or all images, are missing."""
        self._require_files()
        return sorted({self.questions, self.annotations, *(file.path for file in self.candidates().files)})

    def units(self) -> list[Unit]:
        """Ranges of at most 32,768 questions each. Raises DataError if the questions are truncated or there are none."""
        self._require_files()
        asked = self._asked()
        size = _questions_per_unit(len(asked.start))
        bounds = [*asked.start[::size].tolist(), int(asked.start[-1] + asked.length[-1])]
        return [
            Unit(i, self.questions, self.split, start, stop, first=i * size, bytes=stop - start)
            for i, (start, stop) in enumerate(pairwise(bounds))
        ]

    def unit_count(self, questions: int) -> int:
        """The number of units for this many questions."""
        return -(-questions // _questions_per_unit(questions))

    def share(self, folder: Path) -> None:
        """Write the index. Raises DataError if the JSON is broken, a question occurs twice, or a join is ambiguous."""
        self._require_files()
        self.index().write(folder)

    def read(self, unit: Unit) -> Iterator[SourceRecord]:
        """Examples of a unit's questions in order, a Reject for each row that is lost, and Facts on how they were joined.

        Raises DataError as `share` does.
        """
        index = _shared(unit) or self.index()
        if unit.index == 0:
            yield from index.rejects()
        yield from self.rows(index).read(index.between(unit.start, unit.stop))

    def sample_plan(self, split: str, seed: int = 0) -> SamplePlan:
        """The number of questions, counted by streaming or estimated from the file size; blocks of questions, and image sizes, as a
        sample.

        Raises UsageError if something is missing, DataError if the questions are truncated, there are none, or the join is refused.
        """
        self._require_files()
        return sample_plan(self, split, seed)

    def pieces(self, unit: Unit, size: int) -> list[Unit]:
        """Ranges of questions."""
        first, end = np.searchsorted(self._asked().start, [unit.start, unit.stop])
        starts = self._asked().start[first:end].tolist()
        edges = [at for k, at in enumerate(starts) if not k or at // size > starts[k - 1] // size]
        return [replace(unit, start=start, stop=stop, bytes=stop - start) for start, stop in pairwise([*edges, unit.stop])]

    def describe(self) -> dict[str, Any]:
        """Counts of questions, annotations and images, how they join, and the first question. Raises DataError, UsageError."""
        self._require_files()
        asked, given, candidates = self._asked(), self._given(), self.candidates()
        found: dict[str, Any] = {
            "kind": self.kind,
            "split": self.split,
            "questions": len(asked.start),
            "annotations": int((given.length > 0).sum()) + len(given.strays),
        }
        try:
            index = self.index(candidates)
        except DataError as error:
            return found | {"images": {"found": len(candidates.files)}, "problem": str(error)}
        images = [image for image in index.images.to_pylist() if image["how"]]
        missing = sum(not image["path"] for image in images)
        rows = self.rows(index)
        return found | {
            "images": {"found": len(candidates.files), "needed": len(images), "missing": missing},
            "join": join_line(index.facts(index.all)),
            "first": _first(rows),
            "read_as": written_line(rows.facts),
        }

    def index(self, candidates: Candidates | None = None) -> Index:
        """The index: places of questions and annotations, and the image of each. Raises DataError."""
        asked, given = self._asked(), self._given()
        return Index.of(asked, given, images_of(asked, given, candidates or self.candidates(), self.image_conflict))

    def candidates(self) -> Candidates:
        """All candidate image files. Raises UsageError if there are none."""
        pattern = NamePattern(self.name) if self.name else None
        return Candidates(list_images(self.image_dirs, pattern), pattern)

    def rows(self, index: Index) -> RowReader:
        """A reader for the rows of an index."""
        images = ImageReader(max_bytes=4 * self.images.max_pixels + _HEADER)
        return RowReader(self.question_rows, self.annotation_rows, index, self.split, self.max_text_bytes, images)

    @property
    def question_rows(self) -> JsonArray[QuestionRow]:
        """The array of questions."""
        return JsonArray(self.questions, "questions", QuestionRow, self._max_element)

    @property
    def annotation_rows(self) -> JsonArray[AnnotationRow]:
        """The array of annotations."""
        return JsonArray(self.annotations, "annotations", AnnotationRow, self._max_element)

    def _asked(self) -> Questions:
        return questions_of(self.question_rows, Stamp.of(self.questions))

    def _given(self) -> Annotations:
        stamps = Stamp.of(self.questions), Stamp.of(self.annotations)
        return annotations_of(self.annotation_rows, self.question_rows, stamps)

    @property
    def _max_element(self) -> int:
        """Maximum bytes of a JSON element: ten answers of maximum length, with every character escaped."""
        return 64 * max(self.max_text_bytes, 32768)

    def _require_files(self) -> None:
        roles: tuple[tuple[Role, str], ...] = (("questions", self.questions), ("annotations", self.annotations))
        for role, path in roles:
            if not location.is_file(path):
                raise UsageError(f"there is no file of {role}", path, f"set `{role}` to the JSON file")
            try:
                require_layout(path, role)
            except PermissionError:
                raise UsageError(f"the file of {role} cannot be read", path, "change its permissions") from None


def _questions_per_unit(questions: int) -> int:
    """The number of questions per unit: a multiple of the block size."""
    blocks = -(-questions // _BLOCK)
    return _BLOCK * min(_BLOCKS_PER_UNIT, -(-blocks // _UNITS))


def _shared(unit: Unit) -> Index | None:
    """The index that `share` wrote, if the unit is being prepared."""
    return index_at(unit.shared, location.stat(f"{unit.shared}/questions.arrow").version) if unit.shared else None


def _first(rows: RowReader) -> dict[str, Any]:
    found = rows.first()
    if found is None:
        return {"problem": "there is no question that can be used"}
    question, answers = found
    found_answers = {"problem": answers, "question": question.text} if isinstance(answers, str) else {"answers": list(answers)}
    image = question.image.name or question.image.number
    return {"question_id": question.key, "image_id": image, "question": question.text, **found_answers}
