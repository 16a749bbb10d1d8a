"""LeRobot v2.0, v2.1 and v3.0: a source of robot episodes. Video frames are decoded on demand; images keep their bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import xxhash

from rt2data.errors import DataError, UsageError
from rt2data.read import units as read_units
from rt2data.read.features import SplitNames
from rt2data.read.known_formats import Recognized
from rt2data.read.lerobot.columns import columns_of
from rt2data.read.lerobot.dataset import Dataset, episode_name, episode_of, open_dataset, require_whole, runs_of
from rt2data.read.lerobot.differences import count_in_dataset
from rt2data.read.lerobot.reading import Reading
from rt2data.read.lerobot.recognize import lerobot_hint, recognize_lerobot
from rt2data.read.log import Column, LogLayout, LogSource, Usual, choose_layout, require_package
from rt2data.read.recorded import Episode
from rt2data.read.sample import InvalidSetting, SamplePart, SamplePlan, shuffled
from rt2data.read.source import Suggestion
from rt2data.read.units import put_together
from rt2data.records import Fact, SourceRecord, Unit

TRAIN = "train"
_SPLIT = re.compile(r"[A-Za-z0-9_-]{1,64}")


class LeRobot(LogSource):
    """Robot episodes in LeRobot's format, versions 2.0 to 3.0."""

    usual: ClassVar[Usual] = Usual(
        action=(("action",), ("actions",)),
        state=(("observation.state",), ("state",), ("observation/state",)),
        instruction=("task", "language_instruction", "observation.language_instruction", "instruction"),
        success=("next.success", "success"),
        reward=("next.reward", "reward"),
    )
    looks_for: ClassVar[str] = "a meta/info.json"

    kind: Literal["lerobot"] = "lerobot"
    splits: SplitNames | None = None
    """Which splits of info.json to read; by default all."""

    @classmethod
    def recognize(cls, path: Path) -> Suggestion | None:
        """A folder with meta/info.json, or a part of it."""
        return recognize_lerobot(path)

    @classmethod
    def hint(cls, path: Path) -> Recognized | None:
        """Datasets of all versions, including unsupported ones, and their parts."""
        return lerobot_hint(path)

    def invalid_settings(self) -> Iterator[InvalidSetting]:
        """As for every log, plus splits that do not exist."""
        found = list(super().invalid_settings())
        yield from found
        if self.splits is not None and not any(each.setting == ("path",) for each in found):
            there = self.split_names()
            for number, name in enumerate(self.splits):
                if name not in there:
                    yield InvalidSetting(("splits", number), f"there is no split {name!r}: there is {', '.join(there)}")

    def split_names(self) -> tuple[str, ...]:
        """The splits of info.json; `train` if it names none."""
        splits = open_dataset(self.path).info.splits
        return tuple(dict.fromkeys(split.name for split in splits)) or (TRAIN,)

    def columns(self) -> Sequence[Column]:
        """Features of the first data file, videos, and task texts."""
        return columns_of(open_dataset(self.path))

    def layout(self) -> LogLayout:
        """What to read. Raises UsageError if PyAV is needed but not installed, and as `choose_layout` does."""
        return self._layout(open_dataset(self.path))

    def _layout(self, dataset: Dataset) -> LogLayout:
        found = choose_layout(columns_of(dataset), self, self.usual)
        if not {*dataset.cameras}.isdisjoint(found.cameras.values()):
            require_package("av", "lerobot", self.path)
        return found

    def files(self) -> list[str]:
        """Metadata, data, videos, and image files that columns may name. Raises UsageError, DataError."""
        dataset = open_dataset(self.path)
        return sorted({*dataset.meta, *dataset.data, *dataset.videos, *dataset.images})

    def parts(self, known: Mapping[str, Sequence[Unit]]) -> list[Unit]:
        """One part per episode: its own file, or its rows in a file. Raises DataError if a file is truncated, or an episode occurs
        twice.
        """
        dataset = open_dataset(self.path)
        self._require_videos(dataset, self._layout(dataset).cameras)
        require_whole([path for path in dataset.data if path not in known], dataset.data)
        parts = [part for path in dataset.data for part in known.get(path) or self._parts_of(dataset, path)]
        seen: dict[int, str] = {}
        for part in parts:
            if part.first in seen:
                raise DataError(f"episode {part.first} is there twice", f"{seen[part.first]} and {part.path}", "remove one")
            seen[part.first] = part.path
        return parts

    def _parts_of(self, dataset: Dataset, path: str) -> Iterator[Unit]:
        """The episodes of one file that are in the splits to read."""
        episode, size = episode_of(path), dataset.data[path].size
        runs = [(episode, 0, 0)] if episode is not None else runs_of(path)
        rows = sum(stop - start for _, start, stop in runs)
        for number, start, stop in runs:
            split = self._split(dataset, number)
            if self.splits is None or split in self.splits:
                share = size * (stop - start) // rows if rows else size
                yield Unit(0, path, split, start, stop, number, share + dataset.video_bytes(number))

    def _split(self, dataset: Dataset, episode: int) -> str:
        """The split of an episode. Raises UsageError for a name that a recipe cannot contain."""
        found = dataset.info.split_of(episode) or TRAIN
        if not _SPLIT.fullmatch(found):
            raise UsageError(f"a split is called {found[:80]!r}: only letters, digits, _ and - are read", self.path)
        return found

    def _require_videos(self, dataset: Dataset, cameras: Mapping[str, str]) -> None:
        """Raises DataError if a camera of the mixture has videos, but none of them exists."""
        filmed = [name for name in self._taken(sorted(cameras)) if cameras.get(name) in dataset.cameras]
        named = [episode for path in dataset.data if (episode := episode_of(path)) is not None]
        if filmed and not dataset.listed and not named:
            raise DataError("there is no meta/episodes, which says where videos begin", self.path, "fetch its folder `meta`")
        for name in filmed:
            if not any(dataset.clip(cameras[name], episode).path for episode in [*dataset.listed, *named]):
                raise DataError(f"no video of the camera {name} is there", self.path, "fetch its folder `videos`, or set `camera`")

    def _taken(self, cameras: Sequence[str]) -> Sequence[str]:
        """The cameras in the mixture, as set in the recipe; otherwise the first by name."""
        if self.named_cameras is not None:
            return cameras if self.named_cameras == "all" else self.named_cameras
        return (self.camera,) if self.camera is not None else cameras[:1]

    def bases(self, parts: Sequence[Unit]) -> list[Any]:
        """What each episode depends on besides its file: metadata, videos and, for the first episode, dataset-wide facts."""
        dataset = open_dataset(self.path)
        layout = repr(self._layout(dataset))
        images = xxhash.xxh3_64_hexdigest(repr(dataset.images).encode()) if dataset.images else ""
        whole = [layout, images, dataset.info.fps]
        return [[*whole, *_said(dataset, part), *self._once(dataset, part).items(), *self._kept(part)] for part in parts]

    def _kept(self, part: Unit) -> list[list[str]]:
        return self.kept(part.split, [episode_name(part.first)])

    @property
    def recorded_hz(self) -> float | None:
        """The `fps` of info.json."""
        return open_dataset(self.path).info.fps

    def episode_names(self) -> Iterator[tuple[str, str]]:
        """Episode names, from file names or the column `episode_index`."""
        return ((part.split, episode_name(part.first)) for part in self.parts({}))

    def _once(self, dataset: Dataset, part: Unit) -> Mapping[str, int]:
        """Facts to count once, with the first episode of the first file."""
        return count_in_dataset(dataset) if not part.start and part.path == next(iter(dataset.data)) else {}

    def read(self, unit: Unit) -> Iterator[SourceRecord]:
        """Steps of the episodes in a unit, and a Reject for each episode that is damaged. Raises DataError, OSError."""
        dataset = open_dataset(self.path)
        layout = self._layout(dataset)
        if not unit.index:
            yield from (Fact(name, count) for name, count in sorted(self._once(dataset, unit.each[0]).items()))
        with Reading(dataset, layout, self.images.max_pixels) as reading:
            for part in unit.each:
                try:
                    for found in reading.episode(part):
                        yield from self.steps_of(found)
                except OSError as error:
                    error.filename = error.filename or part.path  # a failed read has no name
                    raise

    def episodes(self, part: Unit, layout: LogLayout) -> Iterator[Episode | SourceRecord]:
        """The single episode of a part."""
        with Reading(open_dataset(self.path), layout, self.images.max_pixels) as reading:
            yield from reading.episode(part)

    def sample_plan(self, split: str, seed: int = 0) -> SamplePlan:
        """Episodes of a split, shuffled by seed and measured in bytes. Raises the same errors as `units`."""
        parts = self.parts({})
        wanted = [part for part in parts if self.may_feed(part.split, split)]
        places = [SamplePart(part.bytes, part.bytes, part) for part in shuffled(wanted, seed)]
        size = sum(part.bytes for part in parts)
        whole, units = sum(part.bytes for part in wanted), len(self.units_of(parts))
        return SamplePlan("bytes", whole, units, size, places, read=lambda part: self.read(part.place))

    def pieces(self, unit: Unit, size: int) -> list[Unit]:
        """Whole episodes."""
        return put_together(unit.each, min(size, read_units.UNIT_BYTES))

    def describe(self) -> dict[str, Any]:
        """As for every log, plus version, robot, rate, splits, and differences between metadata and files."""
        dataset = open_dataset(self.path)
        info, listed = dataset.info, dataset.listed
        return super().describe() | {
            "version": info.version,
            "robot": info.robot,
            "fps": info.fps,
            "episodes": len(listed) or len(dataset.data),
            "steps": sum(each.length or 0 for each in listed.values()) or info.frames,
            "splits": {split.name: f"{split.start}:{split.stop}" for split in info.splits},
            "differs": {name.removeprefix("lerobot."): count for name, count in count_in_dataset(dataset).items()},
        }


def _said(dataset: Dataset, part: Unit) -> list[Any]:
    """What else an episode depends on, as plain values: its split, its metadata, task numbers and videos."""
    listed = dataset.listed.get(part.first)
    tasks = [(text, dataset.numbers_of_tasks.get(text)) for text in sorted(listed.tasks)] if listed else []
    known = bool(tasks) and all(numbers for _, numbers in tasks)
    clips = [dataset.clip(camera, part.first) for camera in dataset.cameras]
    absent = sum(each.file == listed.file for each in dataset.listed.values()) if listed and part.stop and not part.start else 0
    return [
        dataset.info.split_of(part.first),
        listed and listed.length,
        tasks if known else sorted(dataset.tasks.items()),
        [(clip.path, clip.start, *(dataset.videos.get(clip.path) or ())) for clip in clips],
        absent,
    ]
