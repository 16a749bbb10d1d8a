"""Differences between a dataset's metadata and its files. The files are trusted; each difference is counted."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rt2data.read.lerobot.columns import DONE, EPISODE, FRAME, columns_of
from rt2data.read.lerobot.data_file import values
from rt2data.read.lerobot.dataset import USUAL_DATA, Dataset, Run, episode_of, file_numbers
from rt2data.read.lerobot.facts import FOUND
from rt2data.read.lerobot.info import fill

F64 = NDArray[np.float64]
Counts = Counter[str]


def count_in_dataset(dataset: Dataset) -> Counts:
    """Differences to count once: in metadata and file names."""
    info, found, paths = dataset.info, Counts(), list(dataset.data)
    named = [episode for path in paths if (episode := episode_of(path)) is not None]
    files = {file_numbers(dataset.relative(path)) for path in paths}
    absent = [index for index, each in dataset.listed.items() if ((index,) if each.file is None else each.file) not in files]
    lengths = [each.length for each in dataset.listed.values() if each.length is not None]
    total = len(named) if len(named) == len(paths) else len(dataset.listed)
    found["total_episodes_differs"] = info.episodes is not None and info.episodes != total
    found["total_frames_differs"] = info.frames is not None and bool(lengths) and info.frames != sum(lengths)
    found["episodes_without_data"] = len(absent)
    found["unknown_splits"] = len(info.unknown_splits)
    found["version_differs"] = info.version.startswith("v3") != (len(named) < len(paths))
    found["data_path_differs"] = not _is_where_it_should_be(dataset, paths[0])
    widths = {column.path: column.width for column in columns_of(dataset) if column.holds == "numbers"}
    shapes = {name: feature.width for name, feature in info.features.items() if feature.shape}
    found["shape_differs"] = sum(shapes.get(name, width) != width for name, width in widths.items() if width is not None)
    return Counts({FOUND + name: int(count) for name, count in found.items() if count})


def _is_where_it_should_be(dataset: Dataset, path: str) -> bool:
    numbers = file_numbers(dataset.relative(path))
    chunk, number = numbers if len(numbers) == 2 else (0, 0)
    episode = numbers[0] if len(numbers) == 1 else 0
    template = dataset.info.data_path or USUAL_DATA[len(numbers) == 2]
    values = {"chunk_index": chunk, "file_index": number, "episode_chunk": episode // dataset.info.chunk, "episode_index": episode}
    return fill(template, **values) == dataset.relative(path)


def count_in_file(dataset: Dataset, path: str, runs: list[Run]) -> Counts:
    """Count the episodes that meta/ places in a multi-episode file but that are not in it."""
    numbers, there = file_numbers(dataset.relative(path)), {run.episode for run in runs}
    absent = [index for index, each in dataset.listed.items() if each.file == numbers and index not in there]
    return Counts({f"{FOUND}episodes_without_data": len(absent)} if absent else {})


def count_in_episode(dataset: Dataset, episode: int, rows: pa.Table, times: F64) -> Counts:
    """Differences to count for one episode."""
    info, listed, found, names = dataset.info, dataset.listed.get(episode), Counts(), rows.column_names
    found["unlisted_episodes"] = bool(dataset.listed) and listed is None
    found["length_differs"] = listed is not None and listed.length not in (None, rows.num_rows)
    found["episodes_in_no_split"] = bool(info.splits) and info.split_of(episode) is None
    if EPISODE in names:
        found["episode_index_differs"] = bool((values(rows, EPISODE) != episode).any())
    if FRAME in names:
        found["frame_index_differs"] = not np.array_equal(values(rows, FRAME), np.arange(rows.num_rows))
    if DONE in names:
        found["done_inside"] = int((values(rows, DONE)[:-1] > 0).sum())
    found.update(_of_times(times, info.fps))
    return Counts({FOUND + name: int(count) for name, count in found.items() if count})


def _of_times(times: F64, fps: float | None) -> dict[str, int]:
    if len(times) < 2:
        return {}
    steps, usual = np.diff(times), period(times)
    before = np.fmax.accumulate(times)[:-1]
    return {
        "timestamps_not_rising": int((~(times[1:] > before)).sum()),
        "timestamp_gaps": int((steps > 1.5 * usual).sum()) if usual else 0,
        "fps_differs": int(bool(fps and usual and abs(usual * fps - 1) > 0.02)),
    }


def period(times: F64) -> float:
    """The typical time between steps in seconds; 0 if no two times rise."""
    steps = np.diff(times)
    rising = steps[np.isfinite(steps) & (steps > 0)]
    return float(np.median(rising)) if len(rising) else 0.0
