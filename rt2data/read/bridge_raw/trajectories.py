"""Finds trajectories, and reads them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rt2data.errors import UsageError
from rt2data.io import location
from rt2data.io.location import is_remote
from rt2data.io.location.base import Stat
from rt2data.read.bridge_raw.pickles import MAX_BYTES, Columns, unpickle
from rt2data.read.episode_files import ImagesByName, Listing, by_numbers, folders_in, list_files, short_hash
from rt2data.read.features import Part
from rt2data.read.join.files import ImageReader
from rt2data.read.log import Column, LogLayout
from rt2data.read.recorded import EpisodeFault, Recorded
from rt2data.records import F32

OBSERVED, DECIDED, WORDS = "obs_dict", "policy_out", "lang.txt"
PICKLES = (f"{OBSERVED}.pkl", f"{DECIDED}.pkl")
TIME = f"{OBSERVED}/time_stamp"
LATENT_UNTIL = date(2021, 7, 23)
"""Before this date images lagged by one step (bridge_data_v2, data_processing/bridgedata_raw_to_numpy.py)."""
MAX_WIDTH = 1024
_LEVELS = 10
_IMAGE = re.compile(r"images(\d{1,3})/im_(\d{1,9})\.(?:jpe?g|png)")
_DATE = re.compile(r"(\d{4})-(\d{2})-(\d{2})_(\d{2})-(\d{2})-(\d{2})")
_PLACE = re.compile(r"(?:traj_group(\d{1,5})/)?traj(\d{1,6})$")
_NO_FOLDERS = re.compile(r"(?:depth_)?images\d*")


def is_part(name: str) -> bool:
    """Whether a trajectory's file, given by its relative path, is read."""
    return name in PICKLES or name == WORDS or _IMAGE.fullmatch(name) is not None


def trajectories_below(folder: str, levels: int = _LEVELS) -> Iterator[str]:
    """Folders that contain a trajectory pickle, ordered by the numbers in their paths. Raises DataError for a link."""
    if any(location.is_file(f"{folder}/{name}") for name in PICKLES):
        yield folder
    elif levels:
        for below in folders_in(folder):
            if not _NO_FOLDERS.fullmatch(below.rpartition("/")[2]):
                yield from trajectories_below(below, levels - 1)


def listings(root: str) -> list[Listing]:
    """The files of all trajectories below a folder."""
    if not is_remote(root):
        return [list_files(folder, is_part) for folder in trajectories_below(root)]
    found: dict[str, dict[str, Stat]] = {}
    for path, stat in location.files_below(root):  # one listing for all folders
        parts = path.split("/")
        for cut in (1, 2):
            name = "/".join(parts[-cut:])
            if is_part(name):
                found.setdefault("/".join(parts[:-cut]), {})[name] = stat
    there = [Listing(folder, files) for folder, files in found.items() if any(name in files for name in PICKLES)]
    return sorted(there, key=lambda each: [by_numbers(part) for part in each.folder.split("/")])


def mark_of(listing: Listing) -> str:
    """The file that stands for a trajectory."""
    return next(listing.path(name) for name in PICKLES if name in listing.files)


def recorded_on(folder: str) -> date | None:
    """The day in a path, such as 2021-06-01_12-30-00; None if it has none."""
    found = _DATE.findall(folder)
    try:
        return date(*map(int, found[-1][:3])) if found else None
    except ValueError:
        return None


def trajectory_name(root: str, folder: str) -> str:
    """An episode name from the recording time, group and number, and a hash of the relative path: at most 40 characters."""
    inside = folder[len(root.rstrip("/")) + 1 :] or Path(folder).name
    when, place = _DATE.findall(folder), _PLACE.search(folder)
    day = "".join(when[-1][:3]) + "-" + "".join(when[-1][3:]) + "-" if when else ""
    where = f"g{place[1] or 0}-t{place[2]}-" if place else ""
    return f"{day}{where}{short_hash(inside)}"


def columns_of(listing: Listing) -> Iterator[Column]:
    """The numeric columns of a trajectory. Raises EpisodeFault."""
    for path, values in _numbers(*_unpickled(listing)).items():
        yield Column(path, "numbers", int(np.prod(values.shape[1:])), f"{values.dtype}{list(values.shape[1:])}")


def cameras_of(listing: Listing) -> dict[str, dict[int, str]]:
    """The image files of each camera, by number."""
    found: dict[str, dict[int, str]] = {}
    for name in sorted(listing.files, key=by_numbers):
        if image := _IMAGE.fullmatch(name):
            found.setdefault(f"images{image[1]}", {})[int(image[2])] = name
    return found


def _unpickled(listing: Listing) -> tuple[Columns, Columns]:
    for name in PICKLES:
        if name not in listing.files:
            raise EpisodeFault("missing_pickle", f"{listing.path(name)} is not there")
        if listing.files[name].size > MAX_BYTES:
            raise EpisodeFault("refused_pickle", f"{name} has more than {MAX_BYTES >> 20} MiB")
    first, second = (location.read_bytes(listing.path(name)) for name in PICKLES)
    return unpickle(first, second)


def _numbers(observed: Columns, decided: Columns) -> dict[str, NDArray[Any]]:
    """The arrays with at most `MAX_WIDTH` numbers per entry, by path."""
    found = {
        f"{group}/{name}": values for group, named in ((OBSERVED, observed), (DECIDED, decided)) for name, values in named.items()
    }
    return {path: values for path, values in found.items() if values.ndim and np.prod(values.shape[1:]) <= MAX_WIDTH}


def read_trajectory(listing: Listing, layout: LogLayout, every_camera: bool, late: int, reader: ImageReader) -> Recorded:
    """The steps of a trajectory: one action per observation except the last. Raises EpisodeFault.

    `late` is by how many steps observations lag: 1 pairs each action with the observation after it.
    """
    numbers = _numbers(*_unpickled(listing))
    steps = _actions(numbers, layout) - late
    if steps < 1:
        raise EpisodeFault("empty_episode", f"{steps + late} actions")
    columns = _Aligned(numbers, steps, late)
    images = ImagesByName(listing, _names(listing, layout, every_camera, steps, late), reader)
    images.expect()
    return Recorded(
        action=columns.joined(layout.action),
        images=images if len(images) else [()] * steps,
        instruction=_words(listing) if layout.instruction else "",
        state=columns.joined(layout.state) if layout.state else None,
        timestamps=columns.one(TIME) if TIME in numbers else None,
    )


def _actions(numbers: Mapping[str, NDArray[Any]], layout: LogLayout) -> int:
    """The number of actions. Raises EpisodeFault unless each observation except the last has one."""
    lengths = {path: len(values) for path, values in numbers.items() if path in _used(layout)}
    decided = {length for path, length in lengths.items() if path.startswith(f"{DECIDED}/")}
    observed = {length - 1 for path, length in lengths.items() if path.startswith(f"{OBSERVED}/")}
    missing = _used(layout) - lengths.keys()
    if missing:
        raise EpisodeFault("missing_feature", f"there is no {', '.join(sorted(missing))}", max(lengths.values(), default=1))
    if len(decided | observed) != 1:
        said = ", ".join(f"{path} {length}" for path, length in lengths.items())
        raise EpisodeFault("ragged_episode", f"not one action for each observation but the last: {said}", max(lengths.values()))
    return (decided | observed).pop()


def _used(layout: LogLayout) -> set[str]:
    return {part.path for part in (*layout.action, *layout.state)}


class _Aligned:
    """Columns, each sliced so that its entries match the steps."""

    def __init__(self, numbers: Mapping[str, NDArray[Any]], steps: int, late: int) -> None:
        self._numbers, self._steps, self._late = numbers, steps, late

    def _rows(self, path: str) -> NDArray[Any]:
        start = self._late if path.startswith(f"{OBSERVED}/") else 0
        found = self._numbers[path][start : start + self._steps]
        return found.reshape(len(found), -1)

    def joined(self, parts: Sequence[Part]) -> F32:
        """float32[steps, D]."""
        with np.errstate(over="ignore"):  # overflow becomes Inf, which `standardize` detects
            columns = [self._rows(part.path)[:, part.start : part.stop] for part in parts]
            return np.concatenate(columns, axis=1, dtype=np.float32, casting="unsafe")

    def one(self, path: str) -> list[float] | None:
        """One number per step; None if there is none."""
        found = self._rows(path)
        values: list[float] = found[:, 0].astype(np.float64).tolist() if found.shape[1:] == (1,) else []
        return values if len(values) == self._steps else None


def _names(listing: Listing, layout: LogLayout, every_camera: bool, steps: int, late: int) -> dict[str, list[str]]:
    """The image files of each camera in step order; for a missing image, the name of a JPEG."""
    there, named = cameras_of(listing), {path: name for name, path in layout.cameras.items()}
    chosen = {path: named.get(path, path) for path in there if every_camera or path in named}
    return {
        name: [there[path].get(step, f"{path}/im_{step}.jpg") for step in range(late, late + steps)]
        for path, name in chosen.items()
    }


def annotation_lines(listing: Listing) -> list[str]:
    """The descriptions of a trajectory, without the lines of confidence. Raises EpisodeFault."""
    if WORDS not in listing.files:
        return []
    try:
        lines = location.read_range(listing.path(WORDS), 0, 1 << 16).decode().splitlines()
    except UnicodeDecodeError as error:
        raise EpisodeFault("bad_text", f"{WORDS}: {error}") from None
    return [line.strip() for line in lines if line.strip() and "confidence" not in line.lower()]


def _words(listing: Listing) -> str:
    return next(iter(annotation_lines(listing)), "")


def latency(setting: int | str, folder: str) -> int:
    """By how many steps a trajectory's observations lag. Raises UsageError if the recording date is unknown."""
    if isinstance(setting, int):
        return setting
    day = recorded_on(folder)
    if day is None:
        raise UsageError("the path does not say when it was recorded", folder, "set `camera_latency` to 0 or 1")
    return int(day < LATENT_UNTIL)
