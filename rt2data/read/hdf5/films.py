"""Videos beside a log of one episode, as DROID records them: a file for each camera, a frame for each step.

trajectory.h5
metadata_*.json           wrist_cam_serial, ext1_cam_serial, ext2_cam_serial; current_task
recordings/MP4/SERIAL.mp4
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

import numpy as np

from rt2data.errors import UsageError
from rt2data.images.headers import ImageFault
from rt2data.io import location
from rt2data.io.location import path_of
from rt2data.read.hdf5.group import EpisodeGroup
from rt2data.read.log import LogLayout
from rt2data.read.video_frames import Frames, Track, frame_times
from rt2data.records import Content, Deferred

FILMS = "recordings/MP4/"
"""Begins the path of a camera that is filmed; behind it stands what the camera is: its serial number differs between robots."""
METADATA = "file:metadata."
"""Begins the path of words in the JSON file beside the log."""
WRIST, OUTSIDE = "wrist", ("ext1", "ext2")
_LOG = "trajectory.h5"
_SERIAL = re.compile(r"([A-Za-z0-9_]{1,32})\.mp4")  # SERIAL-stereo.mp4 has both eyes side by side
_JSON = re.compile(r"metadata_.*\.json")
_LONGEST = 1 << 20  # bytes of the JSON file
_TYPES = "observation/camera_type"


def has_films(path: str) -> bool:
    """Whether videos may lie beside a log, by its name."""
    return path_of(path).name == _LOG


def files_beside(path: str) -> list[str]:
    """The metadata and the videos of a log, sorted; links are not among them."""
    if not has_films(path):
        return []
    folder = path_of(path).parent
    return sorted([*_listed(f"{folder}", _JSON), *_listed(f"{folder}/{FILMS}".rstrip("/"), _SERIAL)])


def _listed(folder: str, pattern: re.Pattern[str]) -> Iterator[str]:
    with suppress(UsageError):  # a place that lists nothing
        if location.is_folder(folder):
            entries = (entry for entry in location.children(folder) if pattern.fullmatch(entry.name))
            yield from (str(path_of(folder) / entry.name) for entry in entries if entry.is_file(follow_symlinks=False))


def films_of(episode: EpisodeGroup) -> dict[str, str]:
    """What each filmed camera of an episode is, and its video. Raises Hdf5Fault where the log is damaged.

    The metadata say it; without them the type of a camera in the log tells the wrist's, and others are numbered by serial.
    """
    found = {path_of(path).stem: path for path in files_beside(episode.file.path) if path.endswith(".mp4")}
    if not found:
        return {}
    said = {name: metadata_of(episode.file.path).get(f"{name}_cam_serial") for name in (WRIST, *OUTSIDE)}
    roles = {name: str(serial) for name, serial in said.items() if serial} or _by_type(episode, sorted(found))
    return {name: found[serial] for name, serial in roles.items() if serial in found}


def _by_type(episode: EpisodeGroup, serials: list[str]) -> Mapping[str, str]:
    types = {serial: _first(episode, f"{_TYPES}/{serial}") for serial in serials}
    wrists = [serial for serial in serials if types[serial] == 0]
    others = [serial for serial in serials if types[serial] is not None and serial not in wrists]
    return (
        dict(zip((WRIST, *OUTSIDE), (*wrists[:1], *others), strict=False)) if wrists else dict(zip(OUTSIDE, others, strict=False))
    )


def _first(episode: EpisodeGroup, path: str) -> int | None:
    dataset = episode.dataset(path)
    if dataset is None:
        return None
    with episode.file.reading():
        return int(dataset[0]) if len(dataset.shape) == 1 and dataset.size and dataset.dtype.kind in "iu" else None


def metadata_of(path: str) -> dict[str, Any]:
    """What the JSON file beside a log says; nothing where there is none, or several, or it is none."""
    found = [each for each in files_beside(path) if each.endswith(".json")]
    if len(found) != 1:
        return {}
    try:
        said = json.loads(location.read_head(found[0], _LONGEST))
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


class Film:
    """The video of one camera of one episode: frame k is that of step k."""

    def __init__(self, path: str, steps: int, max_pixels: int) -> None:
        self._path, self._steps = path, steps
        self._frames = Frames(path, max_pixels)
        self._track: Track | ImageFault | None = None

    def at(self, step: int) -> Content:
        """Raises what `Deferred.read` raises."""
        if self._track is None:
            self._track = self._counted()
        if isinstance(self._track, ImageFault):
            raise ImageFault(self._track.reason, self._track.detail)
        return self._frames.get(self._track, step)

    def close(self) -> None:
        """Let the file go."""
        self._frames.close()

    def _counted(self) -> Track | ImageFault:
        """When each step's frame is shown. A video of another length may lack frames anywhere, so that none of it is sure."""
        try:
            times = frame_times(self._path)
        except ImageFault as fault:
            return fault
        if len(times) != self._steps:
            return ImageFault("frames_differ", f"{self._path} has {len(times)} frames for {self._steps} steps")
        return Track(times, float(np.median(np.diff(times))) if len(times) > 1 else 0.0)


class Films:
    """The videos of the episode that is read; at most those of one are open."""

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._open: dict[str, Film] = {}

    def opened(self, episode: EpisodeGroup, layout: LogLayout, steps: int) -> Mapping[str, Film]:
        """Of the cameras that are filmed, those that the episode has. Raises Hdf5Fault."""
        self.close()
        wanted = {name: path.removeprefix(FILMS) for name, path in layout.cameras.items() if path.startswith(FILMS)}
        there = films_of(episode) if wanted else {}
        self._open = {name: Film(there[role], steps, self._max_pixels) for name, role in wanted.items() if role in there}
        return self._open

    def close(self) -> None:
        """Let the files go."""
        for film in self._open.values():
            film.close()


def words_of(episode: EpisodeGroup, path: str) -> str | list[str] | None:
    """The text of the episode, or of each of its steps, in the log or beside it; None where there is none. Raises Hdf5Fault."""
    if not path.startswith(METADATA):
        return episode.words(path)
    found = metadata_of(episode.file.path).get(path.removeprefix(METADATA))
    return found if isinstance(found, str) else None


class FilmFrame(Deferred):
    """One step's frame."""

    __slots__ = ("_film", "_step")

    def __init__(self, film: Film, step: int) -> None:
        self._film, self._step = film, step

    def read(self) -> Content:
        return self._film.at(self._step)
