"""Checks of settings against one another, and that the paths, splits, features and cameras exist, before anything is read.

They work on the tree as written, not on the parsed recipe, so that these mistakes are reported together with all others.
Invalid values are skipped here: the types report them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rt2data.errors import RtError
from rt2data.io.words import closest
from rt2data.plan.recipe.messages import KeyPath, RecipeFinding, shown
from rt2data.plan.recipe.model import TokenizerFile, named_tokenizer
from rt2data.read.known_formats import hub_advice
from rt2data.read.sample import InvalidSetting
from rt2data.read.source import SOURCES, Source, absent_file, source_class
from rt2data.records import SOURCE, key_name
from rt2data.settings import parse_fraction

_RULES = ("longest", "shortest")
_RESERVED = re.compile(r"statistics|sha256sums|note-\d+", re.IGNORECASE | re.ASCII)
"""Names of files and folders that every output has."""


@dataclass(frozen=True)
class Outline:
    """The settings that are checked against one another."""

    tree: dict[str, Any]
    robot_frac: Fraction | None  # None where it is missing or wrong
    weights: dict[str, dict[str, Fraction | None]]  # by side and source; a side that is no mapping is absent

    @property
    def shares(self) -> dict[str, Fraction]:
        """Share of each side; empty where it is unknown."""
        return {} if self.robot_frac is None else {"robot": self.robot_frac, "web": 1 - self.robot_frac}


def needed(tree: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Side and name of the sources that will be read: those with a weight on a side with a share."""
    outline = _outline(tree)
    for side, weights in outline.weights.items():
        if outline.shares.get(side) != 0:
            yield from ((side, name) for name, weight in weights.items() if weight != 0)


def contradictions(tree: Any) -> Iterator[RecipeFinding]:
    """All settings that contradict one another."""
    if isinstance(tree, dict):
        outline = _outline(tree)
        for rule in (_empty_sides, _zero_sides, _shared_names, _alike_names, _folder_names, _size):
            yield from rule(outline)


def _empty_sides(outline: Outline) -> Iterator[RecipeFinding]:
    for side, share in outline.shares.items():
        if share and outline.weights.get(side) == {}:
            asked, other = shown(outline.tree["robot_frac"]), "0" if side == "robot" else "1"
            message = f"{asked} needs {side} sources and there are none: add one under {side}, or set it to {other}"
            yield RecipeFinding(("robot_frac",), message)


def _zero_sides(outline: Outline) -> Iterator[RecipeFinding]:
    for side, share in outline.shares.items():
        weights = outline.weights.get(side, {})
        if share and weights and all(weight == 0 for weight in weights.values()):
            message = f"every weight under {side} is 0, but robot_frac asks for {side} examples"
            yield RecipeFinding((side, next(iter(weights)), "weight"), message)


def _shared_names(outline: Outline) -> Iterator[RecipeFinding]:
    robot, web = outline.weights.get("robot", {}), outline.weights.get("web", {})
    for name in web:
        if name in robot:
            yield RecipeFinding(("web", name), "is already the name of a source under robot", at_key=True)
    for side, names in outline.weights.items():
        for name in names:
            if name in _RULES:
                yield RecipeFinding((side, name), f"the name must not be {name}: it is a rule of size.of", at_key=True)


def _alike_names(outline: Outline) -> Iterator[RecipeFinding]:
    """Names become parts of file names and keys, and must differ there too."""
    places = [(side, name) for side, names in outline.weights.items() for name in names if re.fullmatch(SOURCE, name)]
    for form, alike in ((str.lower, "differ in case only"), (key_name, "give the same keys")):
        seen: dict[str, str] = {}
        for side, name in places:
            other = seen.setdefault(form(name), name)
            if other != name:
                yield RecipeFinding((side, name), f"{name} and {other} {alike}: rename one", at_key=True)


def _folder_names(outline: Outline) -> Iterator[RecipeFinding]:
    """With `once` the name of a source is the name of a folder in the output."""
    shards = outline.tree.get("shards")
    if not isinstance(shards, dict) or shards.get("materialize") != "once":
        return
    for side, names in outline.weights.items():
        for name in filter(_RESERVED.fullmatch, names):
            message = f"the name must not be {name} with materialize once: every output has a file or folder of that name"
            yield RecipeFinding((side, name), message, at_key=True)


def _size(outline: Outline) -> Iterator[RecipeFinding]:
    size = outline.tree.get("size")
    if not isinstance(size, dict):
        return
    if size.get("num_examples") is not None and {"epochs", "of"} & size.keys():
        yield RecipeFinding(("size", "num_examples"), "excludes epochs and of: give one or the other", at_key=True)
    elif isinstance(size.get("of"), str) and len(outline.weights) == 2:
        yield from _size_of(outline, size["of"])


def _size_of(outline: Outline, of: str) -> Iterator[RecipeFinding]:
    known = [*_RULES, *outline.weights["robot"], *outline.weights["web"]]
    if of not in known:
        yield RecipeFinding(("size", "of"), f"no source is called {shown(of)}", closest(of, known))
    for side, weights in outline.weights.items():
        if of in weights and (weights[of] == 0 or outline.shares.get(side) == 0):
            yield RecipeFinding(("size", "of"), f"{of} is not drawn: its weight or the share of {side} is 0")


def _outline(tree: dict[str, Any]) -> Outline:
    sides = {side: tree.get(side, {}) for side in ("robot", "web")}
    weights = {side: _weights(sources) for side, sources in sides.items() if isinstance(sources, dict)}
    return Outline(tree, _number(tree.get("robot_frac")), weights)


def _weights(sources: dict[str, Any]) -> dict[str, Fraction | None]:
    return {name: _weight(settings) for name, settings in sources.items()}


def _weight(settings: Any) -> Fraction | None:
    return _number(settings.get("weight", 1)) if isinstance(settings, dict) else None


def _number(value: Any) -> Fraction | None:
    try:
        return parse_fraction(value)
    except ValueError:
        return None


def absences(tree: Any, folder: Path) -> Iterator[RecipeFinding]:
    """Everything missing for the sources that will be read and the tokenizer. Paths are relative to `folder`."""
    if not isinstance(tree, dict):
        return
    split = tree.get("split", "train")
    for side, name in needed(tree):
        source = _source(side, tree[side][name], folder)
        if source is None:
            continue  # the types report why
        with suppress(RtError, OSError):  # damaged: reported with its exit code when it is read
            for invalid in source.invalid_settings():
                yield _finding((side, name), invalid, _written(tree[side][name], invalid.setting))
        with suppress(RtError, OSError):
            yield from _absent_split(source, split, (side, name), "split" in tree)
    yield from _absent_tokenizer(tree.get("tokenizer"), folder)


def _source(side: str, settings: Any, folder: Path) -> Source | None:
    """The source, if its settings are valid."""
    kind = settings.get("kind") if isinstance(settings, dict) else None
    if not isinstance(kind, str) or kind not in SOURCES or source_class(kind).role != side:
        return None
    try:
        return source_class(kind).model_validate(settings, context={"folder": folder})
    except ValidationError:
        return None


def _finding(place: KeyPath, invalid: InvalidSetting, written: Any) -> RecipeFinding:
    message = invalid.message
    if (
        not invalid.suggestion
        and isinstance(written, str)
        and message.startswith("there is no such")
        and (hub := hub_advice(written))
    ):
        message = f"{message} -> {hub}"
    return RecipeFinding((*place, *invalid.setting), message, invalid.suggestion)


def _written(settings: Any, setting: KeyPath) -> Any:
    """The value of a setting in the recipe."""
    for key in setting:
        try:
            settings = settings[key]
        except (KeyError, IndexError, TypeError):
            return None
    return settings


def _absent_split(source: Source, split: Any, place: KeyPath, said: bool) -> Iterator[RecipeFinding]:
    """A source without rows of the split that is drawn from cannot be mixed."""
    names = source.split_names()
    if names and isinstance(split, str) and not any(source.may_feed(name, split) for name in names):
        message = f"source {place[1]} has no split {split!r}: it has {', '.join(names)}"
        yield RecipeFinding(("split",) if said else place, message, closest(split, names), at_key=not said)


def _absent_tokenizer(value: Any, folder: Path) -> Iterator[RecipeFinding]:
    with suppress(ValidationError, ValueError):
        found = TokenizerFile.model_validate(named_tokenizer(value), context={"folder": folder}) if value is not None else None
        if found is not None and found.path is not None:
            place: KeyPath = ("tokenizer",) if isinstance(value, str) else ("tokenizer", "path")
            yield from (RecipeFinding(place, invalid.message, invalid.suggestion) for invalid in absent_file((), found.path))
