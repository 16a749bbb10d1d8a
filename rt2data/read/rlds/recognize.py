"""Recognizes RLDS datasets, and parts of them, from names and metadata alone."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from rt2data.io import location
from rt2data.io.tfrecord.directory import FEATURES, INFO, Directory, open_directory
from rt2data.io.tfrecord.features import STEPS
from rt2data.read.known_formats import Recognized, names_in
from rt2data.read.rlds.layout import holds_numbers
from rt2data.read.source import Suggestion
from rt2data.read.standards import Candidates, candidates

LEVELS, HINT_LEVELS = 3, 6
"""Levels of folders searched for a dataset: to read it, and to name it in a message."""
MAX_FOLDERS, HINT_FOLDERS = 5000, 400
ALIKE = 5
"""Maximum datasets with the same features that are listed."""
_DO = f"name the folder that holds {INFO} and {FEATURES}"


def recognize_rlds(path: Path) -> Suggestion | None:
    """The TFDS version directory at a path or at most three levels below. Raises the same errors as `open_directory`."""
    here = path.parent if path.name == INFO else path
    if not location.is_folder(here) or _dataset_below(here, LEVELS, MAX_FOLDERS) is None:
        return None
    directory = open_directory(str(here))
    known = candidates(_names(directory), directory.leaves)
    if len(known.fitting) == 1:
        (standard,) = known.fitting
        space = standard.settings.get("action_space")
        settings = {"path": directory.path, "dataset": standard.name} | ({"action_space": space} if space else {})
        return Suggestion(settings, directory.name, {"dataset": standard.title}, standard.notes)
    action = _parts_of_action(directory)
    settings = {"path": directory.path} | ({"action": action} if action else {})
    return Suggestion(settings, directory.name, {}, tuple(_undecided(known)))


def _names(directory: Directory) -> set[str]:
    """The dataset's own name, and those of its folder and the parent folder, because copies get renamed."""
    folder = Path(directory.path)
    return {directory.name, folder.name, folder.parent.name}


def _undecided(known: Candidates) -> Iterator[str]:
    """Why no standard is suggested although some are close."""
    if known.fitting:
        yield f"dataset may be {' or '.join(each.name for each in known.fitting)}: its name and its folder's name one each"
    for name, what in known.misfits.items():
        yield f"it is called as {name}, and differs: {what}"
    if known.alike and not known.fitting:
        listed = ", ".join(each.name for each in known.alike[:ALIKE])
        yield f"its features are also those of dataset {listed}: set it only if it is the same data"


def rlds_hint(path: Path) -> Recognized | None:
    """What part of a TFDS dataset a path is, and what to name instead. Raises OSError."""
    if not location.is_folder(path):
        if path.name in (INFO, FEATURES):
            return Recognized("a file of a TFDS dataset", "name its folder")
        return Recognized("one shard of a TFDS dataset", _DO) if ".tfrecord" in path.name else None
    if dataset := _dataset_below(path, HINT_LEVELS, HINT_FOLDERS):
        what = "a TFDS dataset" if dataset == path else "a folder above TFDS datasets"
        return Recognized(what, f"name {dataset} as a source of kind rlds")
    return Recognized(f"TFRecord files without {INFO}", _DO) if any(".tfrecord" in name for name in names_in(path)) else None


def _dataset_below(folder: Path, levels: int, folders: int) -> Path | None:
    """The nearest folder with a dataset_info.json, here or below. Gives up after `folders` folders."""
    level, seen = [folder], 0
    for _ in range(levels + 1):
        found = next((each for each in level if _is_dataset(each)), None)
        if found is not None:
            return found
        seen += len(level)
        below = (child for each in level for child in _folders(each))
        level = list(islice(below, max(folders - seen, 0)))
    return None


def _is_dataset(folder: Path) -> bool:
    """Whether a folder is a TFDS dataset. Hugging Face's `save_to_disk` writes a file of the same name, next to a state file."""
    return location.is_file(folder / INFO) and not location.is_file(folder / "state.json")


def _folders(folder: Path) -> list[Path]:
    """Folders in a folder, among its first few thousand names."""
    entries = islice(location.children(folder), MAX_FOLDERS)
    return sorted(folder / entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def _parts_of_action(directory: Directory) -> list[str]:
    """Parts of an action that is a group of features, in their order; empty if it is one tensor."""
    leaves = [leaf for leaf in directory.leaves if leaf.key.startswith(f"{STEPS}/action/") and holds_numbers(leaf)]
    return [leaf.key.removeprefix(f"{STEPS}/") for leaf in leaves]
