"""A replay buffer in a zarr store: its features, the ends of its episodes, and the content of an episode."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rt2data.errors import DataError, UsageError
from rt2data.read.features import Part
from rt2data.read.log import Column, LogLayout
from rt2data.read.recorded import EpisodeFault, Recorded
from rt2data.read.zarr.arrays import Array, all_arrays, array_at, attributes
from rt2data.read.zarr.reading import Frame, Frames, Unpacked, Values
from rt2data.read.zarr.store import Store
from rt2data.records import F32, Image, Unit

DATA, META = "data", "meta"
ENDS = f"{META}/episode_ends"
TIMES = (f"{DATA}/timestamp", f"{DATA}/timestamps")
MAX_EPISODES = 10_000_000


class Buffer:
    """The episodes of a store."""

    def __init__(self, store: Store, layout: LogLayout) -> None:
        self.values, self.arrays, self.layout = Values(store), arrays_of(store, layout), layout
        self.ends = read_ends(store, self.values)
        self.words = _said(store, layout.instruction, len(self.ends))
        self._frames = {name: Frames(self.values, self.arrays[path]) for name, path in layout.cameras.items()}

    def places(self, path: str, part: Unit) -> range:
        """The chunks of an array, along its first dimension, that contain the episodes of a part."""
        about_episodes, stored = path.startswith(f"{META}/"), self.arrays[path].stored
        start, stop = (part.start, part.stop) if about_episodes else (begin(self.ends, part.start), begin(self.ends, part.stop))
        return range(start // stored, -(-stop // stored))

    def read(self, number: int) -> Recorded:
        """One episode. Raises EpisodeFault."""
        start, stop = begin(self.ends, number), int(self.ends[number])
        if start == stop:
            raise EpisodeFault("empty_episode", "it has no steps")
        try:
            return Recorded(
                action=self._joined(self.layout.action, start, stop),
                images=Images(self._frames, start, stop),
                instruction=self._instruction(number, start, stop),
                state=self._joined(self.layout.state, start, stop) if self.layout.state else None,
                timestamps=self._times(start, stop),
                success=self._success(number, start, stop),
                reward=None if self.layout.reward is None else self._column(self.layout.reward, start, stop),
            )
        except Unpacked as error:
            raise EpisodeFault("corrupt_chunk", str(error), stop - start) from None

    def _entries(self, path: str, start: int, stop: int) -> NDArray[Any]:
        return self.values.rows(self.arrays[path], start, stop).reshape(stop - start, -1)

    def _joined(self, parts: Sequence[Part], start: int, stop: int) -> F32:
        columns = [self._entries(part.path, start, stop)[:, part.start : part.stop] for part in parts]
        with np.errstate(over="ignore"):  # overflow becomes Inf, which `standardize` detects
            return np.concatenate(columns, axis=1, dtype=np.float32, casting="unsafe")

    def _instruction(self, number: int, start: int, stop: int) -> str | list[str]:
        path = self.layout.instruction
        if self.words is not None:
            return self.words[number]
        if path is None:
            return ""
        array = self.arrays[path]
        if path.startswith(f"{META}/"):
            return str(self.values.rows(array, number, number + 1).reshape(-1)[0])
        return [str(each) for each in self.values.rows(array, start, stop).reshape(-1)]

    def _times(self, start: int, stop: int) -> Sequence[float] | None:
        path = next((path for path in TIMES if path in self.arrays), None)
        return None if path is None else self._column(path, start, stop)

    def _column(self, path: str, start: int, stop: int) -> list[float]:
        found: list[float] = self._entries(path, start, stop).astype(np.float64)[:, 0].tolist()
        return found

    def _success(self, number: int, start: int, stop: int) -> bool | None:
        path = self.layout.success
        if path is None:
            return None
        if path.startswith(f"{META}/"):
            return bool(self._entries(path, number, number + 1)[0, 0] > 0)
        return bool((self._entries(path, start, stop) > 0).any())


class Images(Sequence[tuple[Image, ...]]):
    """The images of each step of an episode, created on demand."""

    def __init__(self, frames: Mapping[str, Frames], start: int, stop: int) -> None:
        self._frames, self._start, self._stop = frames, start, stop

    def __len__(self) -> int:
        return self._stop - self._start

    def __getitem__(self, step: Any) -> Any:
        return tuple(Image(name, Frame(frames, self._start + step)) for name, frames in self._frames.items())


def episode_count(store: Store) -> int:
    found = array_at(store, ENDS)
    if found is None or len(found.shape) != 1 or found.dtype is None or found.dtype.kind not in "iu":
        raise UsageError(f"the zarr store has no array {ENDS} of whole numbers", store.path, "rt2data reads replay buffers only")
    if found.shape[0] > MAX_EPISODES:
        raise DataError(f"{ENDS} says that there are {found.shape[0]:,} episodes", store.path)
    return found.shape[0]


def columns_of(store: Store, episodes: int) -> Iterator[Column]:
    seen = set[str]()
    for group in (DATA, META):
        for array in all_arrays(store, group):
            about_steps = group == DATA
            if array.holds and (about_steps or (array.shape[0] == episodes and array.path != ENDS)):
                seen.add(array.path)
                yield Column(array.path, array.holds, array.width if array.holds == "numbers" else None, array.detail)
    for path, words in _written(store, episodes).items():
        if path not in seen:
            yield Column(path, "words", None, "of the store" if isinstance(words, str) else "of each episode")


def _written(store: Store, episodes: int) -> dict[str, str | list[str]]:
    """Texts in group attributes: one text, or one per episode."""
    found: dict[str, str | list[str]] = {}
    for group in ("", DATA, META):
        for name, value in attributes(store, group).items():
            path = f"{group}/{name}" if group else name
            if isinstance(value, str) or (
                isinstance(value, list) and len(value) == episodes and all(isinstance(each, str) for each in value)
            ):
                found[path] = value
    return found


def _said(store: Store, path: str | None, episodes: int) -> list[str] | None:
    """The instruction of each episode, if it is an attribute."""
    if path is None or array_at(store, path) is not None:
        return None
    found = _written(store, episodes)[path]
    return [found] * episodes if isinstance(found, str) else found


def numbers_of(layout: LogLayout) -> list[str]:
    return [part.path for part in (*layout.action, *layout.state)] + ([layout.reward] if layout.reward else [])


def paths_of(layout: LogLayout) -> list[str]:
    """The distinct features to read."""
    more = [path for path in (layout.instruction, layout.success) if path is not None]
    return list(dict.fromkeys([*numbers_of(layout), *more, *layout.cameras.values()]))


def arrays_of(store: Store, layout: LogLayout) -> dict[str, Array]:
    """The arrays to read, by path."""
    found = {path: array_at(store, path) for path in (*paths_of(layout), *TIMES)}
    there = {path: array for path, array in found.items() if array is not None}
    return {path: array for path, array in there.items() if path not in TIMES or (array.holds == "numbers" and array.width == 1)}


def read_ends(store: Store, values: Values) -> NDArray[np.int64]:
    """Where episodes end. Raises DataError if the ends do not rise."""
    array = array_at(store, ENDS)
    if array is None or array.unreadable:
        raise DataError(f"{ENDS} cannot be read: {array.unreadable if array else 'it is not there'}", store.path)
    try:
        found = values.rows(array, 0, episode_count(store)).astype(np.int64)
    except Unpacked as error:
        raise DataError(f"damaged: {error}", store.path, "fetch it again") from None
    falls = np.flatnonzero(np.diff(found, prepend=0) < 0)
    if len(falls):
        at = int(falls[0])
        raise DataError(f"{ENDS} does not rise: {found[at]} of episode {at} follows {begin(found, at)}", store.path)
    return found


def begin(ends: NDArray[np.int64], number: int) -> int:
    """The first step of an episode."""
    return int(ends[min(number, len(ends)) - 1]) if min(number, len(ends)) else 0


def check_lengths(store: Store, arrays: Mapping[str, Array], ends: NDArray[np.int64]) -> None:
    """Raises DataError if an array ends before the last episode."""
    total = begin(ends, len(ends))
    for path, array in arrays.items():
        if path.startswith(f"{DATA}/") and array.shape[0] < total:
            what = f"{path} has {array.shape[0]:,} entries, and the last episode ends behind step {total:,}"
            raise DataError(what, store.path, "the store is cut: fetch it again")


def steps_behind(arrays: Mapping[str, Array], ends: NDArray[np.int64], part: Unit) -> int:
    """The number of steps that all arrays have after the last episode, if it is in this part; otherwise 0."""
    steps = [array.shape[0] for path, array in arrays.items() if path.startswith(f"{DATA}/")]
    return max(0, min(steps, default=0) - begin(ends, len(ends))) if part.stop == len(ends) else 0
