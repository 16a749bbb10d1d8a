"""Requests to servers: concurrent, retried if a response breaks off, with errors converted to built-in ones.

Blocking calls run in threads of this process, so that Ctrl-C works.
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
"""Maximum concurrent requests per process."""
RETRY = {
    "max_retries": 10,
    "retry_timeout": timedelta(minutes=3),
    "backoff": {"init_backoff": timedelta(milliseconds=100), "max_backoff": timedelta(seconds=15), "base": 2},
}
"""obstore's retry settings."""
TIMEOUTS = {"timeout": "60s", "connect_timeout": "5s"}
TRIES, _PAUSE_S = 5, 0.1
"""Tries of a request whose response breaks off, and the initial pause between them in s, which grows."""
_BEHIND_THE_END = (" 416 ", "Wanted range starting at")
"""Parts of the error messages for a read that starts after the end of a file: from stores that refuse it, and from those that
return the whole file."""


@lru_cache(maxsize=1)
def _threads(process: int) -> ThreadPoolExecutor:
    """The thread pool of this process."""
    return ThreadPoolExecutor(AT_ONCE, thread_name_prefix="objects")


def in_thread(call: Callable[..., R], *arguments: Any) -> Future[R]:
    """Run a call in a thread."""
    return _threads(os.getpid()).submit(call, *arguments)


_used_in: list[int] = []
"""The process that first used a store: obstore's threads do not survive a fork, so a forked process would hang."""


def require_unforked(root: str) -> None:
    """Raises UsageError if a store was used before this process was forked."""
    if _used_in and _used_in[0] != os.getpid():
        do = "start workers with multiprocessing_context='forkserver' (or spawn)"
        raise UsageError("an object store was used before this process was forked", root, do)


def note_use() -> None:
    """Record that this process uses a store."""
    _used_in[:] = [os.getpid()]


def obstore() -> Any:
    """The package obstore. Raises UsageError if it is not installed."""
    try:
        import obstore
    except ImportError:
        raise UsageError("what is not on a disk is read by the package obstore", do="pip install 'rt2data[cloud]'") from None
    return obstore


def changed(name: str) -> SourceChangedError:
    """The error for a file whose version differs from the expected one."""
    return SourceChangedError("a file changed since it was listed", name, "run the same command again")


def tried(name: str, call: Callable[[], R], errors: Callable[[str], AbstractContextManager[None]] | None = None) -> R:
    """Retry a call if the store's response breaks off, which obstore does not do; it retries other failures itself."""
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
    """Convert the store's errors to built-in errors that name the object.

    SourceChangedError if its version differs, EOFError if it ends before the first requested byte.
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
    """The error for a file without read permission, which says how to get it."""
    return PermissionError(errno.EACCES, _REFUSALS.get(name.partition(":")[0], f"the store refuses: {why}"), name)


def first_line(error: Exception) -> str:
    """The first line of an error's message, without details."""
    return str(error).strip().partition("\n")[0][:200]
