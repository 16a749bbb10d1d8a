"""Examples of any recognized path, by number: read on demand, without an initial scan."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from rt2data.errors import DataError
from rt2data.records import Kind, Region

ImageData = bytes | memoryview | NDArray[np.uint8]
"""Encoded, or RGB pixels uint8[height, width, 3]."""
KEPT = 64
"""Examples cached for going back, if reading is only possible in order."""
T = TypeVar("T")


class ActionValue(NamedTuple):
    """One number of an action, decoded, in its unit; bounds are None where unknown."""

    name: str
    unit: str
    value: float
    lo: float | None = None
    hi: float | None = None
    bin: int | None = None  # of the codec


class Token(NamedTuple):
    """One token id, whether the loss counts it, and its spelling if the tokenizer is available."""

    id: int
    in_loss: bool
    word: str = ""


class ChunkAction(NamedTuple):
    """One action of a chunk, as stored."""

    values: Sequence[float]
    pad: bool  # it repeats the last action


@dataclass(frozen=True, slots=True)
class Seen:
    """One example, as far as known."""

    number: int
    key: str
    kind: Kind
    source: str
    split: str
    group: str  # episode or image
    prompt: str
    target: str
    images: Sequence[tuple[str, ImageData]] = ()  # existing images, with names
    absent: Sequence[str] = ()  # names of slots without an image
    fault: str = ""  # why an image is missing
    camera: str = ""
    step: int | None = None
    steps: int | None = None
    epoch: int | None = None
    answers: Sequence[str] = ()
    terminate: bool | None = None
    action: Sequence[ActionValue] = ()
    chunk: Sequence[ChunkAction] = ()  # if there is more than one action
    messages: Sequence[tuple[str, str]] = ()  # of a conversation: role and text
    notes: Sequence[tuple[str, str]] = ()  # of a robot step: name and text
    original: str = ""  # the log's own instruction, if another was chosen
    tokens: Sequence[Token] = ()
    legend: str = ""  # meaning of the target's terminate token
    regions: Sequence[Region] = ()  # boxes and points of the images

    @property
    def image(self) -> ImageData | None:
        """The first image."""
        return self.images[0][1] if self.images else None

    @property
    def place(self) -> tuple[str, str]:
        """Source and episode."""
        return self.source, self.group


@dataclass(frozen=True)
class FilmStrip:
    """The steps of one episode in order, as numbers of `examples`; `here` is the position of the requested step."""

    examples: Examples
    numbers: Sequence[int]
    here: int


class Examples(ABC):
    """Examples, addressed by number from 0."""

    @property
    @abstractmethod
    def total(self) -> int | None:
        """The number of examples; None if unknown until all are read."""

    @property
    @abstractmethod
    def sources(self) -> Mapping[str, Kind]:
        """The sources of the examples."""

    @abstractmethod
    def at(self, number: int, whole: bool = True) -> Seen:
        """One example; unless `whole`, possibly without image, action and tokens.

        Raises IndexError past the end, DataError for damage.
        """

    def source_of(self, number: int) -> str | None:
        """The source of an example, if known without reading it."""
        return next(iter(self.sources)) if len(self.sources) == 1 else None

    def film(self, seen: Seen) -> FilmStrip | None:
        """The episode of an example; None if its steps cannot be found."""
        return None


@dataclass
class Stretches(Generic[T]):
    """Items in sequences (shards, raw files), each of which can only be read from its start.

    `starts` are the numbers of the sequences' first items, as far as known, with the total last; reading extends them. Going
    forward, or back a little, is cheap; going far back re-reads one sequence.
    """

    openers: Sequence[Callable[[], Iterator[T]]]
    starts: list[int] = field(default_factory=lambda: [0])
    _stretch: int = -1
    _next: int = 0
    _reading: Iterator[T] = field(default_factory=lambda: iter(()))
    _kept: OrderedDict[int, T] = field(default_factory=OrderedDict)

    @property
    def total(self) -> int | None:
        """The number of items, once known."""
        return self.starts[-1] if len(self.starts) > len(self.openers) else None

    def at(self, number: int) -> T:
        """The item with this number. Raises IndexError past the end, DataError if a sequence ends early."""
        if number < 0:
            raise IndexError(number)
        if number not in self._kept:
            self._read_to(number)
        if number not in self._kept:
            raise DataError(f"there is no example {number:,}: a shard or file holds fewer than it should", do="verify the mixture")
        return self._kept[number]

    def _read_to(self, number: int) -> None:
        stretch = bisect_right(self.starts, number) - 1
        if stretch >= len(self.openers):
            raise IndexError(number)
        if number < self._next or stretch > self._stretch:
            self._open(stretch)
        while self._next <= number:
            self._take()

    def _open(self, stretch: int) -> None:
        self._stretch, self._next, self._reading = stretch, self.starts[stretch], self.openers[stretch]()

    def _take(self) -> None:
        """Read the next item, opening the next sequence if necessary."""
        for found in self._reading:
            self._kept[self._next] = found
            self._kept.move_to_end(self._next)
            self._next += 1
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return
        after = self._stretch + 1
        if len(self.starts) == after:
            self.starts.append(self._next)
        if after == len(self.openers):
            raise IndexError(self._next)
        self._open(after)


def dimensions(
    names: Sequence[tuple[str, str]], values: Sequence[float], bounds: Sequence[tuple[float, float]] = ()
) -> list[ActionValue]:
    """Values with their names, units and bounds; missing names are replaced by numbers."""
    named = [*names, *((str(i), "") for i in range(len(names), len(values)))]
    return [ActionValue(*named[i], value, *(bounds[i] if i < len(bounds) else (None, None))) for i, value in enumerate(values)]


def counted(answers: Sequence[str]) -> str:
    """Answers with their counts, the most common first."""
    return ", ".join(answer if count == 1 else f"{answer} x{count}" for answer, count in Counter(answers).most_common())
