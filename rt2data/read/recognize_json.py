"""Which of the field's JSON layouts a file is, by its first and last bytes. Nothing is parsed: it may be of any size, or cut."""

from __future__ import annotations

import re

from rt2data.io import location

_LOOK = 1 << 16
"""Bytes at the start, and at the end, that are looked at."""

_OBJECT, _LIST, _LINES = "object", "list", "lines"
_Layout = tuple[str, str, tuple[str, ...]]

LAYOUTS: tuple[_Layout, ...] = (
    ("LeRobot's meta/info.json", _OBJECT, ("codebase_version", "fps", "features")),
    ("TFDS's dataset_info.json", _OBJECT, ("fileFormat", "splits")),
    ("VQAv2 questions", _OBJECT, ("questions", "question_id", "question")),
    ("VQAv2 annotations", _OBJECT, ("annotations", "question_id", "answers")),
    ("VQAv2 annotations", _OBJECT, ("annotations", "question_id", "multiple_choice_answer")),
    ("TextVQA", _OBJECT, ("data", "image_id", "question")),
    ("VQA questions or annotations", _OBJECT, ("question_id",)),
    ("COCO captions split by Karpathy", _OBJECT, ("images", "sentences", "sentids")),
    ("COCO captions", _OBJECT, ("annotations", "caption")),
    ("COCO instances, keypoints or panoptic masks", _OBJECT, ("images", "annotations", "category_id")),
    ("COCO instances, keypoints or panoptic masks", _OBJECT, ("annotations", "segmentation")),
    ("COCO captions or instances", _OBJECT, ("images", "file_name")),
    ("GQA questions", _OBJECT, ("imageId", "question", "answer")),
    ("GQA scene graphs", _OBJECT, ("objects", "relations", "width")),
    ("LLaVA conversations", _LIST, ("conversations", "from", "value")),
    ("ShareGPT messages", _LIST, ("messages", "role", "content")),
    ("A-OKVQA", _LIST, ("question_id", "choices", "rationales")),
    ("A-OKVQA", _LIST, ("question_id", "choices", "direct_answers")),
    ("VizWiz questions", _LIST, ("image", "question", "answers")),
    ("Visual Genome questions", _LIST, ("qas", "question")),
    ("Visual Genome region descriptions", _LIST, ("regions", "phrase", "image_id")),
    ("VQA questions or annotations", _LIST, ("question_id",)),
    ("image captions", _LIST, ("image", "caption")),
    ("GVT questions", _LIST, ("image_id", "text_in", "text_out")),
    ("POPE questions", _LINES, ("question_id", "image", "text", "label")),
    ("LLaVA-Bench questions", _LINES, ("question_id", "image", "text")),
    ("NLVR2 sentences", _LINES, ("sentence", "identifier", "label")),
    ("SNLI-VE sentences", _LINES, ("gold_label", "sentence1", "sentence2")),
    ("LLaVA conversations", _LINES, ("conversations", "from", "value")),
    ("ShareGPT messages", _LINES, ("messages", "role", "content")),
)
"""Name, form, and the keys that all stand near the start or the end of such a file. The first that fits counts."""


KNOWN = frozenset(name for name, _, _ in LAYOUTS)
OTHERS = KNOWN - {"VQAv2 questions", "VQAv2 annotations", "VQA questions or annotations"}
"""Those that are plainly not of VQAv2's kind."""


def recognize_json(path: location.Name) -> str | None:
    """The layout of a JSON or JSON Lines file, such as "GQA questions"; else its form and first keys; None where it is no JSON.

    Never raises; reads at most 128 kB.
    """
    try:
        with location.open_file(path) as file:
            head = file.read(_LOOK)
            file.seek(0, 2)
            file.seek(max(file.tell() - _LOOK, len(head)))
            tail = file.read(_LOOK)
    except OSError:
        return None
    form = _form(head)
    if form is None:
        return None
    keys = _keys(head) | _keys(tail)
    found = next((name for name, shape, needed in LAYOUTS if shape == form and keys >= {*needed}), None)
    return found or _unnamed(form, head)


def _form(head: bytes) -> str | None:
    """Whether it begins as an object, a list, or lines of objects; None for what is no JSON."""
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if re.match(rb'\[\s*([\[{"\]]|-?\d|true|false|null)', start):
        return _LIST
    if not re.match(rb'\{\s*["}]', start):
        return None
    return _LINES if re.match(rb'\{[^\n]*\}[ \t\r]*\n\s*\{\s*"', start) else _OBJECT


def _keys(text: bytes) -> set[str]:
    return {found.decode("ascii") for found in re.findall(rb'"([A-Za-z_][A-Za-z0-9_]{0,39})"\s*:', text)}


def _unnamed(form: str, head: bytes) -> str | None:
    """The form and the first few keys; None where there are none."""
    keys = list(dict.fromkeys(found.decode() for found in re.findall(rb'"([A-Za-z_][A-Za-z0-9_]{0,39})"\s*:', head[:8192])))
    words = {_OBJECT: "an object", _LIST: "a list of objects", _LINES: "lines of objects"}
    return f"{words[form]} with the keys {', '.join(keys[:6])}" if keys else None
