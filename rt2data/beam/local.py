"""What a graph needs of the machine it runs on when it runs here: the pool, the progress, and the first failure as it was raised.

Beam pickles its DoFns even in memory, so they find these by the run's name. On a distributed runner nothing is found, and the DoFn
does the work itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Thread
from typing import Any
from uuid import uuid4

from rt2data.beam.pool import Inline, Pool, Work, settle

_RUNS: dict[str, LocalRun] = {}

GRACE_S = 5.0
"""How long work that is under way may take when a run is interrupted."""


@dataclass(frozen=True)
class Stopping:
    """A progress event: the run is interrupted, and orders under way have so many seconds."""

    grace_s: float


@dataclass
class LocalRun:
    """One run of a graph in this process."""

    pool: Pool
    on_result: Callable[[Any], None]
    name: str = field(default_factory=lambda: uuid4().hex)
    failure: BaseException | None = None
    decided: list[Any] | None = None  # work orders of the plan, once it is made
    _ahead: dict[tuple[Work, str], Future[Any]] = field(default_factory=dict)
    _graph: Thread | None = None

    def submit(self, work: Work, order: Any) -> Future[Any]:
        """Hand an order to the pool, unless it was handed over ahead; its result is reported as progress."""
        early = self._ahead.pop((work, order.label), None)
        return early or self._submit(work, order)

    def ahead(self, work: Work, orders: Iterable[Any]) -> None:
        """Give the pool a head start: it works on these orders while Beam is still being imported, which takes seconds."""
        self._ahead |= {(work, order.label): self._submit(work, order) for order in orders}

    def decide(self, plan: Callable[[], tuple[Any, list[Any]]]) -> list[Any]:
        """Make the plan and report it as progress; none where there is nothing to do."""
        job, self.decided = plan()
        if self.decided:
            self.on_result(job.plan)
        return self.decided

    def _submit(self, work: Work, order: Any) -> Future[Any]:
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

    def carry_out(self, graph: Callable[[], Any]) -> None:
        """Run a graph in a thread of its own: an interrupt comes to the caller, never into the midst of Beam, which would wrap it.

        Raises the first failure as it was raised.
        """
        done: Future[Any] = Future()
        self._graph = Thread(target=settle, args=(done, graph), daemon=True)
        self._graph.start()
        try:
            done.result()
        except Exception as error:
            raise (self.failure or error) from None

    def stop(self, grace_s: float) -> None:
        """End the pool's work, and the graph with it: nothing is written afterwards."""
        if grace_s:
            with suppress(OSError):  # nobody may be listening any more
                self.on_result(Stopping(grace_s))
        self.pool.close(grace_s)
        if self._graph is not None:
            self._graph.join(GRACE_S)

    def fail(self, error: BaseException) -> None:
        """Keep the first failure with its type; Beam would turn it into text."""
        self.failure = self.failure or error


@contextmanager
def local_run(pool: Pool, on_result: Callable[[Any], None]) -> Iterator[LocalRun]:
    """Make a pool known to the graph's DoFns while it runs. A failure ends the pool at once, an interrupt after a little grace."""
    run = LocalRun(pool, on_result)
    _RUNS[run.name] = run
    try:
        yield run
    except BaseException as error:
        run.stop(0 if isinstance(error, Exception) else GRACE_S)
        raise
    finally:
        del _RUNS[run.name]


def find_run(name: str | None) -> LocalRun:
    """The run of this name, or one that does the work where it stands."""
    return _RUNS.get(name or "") or LocalRun(Inline(), lambda _: None)
