"""An engine carries out work orders. All engines give the same bytes: an order is self-contained and idempotent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

Work = Callable[[Any], Any]
Listener = Callable[[Any], None]
"""Receives progress: the work to do, each result, the plan, and events such as `Stopping`."""

GRACE_S = 5.0
"""Seconds that running work may take when a build is interrupted."""


class Engine(Protocol):
    """Carries out work orders, wherever it chooses."""

    def map(self, work: Work, orders: Sequence[Any]) -> Iterator[Any]:
        """The results, in any order, each as soon as it is available. What `work` raises is raised here unchanged."""


class InTurn:
    """The engine of one process: one order after another."""

    def map(self, work: Work, orders: Sequence[Any]) -> Iterator[Any]:
        """The results, in the order of `orders`."""
        return map(work, orders)


@dataclass(frozen=True)
class Reporting:
    """An engine that reports its results as progress."""

    engine: Engine
    on_result: Listener

    def map(self, work: Work, orders: Sequence[Any]) -> Iterator[Any]:
        """The engine's results, each reported first."""
        for result in self.engine.map(work, orders):
            self.on_result(result)
            yield result


@dataclass(frozen=True)
class Stopping:
    """A progress event: the run is interrupted, and running orders have `grace_s` seconds left."""

    grace_s: float


@contextmanager
def stopping_reported(on_result: Listener) -> Iterator[None]:
    """Report an interrupt, which is not a failure, before the engine is stopped."""
    try:
        yield
    except Exception:
        raise
    except BaseException:
        with suppress(OSError):  # the receiver of the report may be gone
            on_result(Stopping(GRACE_S))
        raise
