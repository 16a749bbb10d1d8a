"""Recognising questions and answers in VQAv2's layout."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from rt2data.errors import UsageError
from rt2data.look.inspect.raw import RawSight, recipe_name
from rt2data.look.inspect.recognize import Sight
from rt2data.read.join.files import is_image, is_passed_over, numbers_of
from rt2data.read.vqav2.source import VQAv2

LEVELS = 4
MAX_ENTRIES = 50_000
"""Names of files looked at."""
HEAD = 1 << 16
"""Bytes at the start of a JSON file that say what it is."""
_QUESTIONS = re.compile(rb'"questions"\s*:\s*\[\s*\{[^]]*"question_id"')
_ANNOTATIONS = re.compile(rb'"annotations"\s*:\s*\[\s*\{.*"question_id"', re.DOTALL)
_ANSWERS = re.compile(rb'"answers"\s*:\s*\[')


@dataclass
class Found:
    """What lies below a folder."""

    questions: list[Path] = field(default_factory=list)
    annotations: list[Path] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)  # folders


def see(path: Path) -> Sight | None:
    """A VQAv2 sight where there are questions at `path` or below; pictures may lie beside them.

    Raises UsageError where there are questions without annotations or pictures.
    """
    if path.is_file() and path.suffix != ".json":
        return None
    found = look_below(path if path.is_dir() else path.parent)
    if path.is_file() and path not in found.questions + found.annotations:
        return None
    if not found.questions or (path.is_dir() and not found.annotations):
        return None
    questions, annotations = choose_pair(path, found)
    pictures = found.pictures or look_below(questions.parent.parent).pictures
    if not pictures:
        raise UsageError(
            "questions, but no pictures named by a number, here or beside them", str(questions), "put them side by side"
        )
    settings = {"questions": str(questions), "annotations": str(annotations), "image_dirs": [str(folder) for folder in pictures]}
    others = [str(other) for other in found.questions if other != questions]
    return VQAv2Sight(path, VQAv2.model_validate(settings), settings, recipe_name(path.absolute().name), others)


@dataclass(frozen=True)
class VQAv2Sight(RawSight):
    """A pair of JSON files, and folders of pictures."""

    kind = "vqav2"
    others: Sequence[str] = ()  # more files of questions

    def facts(self) -> dict[str, Any]:
        more = {"other_questions": list(self.others)} if self.others else {}
        return super().facts() | {"files": dict(self.settings)} | more


def look_below(folder: Path) -> Found:
    """JSON files of questions and annotations, and folders that hold pictures, at most four levels below."""
    found = Found()
    for number, (entry, _) in enumerate(_entries(folder.absolute(), LEVELS)):
        if number == MAX_ENTRIES:
            break
        parent = Path(entry.path).parent
        if entry.name.endswith(".json"):
            _sort_in(Path(entry.path), found)
        elif is_image(entry.name) and numbers_of(entry.name) and parent not in found.pictures:
            found.pictures.append(parent)
    for paths in (found.questions, found.annotations, found.pictures):
        paths.sort()
    return found


def _entries(folder: Path, levels: int) -> Iterator[tuple[os.DirEntry[str], int]]:
    """Files, each folder's own before those below it."""
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except PermissionError:
        return
    entries = [entry for entry in entries if not is_passed_over(entry.name)]
    yield from ((entry, levels) for entry in entries if entry.is_file())
    for entry in entries:
        if levels and entry.is_dir(follow_symlinks=False):
            yield from _entries(Path(entry.path), levels - 1)


def _sort_in(path: Path, found: Found) -> None:
    """What a JSON file holds, by its first bytes."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        return
    if _QUESTIONS.search(head):
        found.questions.append(path)
    elif _ANNOTATIONS.search(head) and _ANSWERS.search(head):
        found.annotations.append(path)


def choose_pair(path: Path, found: Found) -> tuple[Path, Path]:
    """The file named, or the first, and the one whose name is most like its own. Raises UsageError without annotations."""
    if not found.annotations:
        raise UsageError("questions without annotations beside them", str(path), "put the answers' JSON file into the same folder")
    pairs = [(one, other) for one in found.questions for other in found.annotations]
    return max(pairs, key=lambda pair: (path.absolute() in pair, likeness(*pair)))


def likeness(questions: Path, annotations: Path) -> float:
    """How alike two names are, where each says what it holds in its own word."""
    one, other = (re.sub(r"OpenEnded_|questions|annotations", "", path.name) for path in (questions, annotations))
    near = 1 if questions.parent == annotations.parent else 0
    return SequenceMatcher(None, one, other).ratio() + near
