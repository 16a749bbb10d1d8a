"""Episodes of a LeRobot dataset as columns: numbers and texts from rows, images deferred."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rt2data.io import location
from rt2data.read.lerobot.columns import DONE, TASK, TASK_INDEX, TIME
from rt2data.read.lerobot.data_file import DataFile, joined, require_column, values
from rt2data.read.lerobot.dataset import Dataset, episode_name, runs_of
from rt2data.read.lerobot.differences import count_in_episode, count_in_file, period
from rt2data.read.lerobot.stills import Broken
from rt2data.read.log import LogLayout
from rt2data.read.recorded import Episode, EpisodeFault, Recorded
from rt2data.read.video_frames import Frame, Frames, Track
from rt2data.records import Deferred, Fact, Image, SourceRecord, Unit

F64 = NDArray[np.float64]


class Reading:
    """The open files of one unit: each episode continues reading where the previous one ended."""

    def __init__(self, dataset: Dataset, layout: LogLayout, max_pixels: int) -> None:
        self._dataset, self._layout, self._max_pixels = dataset, layout, max_pixels
        self._file: DataFile | None = None
        self._videos: dict[str, Frames] = {}  # by camera
        self._starts: dict[str, float] = {}  # by camera: seconds into the video at which the current episode begins
        self._steps = 0  # of the current episode

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._file, *self._videos.values()):
            if each is not None:
                each.close()

    def episode(self, part: Unit) -> Iterator[Episode | SourceRecord]:
        """One episode, then facts counted while reading. Raises DataError if its file is truncated, OSError."""
        file, facts = self._opened(part.path), Counter[str]()
        where = self._dataset.relative(part.path)
        yield Episode(episode_name(part.first), part.split, where, partial(self._recorded, file, part, facts))
        facts += self._of_videos(part)
        if part.stop and not part.start:
            facts += count_in_file(self._dataset, part.path, runs_of(part.path))
        yield from (Fact(name, count) for name, count in sorted(facts.items()) if count)

    def _of_videos(self, part: Unit) -> Counter[str]:
        """Irregularities in the videos read for an episode; for videos with several episodes, counted once."""
        first = [video for column, video in self._videos.items() if not self._starts[column]]
        frames = [video.count() for video in self._videos.values()] if not part.stop else []
        found = {
            "lerobot.video_starts_late": sum(video.starts_late() for video in first),
            "lerobot.video_frames_differ": sum(count not in (None, self._steps) for count in frames),
        }
        return Counter({name: count for name, count in found.items() if count})

    def _opened(self, path: str) -> DataFile:
        if self._file is None or self._file.path != path:
            if self._file is not None:
                self._file.close()
            self._file = DataFile(path, self._dataset, self._layout)
        return self._file

    def _recorded(self, file: DataFile, part: Unit, facts: Counter[str]) -> Recorded:
        """Raises EpisodeFault."""
        rows, layout = file.rows(part), self._layout
        self._steps = rows.num_rows
        times = self._times(rows, facts)
        facts += count_in_episode(self._dataset, part.first, rows, times)
        return Recorded(
            action=joined(rows, layout.action),
            images=self._images(file, part, rows, times),
            instruction=self._words(rows, facts),
            state=joined(rows, layout.state) if layout.state else None,
            timestamps=times.tolist(),
            success=bool((values(rows, layout.success) > 0).any()) if layout.success else None,
            reward=values(rows, layout.reward).tolist() if layout.reward else None,
            is_terminal=DONE in rows.column_names and bool((values(rows, DONE)[-1:] > 0).any()),
        )

    def _times(self, rows: pa.Table, facts: Counter[str]) -> F64:
        """Seconds of each step since the start of the episode. Raises EpisodeFault if unknown."""
        if TIME in rows.column_names:
            return values(rows, TIME)
        if self._dataset.info.fps is None:
            raise EpisodeFault("no_timestamps", f"there is no column {TIME}, and info.json has no fps", rows.num_rows)
        facts["lerobot.no_timestamps"] += 1
        return np.arange(rows.num_rows) / self._dataset.info.fps

    def _words(self, rows: pa.Table, facts: Counter[str]) -> str | list[str]:
        """The instruction of each step, from a text column or task numbers. Raises EpisodeFault if the file lacks the column."""
        name = self._layout.instruction
        if name is None:
            return ""
        column = TASK_INDEX if name == TASK and TASK not in rows.column_names else name
        require_column(rows, column)
        found = rows[column].to_pylist()
        if pa.types.is_integer(rows.schema.field(column).type):
            found = [self._dataset.tasks.get(number) for number in found]
            facts["lerobot.steps_of_unknown_tasks"] += found.count(None)
        return [text or "" for text in found]

    def _images(self, file: DataFile, part: Unit, rows: pa.Table, times: F64) -> Sequence[tuple[Image, ...]]:
        """The images of each step, none created yet."""
        columns = [
            file.images(part, rows, camera, column) if file.holds_images(column) else self._filmed(camera, column, part, times)
            for camera, column in self._layout.cameras.items()
        ]
        return [*zip(*columns, strict=True)] if columns else [()] * rows.num_rows

    def _filmed(self, camera: str, column: str, part: Unit, times: F64) -> list[Image]:
        return [Image(camera, each) for each in self._frames(column, part, times)]

    def _frames(self, column: str, part: Unit, times: F64) -> list[Deferred]:
        clip = self._dataset.clip(column, part.first, location.is_file)
        if not clip.path:
            return [Broken("missing_video", f"there is no {clip.missing}")] * len(times)
        self._starts[column] = clip.start
        track, video = Track(times + clip.start, period(times)), self._video(column, clip.path)
        return [Frame(video, track, row) for row in range(len(times))]

    def _video(self, column: str, path: str) -> Frames:
        """The open video of a camera; its previous video is closed."""
        found = self._videos.get(column)
        if found is None or found.path != path:
            if found is not None:
                found.close()
            found = self._videos[column] = Frames(path, self._max_pixels)
        return found
