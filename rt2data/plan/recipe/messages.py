"""Mistakes in a recipe with their positions; validation errors as plain messages, at the path the user wrote."""

from __future__ import annotations

import re
import types
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from rt2data.errors import UsageError
from rt2data.io.words import closest
from rt2data.read.text import one_line
from rt2data.settings import Settings, short

KeyPath = tuple[str | int, ...]


class Spot(NamedTuple):
    """A position (from 1) in a recipe, or the command line option that gave the value (line 0)."""

    origin: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.origin}:{self.line}:{self.column}" if self.line else self.origin


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake. Prints as `mixture.yaml:12:3 robot.bridge.weigth: unknown key, did you mean 'weight'?`"""

    spot: Spot
    path: str  # dotted; empty if there is none
    message: str
    suggestion: str = ""

    @property
    def line(self) -> int:
        return self.spot.line

    @property
    def column(self) -> int:
        return self.spot.column

    def __str__(self) -> str:
        place = f"{self.spot} {self.path}" if self.path else str(self.spot)
        hint = f", did you mean {self.suggestion!r}?" if self.suggestion else ""
        return one_line(f"{place}: {self.message}{hint}")


class RecipeError(UsageError):
    """A recipe with mistakes: `mistakes` holds all of them, in file order.

    Prints as one line: the mistake if there is only one, else their number; `lines` is everything to show.
    """

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        found = tuple(sorted(mistakes, key=lambda mistake: (not mistake.line, mistake.spot, mistake.path)))
        super().__init__(str(found[0]) if len(found) == 1 else f"{len(found)} mistakes in the recipe")
        self.args = (found,)
        self.mistakes = found

    @property
    def lines(self) -> tuple[str, ...]:
        """All lines to print: the single mistake, or the headline and every mistake."""
        return (str(self), *map(str, self.mistakes)) if len(self.mistakes) > 1 else (str(self),)


def dotted(path: KeyPath) -> str:
    """`("robot", "bridge", "splits", 0)` -> `robot.bridge.splits[0]`. Unusual keys are quoted."""
    return "".join(f"[{key}]" if isinstance(key, int) else f".{_name(key)}" for key in path).lstrip(".")


def _name(key: str) -> str:
    return key if re.fullmatch(r"[\w-]{1,64}", key) else repr(key[:64])


_EXPECTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "text",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "none_required": "null",
    "finite_number": "finite",
    "literal_error": "{expected}",
    "greater_than_equal": "at least {ge}",
    "greater_than": "above {gt}",
    "less_than_equal": "at most {le}",
    "less_than": "below {lt}",
    "too_short": "a list of {min_length} or more",
    "too_long": "a list of up to {max_length}",
    "string_too_short": "text of {min_length} or more characters",
    "string_too_long": "text of up to {max_length} characters",
    "string_pattern_mismatch": "text of the form {pattern}",
}
"""Completes `must be ...` for each pydantic error type that our fields can have."""
MEMBERS, SIDE, SOURCE_MARK, GROUP = "<members>", "<side>", "<source>", "<group>"
"""Pydantic's labels, in error locations, for the two ways to write a side and the two kinds of members."""
_NAME = "a letter, then up to 63 letters, digits, _ or -"


@dataclass(frozen=True, slots=True)
class RecipeFinding:
    """A mistake without its position."""

    path: KeyPath
    message: str
    suggestion: str = ""
    at_key: bool = False


def findings(errors: Sequence[ErrorDetails], model: type[BaseModel]) -> Iterator[RecipeFinding]:
    """One finding per path: errors of union members are combined."""
    relevant = [error for error in errors if not (error["type"] == "too_short" and _explained_inside(error, errors))]
    located = [(*locate(model, _without_mark(error["loc"])), error) for error in relevant]
    paths = {path for path, _, _ in located}
    located = [each for each in located if not (each[2]["type"] in _EXPECTED and _has_inside(paths, each[0]))]
    for path, group in groupby(located, key=lambda each: each[0]):
        members = list(group)
        yield _finding(path, members[0][1], [error for _, _, error in members])


def locate(model: type[BaseModel], loc: Sequence[str | int]) -> tuple[KeyPath, type[BaseModel] | None]:
    """The path the user wrote, without names of union members, and the model that its last key belongs to."""
    here: list[Any] = [model]
    path: list[str | int] = []
    owner: type[BaseModel] | None = None
    for token in loc:
        owner = _model(here)
        if token in (MEMBERS, SIDE, SOURCE_MARK, GROUP):
            here = [each for each in here if _marked(each, token)]
            continue
        tagged = [each for each in here if _tagged(each, token)]
        if len(here) > 1 and tagged:
            here = tagged
            continue
        labelled = [each for each in here if _labelled(each, token)]
        if len(here) > 1 and labelled:
            here = labelled
            continue
        inner = [one for each in here for one in _inside(each, token)]
        if not inner and not (owner and token == loc[-1]):
            break
        path.append(token)
        here = inner
    return tuple(path), owner


def _explained_inside(error: ErrorDetails, errors: Sequence[ErrorDetails]) -> bool:
    """Whether a list counts as too short only because its items are invalid."""
    place = error["loc"]
    return any(other["loc"][: len(place)] == place != other["loc"] for other in errors)


def _has_inside(paths: Collection[KeyPath], place: KeyPath) -> bool:
    """Whether an error lies deeper inside: then the value fits another union member, apart from that error."""
    return any(len(path) > len(place) and path[: len(place)] == place for path in paths)


def _without_mark(loc: Sequence[str | int]) -> Sequence[str | int]:
    """The location without the mark that pydantic adds to an invalid key of a mapping."""
    return loc[:-1] if loc[-1:] == ("[key]",) else loc


def _finding(path: KeyPath, owner: type[BaseModel] | None, errors: list[ErrorDetails]) -> RecipeFinding:
    first = errors[0]
    context: dict[str, Any] = first.get("ctx", {})
    match first["type"]:
        case "extra_forbidden":
            fields = list(owner.model_fields) if owner else []
            return RecipeFinding(path, "unknown key", closest(path[-1], fields), at_key=True)
        case "missing":
            return RecipeFinding(path, f"is missing{_meaning(owner, path)}", at_key=True)
        case "union_tag_not_found":
            return RecipeFinding(path, f"must say its {context['discriminator'].strip(chr(39))}")
        case "union_tag_invalid":
            known = re.findall("'([^']*)'", context["expected_tags"])
            key = context["discriminator"].strip("'")
            return RecipeFinding(
                (*path, key), f"must be {' or '.join(known)}, got {shown(context['tag'])}", closest(context["tag"], known)
            )
        case "source_kind":
            return _kind_finding(path, **context)
        case "value_error":
            return RecipeFinding(path, str(context["error"]))
    if first["loc"][-1] == "[key]":
        return RecipeFinding(path, f"the name must be {_NAME}", at_key=True)
    expected = " or ".join(map(_expected, errors))
    words = [word for error in errors for word in re.findall("'([^']*)'", error.get("ctx", {}).get("expected", ""))]
    return RecipeFinding(path, f"must be {expected}, got {shown(first['input'])}", closest(first["input"], words))


def _expected(error: ErrorDetails) -> str:
    phrase = _EXPECTED.get(error["type"])
    return phrase.format(**error.get("ctx", {})) if phrase else error["msg"].removeprefix("Input should be ")


def _kind_finding(path: KeyPath, kind: Any, known: list[str], home: str | None) -> RecipeFinding:
    choice = " or ".join(map(repr, known))
    if kind is None:
        return RecipeFinding((*path, "kind"), f"is missing: {choice}", at_key=True)
    if home:
        return RecipeFinding((*path, "kind"), f"{shown(kind)} belongs under {home}")
    return RecipeFinding((*path, "kind"), f"must be {choice}, got {shown(kind)}", closest(kind, known))


def shown(value: Any) -> str:
    """A value as YAML would write it, shortened."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict | tuple | list):
        kind = "mapping" if isinstance(value, dict) else "list"
        return f"a {kind}" if value else f"an empty {kind}"
    return short(value)


def _meaning(owner: type[BaseModel] | None, path: KeyPath) -> str:
    """The meaning of a missing field, from its docstring."""
    text = owner.meanings().get(str(path[-1])) if owner and issubclass(owner, Settings) else None
    return f": {text.split('. ')[0].rstrip('.')}" if text else ""


def _model(alternatives: Sequence[Any]) -> type[BaseModel] | None:
    return next((each for each in alternatives if _is_model(each)), None)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _marked(annotation: Any, mark: str | int) -> bool:
    """Whether the mark stands for this type: a side and a group are models with `sources`; members by name are not a model."""
    holds = _is_model(annotation) and "sources" in annotation.model_fields
    return (mark == MEMBERS) != _is_model(annotation) and (mark in (SIDE, GROUP)) == holds


def _tagged(annotation: Any, tag: str | int) -> bool:
    """Whether this union member is the one whose `kind` or `rule` is `tag`."""
    fields = [annotation.model_fields.get(name) for name in ("kind", "rule")] if _is_model(annotation) else []
    return any(field is not None and tag in get_args(field.annotation) for field in fields)


def _labelled(annotation: Any, token: str | int) -> bool:
    """Whether pydantic labels this union member with the token, such as `literal['all']` or `tuple[str, ...]`."""
    name = "literal" if annotation is Literal else getattr(get_origin(annotation), "__name__", "")
    return bool(name) and str(token).startswith(f"{name}[")


def _inside(annotation: Any, token: str | int) -> list[Any]:
    """The types allowed under one key of a value of this type."""
    if _is_model(annotation):
        field = annotation.model_fields.get(token)
        return _members(field.annotation) if field else []
    arguments = get_args(annotation)
    if get_origin(annotation) is dict and isinstance(token, str):
        return _members(arguments[1])
    if get_origin(annotation) in (list, tuple) and isinstance(token, int):
        return _members(arguments[0 if arguments[-1] is ... else min(token, len(arguments) - 1)])
    return []


def _members(annotation: Any) -> list[Any]:
    """The members of a union, or the type itself."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _members(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return [member for each in get_args(annotation) for member in _members(each)]
    return [annotation] if origin is not Literal else [origin]
