"""Work orders that say how long they took. Workers import this: it imports nothing."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Timed:
    """Work order: carry out another one and look at the clock."""

    work: Callable[[Any], Any]
    order: Any

    @property
    def label(self) -> str:
        return f"timing of {getattr(self.order, 'label', self.order)}"


@dataclass(frozen=True, slots=True)
class Took:
    """What an order gave, and what it took in its worker."""

    result: Any
    seconds: float
    cpu_s: float
    peak_bytes: int  # resident memory of the worker so far


def timed(order: Timed) -> Took:
    """Carry it out. Raises what it raises."""
    began, cpu = time.perf_counter(), time.process_time()
    result = order.work(order.order)
    seconds, cpu_s = time.perf_counter() - began, time.process_time() - cpu
    return Took(result, seconds, cpu_s, peak_bytes())


def peak_bytes() -> int:
    """The most memory that was resident in this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def nothing(order: Any) -> None:
    """The least that a worker can do: it shows that the worker is there."""
