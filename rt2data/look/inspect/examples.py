"""Examples of whatever was recognised, by number: read when they are looked at, with no scan before the first."""

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
from rt2data.records import Kind

Picture = bytes | memoryview | NDArray[np.uint8]
"""Encoded, or RGB pixels uint8[height, width, 3]."""
KEPT = 64
"""Examples kept of what can only be read forwards, for going back."""
T = TypeVar("T")


class Dimension(NamedTuple):
    """One number of an action, decoded, in its unit; what `lo` and `hi` are is None where nobody said."""

    name: str
    unit: str
    value: float
    lo: float | None = None
    hi: float | None = None
    bin: int | None = None  # what the codec wrote


class Token(NamedTuple):
    """One id, whether the loss counts it, and the vocabulary's spelling where the tokenizer is at hand."""

    id: int
    learned: bool
    word: str = ""


@dataclass(frozen=True, slots=True)
class Seen:
    """One example, as there is to be seen of it."""

    number: int
    key: str
    kind: Kind
    source: str
    split: str
    group: str  # episode, or picture
    prompt: str
    target: str
    picture: Picture | None = None
    fault: str = ""  # why there is no picture
    camera: str = ""
    step: int | None = None
    steps: int | None = None
    epoch: int | None = None
    answers: Sequence[str] = ()
    terminate: bool | None = None
    action: Sequence[Dimension] = ()
    tokens: Sequence[Token] = ()
    legend: str = ""  # what the terminate word of the target means

    @property
    def place(self) -> tuple[str, str]:
        """Source and episode: what neighbours have in common."""
        return self.source, self.group


@dataclass(frozen=True)
class Film:
    """The steps of one episode in order, as numbers of `examples`; `here` is the position of the one that was asked about."""

    examples: Examples
    numbers: Sequence[int]
    here: int


class Examples(ABC):
    """Addressed by number from 0."""

    @property
    @abstractmethod
    def total(self) -> int | None:
        """How many there are; None where only reading to the end tells."""

    @property
    @abstractmethod
    def sources(self) -> Mapping[str, Kind]:
        """Sources that examples come from."""

    @abstractmethod
    def at(self, number: int, whole: bool = True) -> Seen:
        """One example; where not the `whole` is asked for, perhaps without picture, action and tokens.

        Raises IndexError past the end, DataError for damage.
        """

    def source_of(self, number: int) -> str | None:
        """The source of an example, where it can be told without reading it."""
        return next(iter(self.sources)) if len(self.sources) == 1 else None

    def film(self, seen: Seen) -> Film | None:
        """The episode of an example, where its steps can be found."""
        return None


@dataclass
class Stretches(Generic[T]):
    """Things that lie in stretches (shards, raw files), each of which can only be read from its start.

    `starts` are the numbers of the first things of the stretches, as far as they are known, and the total last; reading on adds
    to them. Going on is cheap, going back a little too; going far back reads one stretch again.
    """

    openers: Sequence[Callable[[], Iterator[T]]]
    starts: list[int] = field(default_factory=lambda: [0])
    _stretch: int = -1
    _next: int = 0
    _reading: Iterator[T] = field(default_factory=lambda: iter(()))
    _kept: OrderedDict[int, T] = field(default_factory=OrderedDict)

    @property
    def total(self) -> int | None:
        """How many things there are, once that is known."""
        return self.starts[-1] if len(self.starts) > len(self.openers) else None

    def at(self, number: int) -> T:
        """The thing of this number. Raises IndexError past the end, DataError where a stretch ends early."""
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
        """The next thing; at the end of a stretch the next stretch."""
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
) -> list[Dimension]:
    """Values with their names, units and bounds; numbers stand for names that are not known."""
    named = [*names, *((str(i), "") for i in range(len(names), len(values)))]
    return [Dimension(*named[i], value, *(bounds[i] if i < len(bounds) else (None, None))) for i, value in enumerate(values)]


def counted(answers: Sequence[str]) -> str:
    """Answers, the commonest first, with how often each was given."""
    return ", ".join(answer if count == 1 else f"{answer} x{count}" for answer, count in Counter(answers).most_common())
