"""Videos that accompany a single-episode log, as in DROID: one file per camera, one frame per step.

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
"""Prefix of the path of a camera with a video. The camera's role follows it, since serial numbers differ between robots."""
METADATA = "file:metadata."
"""Prefix of the path of a text in the JSON file next to the log."""
WRIST, OUTSIDE = "wrist", ("ext1", "ext2")
_LOG = "trajectory.h5"
_SERIAL = re.compile(r"([A-Za-z0-9_]{1,32})\.mp4")  # excludes SERIAL-stereo.mp4, which has both eyes side by side
_JSON = re.compile(r"metadata_.*\.json")
_LONGEST = 1 << 20  # maximum bytes of the JSON file
_TYPES = "observation/camera_type"


def has_films(path: str) -> bool:
    """Whether a log may have videos, according to its name."""
    return path_of(path).name == _LOG


def files_beside(path: str) -> list[str]:
    """The metadata and videos of a log, sorted, without links."""
    if not has_films(path):
        return []
    folder = path_of(path).parent
    return sorted([*_listed(f"{folder}", _JSON), *_listed(f"{folder}/{FILMS}".rstrip("/"), _SERIAL)])


def _listed(folder: str, pattern: re.Pattern[str]) -> Iterator[str]:
    with suppress(UsageError):  # a location that cannot list
        if location.is_folder(folder):
            entries = (entry for entry in location.children(folder) if pattern.fullmatch(entry.name))
            yield from (str(path_of(folder) / entry.name) for entry in entries if entry.is_file(follow_symlinks=False))


def films_of(episode: EpisodeGroup) -> dict[str, str]:
    """The videos of an episode, by camera role. Raises Hdf5Fault if the log is damaged.

    Roles come from the metadata; without it, the camera type in the log identifies the wrist camera, and others are numbered by
    serial.
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
    """The content of the JSON file next to a log; empty if there is none, or several, or it is not JSON."""
    found = [each for each in files_beside(path) if each.endswith(".json")]
    if len(found) != 1:
        return {}
    try:
        said = json.loads(location.read_head(found[0], _LONGEST))
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


class Film:
    """The video of one camera of one episode: frame k belongs to step k."""

    def __init__(self, path: str, steps: int, max_pixels: int) -> None:
        self._path, self._steps = path, steps
        self._frames = Frames(path, max_pixels)
        self._track: Track | ImageFault | None = None

    def at(self, step: int) -> Content:
        """The frame of a step. Raises the same errors as `Deferred.read`."""
        if self._track is None:
            self._track = self._counted()
        if isinstance(self._track, ImageFault):
            raise ImageFault(self._track.reason, self._track.detail)
        return self._frames.get(self._track, step)

    def close(self) -> None:
        """Close the file."""
        self._frames.close()

    def _counted(self) -> Track | ImageFault:
        """The time of each step's frame. If the number of frames differs, frames may be missing anywhere, so none can be
        trusted.
        """
        try:
            times = frame_times(self._path)
        except ImageFault as fault:
            return fault
        if len(times) != self._steps:
            return ImageFault("frames_differ", f"{self._path} has {len(times)} frames for {self._steps} steps")
        return Track(times, float(np.median(np.diff(times))) if len(times) > 1 else 0.0)


class Films:
    """The videos of the episode being read; only those of one episode are open."""

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._open: dict[str, Film] = {}

    def opened(self, episode: EpisodeGroup, layout: LogLayout, steps: int) -> Mapping[str, Film]:
        """The videos of the layout's cameras that the episode has. Raises Hdf5Fault."""
        self.close()
        wanted = {name: path.removeprefix(FILMS) for name, path in layout.cameras.items() if path.startswith(FILMS)}
        there = films_of(episode) if wanted else {}
        self._open = {name: Film(there[role], steps, self._max_pixels) for name, role in wanted.items() if role in there}
        return self._open

    def close(self) -> None:
        """Close the files."""
        for film in self._open.values():
            film.close()


def words_of(episode: EpisodeGroup, path: str) -> str | list[str] | None:
    """The text of the episode, or of each step, from the log or the metadata file; None if there is none. Raises Hdf5Fault."""
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
