"""An engine: what carries out work orders. All give the same bytes: an order says all there is to do, and is idempotent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

Work = Callable[[Any], Any]
Listener = Callable[[Any], None]
"""Hears of progress: what there is to do, each result, the plan, and events such as `Stopping`."""

GRACE_S = 5.0
"""How long work that is under way may take when a build is interrupted."""


class Engine(Protocol):
    """Carries out work orders, wherever it likes."""

    def map(self, work: Work, orders: Sequence[Any]) -> Iterator[Any]:
        """The results, in any order, each as soon as it is there. What `work` raises is raised here as it was raised."""


class InTurn:
    """The engine of one process: one order after another."""

    def map(self, work: Work, orders: Sequence[Any]) -> Iterator[Any]:
        """The results, in the order of the orders."""
        return map(work, orders)


@dataclass(frozen=True)
class Reporting:
    """An engine that reports its results as progress."""

    engine: Engine
    on_result: Listener

    def map(self, work: Work, orders: Sequence[Any]) -> Iterator[Any]:
        """The results of the engine."""
        for result in self.engine.map(work, orders):
            self.on_result(result)
            yield result


@dataclass(frozen=True)
class Stopping:
    """A progress event: the run is interrupted, and orders under way have so many seconds."""

    grace_s: float


@contextmanager
def stopping_reported(on_result: Listener) -> Iterator[None]:
    """Report an interrupt, which is no failure, before the engine is ended."""
    try:
        yield
    except Exception:
        raise
    except BaseException:
        with suppress(OSError):  # nobody may be listening any more
            on_result(Stopping(GRACE_S))
        raise
