"""What a graph needs when it runs on this machine: the pool, the progress, and the first failure as an exception.

Beam pickles its DoFns even in memory, so they find these by the run's name. On a distributed runner nothing is found: the DoFn does
the work itself, and reports a failure through a file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Thread
from typing import Any, ClassVar, NamedTuple
from uuid import uuid4

from rt2data.beam.failure import is_final, tell, told
from rt2data.beam.pool import Inline, Pool, Work, settle
from rt2data.engines.base import GRACE_S, Stopping
from rt2data.errors import LockedError
from rt2data.io.lease import Claim, release, renew_for_job

_RUNS: dict[str, LocalRun] = {}

LOOK_S = 10.0
"""Seconds between a remote worker's checks for failure of the run: one request per short order would be too many."""


class RunId(NamedTuple):
    """What travels with a graph, so that its DoFns can find the run."""

    name: str
    failures: str = ""  # file in which remote workers report a failure
    claims: tuple[Claim, ...] = ()  # leases that remote workers renew, and release at the end


@dataclass
class LocalRun:
    """One run of a graph in this process."""

    at_once: ClassVar[int] = 64
    """Work orders submitted to the pool before waiting for the first result."""

    pool: Pool
    on_result: Callable[[Any], None]
    name: str = field(default_factory=lambda: uuid4().hex)
    failures: str = ""
    claims: tuple[Claim, ...] = ()
    on_stop: Callable[[], None] = lambda: None  # called on an interrupt: stops remote work
    failure: BaseException | None = None
    decided: list[Any] | None = None  # work orders of the plan, once decided
    _ahead: dict[tuple[Work, str], Future[Any]] = field(default_factory=dict)
    _graph: Thread | None = None

    @property
    def id(self) -> RunId:
        return RunId(self.name, self.failures, self.claims)

    def submit(self, work: Work, order: Any) -> Future[Any]:
        """Submit an order to the pool, unless it was submitted ahead; its result is reported as progress."""
        early = self._ahead.pop((work, order.label), None)
        return early or self._submit(work, order)

    def ahead(self, work: Work, orders: Iterable[Any]) -> None:
        """Give the pool a head start on these orders while Beam is still being imported, which takes seconds."""
        self._ahead |= {(work, order.label): self._submit(work, order) for order in orders}

    def decide(self, plan: Callable[[], tuple[Any, list[Any]]]) -> list[Any]:
        """Make the plan and report it as progress; no orders if there is nothing to do."""
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
        """Run a graph in its own thread: an interrupt reaches the caller and not the inside of Beam, which would wrap it.

        Raises the first failure unchanged, whether it occurred here or on a remote worker.
        """
        done: Future[Any] = Future()
        self._graph = Thread(target=settle, args=(done, graph), daemon=True)
        self._graph.start()
        try:
            done.result()
        except Exception as error:
            raise (self.failure or self._told(error) or error) from None

    def _told(self, error: Exception) -> Exception | None:
        """The failure a worker reported, if it made the run fail: one that is not final may have been overcome."""
        found = told(self.failures) if self.failures else None
        return found if found and (is_final(found) or found.what in str(error)) else None

    def stop(self, grace_s: float) -> None:
        """Stop the pool's work and the graph: nothing is written afterwards."""
        if grace_s:
            with suppress(OSError):  # the receiver may be gone
                self.on_result(Stopping(grace_s))
        self.pool.close(grace_s)
        if grace_s:
            self.on_stop()
        if self._graph is not None:
            self._graph.join(GRACE_S)

    def fail(self, error: BaseException) -> None:
        """Keep the first failure with its type; Beam would turn it into text."""
        self.failure = self.failure or error

    def look(self) -> None:
        """Raises the failure of the run on another worker, if any."""

    def end(self) -> None:
        """Called when everything is done."""


@dataclass
class FarRun(LocalRun):
    """A run whose launcher is another process: work is done immediately, in place, and failures are reported through a file."""

    at_once: ClassVar[int] = 0
    _looked: float = float("-inf")

    def submit(self, work: Work, order: Any) -> Future[Any]:
        self.look()
        return self._submit(work, order)

    def fail(self, error: BaseException) -> None:
        tell(self.failures, error)

    def look(self) -> None:
        """End this worker's part if the run has a final failure, as runners would retry and continue elsewhere in vain.

        Also renews the run's leases, as the launcher may be gone. Raises LockedError if another build has taken one.
        """
        self._renew()
        if time.monotonic() - self._looked < LOOK_S:
            return
        self._looked = time.monotonic()
        found = told(self.failures)
        if found and is_final(found):
            raise found

    def _renew(self) -> None:
        try:
            for claim in self.claims:
                renew_for_job(claim)
        except LockedError as error:
            self.fail(error)
            raise

    def end(self) -> None:
        for claim in self.claims:
            release(claim)


@contextmanager
def local_run(pool: Pool, on_result: Callable[[Any], None]) -> Iterator[LocalRun]:
    """Let the DoFns of a graph find a pool while it runs. A failure stops the pool at once, an interrupt after a grace period."""
    run = LocalRun(pool, on_result)
    _RUNS[run.name] = run
    try:
        yield run
    except BaseException as error:
        run.stop(0 if isinstance(error, Exception) else GRACE_S)
        raise
    finally:
        del _RUNS[run.name]


def find_run(sought: RunId | None) -> LocalRun:
    """The run with this name, or one that does the work in place."""
    name, failures, claims = sought or RunId("")
    return _RUNS.get(name) or FarRun(Inline(), lambda _: None, name, failures, claims)
