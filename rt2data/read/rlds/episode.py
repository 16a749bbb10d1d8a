"""Converts the decoded features of an RLDS record, which is one episode, to Steps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
from numpy.typing import NDArray

from rt2data.io.tfrecord.columns import ColumnError, TextError, frames, numbers, texts
from rt2data.io.tfrecord.example import Feature
from rt2data.io.tfrecord.features import Leaf
from rt2data.io.tfrecord.wire import MalformedError
from rt2data.read.features import Constant
from rt2data.read.recorded import EpisodeFault
from rt2data.read.rlds.layout import Layout, LeafRange, Numbers, holds_frames, is_one_hot
from rt2data.records import F32, Image, Place, Step


@dataclass(frozen=True, slots=True)
class EpisodeRecord:
    """Where an episode comes from. `offset` is its payload's offset in the file, None if the file is compressed."""

    episode: str
    split: str
    path: str
    offset: int | None

    @property
    def where(self) -> str:
        """The place of the episode, for messages."""
        return f"{self.path}, byte {self.offset or 0}, episode {self.episode}"


def read_steps(record: EpisodeRecord, features: Mapping[str, Feature], layout: Layout) -> Iterator[Step]:
    """The steps of one episode, in order.

    Raises EpisodeFault for an episode to drop.
    """
    cameras = [_images(record, name, leaf, _feature(features, leaf)) for name, leaf in layout.cameras.items()]
    flags = {name: _flag(leaf, _feature(features, leaf)) for name, leaf in layout.flags.items()}
    total = _steps([*cameras, *flags.values()], [*layout.cameras, *flags])
    action = _matrix(layout.action, features, total)
    state = _matrix(layout.state, features, total) if layout.state else [None] * total
    words = _words(layout.instruction, features, total)
    first = _edge(flags.get("is_first"), total, 0)
    last = _edge(flags.get("is_last"), total, total - 1)
    terminal = flags.get("is_terminal") or [False] * total
    success, reward = _successes(layout, features, total), _values(layout.reward, features, total)
    origin = "--".join(_origin(_feature(features, leaf)) for leaf in layout.origin)
    own = "" if layout.number is None else _number(layout.number, _feature(features, layout.number))
    fixed = repeat(None, total), repeat(origin, total), repeat(own, total)  # no timestamps, one origin
    columns = zip(words, action, zip(*cameras, strict=True), state, first, last, terminal, success, reward, *fixed, strict=True)
    for number, column in enumerate(columns):
        yield Step(record.episode, number, total, record.split, *column)


def _feature(features: Mapping[str, Feature], leaf: Leaf) -> Feature:
    """The feature of a leaf; a missing one has no values, as in TFDS."""
    return features.get(leaf.key) or Feature(memoryview(b""), None, 0, 0)


def _images(record: EpisodeRecord, camera: str, leaf: Leaf, feature: Feature) -> list[Image]:
    """One camera's images: byte ranges of the file, or pixels if stored raw."""
    if holds_frames(leaf):
        try:
            return [Image(camera, pixels) for pixels in frames(leaf, feature)]
        except ColumnError as error:
            raise EpisodeFault("wrong_shape", str(error)) from error
    payload, path, base = feature.payload, record.path, record.offset
    if base is None:
        return [Image(camera, payload[start:stop]) for start, stop in feature.spans()]
    return [Image(camera, payload[start:stop], Place(path, base + start, stop - start)) for start, stop in feature.spans()]


def _flag(leaf: Leaf, feature: Feature) -> list[bool]:
    try:
        found: list[bool] = numbers(leaf, feature).astype(np.bool_).reshape(-1).tolist()
    except ColumnError as error:
        raise EpisodeFault("wrong_shape", str(error)) from error
    return found


def _steps(columns: Sequence[Sequence[object]], names: Sequence[str]) -> int:
    """The number of steps, on which cameras and flags must agree."""
    lengths = [len(column) for column in columns]
    if len(set(lengths)) > 1:
        said = ", ".join(f"{name} {length}" for name, length in zip(names, lengths, strict=True))
        raise EpisodeFault("ragged_episode", f"numbers of steps differ: {said}", max(lengths))
    if not lengths[0]:
        raise EpisodeFault("empty_episode", "it has no steps")
    return lengths[0]


def _matrix(columns: Sequence[Numbers], features: Mapping[str, Feature], total: int) -> list[F32]:
    """The concatenated numbers of the columns: `total` rows float32[D]. Shares no memory with the record."""
    parts = [_part(column, features, total) for column in columns]
    with np.errstate(over="ignore"):  # overflow becomes Inf, which `standardize` detects
        return list(np.concatenate(parts, axis=1, dtype=np.float32, casting="unsafe"))


def _part(column: Numbers, features: Mapping[str, Feature], total: int) -> NDArray[np.generic]:
    """Numbers [total, width] of a leaf, a range of it, or a constant."""
    if isinstance(column, Constant):
        return np.full((total, column.width), column.value, np.float32)
    if isinstance(column, LeafRange):
        return _columns(column.leaf, _feature(features, column.leaf), total)[:, column.start : column.stop]
    return _columns(column, _feature(features, column), total)


def _columns(leaf: Leaf, feature: Feature, total: int) -> NDArray[np.generic]:
    """Numbers [total, width] of one leaf. Raises EpisodeFault if their type or count differs from features.json."""
    try:
        found = numbers(leaf, feature)
    except ColumnError as error:
        step = "" if error.step is None else f", step {error.step}"
        raise EpisodeFault("ragged_episode", f"{error}{step}", total) from error
    except MalformedError as error:
        raise EpisodeFault("ragged_episode", f"{leaf.key}: {error}", total) from error
    if len(found) != total:
        raise EpisodeFault("ragged_episode", f"{leaf.key} holds {found.size} values, not {total} steps of {leaf.width}", total)
    return _one_hot(found) if is_one_hot(leaf) else found.reshape(total, -1)


def _successes(layout: Layout, features: Mapping[str, Feature], total: int) -> list[bool | None]:
    """Success marks; a mark for the whole episode is put at its last step."""
    found = [None if value is None else value > 0 for value in _values(layout.success, features, total)]
    if layout.success is None or layout.success.key != "aspects/success":
        return found
    labelled = _values(layout.labelled, features, total)
    return [value if known else None for value, known in zip(found, labelled, strict=True)]


def _values(leaf: Leaf | None, features: Mapping[str, Feature], total: int) -> list[float | None]:
    """One number per step, None if missing or unreadable. A number for the whole episode is put at its last step."""
    nothing: list[float | None] = [None] * total
    if leaf is None:
        return nothing
    try:
        found: list[float] = numbers(leaf, _feature(features, leaf)).reshape(-1).astype(np.float64).tolist()
    except (ColumnError, MalformedError):
        return nothing
    if leaf.per_step:
        return [*found] if len(found) == total else nothing
    return [*nothing[:-1], found[0]] if len(found) == 1 else nothing


def _one_hot(found: NDArray[np.generic]) -> NDArray[np.float32]:
    """[n, 3] -> [n, 1]: the index that is set (0 terminate, 1 continue); NaN unless exactly one is set."""
    rows = found.astype(np.int64)
    valid = (rows.sum(axis=1) == 1) & (rows.max(axis=1) == 1)
    return np.where(valid, rows.argmax(axis=1), np.nan).astype(np.float32)[:, None]


def _words(leaf: Leaf | None, features: Mapping[str, Feature], total: int) -> list[str]:
    """The instruction of every step; an episode's instruction applies to all."""
    if leaf is None:
        return [""] * total
    try:
        found = texts(leaf, _feature(features, leaf))
    except TextError as error:
        raise EpisodeFault("bad_text", str(error), total) from error
    except ColumnError as error:
        raise EpisodeFault("wrong_shape", str(error), total) from error
    if not leaf.per_step:
        found = (found or [""])[:1] * total
    if len(found) != total:
        raise EpisodeFault("ragged_episode", f"{len(found)} instructions for {total} steps", total)
    return found


def _number(leaf: Leaf, feature: Feature) -> str:
    """The number of the episode in its file; empty if invalid."""
    if leaf.kind == "text":
        return _origin(feature)
    try:
        found = numbers(leaf, feature)
    except (ColumnError, MalformedError):
        return ""
    return str(found.reshape(-1)[0]) if found.size == 1 and found.dtype.kind in "iu" else ""


def _origin(feature: Feature) -> str:
    """A text about the episode that is not used in training, so invalid text is not a fault of the episode."""
    try:
        found = feature.spans()[:1] if feature.kind == "bytes" else []
    except MalformedError:
        return ""
    return "".join(bytes(feature.payload[start:stop]).decode("utf-8", "replace") for start, stop in found)


def _edge(flag: list[bool] | None, total: int, position: int) -> list[bool]:
    """A flag as recorded; set by position if the episode never sets it, as in Bridge."""
    if flag is not None and any(flag):
        return flag
    return [number == position for number in range(total)]
