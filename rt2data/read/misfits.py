"""Settings of a source that name what is not there, found when the recipe is read, from names and metadata alone."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import NamedTuple

from rt2data.io import location
from rt2data.io.words import closest

_NAMES = 5000
"""Names of a folder that are compared."""


class Misfit(NamedTuple):
    """A setting of a source that does not fit what is there."""

    setting: tuple[str | int, ...]  # its key, below the source: ("camera",), ("image_dirs", 0)
    message: str
    suggestion: str = ""  # what was probably meant


def nearest_path(path: Path) -> str:
    """The path with its first part that is not there replaced by the nearest name in its folder; empty where none is near."""
    there = next((parent for parent in path.parents if location.is_folder(parent)), None)
    if there is None:
        return ""
    missing, *rest = path.relative_to(there).parts
    try:
        names = sorted(each.name for each in islice(location.children(there), _NAMES))
    except OSError:
        return ""
    ending = Path(missing).suffix
    stems = {Path(name).stem: name for name in names if Path(name).suffix == ending}
    near = stems.get(closest(Path(missing).stem, list(stems))) or closest(missing, names, cutoff=0.8)
    if not near:
        return ""
    whole = there.joinpath(near, *rest)
    return str(whole if location.exists(whole) else there / near)
