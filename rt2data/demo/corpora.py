"""The demo's two halves on disk: an RLDS robot log, written without TensorFlow, and questions in VQAv2's layout.

`draw` maps a function over work orders, in order, like `map`, possibly in other processes.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import simplejpeg

from rt2data.demo.draw import PIXELS, U8, render
from rt2data.demo.expert import Episode, perform
from rt2data.demo.layout import FAMILIES, draw_scene, draw_task
from rt2data.demo.questions import DemoQuestion, annotate, ask
from rt2data.demo.scene import Scene
from rt2data.io import location
from rt2data.io.location.folders import make_folder
from rt2data.io.tfrecord.directory import TEMPLATE, Shard, encode_info, shard_name, write_metadata
from rt2data.io.tfrecord.example import Values, encode_example
from rt2data.io.tfrecord.features import Leaf, encode_features
from rt2data.io.tfrecord.framing import frame

Draw = Callable[[Callable[[Any], Any], list[Any]], Iterable[Any]]

NAME, VERSION = "tabletop_pick", "1.0.0"
DESCRIPTION = "Drawn table-top pick and place by a scripted expert, with the actions of BridgeData V2. Made by rt2data demo."
FEATURES = (
    Leaf("episode_metadata/file_path", "text", "string"),
    Leaf("steps/action", "tensor", "float32", (7,)),
    Leaf("steps/discount", "scalar", "float32"),
    Leaf("steps/is_first", "scalar", "bool"),
    Leaf("steps/is_last", "scalar", "bool"),
    Leaf("steps/is_terminal", "scalar", "bool"),
    Leaf("steps/language_instruction", "text", "string"),
    Leaf("steps/observation/image", "image", "uint8", (PIXELS, PIXELS, 3), "jpeg"),
    Leaf("steps/observation/state", "tensor", "float32", (7,)),
    Leaf("steps/reward", "scalar", "float32"),
)

QUESTIONS, ANNOTATIONS, IMAGES = "questions.json", "annotations.json", "images"
PER_SCENE = 3
HEAD: dict[str, Any] = {
    "info": {"description": "Questions about drawn table tops, with true answers. Made by rt2data demo.", "version": "1.0"},
    "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
    "data_type": "tabletop",
    "data_subtype": "train",
}


def jpeg(image: U8) -> bytes:
    """JPEG of uint8[h, w, 3] RGB."""
    found: bytes = simplejpeg.encode_jpeg(image, quality=90, colorspace="RGB", colorsubsampling="420")
    return found


# The robot log


def make_episode(seed: int, number: int) -> Episode:
    """Episode `number` of a seed, independent of what else is made."""
    rng = Random(f"{seed}/episode/{number}")
    return perform(draw_task(rng, FAMILIES[number % len(FAMILIES)]), rng)


def splits(episodes: int) -> dict[str, range]:
    """The episodes of each split: about a sixth at the end is for validation."""
    held_out = max(1, round(episodes / 6))
    return {"train": range(episodes - held_out), "val": range(episodes - held_out, episodes)}


def write_robot_log(folder: Path, episodes: int, seed: int, draw: Draw = map) -> int:
    """Write `episodes` episodes into the version directory `folder`, which must exist. Returns the number of steps."""
    orders = [(seed, split, number) for split, numbers in splits(episodes).items() for number in numbers]
    drawn = iter(draw(draw_episode, orders))
    written = {split: list(_write_split(folder, split, numbers, drawn)) for split, numbers in splits(episodes).items()}
    shards = {split: [shard for shard, _ in each] for split, each in written.items()}
    write_metadata(folder, encode_info(NAME, VERSION, shards, DESCRIPTION), encode_features(FEATURES))
    return sum(steps for each in written.values() for _, steps in each)


def draw_episode(order: tuple[int, str, int]) -> tuple[bytes, int]:
    """One episode as a framed record, and its number of steps. The order is seed, split and number."""
    seed, split, number = order
    episode = make_episode(seed, number)
    return frame(encode_example(_features(episode, f"{NAME}/{split}/episode_{number:05d}"))), len(episode)


def _write_split(
    folder: Path, split: str, numbers: Sequence[int], drawn: Iterator[tuple[bytes, int]]
) -> Iterator[tuple[Shard, int]]:
    """Each shard of a split and its number of steps; two shards for train if it has two episodes."""
    count = min(2, len(numbers)) if split == "train" else 1
    for index, part in enumerate(np.array_split(np.array(numbers), count)):
        path = folder / shard_name(TEMPLATE, NAME, split, index, count)
        records = list(islice(drawn, len(part)))
        content = b"".join(record for record, _ in records)
        location.write_whole(path, content)
        yield Shard(str(path), len(part), len(content)), sum(steps for _, steps in records)


def _features(episode: Episode, file_path: str) -> dict[str, Values]:
    """The episode as the features of one tf.train.Example. Reward 1 and the end of the task are at the last step."""
    length = len(episode)
    first, last = np.zeros(length, np.int64), np.zeros(length, np.int64)
    first[0] = last[-1] = 1
    return {
        "episode_metadata/file_path": [file_path.encode()],
        "steps/action": episode.actions.ravel(),
        "steps/discount": np.ones(length, np.float32),
        "steps/is_first": first,
        "steps/is_last": last,
        "steps/is_terminal": last,
        "steps/language_instruction": [episode.task.instruction.encode()] * length,
        "steps/observation/image": [jpeg(render(scene)) for scene in episode.scenes],
        "steps/observation/state": episode.states.ravel(),
        "steps/reward": last.astype(np.float32),
    }


# The questions


def make_scene(seed: int, number: int) -> tuple[Scene, tuple[DemoQuestion, ...], Random]:
    """Scene `number` of a seed with its questions, and the random numbers for its annotators."""
    rng = Random(f"{seed}/scene/{number}")
    scene = draw_scene(rng)
    return scene, ask(scene, PER_SCENE, rng), rng


def draw_image(order: tuple[int, int]) -> tuple[bytes, list[dict[str, Any]], list[dict[str, Any]]]:
    """One scene as a JPEG, with its questions and their annotations. The order is seed and image id."""
    seed, image_id = order
    scene, asked, rng = make_scene(seed, image_id)
    ids = [{"image_id": image_id, "question_id": image_id * 1000 + number} for number in range(len(asked))]
    questions = [each | {"question": question.text} for each, question in zip(ids, asked, strict=True)]
    return jpeg(render(scene)), questions, [each | _annotation(question, rng) for each, question in zip(ids, asked, strict=True)]


def write_vqa(folder: Path, scenes: int, seed: int, draw: Draw = map) -> int:
    """Write `scenes` images and their questions into `folder`, which must exist. Returns the number of questions."""
    make_folder(folder / IMAGES)
    questions, annotations = [], []
    orders = [(seed, image_id) for image_id in range(1, scenes + 1)]
    for (_, image_id), (content, asked, answered) in zip(orders, draw(draw_image, orders), strict=True):
        location.write_whole(folder / IMAGES / f"TABLETOP_train_{image_id:012d}.jpg", content)  # the id is at the end, as in VQAv2
        questions += asked
        annotations += answered
    for name, tree in (
        (QUESTIONS, {"task_type": "Open-Ended", "questions": questions}),
        (ANNOTATIONS, {"annotations": annotations}),
    ):
        location.write_whole(folder / name, (json.dumps(HEAD | tree, separators=(",", ":")) + "\n").encode())
    return len(questions)


def _annotation(question: DemoQuestion, rng: Random) -> dict[str, Any]:
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
