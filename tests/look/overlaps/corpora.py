"""Pictures, and corpora of them, for tests."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def photograph(seed: int) -> Image.Image:
    """A picture with structure at all scales, each of another seed another one."""
    rng = np.random.default_rng(seed)
    found = np.zeros((240, 320, 3))
    for cells in (2, 4, 8, 16, 32):
        layer = Image.fromarray(rng.integers(0, 256, (cells * 3 // 4 + 1, cells, 3), np.uint8)).resize(
            (320, 240), Image.Resampling.BICUBIC
        )
        found += np.asarray(layer) / cells**0.5
    return Image.fromarray((found / found.max() * 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "JPEG", **options: int) -> bytes:
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def picture(seed: int) -> bytes:
    return encoded(photograph(seed), quality=90)


def corpus(folder: Path, images: Mapping[str, bytes]) -> str:
    """Images with a question each, in VQAv2's layout; the settings that read it."""
    (folder / "images").mkdir(parents=True)
    for name, content in images.items():
        (folder / "images" / name).write_bytes(content)
    ids = [(number, name) for number, name in enumerate(images)]
    questions = [{"question_id": n, "image": name, "question": "what is it?"} for n, name in ids]
    (folder / "questions.json").write_text(json.dumps({"questions": questions}))
    answers = [{"question_id": n, "answers": [{"answer": "it"}]} for n, _ in ids]
    (folder / "annotations.json").write_text(json.dumps({"annotations": answers}))
    return f"kind: vqav2, questions: {folder}/questions.json, annotations: {folder}/annotations.json, image_dirs: [{folder}/images]"


def recipe(tmp_path: Path, sources: Mapping[str, str], robots: Mapping[str, str] = {}, more: str = "") -> Path:
    """A recipe of sources by name and settings."""
    sides = {"web": sources, "robot": robots}
    text = "".join(f"{side}:\n" + "".join(f"  {n}: {{{s}}}\n" for n, s in some.items()) for side, some in sides.items() if some)
    path = tmp_path / "mixture.yaml"
    path.write_text(f"robot_frac: {'1/2' if robots else 0}\nstore: store\n{more}{text}")
    return path
