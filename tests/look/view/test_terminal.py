"""The pager on a real terminal: real keys, what is on the screen, and a terminal that is given back as it was."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.faults.command import environment

LIMIT_S = 30.0
LEFT = b"\x1b[?25h\x1b[?1049l"


class Screen:
    """The command's terminal, from the other end."""

    def __init__(self, pid: int, descriptor: int) -> None:
        self.pid, self.descriptor, self.seen = pid, descriptor, b""

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def until(self, words: str) -> str:
        """What was drawn up to these words, since the last time. Fails where they do not come."""
        until, found = time.monotonic() + LIMIT_S, b""
        while words.encode() not in found:
            assert time.monotonic() < until, (words, found[-2000:])
            found += self._read()
        return found.decode("utf-8", "replace")

    def _read(self) -> bytes:
        """What was said in the meantime; nothing after a moment of silence."""
        part = os.read(self.descriptor, 1 << 16) if select.select([self.descriptor], [], [], 0.1)[0] else b""
        self.seen += part
        return part

    def type(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    def flags(self) -> list[object]:
        return termios.tcgetattr(self.descriptor)[:4]

    def end(self) -> int:
        """Exit code, with everything read that was said."""
        until, status = time.monotonic() + LIMIT_S, None
        while self._read() or status is None:
            assert time.monotonic() < until, self.seen[-2000:]
            done, code = os.waitpid(self.pid, os.WNOHANG) if status is None else (0, 0)
            status = code if done else status
        return os.waitstatus_to_exitcode(status)


@contextmanager
def terminal(mixture: Path, *arguments: str, **changes: str | None) -> Iterator[Screen]:
    """`rt2data view` on a terminal of 100 x 30."""
    env = environment({"TERM": "xterm-256color", "COLORTERM": "truecolor", "NO_COLOR": None, "KITTY_WINDOW_ID": None} | changes)
    master, slave = pty.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    pid = os.fork()
    if pid == 0:
        os.login_tty(slave)
        os.execve(sys.executable, [sys.executable, "-m", "rt2data", "view", str(mixture), *arguments], env)
    screen = Screen(pid, master)
    try:
        yield screen
    finally:
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(master)
        os.close(slave)


@pytest.fixture(autouse=True)
def _enough_terminals() -> None:
    if not hasattr(os, "login_tty"):
        pytest.skip("os.login_tty is not here")


def words(drawn: str) -> str:
    """What is on the screen without colours and moves."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", " ", drawn)


def test_a_walk_with_keys(mixture: Path) -> None:
    with terminal(mixture, "--at", "3") as screen:
        before = screen.flags()
        first = screen.until(" 3 of 96 ")
        assert "▀" in first and "\x1b[38;2;" in first and first.count("\x1b[?1049h") == 1
        screen.type("n")
        assert "prompt" in words(screen.until(" 4 of 96 "))
        screen.type("50g")
        screen.until(" 50 of 96 ")
        screen.type("\x1b[D")
        screen.until(" 49 of 96 ")
        screen.type("999g")
        screen.until(" 95 of 96 ")
        screen.type("/How many? 3\r")
        assert "How many? 3" in words(screen.until(" of 96 "))
        screen.type("s")
        assert re.search(r"robot +arm", words(screen.until(" of 96 ")))
        screen.type("/not there at all\r")
        screen.until("nowhere else")
        screen.resize(60, 24)
        assert "\x1b[24;1H" in screen.until(" of 96 ")
        assert screen.flags() != before
        screen.type("q")
        assert screen.end() == 0
        assert screen.flags() == before and screen.seen.endswith(LEFT)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.usefixtures("listening")
def test_a_signal_gives_the_terminal_back(mixture: Path, number: int, code: int) -> None:
    with terminal(mixture, NO_COLOR="1") as screen:
        before = screen.flags()
        drawn = screen.until(" 0 of 96 ")
        assert "\x1b[38" not in drawn and "▀" not in drawn
        if number == signal.SIGINT:
            screen.type("\x03")
        else:
            os.kill(screen.pid, number)
        assert screen.end() == code
        assert screen.flags() == before and screen.seen.endswith(LEFT)


def test_a_damaged_shard_gives_the_terminal_back(mixture: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(mixture, tmp_path / "damaged"))
    shard = copy / "shard-000000.tar"
    content = bytearray(shard.read_bytes())
    content[0:512] = bytes(512)
    shard.write_bytes(content)
    with terminal(copy) as screen:
        before = screen.flags()
        assert screen.end() == 3
        assert screen.flags() == before
        assert b"damaged member header" in screen.seen[screen.seen.index(LEFT) :]


def test_pictures_by_kittys_protocol(mixture: Path) -> None:
    with terminal(mixture, TERM="xterm-kitty") as screen:
        drawn = screen.until(" 0 of 96 ")
        assert "\x1b_Ga=T,f=100" in drawn and "▀" not in drawn
        screen.type("q")
        assert screen.end() == 0
