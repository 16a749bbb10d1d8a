"""One look at an object store: responses are cached until the look ends, so that nothing is listed twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

R = TypeVar("R")

_SEEN: ContextVar[dict[tuple[str, str], Any] | None] = ContextVar("seen", default=None)


@contextmanager
def one_look() -> Iterator[None]:
    """In this thread, each query to object stores is sent only once, and changes meanwhile are not noticed.

    For listing sources: after they have been read, they are checked again for changes.
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
    """The answer to a query of this kind about a name, cached."""
    known = _SEEN.get()
    if known is None:
        return ask()
    if (kind, name) not in known:
        known[kind, name] = ask()
    found: R = known[kind, name]
    return found


def answers(kind: str) -> Callable[[str, Any], None]:
    """A function that caches answers received along with another."""
    known = _SEEN.get()
    return (lambda name, answer: None) if known is None else (lambda name, answer: known.setdefault((kind, name), answer))


def unseen(kind: str, names: Sequence[str]) -> Sequence[str]:
    """The names for which no query of this kind is cached."""
    known = _SEEN.get()
    return names if known is None else [name for name in names if (kind, name) not in known]
