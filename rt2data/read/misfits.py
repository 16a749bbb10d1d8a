"""What a source's settings name that is not there: told when the recipe is read, from names and metadata alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from rt2data.io import location
from rt2data.read.recognize import recognize
from rt2data.read.recognize_json import recognize_json
from rt2data.read.vqav2.layouts import Role, advice, other_layout

_NAMES = 5000
"""Names of a folder among which one that is near is looked for."""


class Misfit(NamedTuple):
    """A setting of a source that does not fit what is there."""

    setting: tuple[str | int, ...]  # its key, below the source: ("camera",), ("image_dirs", 0)
    message: str
    suggestion: str = ""  # what was probably meant


def absent_file(setting: tuple[str | int, ...], path: str) -> Iterator[Misfit]:
    """A misfit where there is no such file."""
    if location.is_folder(path):
        found = recognize(Path(path))
        yield Misfit(setting, f"is a folder, not a file: {path}" + (f": {found.what} -> {found.do}" if found else ""))
    elif not location.is_file(path):
        yield Misfit(setting, f"there is no such file: {path}", nearest_path(Path(path)))


def absent_folder(setting: tuple[str | int, ...], path: str) -> Iterator[Misfit]:
    """A misfit where there is no such folder."""
    if location.is_file(path):
        found = recognize(Path(path))
        yield Misfit(setting, f"is a file, not a folder: {path}" + (f": {found.what} -> {found.do}" if found else ""))
    elif not location.is_folder(path):
        yield Misfit(setting, f"there is no such folder: {path}", nearest_path(Path(path)))


def json_misfits(role: Role, path: str) -> Iterator[Misfit]:
    """A misfit where there is no such JSON file, or it is plainly something else than questions or annotations of VQAv2."""
    found = list(absent_file((role,), path))
    yield from found
    if found:
        return
    other = recognize(Path(path))
    if other is not None and recognize_json(path) is None:
        yield Misfit((role,), f"is {other.what}: {path} -> {other.do}")
    elif layout := other_layout(path, role):
        yield Misfit((role,), f"looks like {layout}: {path} -> {advice(role, layout)}")


def nearest_path(path: Path) -> str:
    """The path with its first part that is not there replaced by the nearest name beside it; empty where none is near."""
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
    near = stems.get(nearest(Path(missing).stem, list(stems))) or nearest(missing, names, cutoff=0.8)
    if not near:
        return ""
    whole = there.joinpath(near, *rest)
    return str(whole if location.exists(whole) else there / near)


def nearest(word: str, known: Sequence[str], cutoff: float = 0.6) -> str:
    """The known word nearest to this one, upper or lower case; empty where none is near."""
    by_lower = {each.lower(): each for each in reversed(known)}
    return next((by_lower[each] for each in get_close_matches(word.lower(), by_lower, n=1, cutoff=cutoff)), "")
