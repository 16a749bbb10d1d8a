"""The terminal's loop: takes the terminal over, draws, reads keys, and gives it back as it was, whatever happens."""

from __future__ import annotations

import codecs
import os
import select
import signal
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from rt2data.errors import UsageError
from rt2data.look.inspect.examples import Examples, Seen
from rt2data.look.view.pager import Act, Go, Quit, Seek, State, keys, press
from rt2data.look.view.screen import Look, frame
from rt2data.look.view.search import Wanted, look_through
from rt2data.read.text import one_line

ENTER, LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[0m\x1b[?25h\x1b[?1049l"
"""The other screen without a cursor; and back, with a cursor and no colours."""
TELL_S = 0.2
"""How often a search says how far it is."""


@dataclass
class Terminal:
    """An open terminal: where keys come from and where the screen is."""

    descriptor: int
    _decode: Any = field(default_factory=lambda: codecs.getincrementaldecoder("utf-8")("ignore"))
    _resized: tuple[int, int] = (-1, -1)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Keys come one by one and unseen; a change of size is heard. All is given back, after any exception too."""
        before = termios.tcgetattr(self.descriptor)
        heard, self._resized = signal.getsignal(signal.SIGWINCH), os.pipe()
        try:
            tty.setcbreak(self.descriptor)
            self._keep_in_front()
            signal.signal(signal.SIGWINCH, lambda *_: os.write(self._resized[1], b"."))
            self.write(ENTER)
            yield
        finally:
            signal.signal(signal.SIGWINCH, heard)
            with suppress(OSError, termios.error):  # a terminal that is gone needs nothing back
                termios.tcsetattr(self.descriptor, termios.TCSAFLUSH, before)
                self.write(LEAVE)
            for end in self._resized:
                os.close(end)

    def _keep_in_front(self) -> None:
        """Ctrl-Z would leave a shell with our screen."""
        now = termios.tcgetattr(self.descriptor)
        now[6][termios.VSUSP] = b"\0"
        termios.tcsetattr(self.descriptor, termios.TCSADRAIN, now)

    def write(self, text: str) -> None:
        """All of it, now."""
        content = memoryview(text.encode("utf-8", "replace"))
        while content:
            content = content[os.write(self.descriptor, content) :]

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        found = os.get_terminal_size(self.descriptor)
        return max(found.columns, 8), max(found.lines, 4)

    def typed(self) -> list[str]:
        """Wait for keys; none where the size changed, `q` where the terminal is gone."""
        ready, _, _ = select.select([self.descriptor, self._resized[0]], [], [])
        if self._resized[0] in ready:
            os.read(self._resized[0], 1024)
            return []
        typed = os.read(self.descriptor, 1024)
        return keys(self._decode.decode(typed)) if typed else ["q"]

    def pressed(self) -> bool:
        """Whether a key waits."""
        return bool(select.select([self.descriptor], [], [], 0)[0])


@dataclass
class Viewer:
    """Examples on a terminal."""

    examples: Examples
    terminal: Terminal
    look: Look
    state: State = field(default_factory=State)

    def run(self) -> None:
        """Until somebody leaves. Raises RtError where an example cannot be read, with the terminal given back."""
        with self.terminal.taken():
            seen, going = self._go(self.state.at), True
            while going:
                self._draw(seen)
                for key in self.terminal.typed():
                    self.state, act = press(self.state, key)
                    going = going and not isinstance(act, Quit)
                    seen = self._act(act) or seen

    def _draw(self, seen: Seen) -> None:
        self.terminal.write(frame(seen, self._status(), self.terminal.size, self.look))

    def _status(self) -> str:
        total = self.examples.total
        return f" {self.state.at:,}{'' if total is None else f' of {total:,}'}   {one_line(self.state.line, 200)}"

    def _act(self, act: Act) -> Seen | None:
        """What there is to see after that; None is the same as before."""
        if isinstance(act, Go):
            return self._go(act.number)
        return self._seek(act) if isinstance(act, Seek) else None

    def _go(self, number: int) -> Seen:
        """The example of that number, or the nearest there is. Raises UsageError where there is none at all."""
        total = self.examples.total
        number = max(number if total is None else min(number, total - 1), 0)
        try:
            seen = self.examples.at(number)
        except IndexError:
            if not self.examples.total:
                raise UsageError("there is no example here", do="plan a recipe of it to see what is rejected") from None
            return self._go(self.examples.total - 1)
        self.state = replace(self.state, at=number)
        return seen

    def _seek(self, asked: Seek) -> Seen | None:
        here = self.examples.at(self.state.at, whole=False)
        found = self._found(self._wanted(asked, here))
        if found is None and not self.state.say:
            self.state = replace(self.state, say=f"no other {asked.what}" if asked.what != "text" else "nowhere else")
        return None if found is None else self._go(found)

    def _wanted(self, asked: Seek, here: Seen) -> Wanted:
        if asked.what == "source":
            return Wanted(other_source=here.source)
        if asked.what == "episode":
            robots = "robot" in self.examples.sources.values()
            return Wanted(kind="robot" if robots else "", other_place=here.place)
        return Wanted(text=asked.text)

    def _found(self, wanted: Wanted) -> int | None:
        """The next that is wanted, from here to the end and then from the start. Any key stops it; where it is, is said."""
        if wanted.other_source and len(self.examples.sources) < 2:
            return None
        told = time.monotonic()
        for number, fits in self._round(wanted, self.state.at):
            if fits:
                return number
            if time.monotonic() - told > TELL_S:
                told = time.monotonic()
                self.terminal.write(f"\x1b[{self.terminal.size[1]};1H\x1b[K {number:,} looked at; any key stops")
            if self.terminal.pressed():
                self.terminal.typed()
                self.state = replace(self.state, say=f"stopped at {number:,}")
                return None
        return None

    def _round(self, wanted: Wanted, here: int) -> Iterator[tuple[int, bool]]:
        """Those behind this one, then those before it."""
        yield from look_through(self.examples, wanted, count(here + 1))
        yield from look_through(self.examples, wanted, range(here))
