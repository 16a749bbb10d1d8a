"""Whether a JSON file has VQAv2's layout, by its first bytes: a valid file of another layout is called by its name, not broken."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from rt2data.errors import UsageError
from rt2data.io import location
from rt2data.read.recognize_json import KNOWN, recognize_json

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


CHOICES = {"direct_answers", "correct_choice_idx", "rationales"}
"""Keys of A-OKVQA, whose question_id is text."""


@dataclass(frozen=True)
class Shape:
    """Keys near the start of a JSON file."""

    lines: bool = False  # an object on each line
    element: frozenset[str] = frozenset()  # of the first element, where the file is a list
    arrays: dict[str, frozenset[str]] = field(default_factory=dict)  # of an object's arrays: keys of their first elements


def require_layout(path: str, role: Role) -> None:
    """Raises UsageError where `other_layout` finds another one."""
    name = other_layout(path, role)
    if name:
        raise UsageError(f"the file of {role} looks like {name}", path, advice(role, name))


def advice(role: Role, name: str = "") -> str:
    """What to do about a file of another layout."""
    if name.startswith("VQAv2 "):
        return "swap `questions` and `annotations`"
    return f"convert it to {WANTED[role]}, or name another file"


def other_layout(path: str, role: Role) -> str:
    """The name of the layout a file plainly has instead; empty for a file that fits, is no JSON, is cut, or has no known layout."""
    shape = shape_of(location.read_head(path, HEAD))
    if "question_id" in shape.arrays.get(role, ()) or ("question_id" in shape.element and not CHOICES & shape.element):
        return ""
    name = recognize_json(path) or ""
    if shape.lines:
        return f"JSON Lines ({name})"
    return name if name in KNOWN and name != f"VQAv2 {role}" else ""


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
            return Shape(lines=True)
    except (ValueError, RecursionError):
        pass
    members = list(_members(text, 0))
    arrays = {key: _first_element(text, at) for key, at in members if text.startswith("[", at)}
    return Shape(arrays=arrays)


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
