"""The shape of a JSON file, from its first bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from rt2data.io import location

HEAD = 1 << 16
"""Number of bytes at the start of a file that are examined."""
_KEY = re.compile(r'[\s,]*("(?:[^"\\]|\\.)*")\s*:\s*')
_OPEN = re.compile(r"\[\s*\{")
_LINES = re.compile(r"\}\s*\n\s*\{")
_decode = json.JSONDecoder().raw_decode


@dataclass(frozen=True)
class JsonShape:
    """Keys near the start of a JSON file."""

    lines: bool = False  # an object on each line
    element: frozenset[str] = frozenset()  # of the first element, if the file is a list
    arrays: dict[str, frozenset[str]] = field(default_factory=dict)  # an object's arrays: keys of their first elements
    members: bool = False  # an object whose examined values are all objects


def json_shape(path: location.Name) -> JsonShape:
    """The shape of a file. Raises OSError."""
    return shape_of(location.read_head(path, HEAD))


def shape_of(head: bytes) -> JsonShape:
    """The shape of a file that begins with these bytes; an empty shape if they are not JSON."""
    text = head.decode(errors="replace").lstrip("\ufeff \t\r\n")
    if text.startswith("["):
        return JsonShape(element=_first_element(text, 0))
    if not text.startswith("{"):
        return JsonShape()
    try:
        _, end = _decode(text)
        if _LINES.match(text, end - 1):
            return JsonShape(lines=True)
    except (ValueError, RecursionError):
        pass
    members = list(_members(text, 0))
    arrays = {key: _first_element(text, at) for key, at in members if text.startswith("[", at)}
    return JsonShape(arrays=arrays, members=bool(members) and all(text.startswith("{", at) for _, at in members))


def _first_element(text: str, at: int) -> frozenset[str]:
    """Keys of the first object in the array at `at`."""
    opened = _OPEN.match(text, at)
    return frozenset(key for key, _ in _members(text, opened.end() - 1)) if opened else frozenset()


def _members(text: str, at: int) -> Iterator[tuple[str, int]]:
    """Keys of the object at `at`, with the positions of their values, up to the end of the text."""
    at += 1
    while found := _KEY.match(text, at):
        yield found[1][1:-1], found.end()
        try:
            _, at = _decode(text, found.end())
        except (ValueError, RecursionError):
            return
