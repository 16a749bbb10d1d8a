"""HDF5: robot episodes in one file or a folder of files, read with h5py."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field
from xxhash import xxh3_64_hexdigest

from rt2data.errors import DataError, UsageError
from rt2data.io import location
from rt2data.io.hdf5 import SUFFIXES, Hdf5Fault, Hdf5File, natural
from rt2data.io.location import path_of
from rt2data.read import units as read_units
from rt2data.read.features import parse_part
from rt2data.read.hdf5.episode import read_recorded
from rt2data.read.hdf5.films import FILMS, Films, files_beside
from rt2data.read.hdf5.group import BESIDE, EpisodeGroup, beside
from rt2data.read.hdf5.layout import ITSELF, USUAL, Found, episode_paths, find_pattern, look, no_episodes, splits_of
from rt2data.read.hdf5.recognize import hdf5_hint, is_log, recognize_hdf5, without_images
from rt2data.read.known_formats import Recognized
from rt2data.read.log import Column, LogLayout, LogSource, Usual, camera_names, require_package
from rt2data.read.recorded import Episode, Recorded
from rt2data.read.sample import InvalidSetting
from rt2data.read.source import Suggestion
from rt2data.records import Reject, SourceRecord, Unit

_PLAIN, _OTHERS = re.compile(r"[A-Za-z0-9_-]{1,40}"), re.compile(r"[^A-Za-z0-9_-]+")


def _checked_pattern(pattern: str) -> str:
    inside = pattern.strip("/")
    if not inside or "[" in inside or "?" in inside or any(part in ("", "..") for part in inside.split("/")):
        raise ValueError(f"must be a path of groups, with * for any name, such as data/*, or {ITSELF} for the file itself")
    return inside


GroupPattern = Annotated[str, Field(max_length=512), AfterValidator(_checked_pattern)]


class HDF5(LogSource):
    """Robot episodes in HDF5: robomimic, LIBERO, robosuite, ALOHA/ACT, DROID, or as declared."""

    usual: ClassVar[Usual] = USUAL
    package: ClassVar[tuple[str, str]] = ("h5py", "hdf5")
    looks_for: ClassVar[str] = "an HDF5 file with episodes in `data`, or of one episode, here or up to four levels below"

    kind: Literal["hdf5"] = "hdf5"
    episode_groups: GroupPattern | None = None
    """Where the episodes are in a file: a path with `*` for any name, such as `data/*`, or `.` for the file itself. By default
    wherever actions are found: in `data`, in the file itself, or in groups with a common name and a number. Other paths are
    relative to the episode."""

    @classmethod
    def recognize(cls, path: Path) -> Suggestion | None:
        """A file or a folder whose first file has the structure of a robot log."""
        return recognize_hdf5(path)

    @classmethod
    def hint(cls, path: Path) -> Recognized | None:
        """HDF5 files, and folders of them."""
        return hdf5_hint(path)

    def invalid_settings(self) -> Iterator[InvalidSetting]:
        """Settings that name something missing, and a log without images, unless the recipe wants none."""
        found = list(super().invalid_settings())
        yield from found
        if not found and self.named_cameras != () and self.camera_features is None and not camera_names(self.columns()):
            yield InvalidSetting(("path",), without_images(self._found))

    def layout(self) -> LogLayout:
        """What to read. Raises UsageError if cameras have videos and PyAV is not installed, and as `choose_layout` does."""
        found = super().layout()
        if any(path.startswith(FILMS) for path in found.cameras.values()):
            require_package("av", "lerobot", self.path)
        return found

    def split_names(self) -> tuple[str, ...]:
        """The splits of robomimic's masks, or `train`."""
        return ("train",) if self._found.pattern == ITSELF else tuple(dict.fromkeys(part.split for part in self.parts({})))

    def files(self) -> list[str]:
        """All HDF5 files, with their text files and videos. Raises UsageError if there are none."""
        logs = self._logs()
        texts = [beside(path) for path in logs]
        there = location.stats(texts)
        filmed = (file for path in logs for file in files_beside(path))
        return sorted({*logs, *(text for text, stat in zip(texts, there, strict=True) if stat), *filmed})

    def _logs(self) -> list[str]:
        """The HDF5 files, in natural order."""
        path = str(path_of(self.path))
        if location.is_file(path):
            return [path]
        if not location.is_folder(path):
            raise UsageError("there is no such file or folder", path)
        found = [str(path_of(each)) for each, _ in location.files_below(path) if is_log(path_of(each).name)]
        if not found:
            raise UsageError("there are no HDF5 files in it", path, f"their names end in {', '.join(SUFFIXES)}")
        return sorted(found, key=natural)

    @property
    def _actions(self) -> tuple[str, ...]:
        """The datasets by which episodes are recognized."""
        return tuple(parse_part(path).path for path in self.action or ()) or tuple(paths[0] for paths in USUAL.action)

    @property
    def _found(self) -> Found:
        """What the first file contains. Raises UsageError if no episodes are recognized, DataError if it is truncated."""
        first = self._logs()[0]
        stats = location.stats([first, beside(first)])
        return _look(first, repr(stats), self.episode_groups, self._actions)

    def columns(self) -> Sequence[Column]:
        """The columns of the first episode of the first file."""
        self._require_package()
        return self._found.columns

    def parts(self, known: Mapping[str, Sequence[Unit]]) -> list[Unit]:
        """Ranges of a file's episodes in one split. Raises DataError if a file is truncated."""
        found = [part for path in self._logs() for part in known.get(path) or self._parts_of(path)]
        if all(part.start == part.stop for part in found):
            return []
        return sorted(found, key=lambda part: part.split)

    def _parts_of(self, path: str) -> list[Unit]:
        """A file in ranges of about the size of a unit, split by split. Assumes episodes of similar size."""
        with Hdf5File(path) as file:
            splits = self._by_split(file)
        size, total = sum(location.stat(each).size for each in (path, *files_beside(path))), sum(map(len, splits.values()))
        if not total:
            return [Unit(0, path, "train", bytes=size)]
        whole = [Unit(0, path, split, 0, len(each), bytes=size * len(each) // total) for split, each in splits.items()]
        return [piece for part in whole for piece in _cut(part, read_units.UNIT_BYTES)]

    def _by_split(self, file: Hdf5File) -> dict[str, list[str]]:
        """The episodes of each split of a file, in natural order. Raises DataError if they cannot be listed."""
        found = defaultdict[str, list[str]](list)
        try:
            pattern = self.episode_groups or find_pattern(file, self._actions)
            groups = [] if pattern is None else episode_paths(file, pattern)
            for split, group in zip(splits_of(file, groups), groups, strict=True):
                found[split].append(group)
        except Hdf5Fault as fault:
            raise DataError(f"its episodes cannot be listed: {fault.detail}", file.path, "fetch it again") from None
        return found

    @property
    def recorded_hz(self) -> float | None:
        """The rate in the arguments of robosuite's environment."""
        return self._found.control_hz

    def episode_names(self) -> Iterator[tuple[str, str]]:
        """Episode names from the groups of each file."""
        for path in self._logs():
            with Hdf5File(path) as file:
                for split, groups in self._by_split(file).items():
                    yield from ((split, self._name(path, group)) for group in groups)

    def bases(self, parts: Sequence[Unit]) -> list[Any]:
        """The features that are read, and each log's text file and videos."""
        by_text = self.layout().instruction == BESIDE
        texts = location.stats([beside(part.path) for part in parts]) if by_text else [None] * len(parts)
        bases = zip(super().bases(parts), texts, parts, strict=True)
        return [[basis, *(stat or ()), *_stamps(files_beside(part.path))] for basis, stat, part in bases]

    def pieces(self, unit: Unit, size: int) -> list[Unit]:
        """Ranges of episodes."""
        return [piece for part in unit.each for piece in _cut(part, size)]

    def episodes(self, part: Unit, layout: LogLayout) -> Iterator[Episode | SourceRecord]:
        """The episodes of a range. An episode that is a link to another file is lost, as is one that is damaged."""
        with Hdf5File(part.path) as file:
            groups = self._by_split(file)[part.split][part.start : part.stop]
            if not groups:
                yield Reject("no_episodes", part.path, "no group in it is an episode")
            with closing(Films(self.images.max_pixels)) as films:
                for group in groups:
                    where = f"{part.path}, {group}"
                    yield Episode(self._name(part.path, group), part.split, where, _reading(file, group, layout, films))

    def _name(self, path: str, group: str) -> str:
        """A name that does not change when files are added: the file's and the group's names, if short and plain."""
        root = str(path_of(self.path))
        inside = path_of(path).stem if path == root else path.removeprefix(root).lstrip("/").removesuffix(SUFFIXES[0])
        parts = [inside] if group == ITSELF else [group.removeprefix("data/")]
        if path != root and group != ITSELF:
            parts = [inside, *parts]
        plain = "-".join(parts)
        if _PLAIN.fullmatch(plain) and not (parts[1:] and any("-" in part for part in parts)):
            return plain
        return f"{_OTHERS.sub('_', plain)[:23]}-{xxh3_64_hexdigest('/'.join(parts).encode('utf-8', 'surrogateescape'))}"

    def more_facts(self) -> dict[str, Any]:
        """The layout's name, the numbers of files and episodes, and the settings of robosuite."""
        episodes, found = Counter[str](), self._found
        for part in self.parts({}):
            episodes[part.split] += part.stop - part.start
        made_with = {"robot_type": found.robot, "fps": found.control_hz}
        about = {"layout": found.layout, "files": len(self._logs()), "splits": dict(episodes)}
        return about | {key: value for key, value in made_with.items() if value}


@lru_cache(maxsize=64)
def _look(path: str, version: str, pattern: str | None, actions: tuple[str, ...]) -> Found:
    """What a given version of a file contains."""
    with Hdf5File(path) as file:
        try:
            found = look(file, pattern, actions)
        except Hdf5Fault as fault:
            raise DataError(fault.detail, path) from None
        if found is None:
            raise no_episodes(file)
    return found


def _cut(part: Unit, size: int) -> list[Unit]:
    """A range of episodes, split into ranges of about `size` bytes."""
    episodes = part.stop - part.start
    count = max(1, min(episodes, -(-part.bytes // size)))
    edges = [(part.start + episodes * k // count, part.bytes * k // count) for k in range(count + 1)]
    return [replace(part, start=start, stop=stop, bytes=end - begin) for (start, begin), (stop, end) in pairwise(edges)]


def _reading(file: Hdf5File, group: str, layout: LogLayout, films: Films) -> Callable[[], Recorded]:
    return lambda: read_recorded(EpisodeGroup(file, group), layout, films)


def _stamps(files: Sequence[str]) -> list[Any]:
    """Name, size and version of a log's accompanying files."""
    return [[path_of(file).name, *stat] for file, stat in zip(files, location.stats(files), strict=True) if stat]
