"""A robot log and a corpus of any size for measurements: every picture a JPEG of its own, of about the size asked for."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from rt2data.io.tfrecord.example import encode_example
from rt2data.io.tfrecord.framing import frame

STEPS = 40
"""Steps of an episode."""


@cache
def pictures(about: int, distinct: int = 32) -> tuple[bytes, ...]:
    """JPEGs of about so many bytes: noise over a gradient, its strength fitted to the size."""
    made = []
    rng = np.random.default_rng(about)
    side = 256 if about < 30_000 else 384
    for _ in range(distinct):
        low, high = 0.0, 120.0
        base = np.linspace(0, 255, side)[:, None, None] * np.ones((1, side, 3))
        noise = rng.normal(0, 1, (side, side, 3))
        for _ in range(8):
            middle = (low + high) / 2
            out = io.BytesIO()
            Image.fromarray((base + middle * noise).clip(0, 255).astype(np.uint8)).save(out, "JPEG", quality=85)
            low, high = (middle, high) if out.tell() < about else (low, middle)
        made.append(out.getvalue())
    return tuple(made)


def unique(picture: bytes, number: int) -> bytes:
    """The same picture with a comment of its own (T.81, B.2.4.5), so that no two are byte for byte the same."""
    comment = b"%016d" % number
    return picture[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + picture[2:]


def write_log(folder: Path, total_bytes: int, picture_bytes: int, shard_bytes: int = 256 << 20, cameras: int = 1) -> Path:
    """An RLDS directory of about `total_bytes`, Bridge's fields."""
    version = folder / "bench_log" / "1.0.0"
    version.mkdir(parents=True)
    base, rng = pictures(picture_bytes), np.random.default_rng(0)
    episodes = max(1, total_bytes // (picture_bytes * STEPS * cameras))
    shards = max(1, total_bytes // shard_bytes)
    lengths = [episodes * (s + 1) // shards - episodes * s // shards for s in range(shards)]
    number = 0
    for shard, count in enumerate(lengths):
        with (version / f"bench_log-train.tfrecord-{shard:05d}-of-{shards:05d}").open("wb") as file:
            for _ in range(count):
                file.write(frame(episode(base, number, rng, cameras)))
                number += STEPS * cameras
    describe(version, lengths, cameras)
    return version


def episode(base: Sequence[bytes], number: int, rng: np.random.Generator, cameras: int = 1) -> bytes:
    action = rng.normal(0, 0.02, (STEPS, 7)).astype(np.float32)
    action[:, 6] = np.arange(STEPS) >= STEPS // 2
    flags = np.arange(STEPS)
    images = [unique(base[i % len(base)], i) for i in range(number, number + STEPS * cameras)]
    return encode_example(
        {
            **{f"steps/observation/image_{camera}": images[camera::cameras] for camera in range(cameras)},
            "steps/observation/state": rng.normal(0, 1, STEPS * 7).astype(np.float32),
            "steps/action": action.ravel(),
            "steps/language_instruction": [f"put object {number % 97} on plate {number % 13}".encode()] * STEPS,
            "steps/is_first": (flags == 0).astype(np.int64),
            "steps/is_last": (flags == STEPS - 1).astype(np.int64),
            "steps/is_terminal": (flags == STEPS - 1).astype(np.int64),
        }
    )


def describe(version: Path, lengths: list[int], cameras: int = 1) -> None:
    core = "tensorflow_datasets.core.features."

    def tensor(dtype: str, *shape: int, kind: str = "tensor_feature.Tensor") -> dict[str, object]:
        found = {"shape": {"dimensions": list(map(str, shape))}, "dtype": dtype, "encoding": "none"}
        return {"pythonClassName": core + kind, "tensor": found}

    def group(features: dict[str, object]) -> dict[str, object]:
        return {"pythonClassName": core + "features_dict.FeaturesDict", "featuresDict": {"features": features}}

    image = {
        "pythonClassName": core + "image_feature.Image",
        "image": {"shape": {"dimensions": ["-1", "-1", "3"]}, "dtype": "uint8", "encodingFormat": "jpeg"},
    }
    flag = tensor("bool", kind="scalar.Scalar")
    step = group(
        {
            "observation": group({f"image_{camera}": image for camera in range(cameras)} | {"state": tensor("float32", 7)}),
            "action": tensor("float32", 7),
            "language_instruction": {"pythonClassName": core + "text_feature.Text", "text": {}},
            "is_first": flag,
            "is_last": flag,
            "is_terminal": flag,
        }
    )
    steps = {"pythonClassName": core + "dataset_feature.Dataset", "sequence": {"feature": step, "length": "-1"}}
    (version / "features.json").write_text(json.dumps(group({"steps": steps})))
    info = {
        "name": "bench_log",
        "version": "1.0.0",
        "fileFormat": "tfrecord",
        "splits": [
            {
                "name": "train",
                "shardLengths": list(map(str, lengths)),
                "numBytes": "0",
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            }
        ],
    }
    (version / "dataset_info.json").write_text(json.dumps(info))


def write_corpus(folder: Path, count: int, picture_bytes: int) -> Path:
    """A VQAv2-style corpus: `count` pictures, two questions about each."""
    (folder / "images").mkdir(parents=True)
    base = pictures(picture_bytes)
    for number in range(count):
        (folder / "images" / f"{number:012d}.jpg").write_bytes(unique(base[number % len(base)], number))
    asked = list(_questions(count))
    (folder / "questions.json").write_text(json.dumps({"questions": [q for q, _ in asked]}))
    (folder / "annotations.json").write_text(json.dumps({"annotations": [a for _, a in asked]}))
    return folder


def _questions(count: int) -> Iterator[tuple[dict[str, object], dict[str, object]]]:
    for number in range(2 * count):
        ids = {"image_id": number // 2, "question_id": number}
        answers = [{"answer": str(number % 7), "answer_confidence": "yes", "answer_id": i + 1} for i in range(10)]
        yield ids | {"question": f"How many things of kind {number % 501} are there?"}, ids | {"answers": answers}
