"""Four cameras of Bridge, now and a step before, with chunks of eight actions, and COCO: every format holds what TFDS reads."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rt2data.formats.base import FORMATS
from rt2data.render.fields import ExampleRecord
from tests.formats.conftest import all_images, examples

HORIZON, OFFSETS, CAMERAS = 8, (0, -1), tuple(f"image_{number}" for number in range(4))


@dataclass(frozen=True)
class Wanted:
    """What the record of a step must hold, computed from the raw episode."""

    images: dict[int, bytes]  # by place: cameras by name now, then those a step before
    actions: Any  # f32[8, 7]
    is_pad: list[bool]
    length: int
    step: dict[str, Any]  # as TFDS gives it


@pytest.fixture(scope="module")
def wanted(shared_data: Path) -> dict[str, Wanted]:
    """Every step of the train split by its row's key; images as they are stored."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    tfds = pytest.importorskip("tensorflow_datasets")
    logging.getLogger("absl").setLevel(logging.ERROR)
    builder = tfds.builder_from_directory(str(shared_data / "rlds_bridge" / "bridge_dataset" / "1.0.0"))
    raw = {"steps": {"observation": dict.fromkeys(CAMERAS, tfds.decode.SkipDecoding())}}
    found = {}
    for number, episode in enumerate(builder.as_dataset(split="train", decoders=raw)):
        steps = list(tfds.as_numpy(episode["steps"]))
        for at in range(len(steps)):
            found[f"bridge-train-00000-{number:06d}-{at:06d}"] = _wanted(steps, at)
    return found


def _wanted(steps: list[dict[str, Any]], at: int) -> Wanted:
    images = {}
    for back, offset in enumerate(OFFSETS):
        for number, camera in enumerate(CAMERAS):
            if at + offset >= 0:
                images[back * len(CAMERAS) + number] = steps[at + offset]["observation"][camera]
    taken = [steps[at + ahead] if at + ahead < len(steps) else steps[-1] for ahead in range(HORIZON)]
    is_pad = [at + ahead >= len(steps) for ahead in range(HORIZON)]
    return Wanted(images, np.stack([step["action"] for step in taken]), is_pad, len(steps), steps[at])


@pytest.fixture(scope="module", params=list(FORMATS))
def out(request: pytest.FixtureRequest, windows: Callable[[str], Path]) -> Path:
    return windows(request.param)


@pytest.mark.long
def test_every_image_chunk_and_mask_is_that_of_tfds(out: Path, wanted: dict[str, Wanted]) -> None:
    images = all_images(out)
    records = [record for _, record in examples(out) if record.kind == "robot"]
    assert len(records) == 45 and len({record.key for record in records}) == 45
    for record in records:
        step = wanted[record.key]
        assert images[record.key] == step.images
        assert record.image_mask == [place in step.images for place in range(len(OFFSETS) * len(CAMERAS))]
        assert record.image_names == [*CAMERAS] * len(OFFSETS)
        assert record.image_offsets == [offset for offset in OFFSETS for _ in CAMERAS]
        assert np.array(record.actions, np.float32).tobytes() == step.actions.tobytes()
        assert record.action == record.actions[0]  # type: ignore[index]
        assert (record.action_is_pad, record.action_mask) == (step.is_pad, [True] * 7)
        assert (record.episode_length, record.text) == (step.length, step.step["language_instruction"].decode())
        assert np.array(record.state, np.float32).tobytes() == step.step["observation"]["state"].tobytes()
    assert any(record.step == 0 for record in records) and any(True in (record.action_is_pad or ()) for record in records)


def test_questions_keep_their_one_image(out: Path, shared_data: Path) -> None:
    root = shared_data / "coco_web"
    asked = json.loads((root / "annotations" / "v2_OpenEnded_mscoco_trainval2014_questions.json").read_text())["questions"]
    pictures = {int(path.stem): path for folder in ("train2017", "val2017") for path in (root / folder).iterdir()}
    by_row = {f"coco-{row['question_id']}": row for row in asked}
    images, records = all_images(out), [record for _, record in examples(out) if record.kind == "web"]
    assert len(records) == 45
    for record in records:
        row = by_row[record.key.removesuffix(f"-r{record.epoch}")]
        assert images[record.key] == {0: pictures[row["image_id"]].read_bytes()}
        assert (record.image_names, record.image_mask, record.image_offsets) == (["image_0"], [True], [0])
        assert record.text == row["question"] and _no_action(record)


def _no_action(record: ExampleRecord) -> bool:
    return {record.action, record.actions, record.action_is_pad, record.action_mask, record.state} == {None}
