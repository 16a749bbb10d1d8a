"""Many ranges of objects, fetched before they are asked for: one at a time, each would wait for the store's first byte.

Ranges that lie near one another are fetched as one, in whatever order they are taken.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from threading import Lock

from rt2data.io import location
from rt2data.io.location.base import Range
from rt2data.io.location.object_file import LARGEST
from rt2data.io.location.requests import AT_ONCE, in_thread

Buffer = bytes | memoryview
Found = dict[Range, Buffer]

BUDGET = 128 << 20
"""Bytes under way at once, of one source in one worker."""
GAP = 256 << 10
"""A gap between two ranges that is read over: a request takes as much processor time as so many bytes (docs/scaling.md)."""
KEPT = 400 << 20
"""Bytes that are fetched, or under way, and not yet taken."""
HEADS = 64
"""Objects of unknown size that are fetched ahead."""


@dataclass(eq=False)
class _Run:
    """Neighbouring ranges that are fetched as one, in the order of their places."""

    whole: Range
    parts: list[Range]
    answer: Future[Found] | None = None
    found: Found | None = None

    @cached_property
    def is_dense(self) -> bool:
        """Whether it is kept as it is, which spares a copy: at most a third of it is gaps."""
        return 3 * sum(each.length for each in self.parts) >= 2 * self.whole.length

    @cached_property
    def kept(self) -> int:
        """Bytes that are held once it is fetched."""
        return self.whole.length if self.is_dense else sum(each.length for each in self.parts)

    def fetch(self) -> Found:
        """The bytes of each range; where much is gaps, in memory of their own."""
        whole, start = _read(self.whole), self.whole.start
        parts = {each: whole[each.start - start : each.start - start + each.length] for each in self.parts}
        self.found = dict(parts) if self.is_dense else {each: bytes(part) for each, part in parts.items()}
        return self.found

    def release(self, part: Range) -> int:
        """Give up a part; how many bytes are free now. Raises KeyError."""
        assert self.found is not None
        del self.found[part]
        return part.length if not self.is_dense else 0 if self.found else self.whole.length


class Ahead:
    """Ranges that will be taken in about the order in which they are announced, each as often as it is.

    Those that lie near one another, and are announced within `KEPT` bytes, are fetched as one, whenever they are taken.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._forget()

    def _forget(self) -> None:
        self._runs: dict[Range, _Run] = {}
        self._uses: Counter[Range] = Counter()
        self._waiting: deque[_Run] = deque()
        self._under_way = self._count = self._held = 0

    def want(self, ranges: Iterable[Range]) -> None:
        """Begin to fetch these. What was wanted before and not taken is given up: it was for a shard that failed."""
        with self._lock:
            self._forget()
            self._uses = Counter(ranges)
            self._runs = {each: run for part in _parts(self._uses) for run in _joined(part) for each in run.parts}
            self._waiting = deque(dict.fromkeys(map(self._runs.__getitem__, self._uses)))
            self._begin()

    def take(self, wanted: Range) -> Buffer:
        """The bytes of a range, whether it was announced or not. Raises OSError, SourceChangedError."""
        run = self._runs.get(wanted)
        if run is None:
            return in_thread(_read, wanted).result()
        found = (run.found or self._answer_of(run).result())[wanted]
        self._uses[wanted] -= 1
        if not self._uses[wanted]:
            self._give_up(wanted, run)
        return found

    def _give_up(self, wanted: Range, run: _Run) -> None:
        """Forget a range that is not needed again."""
        del self._runs[wanted]
        if free := run.release(wanted):
            with self._lock:
                self._held -= free
                self._begin()

    def _answer_of(self, run: _Run) -> Future[Found]:
        """Of a run that is needed now: it does not wait for its turn."""
        with self._lock:
            if run.answer is None:
                self._waiting.remove(run)
                self._start(run)
            assert run.answer is not None
            return run.answer

    def _begin(self) -> None:
        """Start as many runs as fit, in the order in which they are needed first."""
        while self._waiting and self._count < AT_ONCE and self._fits(self._waiting[0]):
            self._start(self._waiting.popleft())

    def _fits(self, run: _Run) -> bool:
        return not self._held or (self._under_way + run.whole.length <= BUDGET and self._held + run.kept <= KEPT)

    def _start(self, run: _Run) -> None:
        self._under_way, self._count = self._under_way + run.whole.length, self._count + 1
        self._held += run.kept
        run.answer = in_thread(self._fetched, run, self._waiting)

    def _fetched(self, run: _Run, waiting: deque[_Run]) -> Found:
        """In a thread: fetch a run, then begin with those that fit now."""
        try:
            return run.fetch()
        finally:
            with self._lock:
                if waiting is self._waiting:  # else it was for what was given up
                    self._under_way, self._count = self._under_way - run.whole.length, self._count - 1
                    self._begin()


def _parts(ranges: Iterable[Range]) -> Iterator[list[Range]]:
    """Ranges that follow one another, of together at most `KEPT` bytes."""
    part, size = list[Range](), 0
    for each in ranges:
        if part and size + each.length > KEPT:
            yield part
            part, size = [], 0
        part.append(each)
        size += each.length
    yield part


def _joined(ranges: Iterable[Range]) -> list[_Run]:
    """Ranges that lie near one another, together."""
    found = list[_Run]()
    for each in sorted(ranges):
        last = found[-1] if found else None
        if last is not None and _follows(last.whole, each):
            last.whole = last.whole._replace(length=each.start + each.length - last.whole.start)
            last.parts.append(each)
        else:
            found.append(_Run(each, [each]))
    return found


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
    return same and 0 <= gap <= GAP and each.start + each.length - run.start <= LARGEST


def _read(wanted: Range) -> memoryview:
    body, name = location.resolve(wanted.name)
    return memoryview(body.read_range(wanted._replace(name=name)))
