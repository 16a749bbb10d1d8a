"""Converts one episode of an HDF5 log from the datasets of its group to columns over its steps."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rt2data.io.hdf5 import LARGEST, Hdf5Fault, require_size
from rt2data.read.features import Part
from rt2data.read.hdf5.films import FilmFrame, Films, words_of
from rt2data.read.hdf5.group import ATTRIBUTE, EpisodeGroup
from rt2data.read.hdf5.images import Frame, Frames
from rt2data.read.hdf5.layout import TERMINAL, TIMES
from rt2data.read.log import LogLayout
from rt2data.read.recorded import EpisodeFault, Recorded
from rt2data.records import F32, Image


def read_recorded(episode: EpisodeGroup, layout: LogLayout, films: Films) -> Recorded:
    """The columns of an episode; images are read on demand. Raises EpisodeFault."""
    try:
        return _read(episode, layout, films)
    except Hdf5Fault as fault:
        raise EpisodeFault(fault.reason, fault.detail, _steps(episode, layout)) from None


def _steps(episode: EpisodeGroup, layout: LogLayout) -> int:
    """How many steps are lost with a faulty episode, if known."""
    try:
        dataset = episode.dataset(layout.action[0].path)
        with episode.file.reading():
            return max(1, min(len(dataset), LARGEST)) if dataset is not None else 1
    except Hdf5Fault:
        return 1


def _read(episode: EpisodeGroup, layout: LogLayout, films: Films) -> Recorded:
    action = _joined(episode, layout.action)
    total = len(action)
    words = "" if layout.instruction is None else words_of(episode, layout.instruction)
    if isinstance(words, list) and len(words) == 1:
        words = words[0]
    ends = next((found for path in TERMINAL if (found := _optional(episode, path, total))), None)
    return Recorded(
        action=action,
        images=_images(episode, layout, films, total),
        instruction=words or "",
        state=_joined(episode, layout.state) if layout.state else None,
        timestamps=_timestamps(episode, total),
        success=_success(episode, layout.success, total),
        reward=None if layout.reward is None else _optional(episode, layout.reward, total),
        is_terminal=ends is not None and ends[-1] > 0,
    )


def _joined(episode: EpisodeGroup, parts: Sequence[Part]) -> F32:
    """Concatenated numbers of several datasets: float32[T, D]."""
    found = [_numbers(episode, part.path)[:, part.start : part.stop] for part in parts]
    lengths = {part.path: len(each) for part, each in zip(parts, found, strict=True)}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{path} {length}" for path, length in lengths.items())
        raise EpisodeFault("ragged_episode", f"numbers of steps differ: {said}", max(lengths.values()))
    with np.errstate(over="ignore", invalid="ignore"):  # overflow becomes Inf, which `standardize` detects
        return np.concatenate(found, axis=1, dtype=np.float32, casting="unsafe")


def _numbers(episode: EpisodeGroup, path: str) -> NDArray[Any]:
    """All numbers of a dataset: [T, width]. Raises Hdf5Fault if it is missing, or holds something else."""
    dataset = episode.dataset(path)
    if dataset is None:
        raise Hdf5Fault("missing_feature", f"{episode.path} has no {path}")
    with episode.file.reading():
        if dataset.dtype.kind not in "iufb" or not dataset.ndim:
            raise Hdf5Fault("wrong_type", f"{dataset.name} holds {dataset.dtype}{list(dataset.shape)}, no numbers of each step")
        require_size(dataset, LARGEST)
        found: NDArray[Any] = dataset[()]
    return found.reshape(len(found), prod(found.shape[1:]))


def _optional(episode: EpisodeGroup, path: str, total: int) -> list[float] | None:
    """One number per step; None if their count differs. Raises Hdf5Fault if they are damaged."""
    dataset = episode.dataset(path)
    if dataset is None:
        return None
    with episode.file.reading():
        if dataset.size != total or dataset.shape[1:2] not in ((), (1,)) or dataset.dtype.kind not in "iufb":
            return None
        require_size(dataset, LARGEST)
        return [float(value) for value in np.reshape(dataset[()], -1)]


def _timestamps(episode: EpisodeGroup, total: int) -> list[float] | None:
    """Timestamps in seconds, if recorded."""
    found = ((_optional(episode, path, total), unit) for path, unit in TIMES.items())
    return next(([time * unit for time in times] for times, unit in found if times is not None), None)


def _success(episode: EpisodeGroup, path: str | None, total: int) -> bool | None:
    """Whether the episode is marked as a success, at its last step or as a whole; None if unmarked."""
    if path is None:
        return None
    if path.startswith(ATTRIBUTE):
        value = episode.attribute(path)
        return None if value is None or isinstance(value, str | bytes) else value > 0
    found = _optional(episode, path, total) or _optional(episode, path, 1)
    return None if not found else found[-1] > 0


def _images(episode: EpisodeGroup, layout: LogLayout, films: Films, total: int) -> Sequence[tuple[Image, ...]]:
    """The images of each step. A camera that the episode lacks is left out. Raises EpisodeFault if a camera has a different number
    of steps.
    """
    cameras: dict[str, Frames] = {}
    for name, path in layout.cameras.items():
        dataset = episode.dataset(path)
        if dataset is not None:
            cameras[name] = Frames(episode.file, dataset)
    lengths = {name: frames.total for name, frames in cameras.items()}
    if any(length != total for length in lengths.values()):
        said = ", ".join(f"{length} images of {name}" for name, length in lengths.items())
        raise EpisodeFault("ragged_episode", f"{total} actions, {said}", max(total, *lengths.values()))
    filmed = films.opened(episode, layout, total)
    return [
        (
            *(Image(name, Frame(frames, step)) for name, frames in cameras.items()),
            *(Image(name, FilmFrame(film, step)) for name, film in filmed.items()),
        )
        for step in range(total)
    ]
