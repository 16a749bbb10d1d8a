"""What workers open once: each thread its own, for files and row groups that one lets go of may be what another reads."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Generic, TypeVar

Opened = TypeVar("Opened")


class PerThread(threading.local, Generic[Opened]):
    """A function whose last two results each thread keeps for itself."""

    def __init__(self, open_one: Callable[..., Opened]) -> None:
        self._open = lru_cache(maxsize=2)(open_one)

    def __call__(self, *arguments: Any) -> Opened:
        return self._open(*arguments)
