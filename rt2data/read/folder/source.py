"""Your own logs in the simplest form: a folder per episode, a line of JSON per step, and image files.

my_log/
  episode_0/
    steps.jsonl        {"action": [...], "state": [...], "instruction": "...", "images": {"front": "front/0.jpg"}}
    front/0.jpg ...    one line for each step
  episode_1/ ...
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal

from rt2data.errors import UsageError
from rt2data.io import location
from rt2data.io.location import is_remote, path_of
from rt2data.io.location.base import Stat
from rt2data.read.episode_files import Listing, episode_name, folders_in, list_files
from rt2data.read.folder.steps import STEPS, BadLine, columns_of, read_episode, read_lines
from rt2data.read.join.files import ImageReader, is_image
from rt2data.read.known_formats import Recognized
from rt2data.read.log import Column, LogLayout, LogSource, Usual, not_read
from rt2data.read.recorded import Episode
from rt2data.read.source import Suggestion
from rt2data.records import SourceRecord, Unit

_SPLIT = "train"
_LOOKED_AT = 16
"""Episodes whose first step is read to find features."""
_FIRST = 1000
"""Steps of the first episode that are read to find features."""
_CHILDREN = 400
_HEADER = 1 << 16


class FolderLog(LogSource):
    """Robot episodes in folders, each with a steps.jsonl and images."""

    looks_for: ClassVar[str] = f"folders with a {STEPS} in each"
    usual: ClassVar[Usual] = Usual(
        action=(("action",), ("actions",)),
        state=(("state",), ("observation/state",)),
        instruction=("instruction", "language_instruction", "language", "task", "prompt"),
        success=("success",),
        reward=("reward",),
    )

    kind: Literal["folder"] = "folder"

    @classmethod
    def recognize(cls, path: Path) -> Suggestion | None:
        """A folder whose first few folders have such a file."""
        return Suggestion({"path": str(path)}, path.name) if _holds_episodes(path) else None

    @classmethod
    def hint(cls, path: Path) -> Recognized | None:
        """A log, or an episode of one."""
        if _holds_episodes(path):
            return Recognized(f"a folder of episodes with {STEPS}", f"name {path} as a source of kind folder")
        if path.name == STEPS or (location.is_folder(path) and location.is_file(path / STEPS)):
            log = path.parent.parent if path.name == STEPS else path.parent
            return Recognized("an episode of a log", f"name {log} as a source of kind folder")
        return None

    def columns(self) -> list[Column]:
        """The features of the first episode, and of the first steps of the following ones. Raises UsageError if there are none."""
        steps = (f"{folder}/{STEPS}" for folder in self._folders())
        found: dict[str, Column] = {}
        for number, path in enumerate(islice(filter(location.is_file, steps), _LOOKED_AT)):
            for column in _first_columns(path, 1 if number else _FIRST):
                found.setdefault(column.path, column)
        if not found:
            raise self._nothing()
        return list(found.values())

    def layout(self) -> LogLayout:
        """As for every log; `success` and `reward` are read even if the steps examined lack them, since only the last step may have
        them.
        """
        found = super().layout()
        return replace(found, success=found.success or "success", reward=found.reward or "reward")

    def files(self) -> list[str]:
        """The steps and images of all episodes."""
        return sorted(path for each in self._listings() for path in each.paths)

    def parts(self, known: Mapping[str, Sequence[Unit]]) -> list[Unit]:
        """The episodes to keep, ordered by the numbers in their names."""
        found = [each for each in self._listings() if self.limits.keep(_SPLIT, _name(each))]
        return [Unit(0, each.path(STEPS), _SPLIT, bytes=each.bytes) for each in found]

    def episode_names(self) -> Iterator[tuple[str, str]]:
        """Episode names from folder names; no file is opened."""
        return ((_SPLIT, _name(each)) for each in self._listings())

    def bases(self, parts: Sequence[Unit]) -> list[Any]:
        """The features that are read, and the image files."""
        layout, digests = repr(self.layout()), {each.path(STEPS): each.digest for each in self._listings()}
        return [[layout, digests.get(part.path)] for part in parts]

    def episodes(self, part: Unit, layout: LogLayout) -> Iterator[Episode | SourceRecord]:
        """One episode."""
        folder = path_of(part.path).parent
        reader = ImageReader(max_bytes=4 * self.images.max_pixels + _HEADER)
        every = self.camera_features is None
        yield Episode(
            episode_name(folder.name),
            part.split,
            part.path,
            lambda: read_episode(list_files(str(folder), _is_part), layout, every, reader),
        )

    def describe(self) -> dict[str, Any]:
        """As for every log, plus the number of episodes."""
        return super().describe() | {"episodes": len(self._listings())}

    def _folders(self) -> list[str]:
        if not location.is_folder(self.path):
            raise self._nothing()
        return folders_in(self.path)

    def _listings(self) -> list[Listing]:
        """The episodes in order. Raises UsageError if there are none, DataError if one is a link."""
        folders = self._folders()
        listed = _grouped(self.path, folders) if is_remote(self.path) else (list_files(folder, _is_part) for folder in folders)
        found = [each for each in listed if STEPS in each.files]
        if not found:
            raise self._nothing()
        return found

    def _nothing(self) -> UsageError:
        absent = f"there is no folder with a {STEPS}"
        return not_read(self.path, "a log of folders", absent, "name the folder that holds the folders of episodes")


def _name(listing: Listing) -> str:
    return episode_name(path_of(listing.folder).name)


def _is_part(name: str) -> bool:
    return name == STEPS or is_image(name)


def _grouped(root: str, folders: Sequence[str]) -> list[Listing]:
    """The files of many folders, from a single listing."""
    found: dict[str, dict[str, Stat]] = {folder: {} for folder in folders}
    start = len(root.rstrip("/")) + 1
    for path, stat in location.files_below(root):
        name, _, inside = path[start:].partition("/")
        if _is_part(inside) and (folder := path[: start + len(name)]) in found:
            found[folder][inside] = stat
    return [Listing(folder, files) for folder, files in found.items()]


def _first_columns(path: str, steps: int) -> list[Column]:
    """The columns of the first steps of an episode; empty if one is damaged."""
    with location.open_file(path) as file:
        try:
            return [column for _, step in islice(read_lines(file), steps) for column in columns_of(step)]
        except BadLine:
            return []


def _holds_episodes(path: Path) -> bool:
    """Whether one of the first few folders in a folder is an episode. Raises OSError."""
    if not location.is_folder(path):
        return False
    entries = [entry for entry in islice(location.children(path), _CHILDREN) if entry.is_dir(follow_symlinks=False)]
    return any(location.is_file(path / entry.name / STEPS) for entry in entries[:_LOOKED_AT])
