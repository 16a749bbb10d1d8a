"""Strict YAML 1.2 with positions: a tree of plain values, and the line and column of each.

Plain scalars that YAML readers interpret differently (`no`, `012`, `1:30`, `0x10`) stay text, which the types then refuse.
Duplicate keys, aliases, merge keys and tags are mistakes; so are more than 1 MB and more than 32 levels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from rt2data.plan.recipe.messages import KeyPath, Mistake, RecipeError, Spot, dotted

MAX_BYTES = 1_000_000
MAX_DEPTH = 32

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?(0|[1-9][0-9]{0,99})")
_FINITE = r"((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?"
_FLOAT = re.compile(rf"[-+]?({_FINITE}|\.(inf|Inf|INF))|\.(nan|NaN|NAN)")


class Written(float):
    """A float that keeps its text, so that shares stay exact."""

    text: str

    def __new__(cls, text: str) -> Written:
        number = super().__new__(cls, re.sub(r"\.(?=[inIN])", "", text))
        number.text = text
        return number

    def __repr__(self) -> str:
        return self.text

    __str__ = __repr__


@dataclass
class Document:
    """A recipe as written. `value` holds dicts, tuples and scalars; `unread` holds the paths of invalid values."""

    value: Any = None
    keys: dict[KeyPath, Spot] = field(default_factory=dict)
    values: dict[KeyPath, Spot] = field(default_factory=dict)
    unread: set[KeyPath] = field(default_factory=set)
    mistakes: list[Mistake] = field(default_factory=list)

    def spot(self, path: KeyPath, at_key: bool) -> Spot:
        """Position of a path (of its key or its value), or of its nearest parent if it is absent."""
        tables = (self.keys, self.values) if at_key else (self.values, self.keys)
        spots = (table.get(path[:end]) for end in range(len(path), -1, -1) for table in tables)
        return next(spot for spot in spots if spot)


def parse(text: str, origin: str) -> Document:
    """Parse YAML text. `origin` names it in mistakes. Raises RecipeError if it is not YAML."""
    document = Document(values={(): Spot(origin, 1, 1)})
    if len(text.encode("utf-8", "replace")) > MAX_BYTES:
        raise RecipeError([Mistake(Spot(origin), "", f"is larger than {MAX_BYTES:,} bytes")])
    try:
        events = YAML(typ="safe", pure=True, plug_ins=[]).parse(text)
        _read(events, document, origin)
    except MarkedYAMLError as error:
        raise RecipeError([*document.mistakes, Mistake(_problem_spot(error, origin), "", _problem(error))]) from None
    except ReaderError as error:
        spot = _spot_at(text, error.position, origin)
        raise RecipeError([Mistake(spot, "", f"has an invalid character: {chr(error.character)!r}")]) from None
    except (YAMLError, ValueError, OverflowError) as error:  # for example escapes beyond Unicode
        raise RecipeError([Mistake(Spot(origin), "", f"is not valid YAML: {error}")]) from None
    return document


def _read(events: Iterator[Event], document: Document, origin: str) -> None:
    builder = _Builder(events, document, origin)
    for event in events:
        if isinstance(event, DocumentStartEvent):
            if builder.started:
                builder.refuse(event, (), "starts a second document: a recipe is one document")
                return
            builder.started = True
            document.value = builder.node(next(events), ())


@dataclass
class _Builder:
    """Turns events into values."""

    events: Iterator[Event]
    document: Document
    origin: str
    started: bool = False

    def node(self, event: Event, path: KeyPath) -> Any:
        """The value that begins with this event."""
        self._check(event, path)
        if isinstance(event, MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, SequenceStartEvent):
            return self._sequence(path)
        return self._scalar(event, path) if isinstance(event, ScalarEvent) else None

    def refuse(self, event: Event, path: KeyPath, message: str) -> None:
        """Add a mistake."""
        self.document.mistakes.append(Mistake(self._spot(event), dotted(path), message))

    def _check(self, event: Event, path: KeyPath) -> None:
        if len(path) > MAX_DEPTH:
            self.refuse(event, path[:2], f"is nested deeper than {MAX_DEPTH} levels")
            raise RecipeError(self.document.mistakes)
        if not isinstance(event, ScalarEvent) or event.value or event.style:  # an absent value has no position
            self.document.values[path] = self._spot(event)
        tag = getattr(event, "tag", None)
        if isinstance(event, AliasEvent):
            self._unread(event, path, f"aliases (*{event.anchor}) are not supported: write the value")
        elif tag is not None:
            self._unread(event, path, f"tags ({tag}) are not supported: write the plain value")

    def _unread(self, event: Event, path: KeyPath, message: str) -> None:
        self.refuse(event, path, message)
        self.document.unread.add(path)

    def _sequence(self, path: KeyPath) -> tuple[Any, ...]:
        found: list[Any] = []
        while not isinstance(event := next(self.events), SequenceEndEvent):
            found.append(self.node(event, (*path, len(found))))
        return tuple(found)

    def _mapping(self, path: KeyPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while not isinstance(event := next(self.events), MappingEndEvent):
            key = self._key(event, path)
            if key is None or key in found:
                self._skip(path)
            else:
                self.document.keys[(*path, key)] = self._spot(event)
                found[key] = self.node(next(self.events), (*path, key))
        return found

    def _key(self, event: Event, path: KeyPath) -> str | None:
        """The key, or None if it is not valid."""
        if not isinstance(event, ScalarEvent) or event.tag is not None:
            self.refuse(event, path, "keys must be plain words")
            self._scratch().node(event, path)
            return None
        key = str(event.value)
        if event.style is None and key == "<<":
            self.refuse(event, path, "merge keys (<<) are not supported: write the settings")
            return None
        first = self.document.keys.get((*path, key))
        if first:
            self.refuse(event, (*path, key), f"is given twice, first on line {first.line}")
        return key

    def _skip(self, path: KeyPath) -> None:
        self._scratch().node(next(self.events), path)

    def _scratch(self) -> _Builder:
        """A builder whose findings are discarded."""
        return _Builder(self.events, Document(), self.origin)

    def _scalar(self, event: ScalarEvent, path: KeyPath) -> Any:
        if any(char == "\0" or "\ud800" <= char <= "\udfff" for char in event.value):
            self._unread(event, path, "has an invalid character (NUL or a lone surrogate)")
        return event.value if event.style is not None else _resolve(event.value)

    def _spot(self, event: Event) -> Spot:
        return Spot(self.origin, event.start_mark.line + 1, event.start_mark.column + 1)


def _resolve(text: str) -> Any:
    """A plain scalar: null, a boolean or a number if YAML 1.2 and JSON agree on it, else text."""
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return int(text)
    return Written(text) if _FLOAT.fullmatch(text) else text


def _problem(error: MarkedYAMLError) -> str:
    problem = str(error.problem)
    advice = {"\\t": " (indent with spaces)", "mapping values": " (quote text that holds a colon)"}
    return f"is not valid YAML: {problem}" + next((more for sign, more in advice.items() if sign in problem), "")


def _problem_spot(error: MarkedYAMLError, origin: str) -> Spot:
    mark = error.problem_mark or error.context_mark
    return Spot(origin, mark.line + 1, mark.column + 1) if mark else Spot(origin)


def _spot_at(text: str, position: int, origin: str) -> Spot:
    before = text[:position]
    return Spot(origin, before.count("\n") + 1, position - before.rfind("\n"))
