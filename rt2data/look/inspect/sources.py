"""Recognizers of the raw datasets that our sources read, by the names and first bytes of files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from itertools import islice
from pathlib import Path
from typing import Any

from rt2data.errors import UsageError
from rt2data.io.tfrecord.features import STEPS
from rt2data.look.inspect.raw import InspectedSource, recipe_name
from rt2data.look.inspect.recognize import Inspected
from rt2data.read.join.names import is_image, is_passed_over, numbers_of
from rt2data.read.rlds.layout import holds_numbers
from rt2data.read.rlds.source import RLDS
from rt2data.read.tfds_directory import INFO, Directory, open_directory
from rt2data.read.vqav2.source import VQAv2

# RLDS

RLDS_LEVELS = 3
MAX_FOLDERS = 5000


def recognize_rlds(path: Path) -> Inspected | None:
    """An RLDS dataset where a TFDS version directory is at the path or below."""
    here = path.parent if path.name == INFO else path
    if not here.is_dir() or not _has_info(here):
        return None
    directory = open_directory(str(here))
    action = _parts_of_action(directory)
    # Any action space reads the same steps; the user chooses the right one.
    source = RLDS.model_validate({"path": directory.path, "action_space": "generic_nd", "action": action or None})
    settings: dict[str, Any] = {"path": directory.path} | ({"action": action} if action else {})
    return InspectedRLDS(path, source, settings, recipe_name(directory.name))


@dataclass(frozen=True)
class InspectedRLDS(InspectedSource):
    """A TFDS directory of episodes."""

    kind = "rlds"


def _has_info(root: Path) -> bool:
    """Whether there is a dataset_info.json here or up to three levels below. Stops after many folders: `/` is not a dataset."""
    level = [root]
    for _ in range(RLDS_LEVELS + 1):
        if any((folder / INFO).is_file() for folder in level):
            return True
        below = (child for folder in level for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
        level = list(islice(below, MAX_FOLDERS))
    return False


def _parts_of_action(directory: Directory) -> list[str]:
    """Parts of an action that is a group of features, in their order; empty where it is one tensor."""
    leaves = [leaf for leaf in directory.leaves if leaf.key.startswith(f"{STEPS}/action/") and holds_numbers(leaf)]
    return [leaf.key.removeprefix(f"{STEPS}/") for leaf in leaves]


# VQAv2

VQAV2_LEVELS = 4
MAX_ENTRIES = 50_000
"""Names of files that are looked at."""
HEAD = 1 << 16
"""Bytes at the start of a JSON file that show what it is."""
_QUESTIONS = re.compile(rb'"questions"\s*:\s*\[\s*\{[^]]*"question_id"')
_ANNOTATIONS = re.compile(rb'"annotations"\s*:\s*\[\s*\{.*"question_id"', re.DOTALL)
_ANSWERS = re.compile(rb'"answers"\s*:\s*\[')


@dataclass
class VQAv2Files:
    """Files of questions and answers, and folders of images, below a folder."""

    questions: list[Path] = field(default_factory=list)
    annotations: list[Path] = field(default_factory=list)
    image_dirs: list[Path] = field(default_factory=list)


def recognize_vqav2(path: Path) -> Inspected | None:
    """VQAv2 files where there are questions at `path` or below; images may be in a folder next to theirs.

    Raises UsageError where there are questions without annotations or images.
    """
    if path.is_file() and path.suffix != ".json":
        return None
    found = look_below(path if path.is_dir() else path.parent)
    if path.is_file() and path not in found.questions + found.annotations:
        return None
    if not found.questions or (path.is_dir() and not found.annotations):
        return None
    questions, annotations = choose_pair(path, found)
    image_dirs = found.image_dirs or look_below(questions.parent.parent).image_dirs
    if not image_dirs:
        what = "questions, but no images named by a number, in their folder or next to it"
        raise UsageError(what, str(questions), "put the images into a folder next to them")
    settings = {"questions": str(questions), "annotations": str(annotations), "image_dirs": [str(folder) for folder in image_dirs]}
    others = [str(other) for other in found.questions if other != questions]
    return InspectedVQAv2(path, VQAv2.model_validate(settings), settings, recipe_name(path.absolute().name), others)


@dataclass(frozen=True)
class InspectedVQAv2(InspectedSource):
    """A pair of JSON files, and folders of images."""

    kind = "vqav2"
    others: Sequence[str] = ()  # more files of questions

    def facts(self) -> dict[str, Any]:
        more = {"other_questions": list(self.others)} if self.others else {}
        return super().facts() | {"files": dict(self.settings)} | more


def look_below(folder: Path) -> VQAv2Files:
    """JSON files of questions and annotations, and folders that hold images, at most four levels below."""
    found = VQAv2Files()
    for number, (entry, _) in enumerate(_entries(folder.absolute(), VQAV2_LEVELS)):
        if number == MAX_ENTRIES:
            break
        parent = Path(entry.path).parent
        if entry.name.endswith(".json"):
            _classify(Path(entry.path), found)
        elif is_image(entry.name) and numbers_of(entry.name) and parent not in found.image_dirs:
            found.image_dirs.append(parent)
    for paths in (found.questions, found.annotations, found.image_dirs):
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


def _classify(path: Path, found: VQAv2Files) -> None:
    """Add a JSON file to those of its kind, by its first bytes."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError:
        return
    if _QUESTIONS.search(head):
        found.questions.append(path)
    elif _ANNOTATIONS.search(head) and _ANSWERS.search(head):
        found.annotations.append(path)


def choose_pair(path: Path, found: VQAv2Files) -> tuple[Path, Path]:
    """The named file, or the first, with the one of the most similar name. Raises UsageError without annotations."""
    if not found.annotations:
        raise UsageError(
            "questions without annotations in their folder", str(path), "put the answers' JSON file into the same folder"
        )
    pairs = [(one, other) for one in found.questions for other in found.annotations]
    return max(pairs, key=lambda pair: (path.absolute() in pair, similarity(*pair)))


def similarity(questions: Path, annotations: Path) -> float:
    """How similar two names are without the words for what they hold; files in the same folder are closer."""
    one, other = (re.sub(r"OpenEnded_|questions|annotations", "", path.name) for path in (questions, annotations))
    near = 1 if questions.parent == annotations.parent else 0
    return SequenceMatcher(None, one, other).ratio() + near
