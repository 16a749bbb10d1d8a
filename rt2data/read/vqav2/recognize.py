"""Recognizes JSON files in VQAv2's layout from their first bytes, and which files of a folder form a corpus."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Literal

from rt2data.errors import UsageError
from rt2data.io import location
from rt2data.io.location import path_of
from rt2data.io.location.base import Entry
from rt2data.read.join.files import is_ignored, is_image, numbers_of
from rt2data.read.json_shape import HEAD, json_shape
from rt2data.read.known_formats import KNOWN, VQA, Recognized, files_near, json_in, recognize_json
from rt2data.read.sample import InvalidSetting
from rt2data.read.source import Suggestion, absent_file, recognize

Role = Literal["questions", "annotations"]
WANTED: dict[Role, str] = {
    "questions": '{"questions": [{"question_id", "image_id", "question"}, ...]}',
    "annotations": '{"annotations": [{"question_id", "image_id", "answers"}, ...]}',
}


CHOICES = {"direct_answers", "correct_choice_idx", "rationales"}
"""Keys of A-OKVQA, whose question_id is text."""


def require_layout(path: str, role: Role) -> None:
    """Raises UsageError if `other_layout` finds another layout."""
    name = other_layout(path, role)
    if name:
        raise UsageError(f"the file of {role} looks like {name}", path, advice(role, name))


def advice(role: Role, name: str = "") -> str:
    """Advice for a file with another layout."""
    if name.startswith("VQAv2 "):
        return "swap `questions` and `annotations`"
    return f"convert it to {WANTED[role]}, or name another file"


def other_layout(path: str, role: Role) -> str:
    """The name of another layout that a file has; empty if it fits, is not JSON, is truncated, or has no known layout."""
    shape = json_shape(path)
    if "question_id" in shape.arrays.get(role, ()) or ("question_id" in shape.element and not CHOICES & shape.element):
        return ""
    name = recognize_json(path) or ""
    if shape.lines:
        return f"JSON Lines ({name})"
    return name if name in KNOWN and name != f"VQAv2 {role}" else ""


def invalid_json(role: Role, path: str) -> Iterator[InvalidSetting]:
    """An invalid setting if a JSON file does not exist, or is not a VQAv2 question or annotation file."""
    found = list(absent_file((role,), path))
    yield from found
    if found:
        return
    other = recognize(path_of(path)) if recognize_json(path) is None else None  # slow: asks every kind of source
    if other is not None:
        yield InvalidSetting((role,), f"is {other.what}: {path} -> {other.do}")
    elif layout := other_layout(path, role):
        yield InvalidSetting((role,), f"looks like {layout}: {path} -> {advice(role, layout)}")


# A corpus

LEVELS = 4
MAX_ENTRIES = 50_000
"""Maximum number of file names examined."""
_QUESTIONS = re.compile(rb'"questions"\s*:\s*\[\s*\{[^]]*"question_id"')
_ANNOTATIONS = re.compile(rb'"annotations"\s*:\s*\[\s*\{.*"question_id"', re.DOTALL)
_ANSWERS = re.compile(rb'"answers"\s*:\s*\[')


@dataclass
class Files:
    """The files found below a folder."""

    questions: list[Path] = field(default_factory=list)
    annotations: list[Path] = field(default_factory=list)
    images: list[Path] = field(default_factory=list)  # folders


def recognize_vqav2(path: Path) -> Suggestion | None:
    """Questions at or below a path, with the most similarly named annotations and the image folders near them.

    Raises UsageError if there are questions without annotations or images.
    """
    if location.is_file(path) and path.suffix != ".json":
        return None
    found = files_below(path if location.is_folder(path) else path.parent)
    if location.is_file(path) and path not in found.questions + found.annotations:
        return None
    if not found.questions or (location.is_folder(path) and not found.annotations):
        return None
    questions, annotations = choose_pair(path, found)
    images = found.images or files_below(questions.parent.parent).images
    if not images:
        what = "there are questions, but no images named by a number, here or next to them"
        raise UsageError(what, str(questions), "put the image folders next to the JSON files")
    settings = {"questions": str(questions), "annotations": str(annotations), "image_dirs": [str(folder) for folder in images]}
    others = [str(other) for other in found.questions if other != questions]
    facts = {"files": settings} | ({"other_questions": others} if others else {})
    return Suggestion(settings, location.absolute(path).name, facts)


def vqav2_hint(path: Path) -> Recognized | None:
    """What part of a VQA corpus a path is, and what to do with it. Raises OSError."""
    do = "it goes into a source of kind vqav2: name `questions`, `annotations` and `image_dirs`"
    if location.is_folder(path):
        return json_in(files_near(path), VQA, do)
    layout = recognize_json(path)
    return Recognized(f"a JSON file: {layout}", do) if layout in VQA else None


def files_below(folder: Path) -> Files:
    """Question and annotation files, and folders with images, at most four levels below."""
    found = Files()
    for number, (entry, _) in enumerate(_entries(location.absolute(folder), LEVELS)):
        if number == MAX_ENTRIES:
            break
        parent = path_of(entry.path).parent
        if entry.name.endswith(".json"):
            _sort_in(path_of(entry.path), found)
        elif is_image(entry.name) and numbers_of(entry.name) and parent not in found.images:
            found.images.append(parent)
    for paths in (found.questions, found.annotations, found.images):
        paths.sort()
    return found


def _entries(folder: Path, levels: int) -> Iterator[tuple[Entry, int]]:
    """Files, each folder's own before those in subfolders."""
    try:
        entries = sorted(location.children(folder), key=lambda entry: entry.name)
    except PermissionError:
        return
    entries = [entry for entry in entries if not is_ignored(entry.name)]
    yield from ((entry, levels) for entry in entries if entry.is_file())
    for entry in entries:
        if levels and entry.is_dir(follow_symlinks=False):
            yield from _entries(path_of(entry.path), levels - 1)


def _sort_in(path: Path, found: Files) -> None:
    """Add a JSON file to `found`, classified by its first bytes."""
    try:
        head = location.read_head(path, HEAD)
    except OSError:
        return
    if _QUESTIONS.search(head):
        found.questions.append(path)
    elif _ANNOTATIONS.search(head) and _ANSWERS.search(head):
        found.annotations.append(path)


def choose_pair(path: Path, found: Files) -> tuple[Path, Path]:
    """The best pair of question and annotation files: it includes the file at `path`, if that is one, and its names are the most
    alike. Raises UsageError without annotations.
    """
    if not found.annotations:
        what = "there are questions, but no annotations next to them"
        raise UsageError(what, str(path), "put the JSON file of the answers into the same folder")
    pairs = [(one, other) for one in found.questions for other in found.annotations]
    return max(pairs, key=lambda pair: (location.absolute(path) in pair, likeness(*pair)))


def likeness(questions: Path, annotations: Path) -> float:
    """How alike two paths are, ignoring the words for their contents; higher if in the same folder."""
    one, other = (re.sub(r"OpenEnded_|questions|annotations", "", path.name) for path in (questions, annotations))
    near = 1 if questions.parent == annotations.parent else 0
    return SequenceMatcher(None, one, other).ratio() + near
