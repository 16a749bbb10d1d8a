"""Runs a command: handles signals and standard streams, and reports failures as one line and an exit code. Nothing heavy is
imported here.
"""

from __future__ import annotations

import _thread
import errno
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, NoReturn

from rt2data.cli.commands import verbosity
from rt2data.errors import DataError, InternalError, OutputError, RtError, UsageError
from rt2data.io.location.paths import is_remote
from rt2data.io.streams import open_standard_streams, silence

Command = Callable[..., Any]
Handler = Callable[[int, FrameType | None], None]
OPEN_FILES = 1 << 16
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(SystemExit):
    """SIGINT or SIGTERM as an exception, so that everything is released in order."""


def _stop(signum: int, frame: FrameType | None) -> None:
    """The first signal stops gracefully, the second immediately; workers end with this process."""
    if _is_ignored(frame):
        _thread.start_new_thread(_send, (signum,))
        return
    _answer_signals(_end)
    raise Stopped(128 + signum)


def _end(signum: int, frame: FrameType | None) -> NoReturn:
    os._exit(128 + signum)


def _answer_signals(handler: Handler) -> None:
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # a shell's background job ignores Ctrl-C
            signal.signal(number, handler)


def _signal_again(ignored: sys.UnraisableHookArgs) -> None:
    """Resend a signal that arrived in a finalizer or a callback, where Python ignores all exceptions."""
    if not isinstance(ignored.exc_value, Stopped):
        sys.__unraisablehook__(ignored)
        return
    _answer_signals(_stop)
    _thread.start_new_thread(_send, (int(ignored.exc_value.code or 0) - 128,))  # a Timer would wait here for its thread to start


def _is_ignored(frame: FrameType | None) -> bool:
    """Whether an exception raised here would again be ignored."""
    while frame is not None and frame.f_code is not _signal_again.__code__:
        frame = frame.f_back
    return frame is not None


def _send(signum: int) -> None:
    time.sleep(0.01)
    os.kill(os.getpid(), signum)


def _allow_open_files() -> None:
    """Raise the limit of open files: each worker keeps a few hundred files per source open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def run(app: Command) -> NoReturn:
    """Run a command of the application; a failure becomes one line and an exit code."""
    open_standard_streams()
    _allow_open_files()
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # searching for plugins reads the metadata of all packages
    sys.unraisablehook = _signal_again
    _answer_signals(_stop)
    code = _run(app)
    code = _flush() or code
    waiting = any(not thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread())
    if waiting or code > 128:  # an interrupted run may leave threads that wait for work
        os._exit(code)
    sys.exit(code)


def _run(app: Command) -> int:
    try:
        return app(standalone_mode=False) or 0  # a command returns None or exits with a code
    except RtError as error:
        return _failed(error)
    except SystemExit as stop:
        unread = isinstance(stop.__context__, BrokenPipeError)  # which typer turns into an exit
        return 0 if unread else int(stop.code or 0)
    except Exception as error:
        return _other(error)


def _failed(error: RtError) -> int:
    """Report a failure, if anything still reads the output."""
    try:
        from rt2data.cli.console import report_failure
    except (ImportError, MemoryError):  # not even enough memory for that
        sys.stderr.write(f"rt2data: {error}\n")
        return error.code
    with suppress(OSError):
        if verbosity.verbose:
            traceback.print_exception(error)
        report_failure(error, "--json" in sys.argv)
    return error.code


def _flush() -> int:
    """Flush the output. Its reader may have exited, as `head` does."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError as error:
            silence(stream)
            return 0 if isinstance(error, BrokenPipeError) else _other(error)
    return 0


def _other(error: Exception) -> int:
    """Handle other errors: the command line library shows wrong usage; anything else except a lack of disk space or memory is a
    bug, shown with its traceback.
    """
    if hasattr(error, "show") and hasattr(error, "exit_code"):
        error.show()
        if "--json" in sys.argv:
            _say_usage_error(error)
        return int(error.exit_code)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return _failed(OutputError(f"cannot write: {error.strerror}", str(error.filename or "standard output"), "free some space"))
    if isinstance(error, OSError) and isinstance(error.filename, str) and is_remote(error.filename):
        do = "look at the name, your credentials and the network"
        return _failed(DataError(error.strerror or str(error), error.filename, do))
    if _memory_is_short(error):
        return _failed(_out_of_memory(error))
    raise error


def _say_usage_error(error: Any) -> None:
    from rt2data.cli.console import say_failure

    path = error.ctx.command_path if error.ctx else "rt2data"
    say_failure(UsageError(error.format_message(), path, f"{path} --help"))


def _memory_is_short(error: BaseException) -> bool:
    """Whether Python, Arrow, the system, the loader or a thread ran out of memory."""
    if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    said = str(error)
    return (
        (isinstance(error, ImportError) and "allocate memory" in said)
        or (isinstance(error, ImportError | OSError) and "failed to map segment" in said)
        or (isinstance(error, RuntimeError) and "can't start new thread" in said)
    )


def _out_of_memory(error: Exception) -> InternalError:
    advice = "use fewer workers (--workers 1) or a machine with more memory"
    short = InternalError("there is not enough memory", str(error)[:200], advice)
    short.__cause__ = error
    return short
