"""The demo's web half: pictures, questions and ten answers each, in the layout of VQAv2."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from rt2data.demo.gallery import draw_scene
from rt2data.demo.picture import Draw, jpeg
from rt2data.demo.questions import Question, annotate, ask
from rt2data.demo.render import render
from rt2data.demo.scene import Scene

QUESTIONS, ANNOTATIONS, IMAGES = "questions.json", "annotations.json", "images"
PER_SCENE = 3
HEAD: dict[str, Any] = {
    "info": {"description": "Questions about rendered table tops, with true answers. Made by rt2data demo.", "version": "1.0"},
    "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
    "data_type": "tabletop",
    "data_subtype": "train",
}  # fmt: skip


def make_scene(seed: int, number: int) -> tuple[Scene, tuple[Question, ...], Random]:
    """Scene `number` of a seed with its questions, and the random numbers that its annotators go on with."""
    rng = Random(f"{seed}/scene/{number}")
    scene = draw_scene(rng)
    return scene, ask(scene, PER_SCENE, rng), rng


def image_name(image_id: int) -> str:
    """VQAv2 names a picture after its split, with the id as the last 12 digits."""
    return f"TABLETOP_train_{image_id:012d}.jpg"


def draw_picture(order: tuple[int, int]) -> tuple[bytes, list[dict[str, Any]], list[dict[str, Any]]]:
    """One scene as a JPEG, with its questions and their annotations. The order is seed and image id."""
    seed, image_id = order
    scene, asked, rng = make_scene(seed, image_id)
    questions, annotations = [], []
    for number, question in enumerate(asked):
        ids = {"image_id": image_id, "question_id": image_id * 1000 + number}
        questions.append(ids | {"question": question.text})
        annotations.append(ids | _annotation(question, rng))
    return jpeg(render(scene)), questions, annotations


def write_vqa(folder: Path, scenes: int, seed: int, draw: Draw = map) -> int:
    """Write `scenes` images and their questions into `folder`, which must exist. Gives the number of questions.

    `draw` maps a function over work orders, in order, as `map` does; it may use other processes.
    """
    (folder / IMAGES).mkdir()
    questions, annotations = [], []
    orders = [(seed, image_id) for image_id in range(1, scenes + 1)]
    for (_, image_id), (content, asked, answered) in zip(orders, draw(draw_picture, orders), strict=True):
        (folder / IMAGES / image_name(image_id)).write_bytes(content)
        questions += asked
        annotations += answered
    _write(folder / QUESTIONS, HEAD | {"task_type": "Open-Ended", "questions": questions})
    _write(folder / ANNOTATIONS, HEAD | {"annotations": annotations})
    return len(questions)


def _annotation(question: Question, rng: Random) -> dict[str, Any]:
    answers = annotate(question, rng)
    sure = rng.choices(("yes", "maybe"), (9, 1), k=len(answers))
    return {
        "question_type": question.type,
        "answer_type": question.answer_type,
        "multiple_choice_answer": Counter(answers).most_common(1)[0][0],
        "answers": [
            {"answer": answer, "answer_confidence": confidence, "answer_id": number}
            for number, (answer, confidence) in enumerate(zip(answers, sure, strict=True), 1)
        ],
    }


def _write(path: Path, tree: dict[str, Any]) -> None:
    path.write_text(json.dumps(tree, separators=(",", ":"), ensure_ascii=True) + "\n", encoding="utf-8")
