"""Recognizes HDF5 logs from magic bytes, names and the structure of the first file."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from rt2data.io import location
from rt2data.io.hdf5 import MAGIC, SUFFIXES, Hdf5Fault, Hdf5File, natural
from rt2data.io.location import Name
from rt2data.read.hdf5.group import NAME
from rt2data.read.hdf5.layout import USUAL, Found, look
from rt2data.read.known_formats import Recognized
from rt2data.read.log import Column, require_package
from rt2data.read.source import Suggestion

LEVELS, FOLDERS, NAMES = 4, 400, 2000
"""Limits of the search below a path: levels, folders, names. DROID has success/DATE/TIME/trajectory.h5."""
PACKAGE = ("h5py", "hdf5")
_DO = "name it as `path` of a source of kind hdf5; unless its episodes are recognized, name `episode_groups` and `action` too"


def recognize_hdf5(path: Path) -> Suggestion | None:
    """The log at a path, from its first file. Raises UsageError without h5py, DataError if that file is truncated."""
    first = first_file(path)
    if first is None:
        return None
    require_package(*PACKAGE, str(path))
    with Hdf5File(first) as file:
        try:
            found = look(file, None, [paths[0] for paths in USUAL.action])
        except Hdf5Fault:
            return None
    if found is None or not has_action(found.columns):
        return None
    settings: dict[str, Any] = {"path": str(path), **_more_settings(found)}
    return Suggestion(settings, _name(path, first), {"layout": found.layout, **_notes(found)})


def _name(path: Path, first: Path) -> str:
    """The dataset name: that of the folder or file, or of the file's folder if all such files have the same name."""
    return path.parent.name if first == path and path.stem in ("demo", "data", "trajectory", "low_dim", "image") else path.stem


def _more_settings(found: Found) -> dict[str, Any]:
    """Settings for known layouts that are not detected automatically when reading."""
    settings: dict[str, Any] = {}
    if found.layout == "LIBERO" and not _has_words(found):
        settings["instruction"] = NAME
    if not found.has_images:
        settings["cameras"] = "none"
    if found.convention == "opengl" and found.has_images:
        settings["images"] = {"flip": "vertical"}
    return settings


def _has_words(found: Found) -> bool:
    return any(column.holds == "words" and column.path in USUAL.instruction for column in found.columns)


def _notes(found: Found) -> dict[str, str]:
    """What a user should know before building a mixture from the log."""
    notes: dict[str, str] = {}
    if not found.has_images:
        notes["images"] = without_images(found)
    elif found.convention == "opengl":
        notes["images"] = (
            "stored upside down (macros_image_convention is opengl): `images: {flip: vertical}` puts them upright; "
            "OpenVLA and those after it turn them by 180 degrees instead, which mirrors them"
        )
    if found.layout != "LIBERO" and not _has_words(found):
        notes["words"] = "none are known: name their feature as `instruction`, or say what is done as `text`"
    return notes


def without_images(found: Found) -> str:
    """What a mixture of a log without images contains, and how to get one with images."""
    what = "it has no images: `cameras: none` makes examples of words and states alone; for images "
    if found.layout == "DROID":
        return what + "its videos, recordings/MP4/SERIAL.mp4, are not beside it: fetch them; DROID's RLDS release has both"
    if found.layout == "robosuite":
        return what + "replay its states and render them, as robomimic's dataset_states_to_obs.py does, and name the new file"
    return what + "name the datasets that hold them as `camera_features`, or write a file that has them"


def has_action(columns: Sequence[Column]) -> bool:
    """Whether one of the usual actions exists."""
    there = {column.path for column in columns if column.holds == "numbers"}
    return any(there.issuperset(paths) for paths in USUAL.action)


def hdf5_hint(path: Path) -> Recognized | None:
    """What a path is, by magic bytes and names. Raises OSError."""
    if location.is_folder(path):
        return Recognized("a folder of HDF5 files", _DO) if first_file(path, 1) else None
    return Recognized("an HDF5 file", _DO) if is_hdf5(path) else None


def is_hdf5(path: Name) -> bool:
    """Whether a file begins like HDF5."""
    return location.read_head(path, len(MAGIC)) == MAGIC


def first_file(path: Path, levels: int = LEVELS) -> Path | None:
    """The file itself, or the nearest HDF5 file in a folder; None if there is none. The search is bounded. Raises OSError."""
    if not location.is_folder(path):
        return path if location.is_file(path) and is_hdf5(path) else None
    level, seen = [path], 0
    for _ in range(levels + 1):
        for folder in level:
            files = (entry.name for entry in islice(location.children(folder), NAMES) if is_log(entry.name) and entry.is_file())
            if name := min(files, key=natural, default=None):
                return folder / name
        seen += len(level)
        level = list(islice((each for folder in level for each in _folders(folder)), max(FOLDERS - seen, 0)))
    return None


def _folders(folder: Path) -> list[Path]:
    entries = islice(location.children(folder), NAMES)
    return sorted(
        folder / entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)
    )


def is_log(name: str) -> bool:
    """Whether a file in a folder belongs to a log, according to its name."""
    return name.lower().endswith(SUFFIXES) and not name.startswith(".")
