"""What tests of the command share."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import sys
import termios
import threading
from collections.abc import Callable, Iterator

import pytest

from tests.faults.command import Warm


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warm]:
    """The command without the time its imports take."""
    server = Warm(tmp_path_factory.mktemp("said"))
    yield server
    server.close()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run something with a terminal of so many columns as stdout; gives what it showed."""

    def show(width: int, work: Callable[[], object]) -> str:
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.setenv("NO_COLOR", "1")
        shown: list[bytes] = []
        reader = threading.Thread(target=_read_all, args=(ours, shown))
        reader.start()
        try:
            with os.fdopen(theirs, "w", encoding="utf-8") as out, monkeypatch.context() as patch:
                patch.setattr(sys, "stdout", out)
                work()
        finally:
            reader.join(20)
            os.close(ours)
        return re.sub(r"\x1b\[[0-9;]*m", "", b"".join(shown).decode()).replace("\r", "")

    return show


def _read_all(descriptor: int, shown: list[bytes]) -> None:
    try:
        while found := os.read(descriptor, 1 << 16):
            shown.append(found)
    except OSError:
        pass  # the other end is closed
