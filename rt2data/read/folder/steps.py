"""Reads an episode from a folder: a line of JSON per step, and image files."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Collection, Iterator, Mapping, Sequence
from io import BufferedReader
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rt2data.errors import DataError
from rt2data.io import location
from rt2data.read.episode_files import ImagesByName, Listing
from rt2data.read.features import Part
from rt2data.read.join.files import ImageReader
from rt2data.read.log import Column, LogLayout
from rt2data.read.recorded import EpisodeFault, Recorded
from rt2data.records import F32, Image

STEPS = "steps.jsonl"
IMAGES = "images"
TIMES = ("timestamp", "time")
MAX_LINE = 4 << 20
_LEVELS = 8
Features = dict[str, Any]
"""The features of a step, by path: `action`, `observation/state`, `images/front`."""


class BadLine(Exception):  # noqa: N818 (a finding about data, not an error of ours)
    """A line that is not a step."""


def read_lines(file: BufferedReader) -> Iterator[tuple[int, Features]]:
    """The steps of an open file and their line numbers, from 1. Empty lines are skipped. Raises BadLine, OSError."""
    number = 0
    while line := file.readline(MAX_LINE + 1):
        number += 1
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        if len(line) > MAX_LINE:
            raise BadLine(f"line {number}: longer than {MAX_LINE >> 20} MiB")
        if line.strip():
            yield number, _step(line, number)


def _step(line: bytes, number: int) -> Features:
    try:
        found = json.loads(line.decode(), object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:  # of ValueError: JSON, UTF-8, a number of thousands of digits, a key twice
        raise BadLine(f"line {number}: {error or 'too deep'}") from None
    if not isinstance(found, dict):
        raise BadLine(f"line {number}: not an object, {{...}}")
    if b"\\u" in line and not _is_text(json.dumps(found, ensure_ascii=False)):
        raise BadLine(f"line {number}: half a surrogate pair, which is no text")
    return dict(_flat("", found, _LEVELS))


def _is_text(found: str) -> bool:
    return re.search("[\ud800-\udfff]", found) is None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _flat(before: str, found: Mapping[str, Any], levels: int) -> Iterator[tuple[str, Any]]:
    for name, value in found.items():
        if isinstance(value, dict):
            if levels:
                yield from _flat(f"{before}{name}/", value, levels - 1)
        elif value is not None:
            yield f"{before}{name}", value


def columns_of(step: Features) -> Iterator[Column]:
    """The features of a step."""
    for path, value in step.items():
        if path.startswith(f"{IMAGES}/"):
            if isinstance(value, str):
                yield Column(path, "images", None, "files")
        elif isinstance(value, str):
            yield Column(path, "words", None, "words")
        elif (numbers := _numbers(value)) is not None:
            yield Column(path, "numbers", len(numbers), f"{len(numbers)} numbers")


def _numbers(value: Any) -> NDArray[np.float64] | None:
    """A number, or the numbers in nested lists, in order; None for anything else."""
    try:
        found = np.asarray(value)
    except ValueError:  # lists of different lengths
        return None
    return found.astype(np.float64).reshape(-1) if found.dtype.kind in "biuf" and found.size else None


def read_episode(listing: Listing, layout: LogLayout, every_camera: bool, reader: ImageReader) -> Recorded:
    """All steps of an episode.

    `every_camera` also reads cameras that the layout does not name. Raises EpisodeFault, or DataError if a step has a different
    number of values than the first in its file.
    """
    collected = _Collected(layout, every_camera, listing.path(STEPS))
    with location.open_file(listing.path(STEPS)) as file:
        try:
            for number, step in read_lines(file):
                collected.add(number, step)
        except BadLine as error:
            raise EpisodeFault("bad_json", str(error), collected.steps + 1) from None
    images = ImagesByName(listing, collected.names, reader)
    images.expect()
    return collected.recorded(images)


class _Collected:
    """Collects the columns of an episode while its lines are read."""

    def __init__(self, layout: LogLayout, every_camera: bool, where: str) -> None:
        self._layout, self._where = layout, where
        self._every, self._cameras = every_camera, {path: name for name, path in layout.cameras.items()}
        self._action, self._state = array("d"), array("d")
        self._widths: dict[str, int] = {}
        self._words: list[str] = []
        self._times: list[float] = []
        self._rewards: list[float] = []
        self._success: bool | None = None
        self.names: dict[str, list[str]] = {name: [] for name in layout.cameras}
        self.steps = 0

    def add(self, number: int, step: Features) -> None:
        """Add the step of one line. Raises EpisodeFault, DataError."""
        where = f"{self._where}, line {number}"
        for parts, column in ((self._layout.action, self._action), (self._layout.state, self._state)):
            for part in parts:
                column.extend(self._part(part, step, where))
        self._words.append(self._said(step))
        self._add_images(step)
        for paths, values in ((TIMES, self._times), ((self._layout.reward,), self._rewards)):
            values.extend(_first_number(paths, step))
        for value in _first_number((self._layout.success,), step):
            self._success = bool(self._success) or value > 0
        self.steps += 1

    def _part(self, part: Part, step: Features, where: str) -> NDArray[np.float64]:
        if part.path not in step:
            raise EpisodeFault("missing_feature", f"{where}: there is no `{part.path}`", self.steps + 1)
        found = _numbers(step[part.path])
        if found is None:
            raise DataError(f"`{part.path}` is not numbers", where)
        if len(found) != self._widths.setdefault(part.path, len(found)):
            raise DataError(f"`{part.path}` has {len(found)} numbers, and {self._widths[part.path]} before", where)
        return found[part.start : part.stop]

    def _said(self, step: Features) -> str:
        """The instruction of a step, or that of the previous step if it has none."""
        path = self._layout.instruction
        found = step.get(path) if path is not None else ""
        if found is None:
            return self._words[-1] if self._words else ""
        return found if isinstance(found, str) else ""

    def _add_images(self, step: Features) -> None:
        for path in step if self._every else ():
            if path.startswith(f"{IMAGES}/") and path not in self._cameras:
                name = path.rpartition("/")[2]
                self._cameras[path] = name = path.replace("/", "_") if name in self.names else name
                self.names[name] = [""] * self.steps
        for path, name in self._cameras.items():
            found = step.get(path, "")
            self.names[name].append(found if isinstance(found, str) else "")

    def recorded(self, images: Sequence[tuple[Image, ...]]) -> Recorded:
        """The episode. Raises EpisodeFault if it is empty."""
        if not self.steps:
            raise EpisodeFault("empty_episode", "it has no steps")
        return Recorded(
            action=self._matrix(self._action),
            images=images if self.names else [()] * self.steps,
            instruction=self._words,
            state=self._matrix(self._state) if self._layout.state else None,
            timestamps=self._times if len(self._times) == self.steps else None,
            success=self._success,
            reward=self._rewards if len(self._rewards) == self.steps else None,
        )

    def _matrix(self, column: array[float]) -> F32:
        with np.errstate(over="ignore"):  # overflow becomes Inf, which `standardize` detects
            return np.frombuffer(column, np.float64).astype(np.float32).reshape(self.steps, -1)


def _first_number(paths: Collection[str | None], step: Features) -> list[float]:
    """The number in the first of some features that the step has, if it is a number."""
    values = [step[path] for path in paths if path in step][:1]
    return [float(value) for value in values if isinstance(value, int | float)]
