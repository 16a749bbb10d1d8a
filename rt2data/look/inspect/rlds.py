"""Recognising an RLDS dataset."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rt2data.io.tfrecord.directory import INFO, Directory, open_directory
from rt2data.io.tfrecord.features import STEPS
from rt2data.look.inspect.raw import RawSight, recipe_name
from rt2data.look.inspect.recognize import Sight
from rt2data.read.rlds.layout import holds_numbers
from rt2data.read.rlds.source import RLDS

LEVELS = 3
MAX_FOLDERS = 5000


def see(path: Path) -> Sight | None:
    """An RLDS sight where a TFDS version directory is, or lies below."""
    here = path.parent if path.name == INFO else path
    if not here.is_dir() or not _has_info(here):
        return None
    directory = open_directory(str(here))
    action = _parts_of_action(directory)
    # Any action space reads the same steps: which one it should be is for the user to say.
    source = RLDS.model_validate({"path": directory.path, "action_space": "generic_nd", "action": action or None})
    settings: dict[str, Any] = {"path": directory.path} | ({"action": action} if action else {})
    return RLDSSight(path, source, settings, recipe_name(directory.name))


@dataclass(frozen=True)
class RLDSSight(RawSight):
    """A TFDS directory of episodes."""

    kind = "rlds"


def _has_info(root: Path) -> bool:
    """Whether there is a dataset_info.json here or up to three levels below. Gives up after many folders: `/` is no dataset."""
    level = [root]
    for _ in range(LEVELS + 1):
        if any((folder / INFO).is_file() for folder in level):
            return True
        below = (child for folder in level for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
        level = list(islice(below, MAX_FOLDERS))
    return False


def _parts_of_action(directory: Directory) -> list[str]:
    """Parts of an action that is a group of features, in their order there; none where it is one tensor."""
    leaves = [leaf for leaf in directory.leaves if leaf.key.startswith(f"{STEPS}/action/") and holds_numbers(leaf)]
    return [leaf.key.removeprefix(f"{STEPS}/") for leaf in leaves]
