"""The standard streams and the terminal of this process."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


def open_standard_streams() -> None:
    """Open /dev/null in place of closed standard streams. Otherwise a file opened later would get their descriptor, and a library's
    warnings.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free descriptor
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal may not support all printed characters
            stream.reconfigure(errors="backslashreplace")


def silence(stream: TextIO) -> None:
    """Send a stream's buffered output to /dev/null."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def terminal() -> Iterator[int]:
    """A descriptor of the controlling terminal. Raises OSError if there is none."""
    descriptor = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
