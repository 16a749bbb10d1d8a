"""A sample plan for a VQA corpus: questions counted, or estimated by size, and blocks of questions spread over the file as a
sample.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Any, Protocol

import numpy as np

from rt2data.errors import DataError
from rt2data.io import location
from rt2data.io.json_stream import JsonArray
from rt2data.order import key64
from rt2data.read.join.images import Candidates, Conflict, Found, choose_images
from rt2data.read.sample import SamplePart, SamplePlan, shuffled
from rt2data.read.vqav2.index import Index, Questions, index_questions, join, scan_annotations
from rt2data.read.vqav2.reader import RowReader
from rt2data.read.vqav2.rows import AnnotationRow, QuestionRow
from rt2data.records import Unit

LOOK = 64 << 20
"""Maximum bytes of each JSON file that a sample plan streams."""
TOGETHER, SAMPLED, READ = 7, 72, 28
"""Questions per block, blocks whose image sizes are read, blocks that are read."""

Span = tuple[int, int]


class Corpus(Protocol):
    """The read-only attributes of a corpus that a sample plan needs."""

    @property
    def questions(self) -> str: ...
    @property
    def annotations(self) -> str: ...
    @property
    def split(self) -> str: ...
    @property
    def image_conflict(self) -> Conflict: ...
    @property
    def question_rows(self) -> JsonArray[QuestionRow]: ...
    @property
    def annotation_rows(self) -> JsonArray[AnnotationRow]: ...
    def may_feed(self, recorded: str, split: str) -> bool: ...
    def unit_count(self, questions: int) -> int: ...
    def candidates(self) -> Candidates: ...
    def rows(self, index: Index) -> RowReader: ...


def sample_plan(source: Corpus, split: str, seed: int) -> SamplePlan:
    """Build the sample plan. Raises UsageError if something is missing; DataError if questions are truncated, there are none, or
    the join is refused.
    """
    counted = count(source.question_rows, location.stat(source.questions).size)
    if not counted.starts:
        raise DataError("there are no questions", source.questions)
    whole = counted.total if source.may_feed(source.split, split) else 0.0
    sample = Sample.of(source, sampled_spans(counted, seed)) if whole else Sample()
    return SamplePlan(
        measure="questions",
        whole=whole,
        units=source.unit_count(round(counted.total)),
        bytes=counted.stop - counted.starts[0] if counted.complete else counted.size,
        parts=[SamplePart(len(sample.rows(span)), 0, Unit(0, source.questions, source.split, *span)) for span in sample.read],
        read=lambda part: source.rows(sample.known).read(sample.rows((part.place.start, part.place.stop))),
        image_bytes=sample.image_bytes,
        group_rates=sample.group_rates,
        unchecked=sample.unread + (() if counted.complete else ("questions beyond the first 64 MB",)),
    )


def sampled_spans(counted: Counted, seed: int) -> list[Span]:
    """Blocks of adjacent questions spread over the file, shuffled by seed."""
    edges = [*counted.starts[::TOGETHER], counted.stop]
    return shuffled(list(pairwise(edges)), key64("survey", seed))[:SAMPLED]


@dataclass(frozen=True)
class Sample:
    """The sampled blocks and their index."""

    index: Index | None = None  # of the questions with known annotations
    read: Sequence[Span] = ()  # blocks that have such questions
    image_bytes: tuple[int, ...] = ()
    group_rates: tuple[float, ...] = ()
    unread: tuple[str, ...] = ()

    @staticmethod
    def of(source: Corpus, spans: list[Span]) -> Sample:
        """Join the questions of some blocks with their images, and with the annotations in the first part of the annotation
        file.
        """
        rows = source.question_rows
        questions = index_questions(chain.from_iterable(rows.located(span) for span in sorted(spans)), rows.path)
        given, _, complete = scan_annotations(source.annotation_rows, LOOK)
        joined, _ = join(given, questions, source.annotations)
        images = choose_images(questions.keys, source.candidates(), source.image_conflict)
        known = np.ones(len(questions.ids), bool) if complete else (joined.length > 0) | (questions.slot < 0)
        index = Index.of(questions.where(known), joined.where(known), images)
        blocks = [slice(*np.searchsorted(questions.start, span).tolist()) for span in spans]
        return Sample(
            index,
            [span for span in spans[:READ] if index.between(*span)],
            tuple(size for block in blocks for size in image_sizes(questions, images, block)),
            tuple(changes(questions.slot[block]) for block in blocks if block.stop - block.start > 1),
            () if complete else ("annotations beyond the first 64 MB",),
        )

    @property
    def known(self) -> Index:
        """The index of a non-empty sample."""
        assert self.index is not None
        return self.index

    def rows(self, span: Span) -> range:
        """The questions of a block."""
        return self.known.between(*span)


def image_sizes(questions: Questions, images: Sequence[Found], block: slice) -> Iterator[int]:
    """Image sizes in bytes of a block's questions that have an image."""
    for slot in questions.slot[block].tolist():
        if slot >= 0 and images[slot].path:
            with suppress(OSError):
                yield location.stat(images[slot].path).size


def changes(slots: np.ndarray[Any, np.dtype[np.int32]]) -> float:
    """The share of consecutive questions with different images. (Blocks have a prime length, so they start at all phases
    equally.)
    """
    return float(np.mean(slots[1:] != slots[:-1]))


@dataclass(frozen=True)
class Counted:
    """Where questions begin, in the part of the file that was read."""

    starts: array[int]
    stop: int  # end of the part that was read
    size: int  # of the file
    complete: bool

    @property
    def total(self) -> float:
        """Estimated questions in the whole file."""
        return len(self.starts) * (1 if self.complete else self.size / self.stop)


def count(questions: JsonArray[QuestionRow], size: int) -> Counted:
    """Count questions by streaming at most the first part of the file. Raises DataError if it is truncated."""
    starts, end = array("q"), 0
    for start, stop, *_ in questions.slices():
        if start > LOOK:
            return Counted(starts, start, size, complete=False)
        starts.append(start)
        end = stop
    return Counted(starts, end, size, complete=True)
