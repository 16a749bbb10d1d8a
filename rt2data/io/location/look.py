"""One look at an object store: what it answered is remembered until the look ends, so that nothing is listed twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

R = TypeVar("R")

_SEEN: ContextVar[dict[tuple[str, str], Any] | None] = ContextVar("seen", default=None)


@contextmanager
def one_look() -> Iterator[None]:
    """In this thread, what is asked of object stores is asked once, and what changes meanwhile is not noticed.

    For listing sources: whether they are still what was listed is looked at again when they have been read.
    """
    if _SEEN.get() is not None:
        yield
        return
    token = _SEEN.set({})
    try:
        yield
    finally:
        _SEEN.reset(token)


def seen(kind: str, name: str, ask: Callable[[], R]) -> R:
    """The answer to a question of this kind about a name."""
    known = _SEEN.get()
    if known is None:
        return ask()
    if (kind, name) not in known:
        known[kind, name] = ask()
    found: R = known[kind, name]
    return found


def answers(kind: str) -> Callable[[str, Any], None]:
    """What remembers answers that came along with another."""
    known = _SEEN.get()
    return (lambda name, answer: None) if known is None else (lambda name, answer: known.setdefault((kind, name), answer))


def unseen(kind: str, names: Sequence[str]) -> Sequence[str]:
    """Those of the names about which no such question was answered."""
    known = _SEEN.get()
    return names if known is None else [name for name in names if (kind, name) not in known]
