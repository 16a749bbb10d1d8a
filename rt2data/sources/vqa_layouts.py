"""What a JSON file holds instead of VQAv2's questions or annotations, told from its first bytes: a valid file of another layout."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from rt2data.errors import UsageError

HEAD = 1 << 16
"""Bytes at the start of a file that say what it is."""
Role = Literal["questions", "annotations"]
_KEY = re.compile(r'[\s,]*("(?:[^"\\]|\\.)*")\s*:\s*')
_OPEN = re.compile(r"\[\s*\{")
_LINES = re.compile(r"\}\s*\n\s*\{")
_decode = json.JSONDecoder().raw_decode

WANTED: dict[Role, str] = {
    "questions": '{"questions": [{"question_id", "image_id", "question"}, ...]}',
    "annotations": '{"annotations": [{"question_id", "image_id", "answers"}, ...]}',
}


@dataclass(frozen=True)
class Shape:
    """Keys near the start of a JSON file."""

    lines: bool = False  # an object on each line
    element: frozenset[str] = frozenset()  # of the first element, where the file is a list
    arrays: dict[str, frozenset[str]] = field(default_factory=dict)  # of an object's arrays: keys of their first elements
    entry: frozenset[str] = frozenset()  # of the first value, where that is an object too


def require_layout(path: str, role: Role) -> None:
    """Raises UsageError where a file plainly has another layout. What is no JSON, or cut, is left to whoever reads it."""
    with Path(path).open("rb") as file:
        shape = shape_of(file.read(HEAD))
    name = next((name for name, fits in LAYOUTS if fits(shape)), None)
    if name == f"VQA {role}":
        return
    if name:
        raise UsageError(f"the file of {role} looks like {name}", path, f"convert it to {WANTED[role]}, or name another file")


def shape_of(head: bytes) -> Shape:
    """The shape of a file that begins like this; an empty one where it begins unlike JSON."""
    text = head.decode(errors="replace").lstrip("\ufeff \t\r\n")
    if text.startswith("["):
        return Shape(element=_first_element(text, 0))
    if not text.startswith("{"):
        return Shape()
    try:
        _, end = _decode(text)
        if _LINES.match(text, end - 1):
            return Shape(lines=True, entry=frozenset(key for key, _ in _members(text, 0)))
    except (ValueError, RecursionError):
        pass
    members = list(_members(text, 0))
    arrays = {key: _first_element(text, at) for key, at in members if text.startswith("[", at)}
    first = members[0][1] if members and text.startswith("{", members[0][1]) else None
    return Shape(arrays=arrays, entry=frozenset() if first is None else frozenset(key for key, _ in _members(text, first)))


def _first_element(text: str, at: int) -> frozenset[str]:
    """Keys of the object that an array at `at` begins with."""
    opened = _OPEN.match(text, at)
    return frozenset(key for key, _ in _members(text, opened.end() - 1)) if opened else frozenset()


def _members(text: str, at: int) -> Iterator[tuple[str, int]]:
    """Keys of the object at `at` and where their values begin, as far as the text reaches."""
    at += 1
    while found := _KEY.match(text, at):
        yield found[1][1:-1], found.end()
        try:
            _, at = _decode(text, found.end())
        except (ValueError, RecursionError):
            return


def _in_array(*keys: str, within: str | None = None) -> Callable[[Shape], bool]:
    """Whether the elements of an array, or of one of this name, have one of these keys."""
    return lambda shape: any(set(keys) & found for name, found in shape.arrays.items() if within in (None, name))


def _in_list(*keys: str) -> Callable[[Shape], bool]:
    return lambda shape: bool(set(keys) & shape.element)


LAYOUTS: tuple[tuple[str, Callable[[Shape], bool]], ...] = (
    ("JSON Lines (one object on each line)", lambda shape: shape.lines),
    ("GQA (an object of questions by id)", lambda shape: {"imageId", "question"} <= shape.entry),
    ("LLaVA conversations", _in_list("conversations", "messages")),
    ("A-OKVQA, whose question ids are text", _in_list("direct_answers", "correct_choice_idx")),
    ("Visual Genome questions", _in_list("qas")),
    ("a list of image captions", _in_list("caption", "captions")),
    ("VizWiz", lambda shape: {"image", "question"} <= shape.element and "question_id" not in shape.element),
    ("TextVQA", _in_array("question", within="data")),
    ("VQA questions", lambda shape: "questions" in shape.arrays),
    ("VQA annotations", _in_array("question_id", within="annotations")),
    ("COCO captions", _in_array("caption")),
    ("COCO object annotations", _in_array("segmentation", "bbox", "segments_info")),
    ("COCO images with captions or objects", _in_array("file_name", within="images")),
)
"""Names of layouts and how they are told, the first that fits."""
