"""Many ranges of objects, fetched before they are asked for: one at a time, each would wait for the store's first byte."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from rt2data.io import location
from rt2data.io.location.base import Range
from rt2data.io.location.object_file import LARGEST, NEAR
from rt2data.io.location.objects import AT_ONCE, in_thread

BUDGET = 64 << 20
"""Bytes that are fetched and not yet taken, of one source in one worker."""

HEADS = 64
"""Objects of unknown size that are fetched ahead."""


@dataclass
class _Run:
    """Neighbouring ranges that are fetched as one, and where each lies in it."""

    whole: Range
    parts: deque[Range]
    answer: Future[memoryview] | None = None


class Ahead:
    """Ranges in the order in which they will be taken."""

    def __init__(self) -> None:
        self._waiting: deque[_Run] = deque()
        self._under_way: deque[_Run] = deque()
        self._bytes = 0  # under way

    def want(self, ranges: Iterable[Range]) -> None:
        """Begin to fetch these. What was wanted before and not taken is given up: it was for a shard that failed."""
        self._waiting.clear()
        self._under_way.clear()
        self._bytes = 0
        for each in ranges:
            last = self._waiting[-1] if self._waiting else None
            if last is not None and _follows(last.whole, each):
                last.whole = last.whole._replace(length=each.start + each.length - last.whole.start)
                last.parts.append(each)
            else:
                self._waiting.append(_Run(each, deque([each])))
        self._begin()

    def take(self, wanted: Range) -> memoryview:
        """The bytes of the next range, or of one that nobody announced. Raises OSError, SourceChangedError."""
        first = next(iter(self._under_way), None)
        if first is None or first.parts[0] != wanted:
            return in_thread(_read, wanted).result()
        assert first.answer is not None
        found = first.answer.result()
        first.parts.popleft()
        if not first.parts:
            self._under_way.popleft()
            self._bytes -= first.whole.length
            self._begin()
        inside = wanted.start - first.whole.start
        return found[inside : inside + wanted.length]

    def _begin(self) -> None:
        while self._waiting and len(self._under_way) < AT_ONCE and (not self._under_way or self._bytes < BUDGET):
            run = self._waiting.popleft()
            run.answer = in_thread(_read, run.whole)
            self._bytes += run.whole.length
            self._under_way.append(run)


class Heads:
    """The first bytes of many objects, in the order in which they will be asked for."""

    def __init__(self, names: Sequence[str], length: int) -> None:
        self._waiting, self._length = deque(names), length
        self._under_way: deque[tuple[str, Future[memoryview]]] = deque()

    def read(self, name: str) -> bytes:
        """Those of the next object of this name. Raises OSError."""
        while self._waiting or self._under_way:
            while self._waiting and len(self._under_way) < HEADS:
                following = self._waiting.popleft()
                self._under_way.append((following, in_thread(_read, Range(following, 0, self._length))))
            first, answer = self._under_way.popleft()
            if first == name:
                return bytes(answer.result())
        return bytes(in_thread(_read, Range(name, 0, self._length)).result())


def _follows(run: Range, each: Range) -> bool:
    """Whether a range is fetched together with the run before it."""
    gap = each.start - run.start - run.length
    same = (run.name, run.version) == (each.name, each.version)
    return same and 0 <= gap <= NEAR and each.start + each.length - run.start <= LARGEST


def _read(wanted: Range) -> memoryview:
    body, name = location.resolve(wanted.name)
    return memoryview(body.read_range(wanted._replace(name=name)))
