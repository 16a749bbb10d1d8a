"""Checks that the paths, splits, features and cameras of a recipe exist, before anything is read.

Each source is checked on its own, from the tree, so that these mistakes are reported together with all others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rt2data.errors import RtError
from rt2data.io.words import closest
from rt2data.plan.recipe.cross_checks import needed
from rt2data.plan.recipe.messages import RecipeFinding
from rt2data.plan.recipe.mistakes import KeyPath
from rt2data.plan.recipe.model import TokenizerFile, named_tokenizer
from rt2data.read.known_formats import hub_advice
from rt2data.read.misfits import Misfit
from rt2data.read.source import SOURCES, Source, absent_file, source_class


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
            for misfit in source.misfits():
                yield _finding((side, name), misfit, _written(tree[side][name], misfit.setting))
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


def _finding(place: KeyPath, misfit: Misfit, written: Any) -> RecipeFinding:
    message = misfit.message
    if (
        not misfit.suggestion
        and isinstance(written, str)
        and message.startswith("there is no such")
        and (hub := hub_advice(written))
    ):
        message = f"{message} -> {hub}"
    return RecipeFinding((*place, *misfit.setting), message, misfit.suggestion)


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
            yield from (RecipeFinding(place, misfit.message, misfit.suggestion) for misfit in absent_file((), found.path))
