"""The engines of `--engine`, imported on demand."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, redirect_stdout
from importlib import import_module
from typing import Literal

from rt2data.engines.base import Engine
from rt2data.errors import UsageError

EngineKind = Literal["ray", "spark"]


def start(kind: EngineKind) -> AbstractContextManager[Engine]:
    """The engine, started when the context is entered. Raises UsageError if its package is missing, or no cluster answers."""
    try:
        with signals_kept():
            module = import_module(f"rt2data.engines.{kind}")
    except ImportError as error:
        raise UsageError(f"{kind} cannot be imported: {error}", f"--engine {kind}", f"pip install 'rt2data[{kind}]'") from error
    return _entered(module.at_work())


@contextmanager
def _entered(starting: AbstractContextManager[Engine]) -> Iterator[Engine]:
    """Start it for the command, which keeps its own signals and stdout; Ray would report lost workers on stdout."""
    with ExitStack() as stack, redirect_stdout(sys.stderr):
        with signals_kept():
            engine = stack.enter_context(starting)
        yield engine


@contextmanager
def signals_kept() -> Iterator[None]:
    """Restore the command's signal handlers: Ray takes over SIGTERM when it starts, Spark SIGINT."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
