"""What keys do: a state and a key give a state and what is to be looked at. Pure; the terminal's loop does the rest."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

FORWARD = frozenset({"n", " ", "right", "down", "pagedown", "enter"})
BACK = frozenset({"p", "left", "up", "pageup", "backspace"})
QUIT = frozenset({"q", "Q"})
KEYS = "n next  p back  12g go to  e episode  s source  / find  q quit"


class Go(NamedTuple):
    """Show the example of this number; below the first is the first, past the end the last."""

    number: int


class Seek(NamedTuple):
    """Find the next example that holds a text, or is of another episode or source."""

    what: Literal["text", "episode", "source"]
    text: str = ""


class Quit(NamedTuple):
    """Leave."""


Act = Go | Seek | Quit | None


@dataclass(frozen=True)
class State:
    """Where somebody is, and what is half typed."""

    at: int = 0
    digits: str = ""
    query: str | None = None  # being typed
    sought: str = ""  # the last text that was looked for
    say: str = ""

    @property
    def line(self) -> str:
        """What the last line of the screen says."""
        if self.query is not None:
            return f"/{self.query}"
        return self.digits or self.say or KEYS


def press(state: State, key: str) -> tuple[State, Act]:
    """The state after a key, and what it asks for. A key is a character or a name such as `left`, `enter`, `esc`."""
    if state.query is not None:
        return _typing(state, key)
    calm = replace(state, digits="", say="")
    if key.isascii() and key.isdigit():
        return replace(calm, digits=(state.digits + key)[-12:]), None
    if state.digits and key == "backspace":
        return replace(calm, digits=state.digits[:-1]), None
    if state.digits and key in ("g", "G", "enter"):
        return calm, Go(int(state.digits))
    return _moving(calm, key)


def _moving(state: State, key: str) -> tuple[State, Act]:
    if key in FORWARD | BACK:
        return state, Go(state.at + (1 if key in FORWARD else -1))
    if key in QUIT:
        return state, Quit()
    if key == "/":
        return replace(state, query=""), None
    acts: dict[str, Act] = {"g": Go(0), "home": Go(0), "e": Seek("episode"), "s": Seek("source")}
    return state, acts.get(key)


def _typing(state: State, key: str) -> tuple[State, Act]:
    """A text to look for; nothing typed is the last text again."""
    query = state.query or ""
    if key == "esc" or (key == "backspace" and not query):
        return replace(state, query=None), None
    if key == "enter":
        text = query or state.sought
        return replace(state, query=None, sought=text, say=""), Seek("text", text) if text else None
    if key == "backspace":
        return replace(state, query=query[:-1]), None
    return (replace(state, query=query + key) if len(key) == 1 and key.isprintable() else state), None


# Keys

NAMED = {"\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace", "\x1b": "esc"}
SEQUENCES = {
    **dict.fromkeys(("[C", "OC"), "right"),
    **dict.fromkeys(("[D", "OD"), "left"),
    **dict.fromkeys(("[A", "OA"), "up"),
    **dict.fromkeys(("[B", "OB"), "down"),
    **dict.fromkeys(("[H", "OH", "[1~"), "home"),
    "[5~": "pageup",
    "[6~": "pagedown",
}


def keys(typed: str) -> list[str]:
    """Keys out of what a terminal sends; sequences that are not known are left out."""
    found, at = [], 0
    while at < len(typed):
        length = _sequence(typed, at)
        if length:
            found.append(SEQUENCES.get(typed[at + 1 : at + length], ""))
        else:
            found.append(NAMED.get(typed[at], typed[at]))
        at += length or 1
    return [key for key in found if key]


def _sequence(typed: str, at: int) -> int:
    """Length of the escape sequence here; 0 where there is none."""
    if typed[at] != "\x1b" or typed[at + 1 : at + 2] not in ("[", "O"):
        return 0
    end = next((i for i in range(at + 2, len(typed)) if "\x40" <= typed[i] <= "\x7e"), len(typed) - 1)
    return end + 1 - at
