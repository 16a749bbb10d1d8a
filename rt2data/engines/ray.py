"""Work orders as Ray tasks.

Ray passes an order to another worker when a worker or machine is lost, three times by default.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, wait
from contextlib import contextmanager
from importlib import import_module
from itertools import islice
from queue import SimpleQueue
from typing import Any, NamedTuple

from rt2data.engines.base import GRACE_S, Work
from rt2data.engines.outcome import attempt, settled
from rt2data.errors import InternalError, UsageError

ray: Any = import_module("ray")

AT_ONCE = 1000
"""Unfinished orders submitted to Ray at once: enough to keep a cluster busy, few enough for its head node's memory."""


class _Task(NamedTuple):
    reference: Any
    label: str


class Ray:
    """Tasks on the cluster that this process is connected to."""

    def __init__(self) -> None:
        self._attempt = ray.remote(attempt)
        self._under_way: dict[Future[Any], _Task] = {}

    def map(self, work: Work, orders: Sequence[Any]) -> Iterator[Any]:
        """The results as they arrive. Raises InternalError for an order that Ray gives up on."""
        left, done = iter(orders), SimpleQueue[Future[Any]]()
        while True:
            for order in islice(left, AT_ONCE - len(self._under_way)):
                self._submit(work, order).add_done_callback(done.put)
            if not self._under_way:
                return
            future = done.get()  # outside of Ray, which would wrap an interrupt
            yield _result(future, self._under_way.pop(future).label)

    def _submit(self, work: Work, order: Any) -> Future[Any]:
        reference = self._attempt.options(name=order.label).remote(work, order)
        future: Future[Any] = reference.future()
        self._under_way[future] = _Task(reference, order.label)
        return future

    def cancel(self) -> None:
        """Stop running tasks: each is interrupted, and if it does not stop in time its worker is killed."""
        for task in self._under_way.values():
            ray.cancel(task.reference)
        for future in wait(self._under_way, GRACE_S).not_done:
            ray.cancel(self._under_way[future].reference, force=True)


def _result(future: Future[Any], label: str) -> Any:
    try:
        return settled(future.result())
    except ray.exceptions.RayError as error:
        raise InternalError(f"Ray gave up a work order: {error}", label, "look at Ray's logs") from error


@contextmanager
def at_work() -> Iterator[Ray]:
    """Ray, on the cluster this process is connected to; else the one of RAY_ADDRESS, or the one running on this machine.

    If there is none, one is started here and stops with the build. Raises UsageError if none answers.
    """
    connected = ray.is_initialized()
    if not connected:
        _connect()
    engine = Ray()
    try:
        yield engine
    finally:
        engine.cancel()
        if not connected:
            ray.shutdown()


def _connect() -> None:
    """Connect quietly: output of workers would mix with the progress lines."""
    try:
        ray.init(logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UsageError(f"Ray does not answer: {error}", "--engine ray", "look at RAY_ADDRESS") from error
