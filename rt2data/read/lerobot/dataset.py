"""Which episodes exist, and in which files: file names are trusted first; meta/ supplies the rest."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from rt2data.errors import DataError, UsageError
from rt2data.io import location
from rt2data.io.location import path_of
from rt2data.io.location.base import Range, Stat
from rt2data.read.lerobot.info import INFO, Info, fill, json_lines, read_info, read_tasks
from rt2data.read.lerobot.rows import numbers, opened

DATA, VIDEOS, IMAGES, META = "data", "videos", "images", "meta"
_EPISODE_FILE = re.compile(r"episode_(\d{1,18})\.\w+")
_NUMBERED_FILE = re.compile(r"file[-_](\d{1,18})\.\w+")
_CHUNK = re.compile(r"chunk[-_](\d{1,18})")
_MOVIES = (".mp4", ".mkv", ".webm", ".mov", ".avi")
_MAGIC = b"PAR1"
_POINTER = b"version https://git-lfs"


class Clip(NamedTuple):
    """The location of a camera's video for an episode."""

    path: str  # empty if there is none
    start: float = 0.0  # seconds into the video at which the episode begins
    missing: str = ""  # the expected file, if missing


class Listed(NamedTuple):
    """What meta/ says about an episode."""

    length: int | None
    tasks: tuple[str, ...]
    file: tuple[int, int] | None = None  # v3: chunk and file number of its data
    clips: Mapping[str, tuple[int, int, float]] = {}  # v3, by camera: chunk and number of the video, and start in it


@dataclass(frozen=True)
class Dataset:
    """An open LeRobot dataset: its metadata is read, its data is not."""

    root: str
    info: Info
    tasks: Mapping[int, str]
    listed: Mapping[int, Listed]

    @cached_property
    def numbers_of_tasks(self) -> dict[str, list[int]]:
        """The indices of each task, by task text."""
        found: dict[str, list[int]] = {}
        for index, text in sorted(self.tasks.items()):
            found.setdefault(text, []).append(index)
        return found

    # Files

    @cached_property
    def data(self) -> dict[str, Stat]:
        """All data files by path, ordered by their numbers."""
        return _natural(self._below(DATA, (".parquet",)))

    @cached_property
    def videos(self) -> dict[str, Stat]:
        """All videos by path."""
        return _natural(self._below(VIDEOS, _MOVIES))

    @cached_property
    def images(self) -> dict[str, Stat]:
        """Image files of the dataset, by path. Only plain files, since a link could lead anywhere."""
        folder = path_of(self.root) / IMAGES
        found = sorted(_plain_files(folder)) if location.is_folder(folder) else []
        return {path: stat for path, stat in zip(found, location.stats(found), strict=True) if stat}

    @cached_property
    def meta(self) -> list[str]:
        """The metadata files that are read."""
        return [path for path in self._below(META, (".json", ".jsonl", ".parquet")) if "stats" not in Path(path).name]

    def _below(self, folder: str, endings: tuple[str, ...]) -> dict[str, Stat]:
        inside = path_of(self.root) / folder
        found = location.files_below(str(inside)) if location.is_folder(inside) else iter(())
        return {path: stat for path, stat in found if path.endswith(endings) and not Path(path).name.startswith(".")}

    def relative(self, path: str) -> str:
        """A path inside the dataset."""
        return path[len(str(path_of(self.root))) + 1 :]

    # Videos

    @cached_property
    def cameras(self) -> list[str]:
        """Features that are videos according to info.json; if it names none, those with video files."""
        said = [name for name, feature in self.info.features.items() if feature.dtype == "video"]
        return said or sorted({camera for camera, _ in self._by_name})

    @cached_property
    def _by_name(self) -> dict[tuple[str, tuple[int, ...]], str]:
        """Videos by camera, and by episode or by chunk and number, found by the parts of their names in any order."""
        found: dict[tuple[str, tuple[int, ...]], str] = {}
        for path in self.videos:
            folders, name = self.relative(path).split("/")[1:-1], Path(path).name
            camera = "/".join(folder for folder in folders if not _CHUNK.fullmatch(folder))
            found.setdefault((camera, _numbers_of(folders, name)), path)
        return found

    def clip(self, camera: str, episode: int, there: Callable[[str], bool] | None = None) -> Clip:
        """The video of an episode. `there` tells whether a file exists, without listing all files."""
        listed = self.listed.get(episode)
        place = listed.clips.get(camera) if listed else None
        if place is None and listed is not None and listed.clips:
            return Clip("", missing=f"{META}/episodes says nothing of {camera} in episode {episode}")
        chunk, number, start = place or (-1, -1, 0.0)
        key = (episode,) if place is None else (chunk, number)
        usual = self._usual(camera, episode, chunk, number)
        if usual and (there or self.videos.__contains__)(usual):
            return Clip(usual, start)
        found = self._by_name.get((camera, key), "")
        return Clip(found, start, "" if found else usual or f"a video of {camera}")

    def video_bytes(self, episode: int) -> int:
        """An episode's share of the bytes of its videos."""
        total = 0
        for camera in self.cameras:
            size = self.videos.get(self.clip(camera, episode).path)
            listed = self.listed.get(episode)
            place = listed.clips.get(camera) if listed else None
            whole = self._rows_of_videos[camera, *place[:2]] if place else 0
            total += 0 if size is None else size.size * (listed.length or 0) // whole if listed and whole else size.size
        return total

    @cached_property
    def _rows_of_videos(self) -> Counter[tuple[str, int, int]]:
        """Total steps of the episodes in each video, by camera, chunk and number."""
        found = Counter[tuple[str, int, int]]()
        for listed in self.listed.values():
            for camera, (chunk, number, _) in listed.clips.items():
                found[camera, chunk, number] += listed.length or 0
        return found

    def _usual(self, camera: str, episode: int, chunk: int, number: int) -> str:
        """The path of a video from info.json's template; empty if it leads out of the dataset."""
        chunks = {"episode_chunk": episode // self.info.chunk, "chunk_index": chunk, "file_index": number}
        name = fill(self._template(chunk >= 0), video_key=camera, episode_index=episode, **chunks)
        return str(path_of(self.root) / name) if is_inside(name) else ""

    def _template(self, numbered: bool) -> str:
        """The path template of info.json, unless it gives several videos the same path: then the usual one."""
        places = ["{chunk_index", "{file_index"] if numbered else ["{episode_index"]
        places += ["{video_key}"] if len(self.cameras) > 1 else []
        given = self.info.video_path
        return given if all(place in given for place in places) else USUAL_VIDEO[numbered]


USUAL_DATA = (
    "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
    "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
)
USUAL_VIDEO = (
    "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
)
"""Path templates of v2 and v3."""


def is_inside(relative: str) -> bool:
    """Whether a relative path stays within its folder (as written, without following links)."""
    return bool(relative) and "\\" not in relative and not {"", ".", ".."} & {*relative.split("/")} and ":" not in relative


def open_dataset(path: str) -> Dataset:
    """Open a dataset. Raises UsageError if there is none, DataError if its metadata cannot be read."""
    info = read_info(path)
    if not location.is_folder(path_of(path) / DATA):
        raise UsageError(f"a LeRobot dataset without its folder `{DATA}`", path, f"fetch all of it: here is {INFO} only")
    return Dataset(path, info, read_tasks(path), read_listed(path))


def episode_name(number: int) -> str:
    """The name of an episode."""
    return f"episode-{number:06d}"


def episode_of(path: str) -> int | None:
    """The episode number in the name of a single-episode file."""
    found = _EPISODE_FILE.fullmatch(Path(path).name)
    return int(found[1]) if found else None


def _numbers_of(folders: Iterable[str], name: str) -> tuple[int, ...]:
    if found := _EPISODE_FILE.fullmatch(name):
        return (int(found[1]),)
    chunk = next((int(found[1]) for folder in folders if (found := _CHUNK.fullmatch(folder))), 0)
    found = _NUMBERED_FILE.fullmatch(name)
    return (chunk, int(found[1])) if found else ()


def file_numbers(relative: str) -> tuple[int, ...]:
    """Chunk and number of a file, or its episode, according to its path."""
    *folders, name = relative.split("/")
    return _numbers_of(folders, name)


def _natural(files: Mapping[str, Stat]) -> dict[str, Stat]:
    """Files sorted by the numbers in their names: file-10 after file-9."""

    def key(path: str) -> list[tuple[int, str]]:
        return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d{1,18})", path)]

    return {path: files[path] for path in sorted(files, key=key)}


def _plain_files(folder: Path) -> Iterator[str]:
    for entry in location.children(folder):
        if entry.is_dir(follow_symlinks=False):
            yield from _plain_files(folder / entry.name)
        elif entry.is_file(follow_symlinks=False):
            yield str(folder / entry.name)


# What meta/ lists

_SAID = frozenset({"episode_index", "length", "tasks"})


def read_listed(root: str) -> dict[int, Listed]:
    """Listed episodes by index; empty if there is no list. Raises DataError if it cannot be read."""
    meta = path_of(root) / META
    if location.is_file(meta / "episodes.jsonl"):
        return dict(filter(None, map(_listed, json_lines(meta / "episodes.jsonl"))))
    found: dict[int, Listed] = {}
    if location.is_folder(meta / "episodes"):
        for path, _ in sorted(location.files_below(str(meta / "episodes"))):
            found |= _listed_in(path) if path.endswith(".parquet") else {}
    return found


def _listed(row: dict[str, Any]) -> tuple[int, Listed] | None:
    index, length, tasks = row.get("episode_index"), row.get("length"), row.get("tasks")
    if not isinstance(index, int):
        return None
    length = length if isinstance(length, int) and length >= 0 else None
    words = tuple(task for task in tasks if isinstance(task, str)) if isinstance(tasks, list) else ()
    return index, Listed(length, words)


def _listed_in(path: str) -> dict[int, Listed]:
    """The episodes listed in one v3 file; its statistics are not read."""
    with opened(path) as file:
        names = [name for name in file.schema_arrow.names if name in _SAID or name.startswith(("data/", "videos/"))]
        try:
            rows = file.read(columns=names).to_pylist()
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"a damaged Parquet file: {error}", path, "fetch the file again") from None
    cameras = [name.removeprefix("videos/").removesuffix("/from_timestamp") for name in names if name.endswith("/from_timestamp")]
    found = (_listed(row) for row in rows)
    return {
        each[0]: each[1]._replace(file=_place(row, "data"), clips=_clips(row, cameras))
        for each, row in zip(found, rows, strict=True)
        if each
    }


def _place(row: Mapping[str, Any], what: str) -> tuple[int, int] | None:
    chunk, number = row.get(f"{what}/chunk_index"), row.get(f"{what}/file_index")
    return (chunk, number) if isinstance(chunk, int) and isinstance(number, int) else None


def _clips(row: Mapping[str, Any], cameras: Iterable[str]) -> dict[str, tuple[int, int, float]]:
    """The cameras' clips that are completely specified."""
    places = {camera: (_place(row, f"videos/{camera}"), row[f"videos/{camera}/from_timestamp"]) for camera in cameras}
    known = {camera: each for camera, each in places.items() if isinstance(each[1], int | float) and isfinite(each[1])}
    return {camera: (*place, float(start)) for camera, (place, start) in known.items() if place}


# Rows of episodes


class Run(NamedTuple):
    """The rows of one episode in a multi-episode file."""

    episode: int
    start: int
    stop: int


def runs_of(path: str) -> list[Run]:
    """The episodes of a file, in order. Raises DataError if it is truncated, or an episode's rows are not adjacent."""
    with opened(path) as file:
        if "episode_index" not in file.schema_arrow.names:
            raise DataError("there is no column `episode_index`", path)
        try:
            found = numbers(file.read(columns=["episode_index"])["episode_index"])
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"a damaged Parquet file: {error}", path, "fetch the file again") from None
    if found.dtype.kind not in "iu":
        raise DataError("`episode_index` has values that are no whole numbers", path)
    edges = [0, *(np.flatnonzero(np.diff(found)) + 1).tolist(), len(found)] if len(found) else [0]
    runs = [Run(int(found[start]), start, stop) for start, stop in pairwise(edges)]
    if len({run.episode for run in runs}) < len(runs):
        raise DataError("the rows of an episode do not lie together", path, "sort them by `index`")
    return runs


def require_whole(paths: Iterable[str], sizes: Mapping[str, Stat]) -> None:
    """Raises DataError for a file that does not begin and end like Parquet."""
    names = list(paths)
    heads = location.read_ranges([Range(path, 0, len(_POINTER)) for path in names])
    tails = location.read_ranges([Range(path, max(sizes[path].size - 4, 0), 4) for path in names])
    for path, head, tail in zip(names, heads, tails, strict=True):
        if head == _POINTER:
            raise DataError("a Git LFS pointer, not the file itself", path, "fetch the file: git lfs pull")
        if head[:4] != _MAGIC or tail != _MAGIC:
            raise DataError("not a whole Parquet file: it is cut, or damaged", path, "fetch the file again")
