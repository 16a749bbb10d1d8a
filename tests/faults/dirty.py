"""A log and a corpus with one fault of each kind: what was done to them, and what should be told of it."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rt2data.io.tfrecord.example import Values, encode_example
from rt2data.io.tfrecord.framing import frame
from tests.bench.generate import describe, pictures, unique, write_corpus

STEPS = 10
EPISODES = 20  # in each of two files
PICTURES = 60
HTML = b"<!doctype html><html><body>404 Not Found</body></html>"


@dataclass(frozen=True)
class Case:
    """One fault: where it was put, and the reject that should come of it."""

    name: str
    source: str
    reason: str
    count: int
    where: str


ROBOT = (
    Case("a flipped bit in a record", "log", "bad_crc", 1, "-00000-of-00002"),
    Case("a record that is no protobuf", "log", "malformed_example", 1, "train-00000-000001"),
    Case("NaN in an action", "log", "nan_action", 1, "train-00000-000002"),
    Case("Inf in an action", "log", "nan_action", 1, "train-00000-000003"),
    Case("NaN in a state", "log", "nan_action", 1, "train-00000-000004"),
    Case("a blank instruction", "log", "blank_instruction", STEPS, "train-00000-000005"),
    Case("an instruction of 40,000 letters", "log", "too_long_text", STEPS, "train-00000-000006"),
    Case("an instruction that is not UTF-8", "log", "bad_text", STEPS, "train-00000-000007"),
    Case("a camera without bytes", "log", "empty_image", 1, "train-00000-000008-000002"),
    Case("a camera that shows HTML", "log", "not_an_image", 1, "train-00000-000009-000002"),
    Case("a camera cut short", "log", "truncated_image", 1, "train-00000-000010-000002"),
    Case("fewer pictures than steps", "log", "ragged_episode", STEPS, "train-00000-000011"),
    Case("an episode without steps", "log", "empty_episode", 1, "train-00000-000012"),
)
WEB = (
    Case("a picture cut in half", "qa", "truncated_image", 2, "000000000003.jpg"),
    Case("a picture of no bytes", "qa", "empty_image", 2, "000000000004.jpg"),
    Case("HTML named .jpg", "qa", "not_an_image", 2, "000000000005.jpg"),
    Case("a picture scrambled inside", "qa", "corrupt_image", 2, "000000000006.jpg"),
    Case("a picture that is not there", "qa", "missing_image", 2, "question 14"),
    Case("a blank question", "qa", "blank_question", 1, "question 40"),
    Case("no answer", "qa", "no_answers", 1, "question 42"),
    Case("a question without annotation", "qa", "no_annotation", 1, "question 44"),
    Case("half a surrogate pair", "qa", "bad_text", 1, "questions.json"),
    Case("NUL in a question", "qa", "bad_text", 1, "question 48"),
    Case("a question of 40,000 letters", "qa", "too_long_text", 1, "question 50"),
    Case("a picture's id that is a word", "qa", "bad_image_id", 1, "question 52"),
    Case("a question's id that is true", "qa", "bad_question_id", 1, "question True"),
    Case(
        "an annotation without question", "qa", "annotation_without_question", 3, "question 777777"
    ),  # and of two whose ids were lost
    Case("an annotation given twice", "qa", "duplicate_annotation", 1, "question 56"),
)
ROBOT_LOST = sum(case.count for case in ROBOT)
WEB_LOST = sum(case.count for case in WEB)


def episode(number: int, base: Sequence[bytes], steps: int = STEPS) -> dict[str, Values]:
    """Features of a sound episode."""
    rng, flags = np.random.default_rng(number), np.arange(steps)
    action = rng.normal(0, 0.02, (steps, 7)).astype(np.float32)
    action[:, 6] = flags >= steps // 2
    return {
        "steps/observation/image_0": [unique(base[(number + i) % len(base)], 100 * number + i) for i in range(steps)],
        "steps/observation/state": rng.normal(0, 1, steps * 7).astype(np.float32),
        "steps/action": action.ravel(),
        "steps/language_instruction": [f"put block {number} down".encode()] * steps,
        "steps/is_first": (flags == 0).astype(np.int64),
        "steps/is_last": (flags == steps - 1).astype(np.int64),
        "steps/is_terminal": (flags == steps - 1).astype(np.int64),
    }


def write_files(version: Path, files: list[list[bytes]]) -> None:
    """An RLDS directory of these payloads, file by file."""
    version.mkdir(parents=True)
    for number, payloads in enumerate(files):
        name = f"bench_log-train.tfrecord-{number:05d}-of-{len(files):05d}"
        (version / name).write_bytes(b"".join(map(frame, payloads)))
    describe(version, [len(payloads) for payloads in files])


def write_dirty_log(version: Path) -> None:
    """Two files; the faults are in the first."""
    base = pictures(4000, distinct=8)
    episodes: list[dict[str, Any]] = [episode(number, base) for number in range(2 * EPISODES)]
    episodes[2]["steps/action"][3 * 7] = np.nan
    episodes[3]["steps/action"][4 * 7 + 1] = -np.inf
    episodes[4]["steps/observation/state"][5 * 7] = np.nan
    episodes[5]["steps/language_instruction"] = [b" \t "] * STEPS
    episodes[6]["steps/language_instruction"] = [b"x" * 40_000] * STEPS
    episodes[7]["steps/language_instruction"] = [b"\xff\xfe lift"] * STEPS
    for number, content in ((8, b""), (9, HTML), (10, base[0][:1000])):
        episodes[number]["steps/observation/image_0"][2] = content
    episodes[11]["steps/observation/image_0"].pop()
    episodes[12] = episode(12, base, steps=0)
    payloads = [encode_example(each) for each in episodes]
    payloads[1] = b"\x0a\xff\xff\xff\xff\x0f no protobuf"
    write_files(version, [payloads[:EPISODES], payloads[EPISODES:]])
    flip(sorted(version.glob("*00000-of-00002"))[0], 500)


def flip(path: Path, at: int) -> None:
    """Flip one bit of the byte at this offset."""
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 0x10]))


def write_dirty_corpus(folder: Path) -> None:
    """Two questions about each picture: 2 n and 2 n + 1 about picture n."""
    write_corpus(folder, PICTURES, 4000)
    images = folder / "images"
    _break_pictures(images)
    questions, annotations = (json.loads((folder / f"{key}.json").read_text())[key] for key in ("questions", "annotations"))
    questions[40]["question"] = "  \n"
    annotations[42]["answers"] = []
    annotations[44]["question_id"] = 777_777
    questions[46]["question"] = "what is \ud800"
    questions[48]["question"] = "what is\0this"
    questions[50]["question"] = "what " * 8_000
    questions[52]["image_id"] = "twenty-six"
    questions[54]["question_id"] = True
    annotations.append(annotations[56])
    for key, rows in (("questions", questions), ("annotations", annotations)):
        (folder / f"{key}.json").write_text(json.dumps({key: rows}))


def _break_pictures(images: Path) -> None:
    paths = [images / f"{number:012d}.jpg" for number in range(PICTURES)]
    paths[3].write_bytes(paths[3].read_bytes()[:2000])
    paths[4].write_bytes(b"")
    paths[5].write_bytes(HTML)
    content = bytearray(paths[6].read_bytes())
    content[-1500:-500] = bytes(range(1, 251)) * 4
    paths[6].write_bytes(content)
    paths[7].unlink()
    out = io.BytesIO()
    Image.open(paths[8]).save(out, "PNG")
    paths[8].write_bytes(out.getvalue())
