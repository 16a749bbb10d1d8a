"""What a graph needs of the machine it runs on when it runs here: the pool, the progress, and the first failure as it was raised.

Beam pickles its DoFns even in memory, so they find these by the run's name. On a distributed runner nothing is found, and the DoFn
does the work itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from rt2data.beam.pool import Inline, Pool, Work

_RUNS: dict[str, LocalRun] = {}


@dataclass
class LocalRun:
    """One run of a graph in this process."""

    pool: Pool
    on_result: Callable[[Any], None]
    name: str = field(default_factory=lambda: uuid4().hex)
    failure: BaseException | None = None

    def submit(self, work: Work, order: Any) -> Future[Any]:
        """Hand an order to the pool; its result is shown to whoever watches."""
        future = self.pool.submit(work, order)
        future.add_done_callback(self._settled)
        return future

    def _settled(self, future: Future[Any]) -> None:
        if future.cancelled():
            return
        error = future.exception()
        if error is None:
            self.on_result(future.result())
        else:
            self.fail(error)

    def fail(self, error: BaseException) -> None:
        """Keep the first failure with its type; Beam would turn it into text."""
        self.failure = self.failure or error


@contextmanager
def local_run(pool: Pool, on_result: Callable[[Any], None]) -> Iterator[LocalRun]:
    """Make a pool known to the graph's DoFns while it runs."""
    run = LocalRun(pool, on_result)
    _RUNS[run.name] = run
    try:
        yield run
    finally:
        del _RUNS[run.name]


def find_run(name: str | None) -> LocalRun:
    """The run of this name, or one that does the work where it stands."""
    return _RUNS.get(name or "") or LocalRun(Inline(), lambda _: None)
