"""Finds members of nested JSON objects as byte ranges, in constant memory: `{"FILE": {"EPISODE": {...}}}` of any size.

Like `json_stream`, one numpy pass over each chunk finds the brackets; the content of a member is not examined until it is needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from rt2data.io import location
from rt2data.io.json_stream import CHUNK, bracket_chunks, broken

_LABEL = re.compile(rb'\s*(,?)\s*("(?:[^"\\]|\\.)*")\s*:\s*', re.DOTALL)
_MAX_LABEL = 1 << 16


class Member(NamedTuple):
    """A value and the keys that lead to it: its first byte, and the byte after its last."""

    keys: tuple[str, ...]
    start: int
    stop: int


class _Bracket(NamedTuple):
    """A bracket, the depth after it, and the text since the previous one, unless that belongs to a member."""

    offset: int
    char: bytes
    depth: int
    text: bytes

    @property
    def opens(self) -> bool:
        return self.char in b"[{"


def json_members(path: str, depth: int, chunk: int = CHUNK) -> Iterator[Member]:
    """Every object or list at `depth` keys, in file order. Each level above must be an object that contains nothing else.

    Raises DataError if the file has another structure, is truncated, or continues after its end.
    """
    keys, begun, first, left = [""] * depth, 0, True, 1
    for bracket in _brackets(path, depth, chunk):
        level = bracket.depth - bracket.opens  # number of keys that lead to what the bracket opens or closes
        if not bracket.opens and level == depth:
            yield Member(tuple(keys), begun, bracket.offset + 1)
        elif not bracket.opens:
            _require_bare(path, bracket, b"}")
        elif level == 0:
            _require_bare(path, bracket, b"{")
        else:
            keys[level - 1], begun = _label(path, bracket, first), bracket.offset
        if bracket.opens and level < depth and bracket.char != b"{":
            raise broken(path, "a list stands where an object belongs", bracket.offset)
        first, left = bracket.opens, bracket.depth
    if left:
        raise broken(path, "the file is cut", location.stat(path).size)


def _brackets(path: str, depth: int, size: int) -> Iterator[_Bracket]:
    """The brackets down to the depth of the members' own, up to the end of the file."""
    text, inside, after = b"", False, -1
    with location.open_file(path) as file:
        for base, chunk, at, depths in bracket_chunks(file, 0, size, depth):
            done = 0
            for position, now in zip(at, depths, strict=True):
                if not after:
                    raise broken(path, "text after the end", base + position)
                char = chunk[position : position + 1]
                yield _Bracket(base + position, char, now, b"" if inside else text + chunk[done:position])
                inside, text, done, after = now > depth, b"", position + 1, now
            text = b"" if inside else text + chunk[done:]
            if len(text) > _MAX_LABEL:
                raise broken(path, "a key is too long, or a value stands where an object belongs", base + done)
    if text.strip():
        raise broken(path, "the file is cut" if after else "text after the end", location.stat(path).size)


def _require_bare(path: str, bracket: _Bracket, char: bytes) -> None:
    """Raises DataError if there is anything but white space before a bracket."""
    if bracket.char != char or bracket.text.removeprefix(b"\xef\xbb\xbf").strip():
        raise broken(path, "objects with a key for each are expected here", bracket.offset)


def _label(path: str, bracket: _Bracket, first: bool) -> str:
    """The key in the text before a bracket."""
    found = _LABEL.fullmatch(bracket.text)
    if found is None or bool(found[1]) == first:
        raise broken(path, "objects with a key for each are expected here", bracket.offset)
    try:
        return msgspec.json.decode(found[2], type=str)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise broken(path, "a key is not text", bracket.offset) from None
