"""The outcome of an order on another machine. A failure is returned as a value, as each engine wraps exceptions in its own way."""

from __future__ import annotations

import gc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rt2data.errors import InternalError


@dataclass(frozen=True)
class Failure:
    """What an order raised."""

    error: BaseException


def attempt(work: Callable[[Any], Any], order: Any) -> Any:
    """Called by a worker: returns the result, or the failure."""
    collect_seldom()
    try:
        return work(order)
    except Exception as error:
        return Failure(portable(error))


def settled(outcome: Any) -> Any:
    """The result. Raises the original failure."""
    if isinstance(outcome, Failure):
        raise outcome.error
    return outcome


def collect_seldom() -> None:
    """Collect garbage seldom: records and modules are many long-lived objects, and scanning them takes a tenth of the time."""
    gc.set_threshold(100_000)


def portable(error: BaseException) -> BaseException:
    """The error itself if it can be sent between processes, else an InternalError with its text and trace."""
    import pickle
    import traceback

    try:
        pickle.loads(pickle.dumps(error))  # bytes of our own, made on this line
    except Exception:
        return InternalError(f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error))[-2000:])
    error.add_note("".join(traceback.format_exception(error)))
    return error
