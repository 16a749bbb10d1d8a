"""What workers open once. Each thread has its own: a file that one thread closes may be in use by another."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Generic, TypeVar

Opened = TypeVar("Opened")


class PerThread(threading.local, Generic[Opened]):
    """A function with a cache of its last two results in each thread."""

    def __init__(self, open_one: Callable[..., Opened]) -> None:
        self._open = lru_cache(maxsize=2)(open_one)

    def __call__(self, *arguments: Any) -> Opened:
        return self._open(*arguments)
