"""BridgeData in its raw recorded form, before conversion to RLDS.

.../2021-06-01_12-30-00/raw/traj_group0/traj0/
  obs_dict.pkl        what was observed: full_state, time_stamp, ... of T steps
  policy_out.pkl      what was done: T - 1 actions
  images0/im_0.jpg    T images of each camera
  lang.txt            words, and how sure people were of them
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, Literal

from rt2data.errors import DataError, UsageError
from rt2data.io import location
from rt2data.io.location import path_of
from rt2data.read.bridge_raw.facts import LATE, MORE_WORDS
from rt2data.read.bridge_raw.trajectories import (
    DECIDED,
    OBSERVED,
    PICKLES,
    WORDS,
    annotation_lines,
    cameras_of,
    columns_of,
    is_part,
    latency,
    listings,
    mark_of,
    read_trajectory,
    trajectories_below,
    trajectory_name,
)
from rt2data.read.episode_files import Listing, list_files
from rt2data.read.join.files import ImageReader
from rt2data.read.known_formats import Recognized
from rt2data.read.log import Column, LogLayout, LogSource, Usual, not_read
from rt2data.read.recorded import Episode, EpisodeFault
from rt2data.read.source import Suggestion
from rt2data.records import Fact, SourceRecord, Unit

_SPLIT = "train"
_LOOKED_AT = 8
"""Trajectories that are read to find features."""
_HEADER = 1 << 16
_LEVELS, _FOLDERS, _CHILDREN = 9, 8, 200


class BridgeRaw(LogSource):
    """Robot episodes in BridgeData's raw recording folders."""

    looks_for: ClassVar[str] = f"folders raw/traj_group*/traj* with {PICKLES[0]} and {PICKLES[1]}"
    usual: ClassVar[Usual] = Usual(
        action=((f"{DECIDED}/actions",),),
        state=((f"{OBSERVED}/full_state",), (f"{OBSERVED}/state",)),
        instruction=(WORDS,),
    )

    kind: Literal["bridge_raw"] = "bridge_raw"
    camera_latency: Literal["auto", 0, 1] = "auto"
    """By how many steps observations lag: 1 pairs each action with the observation after it. `auto` uses the recording date in the
    path: 1 before 2021-07-23."""

    @classmethod
    def recognize(cls, path: Path) -> Suggestion | None:
        """A folder with trajectories at most eight levels below."""
        return Suggestion({"path": str(path)}, path.name) if _first_below(path) else None

    @classmethod
    def hint(cls, path: Path) -> Recognized | None:
        """As `recognize`, and also the pickles themselves."""
        if path.name in PICKLES:
            return Recognized(
                "a pickle of a BridgeData trajectory", "name the folder above its raw folder as a source of kind bridge_raw"
            )
        if _first_below(path):
            return Recognized("BridgeData as it was recorded", f"name {path} as a source of kind bridge_raw")
        return None

    def columns(self) -> list[Column]:
        """The features of the first readable trajectory, and the cameras of the following ones.

        Raises UsageError if there are no trajectories, DataError if none of the first few can be read.
        """
        looked_at = [list_files(folder, is_part) for folder in islice(self._folders(), _LOOKED_AT)]
        if not looked_at:
            raise self._nothing()
        numbers = _first_numbers(looked_at)
        cameras = dict.fromkeys(camera for each in looked_at for camera in cameras_of(each))
        return [
            *numbers,
            Column(WORDS, "words", None, "its first line"),
            *(Column(each, "images", None, "files") for each in cameras),
        ]

    def files(self) -> list[str]:
        """The pickles, images and instruction files of all trajectories."""
        return sorted(path for each in self._listings() for path in each.paths)

    def parts(self, known: Mapping[str, Sequence[Unit]]) -> list[Unit]:
        """The trajectories to keep.

        Raises UsageError if a recording date is unknown and the recipe does not set `camera_latency`.
        """
        found = [each for each in self._listings() if self.limits.keep(_SPLIT, trajectory_name(self.path, each.folder))]
        for each in found:
            latency(self.camera_latency, each.folder)
        return [Unit(0, mark_of(each), _SPLIT, bytes=each.bytes) for each in found]

    def episode_names(self) -> Iterator[tuple[str, str]]:
        """Episode names from folder names; no file is opened."""
        return ((_SPLIT, trajectory_name(self.path, each.folder)) for each in self._listings())

    def bases(self, parts: Sequence[Unit]) -> list[Any]:
        """The features that are read, and a trajectory's other files."""
        layout, digests = repr(self.layout()), {mark_of(each): each.digest for each in self._listings()}
        return [[layout, digests.get(part.path)] for part in parts]

    def episodes(self, part: Unit, layout: LogLayout) -> Iterator[Episode | SourceRecord]:
        """One trajectory, and facts to count."""
        folder = str(path_of(part.path).parent)
        listing, late = list_files(folder, is_part), latency(self.camera_latency, folder)
        reader = ImageReader(max_bytes=4 * self.images.max_pixels + _HEADER)
        every = self.camera_features is None
        yield Episode(
            trajectory_name(self.path, folder), part.split, folder, lambda: read_trajectory(listing, layout, every, late, reader)
        )
        if late:
            yield Fact(LATE)
        with suppress(EpisodeFault):
            if layout.instruction and len(annotation_lines(listing)) > 1:
                yield Fact(MORE_WORDS)

    def _folders(self) -> Iterator[str]:
        if location.is_folder(self.path):
            yield from trajectories_below(self.path.rstrip("/"))

    def _listings(self) -> list[Listing]:
        """The files of all trajectories. Raises UsageError if there are none."""
        found = listings(self.path.rstrip("/")) if location.is_folder(self.path) else []
        if not found:
            raise self._nothing()
        return found

    def _nothing(self) -> UsageError:
        absent = f"no trajectory with {' and '.join(PICKLES)}"
        return not_read(self.path, "BridgeData as it was recorded", absent, "name the folder above raw/traj_group*/traj*")


def _first_numbers(listings: Sequence[Listing]) -> list[Column]:
    """The numeric columns of the first readable trajectory. Raises DataError if none is readable."""
    faults = []
    for each in listings:
        try:
            return list(_columns_once(each.folder, each.digest))
        except EpisodeFault as fault:
            faults.append(f"{each.folder}: {fault.detail}")
    raise DataError("the first trajectories cannot be read", faults[0])


@lru_cache(maxsize=4)
def _columns_once(folder: str, _: str) -> tuple[Column, ...]:
    """The columns of a trajectory, cached: each unit requests them, and reading a pickle starts a process."""
    return tuple(columns_of(list_files(folder, is_part)))


def _first_below(path: Path) -> bool:
    """Whether there is a trajectory in or below a folder, among the first few folders. Raises OSError."""
    level = [path] if location.is_folder(path) else []
    for _ in range(_LEVELS):
        if any(all(location.is_file(each / name) for name in PICKLES) for each in level):
            return True
        level = [folder for each in level for folder in _some_folders(each)][:_FOLDERS]
    return False


def _some_folders(folder: Path) -> list[Path]:
    entries = islice(location.children(folder), _CHILDREN)
    names = [entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir(follow_symlinks=False)]
    return [folder / name for name in sorted(names)[:_FOLDERS]]
