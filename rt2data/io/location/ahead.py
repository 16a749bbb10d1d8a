"""Prefetches many ranges of objects: read one at a time, each would wait for the store's first byte.

Ranges close to one another are fetched together, whatever the order in which they are taken.
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
"""Maximum bytes in flight, per source and worker."""
GAP = 256 << 10
"""Gaps up to this many bytes are read too: a request costs as much CPU time as this many bytes (docs/scaling.md)."""
KEPT = 400 << 20
"""Maximum bytes fetched or in flight, and not yet taken."""
HEADS = 64
"""Number of objects of unknown size to prefetch."""


@dataclass(eq=False)
class _Run:
    """Neighbouring ranges that are fetched together, sorted by position."""

    whole: Range
    parts: list[Range]
    answer: Future[Found] | None = None
    found: Found | None = None

    @cached_property
    def is_dense(self) -> bool:
        """Whether the run is kept as one buffer, without copying: at most a third of it is gaps."""
        return 3 * sum(each.length for each in self.parts) >= 2 * self.whole.length

    @cached_property
    def kept(self) -> int:
        """Bytes held in memory once the run is fetched."""
        return self.whole.length if self.is_dense else sum(each.length for each in self.parts)

    def fetch(self) -> Found:
        """The bytes of each range; copied to separate memory if the run is mostly gaps."""
        whole, start = _read(self.whole), self.whole.start
        parts = {each: whole[each.start - start : each.start - start + each.length] for each in self.parts}
        self.found = dict(parts) if self.is_dense else {each: bytes(part) for each, part in parts.items()}
        return self.found

    def release(self, part: Range) -> int:
        """Release a part; returns how many bytes became free. Raises KeyError."""
        assert self.found is not None
        del self.found[part]
        return part.length if not self.is_dense else 0 if self.found else self.whole.length


class Ahead:
    """Ranges that will be taken in about the order in which they are announced, and as often.

    Ranges close to one another, and announced within `KEPT` bytes, are fetched together, whenever they are taken.
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
        """Start fetching these. Ranges announced earlier and not taken are dropped: they were for a shard that failed."""
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
        """The result of a run that is needed now: it skips the queue."""
        with self._lock:
            if run.answer is None:
                self._waiting.remove(run)
                self._start(run)
            assert run.answer is not None
            return run.answer

    def _begin(self) -> None:
        """Start as many runs as fit, ordered by when they are first needed."""
        while self._waiting and self._count < AT_ONCE and self._fits(self._waiting[0]):
            self._start(self._waiting.popleft())

    def _fits(self, run: _Run) -> bool:
        return not self._held or (self._under_way + run.whole.length <= BUDGET and self._held + run.kept <= KEPT)

    def _start(self, run: _Run) -> None:
        self._under_way, self._count = self._under_way + run.whole.length, self._count + 1
        self._held += run.kept
        run.answer = in_thread(self._fetched, run, self._waiting)

    def _fetched(self, run: _Run, waiting: deque[_Run]) -> Found:
        """Fetch a run (in a thread), then start those that now fit."""
        try:
            return run.fetch()
        finally:
            with self._lock:
                if waiting is self._waiting:  # otherwise it belonged to dropped ranges
                    self._under_way, self._count = self._under_way - run.whole.length, self._count - 1
                    self._begin()


def _parts(ranges: Iterable[Range]) -> Iterator[list[Range]]:
    """Groups of consecutive ranges of at most `KEPT` bytes in total."""
    part, size = list[Range](), 0
    for each in ranges:
        if part and size + each.length > KEPT:
            yield part
            part, size = [], 0
        part.append(each)
        size += each.length
    yield part


def _joined(ranges: Iterable[Range]) -> list[_Run]:
    """Runs of ranges close to one another."""
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
    """The first bytes of many objects, in the order in which they will be read."""

    def __init__(self, names: Sequence[str], length: int) -> None:
        self._waiting, self._length = deque(names), length
        self._under_way: deque[tuple[str, Future[memoryview]]] = deque()

    def read(self, name: str) -> bytes:
        """The first bytes of the next object with this name. Raises OSError."""
        while self._waiting or self._under_way:
            while self._waiting and len(self._under_way) < HEADS:
                following = self._waiting.popleft()
                self._under_way.append((following, in_thread(_read, Range(following, 0, self._length))))
            first, answer = self._under_way.popleft()
            if first == name:
                return bytes(answer.result())
        return bytes(in_thread(_read, Range(name, 0, self._length)).result())


def _follows(run: Range, each: Range) -> bool:
    """Whether a range is fetched together with the preceding run."""
    gap = each.start - run.start - run.length
    same = (run.name, run.version) == (each.name, each.version)
    return same and 0 <= gap <= GAP and each.start + each.length - run.start <= LARGEST


def _read(wanted: Range) -> memoryview:
    body, name = location.resolve(wanted.name)
    return memoryview(body.read_range(wanted._replace(name=name)))
