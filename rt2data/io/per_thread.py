"""Things that workers open once per thread: one thread must not close a file that another is using."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Generic, TypeVar

Opened = TypeVar("Opened")


class PerThread(threading.local, Generic[Opened]):
    """A function with a per-thread cache of its last two results."""

    def __init__(self, open_one: Callable[..., Opened]) -> None:
        self._open = lru_cache(maxsize=2)(open_one)

    def __call__(self, *arguments: Any) -> Opened:
        return self._open(*arguments)
