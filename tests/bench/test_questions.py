"""`make bench`: processor time of preparing a VQA corpus, beside one pass over it. Prints the ratio; asserts only exactness."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import msgspec
import pyarrow.parquet as pq
import pytest

from rt2data.io.json_stream import JsonFault
from rt2data.prepare.begin import begin
from rt2data.prepare.row_builder import RowBuilder
from rt2data.prepare.row_table import UNIT_ROWS, rows_table
from rt2data.prepare.unit import prepare_unit
from rt2data.read.vqav2.index import annotations_of, questions_of
from rt2data.read.vqav2.rows import read_answers, read_question
from rt2data.read.vqav2.source import VQAv2
from rt2data.records import Example, Image, Place
from tests.bench.measure import middle
from tests.bench.test_build import ROUNDS, bench_folder
from tests.contract.toy import jpeg

__all__ = ["bench_folder"]
pytestmark = pytest.mark.bench
IMAGES, TOGETHER = 2000, 5  # files, questions about one that follow each other


def write_questions(folder: Path, count: int) -> VQAv2:
    """A corpus of so many questions with ten answers each, about few and tiny images."""
    if not (folder / "done").exists():
        (folder / "images").mkdir(parents=True)
        for number in range(IMAGES):
            (folder / "images" / f"COCO_train2014_{number:012d}.jpg").write_bytes(jpeg(number % 10, 16))
        for name, row in (("questions", _question), ("annotations", _annotation)):
            with (folder / f"{name}.json").open("w") as file:
                file.write(f'{{"info": {{}}, "{name}": [')
                for number in range(count):
                    file.write(("," if number else "") + json.dumps(row(number)))
                file.write("]}")
        (folder / "done").touch()
    paths = {name: str(folder / f"{name}.json") for name in ("questions", "annotations")}
    return VQAv2.model_validate({**paths, "image_dirs": str(folder / "images")})


def _question(number: int) -> dict[str, object]:
    image = number // TOGETHER % IMAGES
    return {"image_id": image, "question": f"How many things of kind {number % 501} are there?", "question_id": 10 * number}


def _annotation(number: int) -> dict[str, object]:
    answers = [{"answer": f"{number % 7} of them", "answer_confidence": "yes", "answer_id": i + 1} for i in range(10)]
    about = {"question_type": "how many", "answer_type": "number", "multiple_choice_answer": f"{number % 7} of them"}
    return {**about, "answers": answers, "image_id": number // TOGETHER % IMAGES, "question_id": 10 * number}


def one_pass(source: VQAv2) -> Iterator[Example]:
    """Both files streamed once and all answers held in memory; each image read where a question is about another."""
    given: dict[int, msgspec.Raw] = {}
    for _, row in source.annotation_rows.objects():
        assert not isinstance(row, JsonFault)
        given[row.question_id] = row.answers
    paths = {file.name: file.path for file in source.candidates().files}
    image, last = None, -1
    for _, asked in source.question_rows.objects():
        assert not isinstance(asked, JsonFault)
        question = read_question(asked, source.max_text_bytes)
        if image is None or question.image.number != last:
            last = question.image.number
            path = paths[f"COCO_train2014_{last:012d}.jpg"]
            content = Path(path).read_bytes()
            image = Image("image", content, Place(path, 0, len(content)))
        answers, _ = read_answers(given[question.key], source.max_text_bytes)
        yield Example(str(question.key), str(last), "train", question.text, answers, (image,))


def laid(source: VQAv2, folder: Path) -> int:
    """Rows of one pass, with the same checks of text and images, laid down as those of one unit."""
    rows = RowBuilder("qa", source, "blobs", io.FileIO("/dev/null", "w"))
    rows.take(one_pass(source))
    pq.write_table(rows_table(rows.columns, UNIT_ROWS), folder / "fragment.parquet", row_group_size=1024, compression="lz4")
    return len(rows.columns["key"])


def prepared(source: VQAv2, folder: Path) -> int:
    """Rows of all units, as a build prepares them."""
    questions_of.cache_clear()
    annotations_of.cache_clear()
    return sum(sum(prepare_unit(order).rows.values()) for order in begin("qa", source, folder / "store"))


def cpu_seconds(call: Callable[[], int], rows: int) -> float:
    began = time.process_time()
    assert call() == rows
    return time.process_time() - began


@pytest.mark.parametrize("count", [100_000, 400_000])
def test_processor_time_of_questions(bench_folder: Path, tmp_path: Path, count: int) -> None:
    source = write_questions(bench_folder / f"questions-{count}", count)
    passes, builds = [], []
    for turn in range(ROUNDS):
        passes.append(cpu_seconds(partial(laid, source, tmp_path), count))
        builds.append(cpu_seconds(partial(prepared, source, tmp_path / str(turn)), count))
    once, ours = middle(passes), middle(builds)
    print(f"\n{count:,} questions: prepared in {ours:.1f} CPU-s, one pass {once:.1f} CPU-s: {ours / once:.2f} x")
