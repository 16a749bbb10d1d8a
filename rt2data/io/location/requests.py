"""Requests to servers: many under way at once, asked again where an answer breaks off, and their errors as the built-in ones.

Blocking calls run in threads of this process, so that Ctrl-C is heard.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from functools import lru_cache
from typing import Any, TypeVar

from rt2data.errors import RtError, SourceChangedError, UsageError
from rt2data.io.location.traffic import count

R = TypeVar("R")

AT_ONCE = 128
"""Requests under way at once, in one process."""
RETRY = {
    "max_retries": 10,
    "retry_timeout": timedelta(minutes=3),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=15), "base": 2},
}
"""How obstore asks again."""
TIMEOUTS = {"timeout": "60s", "connect_timeout": "5s"}
TRIES, _PAUSE_S = 5, 0.1
"""Of a request whose answer breaks off, and s between them, which grow."""
_BEHIND_THE_END = (" 416 ", "Wanted range starting at")
"""Of the messages of a read that begins behind a file's end, where a store refuses it, and where it gives all of the file."""


@lru_cache(maxsize=1)
def _threads(process: int) -> ThreadPoolExecutor:
    """The threads of this process."""
    return ThreadPoolExecutor(AT_ONCE, thread_name_prefix="objects")


def in_thread(call: Callable[..., R], *arguments: Any) -> Future[R]:
    """Call it in a thread of its own."""
    return _threads(os.getpid()).submit(call, *arguments)


_used_in: list[int] = []
"""The process that used a store first: obstore's threads do not live on in a forked one, which would wait for ever."""


def require_unforked(root: str) -> None:
    """Raises UsageError where a store was used before this process was forked."""
    if _used_in and _used_in[0] != os.getpid():
        do = "start workers with multiprocessing_context='forkserver' (or spawn)"
        raise UsageError("an object store was used before this process was forked", root, do)


def note_use() -> None:
    """This process uses a store."""
    _used_in[:] = [os.getpid()]


def obstore() -> Any:
    """The package. Raises UsageError where it is not installed."""
    try:
        import obstore
    except ImportError:
        raise UsageError("what is not on a disk is read by the package obstore", do="pip install 'rt2data[cloud]'") from None
    return obstore


def changed(name: str) -> SourceChangedError:
    """The error for a file that has another version than the one wanted."""
    return SourceChangedError("a file changed since it was listed", name, "run the same command again")


def tried(name: str, call: Callable[[], R], errors: Callable[[str], AbstractContextManager[None]] | None = None) -> R:
    """Call it again where the store's answer breaks off, which obstore does not; other failures it tries again itself."""
    for left in reversed(range(TRIES)):
        count("requests" if left == TRIES - 1 else "retries")
        try:
            with (errors or object_errors)(name):
                return call()
        except OSError as error:
            if error.errno != errno.EIO or not left:
                raise
            time.sleep(_PAUSE_S * (TRIES - left))
    raise AssertionError


@contextmanager
def object_errors(name: str) -> Iterator[None]:
    """Raise the built-in errors, which name the object, for those of the store.

    SourceChangedError where it has another version, EOFError where it ends before the first byte that was asked for.
    """
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name) from None
    except RtError:
        raise
    except Exception as error:
        raise _translated(error, name) from error


def _translated(error: Exception, name: str) -> Exception:
    from obstore import exceptions

    if isinstance(error, exceptions.PreconditionError | exceptions.AlreadyExistsError):
        return changed(name)
    if isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError):
        return refusal(name, first_line(error))
    if isinstance(error, exceptions.NotSupportedError):
        return OSError(errno.ENOTSUP, "the server does not give parts of a file", name)
    if isinstance(error, exceptions.BaseError) and any(words in str(error) for words in _BEHIND_THE_END):
        return EOFError(name)
    if isinstance(error, exceptions.BaseError) and " 404 " in str(error):
        return FileNotFoundError(errno.ENOENT, "there is no such bucket", name)
    if isinstance(error, exceptions.BaseError):
        return OSError(errno.EIO, f"the store fails: {first_line(error)}", name)
    return error


_REFUSALS = {
    "hf": "the hub refuses: set HF_TOKEN, or run `hf auth login`; terms of a gated repository are accepted on its page",
    "https": "the server refuses: it wants credentials, and rt2data sends none over https://",
    "http": "the server refuses: it wants credentials, and rt2data sends none over http://",
}


def refusal(name: str, why: str) -> PermissionError:
    """The error for a file that may not be read, which says what gives permission."""
    return PermissionError(errno.EACCES, _REFUSALS.get(name.partition(":")[0], f"the store refuses: {why}"), name)


def first_line(error: Exception) -> str:
    """What an error says, without the details behind it."""
    return str(error).strip().partition("\n")[0][:200]
