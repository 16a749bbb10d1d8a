"""Pools that carry out work orders on one machine: processes that never import Beam, threads, or the caller itself.

If a worker is killed, its order is tried once more, then reported by name. Workers die with their parent: each waits on a pipe that
only the parent holds.
"""

from __future__ import annotations

import multiprocessing.util
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.abc import MetaPathFinder
from multiprocessing import get_context, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Any, Literal, Protocol

from rt2data.engines.outcome import collect_seldom, portable
from rt2data.errors import InternalError
from rt2data.io import location

Work = Callable[[Any], Any]
PoolKind = Literal["processes", "threads"]
ATTEMPTS = 2
LONGEST_S = 60.0
"""Seconds that threads may take to end after a failure."""
PRELOAD = ["rt2data.beam.work"]


class Pool(Protocol):
    """Takes work orders, returns futures. `close` stops it: running orders get `grace_s` seconds, waiting ones none."""

    def submit(self, work: Work, order: Any) -> Future[Any]: ...

    def close(self, grace_s: float = 0) -> None: ...


def make_pool(kind: PoolKind, workers: int) -> Pool:
    """A pool of this kind; with 0 workers the caller does the work itself."""
    if workers == 0:
        return Inline()
    return Processes(workers) if kind == "processes" else Threads(workers)


def workers_wanted(asked: int | None) -> int:
    """One worker per core, unless another number is given."""
    return os.cpu_count() or 1 if asked is None else asked


@contextmanager
def pool_at_work(kind: PoolKind, workers: int | None) -> Iterator[Pool]:
    """A pool, closed at the end."""
    pool = make_pool(kind, workers_wanted(workers))
    try:
        yield pool
    finally:
        pool.close()


class Inline:
    """No pool: the caller does the work. Used on distributed runners."""

    def __init__(self) -> None:
        collect_seldom()
        self._closing = False

    def submit(self, work: Work, order: Any) -> Future[Any]:
        """Do it now."""
        future: Future[Any] = Future()
        if self._closing:
            future.cancel()
        else:
            settle(future, lambda: work(order))
        return future

    def close(self, grace_s: float = 0) -> None:
        """Start nothing more."""
        self._closing = True


def settle(future: Future[Any], call: Callable[[], Any]) -> None:
    """Call a function; put its result or failure into the future."""
    try:
        future.set_result(call())
    except Exception as error:
        future.set_exception(error)


@dataclass
class _Task:
    work: Work
    order: Any
    future: Future[Any]

    def __call__(self) -> Any:
        return self.work(self.order)


class Threads:
    """Threads of this process: the work is copying and hashing, during which other threads can run."""

    def __init__(self, workers: int) -> None:
        collect_seldom()
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._closing = Event()
        self._threads = [Thread(target=self._work, daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def submit(self, work: Work, order: Any) -> Future[Any]:
        """Queue it for the next free thread."""
        task = _Task(work, order, Future())
        self._tasks.put(task)
        return task.future

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            if self._closing.is_set():
                task.future.cancel()
            elif task.future.set_running_or_notify_cancel():
                settle(task.future, task)

    def close(self, grace_s: float = 0) -> None:
        """Wait for running orders: a thread cannot be killed."""
        self._closing.set()
        for _ in self._threads:
            self._tasks.put(None)
        _join(self._threads, grace_s or LONGEST_S)


def _join(threads: Iterable[Thread], limit_s: float) -> None:
    """Wait for threads, at most `limit_s` seconds in all."""
    until = time.monotonic() + limit_s
    for thread in threads:
        thread.join(max(until - time.monotonic(), 0))


class Processes:
    """Worker processes, each with one order at a time, so that a death is attributed to the right order."""

    def __init__(self, workers: int) -> None:
        _shorten_temporary_folder()
        self._context = get_context("forkserver")
        self._context.set_forkserver_preload(PRELOAD)
        self._tasks: SimpleQueue[_Task | None] = SimpleQueue()
        self._seats = [_Seat(self._context, self._tasks) for _ in range(workers)]

    def submit(self, work: Work, order: Any) -> Future[Any]:
        """Queue it for the next free worker."""
        future: Future[Any] = Future()
        self._tasks.put(_Task(work, order, future))
        return future

    def close(self, grace_s: float = 0) -> None:
        """Stop the workers: busy ones have `grace_s` seconds to finish."""
        for seat in self._seats:
            seat.closing.set()
        for _ in self._seats:
            self._tasks.put(None)
        _join([seat.thread for seat in self._seats], grace_s or 0.05)
        for seat in self._seats:
            seat.end()


def _shorten_temporary_folder() -> None:
    """The fork server's socket path may have at most 107 bytes; a deep $TMPDIR leaves too few."""
    before = tempfile.gettempdir()
    if len(os.fsencode(before)) > 60 and location.is_folder("/tmp"):
        tempfile.tempdir = "/tmp"
        multiprocessing.util.get_temp_dir()  # cached from now on
        tempfile.tempdir = before


@dataclass
class _Seat:
    """A thread that feeds one worker process and replaces it when it dies."""

    context: Any
    tasks: SimpleQueue[_Task | None]
    closing: Event = field(default_factory=Event)
    guard: Lock = field(default_factory=Lock)
    worker: tuple[BaseProcess, Connection] | None = None

    def __post_init__(self) -> None:
        self.thread = Thread(target=self._feed, daemon=True)
        self.thread.start()

    def _feed(self) -> None:
        resource_tracker.ensure_running()  # later it would unblock the signal again
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])  # inherited by processes started here: the parent handles Ctrl-C
        with suppress(EOFError, OSError, RuntimeError):  # retried, and reported, with the first order
            self._hire()
        while (task := self.tasks.get()) is not None:
            if self.closing.is_set():
                task.future.cancel()
            elif task.future.set_running_or_notify_cancel():
                self._carry_out(task)

    def _carry_out(self, task: _Task) -> None:
        lost: Exception = EOFError()
        for _ in range(ATTEMPTS):
            try:
                ok, value = self._ask(task)
            except (EOFError, OSError) as error:
                lost = error.with_traceback(None)  # its frames hold what was sent, in a cycle that can crash Python 3.12
                self._dismiss()
                if self.closing.is_set():
                    break
                continue
            except Exception as error:  # for example an order that cannot be pickled, a main module that may not start workers
                task.future.set_exception(error)
                return
            task.future.set_result(value) if ok else task.future.set_exception(value)
            return
        task.future.set_exception(_lost(task.order, lost))

    def _ask(self, task: _Task) -> tuple[bool, Any]:
        connection = self._hire()
        connection.send((task.work, task.order))
        answer: tuple[bool, Any] = connection.recv()
        return answer

    def _hire(self) -> Connection:
        with self.guard:
            if self.worker is None:
                ours, theirs = self.context.Pipe()
                process = self.context.Process(target=serve, args=(theirs,), daemon=True)
                process.start()
                theirs.close()
                self.worker = process, ours
            return self.worker[1]

    def _dismiss(self) -> None:
        with self.guard:
            worker, self.worker = self.worker, None
        if worker is not None:
            worker[0].kill()
            worker[0].join(5)
            worker[1].close()

    def end(self) -> None:
        """Kill the worker, busy or not."""
        with suppress(OSError, ValueError):
            self._dismiss()


def _lost(order: Any, error: Exception) -> InternalError:
    """The error for an order that no worker could carry out."""
    label = getattr(order, "label", repr(order))
    if isinstance(error, EOFError | ConnectionError):
        return InternalError(
            f"the worker died {ATTEMPTS} times on one work order", label, "the machine may be short of memory: use fewer --workers"
        )
    return InternalError(f"no worker can be started: {error}", label, "look at `ulimit -a`, or run with --workers 0")


def serve(connection: Connection) -> None:
    """A worker's loop: take an order, carry it out, answer; end with the parent. The parent handles Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    Thread(target=_die_with_parent, daemon=True).start()
    collect_seldom()
    sys.meta_path.insert(0, _NoPandas())
    with suppress(EOFError, OSError):
        while True:
            work, order = connection.recv()
            task = _Task(work, order, Future())
            settle(task.future, task)
            error = task.future.exception()
            connection.send((True, task.future.result()) if error is None else (False, portable(error)))


class _NoPandas(MetaPathFinder):
    """Hides pandas, as if not installed. pyarrow imports it to recognize values of pandas types, of which we have none.

    The import would take 0.3 s per worker.
    """

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Raises ModuleNotFoundError for pandas; None for everything else, which other finders handle."""
        if name == "pandas":
            raise ModuleNotFoundError("not imported by workers", name=name)


def _die_with_parent() -> None:
    """Exit with the parent: an order may take minutes, and finishing it would outlive the parent."""
    from multiprocessing import parent_process

    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
