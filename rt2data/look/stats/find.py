"""From a path to the subject of statistics: what lies there is recognized, and prepared where it is not yet."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rt2data.errors import UsageError
from rt2data.look.inspect import recognize
from rt2data.look.inspect.raw import InspectedSource
from rt2data.look.stats.subject import Subject, What, mixture_subject, recipe_subject, store_subject
from rt2data.plan.recipe import Recipe, read_recipe
from rt2data.plan.recipe.read import parse_recipe
from rt2data.prepare.store import Store

Prepare = Callable[[Recipe], dict[str, Store]]
"""Prepares what is not prepared yet of a recipe; the stores of all sources that are needed, by name."""


@dataclass(frozen=True)
class Question:
    """Of what statistics are asked."""

    path: Path
    split: str | None = None
    codec: str | None = None
    recipe: Path | None = None
    store: Path | None = None  # folder of prepared stores


def find_subject(asked: Question, scratch: Path, prepare: Prepare) -> Subject:
    """What lies at the path. `scratch` is where rows of a mixture may lie meanwhile.

    Raises UsageError where nothing known is there, or for a codec or split that is not, DataError where it is damaged.
    """
    seen, recipe = recognize(asked.path), read_recipe(asked.recipe) if asked.recipe else None
    if seen.kind == "mixture":
        return _mixture(asked, scratch)
    if seen.kind == "recipe":
        overrides = [f"store={json.dumps(str(asked.store.absolute()))}"] if asked.store else []
        found = read_recipe(asked.path, overrides=overrides, check=True)
        return recipe_subject(asked.path, found, prepare(found), "recipe", asked.codec, asked.split)
    if isinstance(seen, InspectedSource):
        return _stores(asked, recipe, list(prepare(suggested(seen, asked.store)).values()), "source")
    if seen.kind == "store":
        return _stores(asked, recipe, [Store(_folder(asked.path, "source.json"))], "store")
    raise UsageError(f"no statistics are taken of a {seen.kind}", str(asked.path), "name a source, a store, a recipe or a mixture")


def _mixture(asked: Question, scratch: Path) -> Subject:
    if asked.codec or asked.recipe:
        raise UsageError("a mixture has its codec and its recipe", str(asked.path), "leave --codec and --recipe out")
    return mixture_subject(_folder(asked.path, "manifest.json"), scratch, asked.split)


def _folder(path: Path, name: str) -> Path:
    """The folder, where the file in it was named."""
    return path.parent if path.name == name else path


def _stores(asked: Question, recipe: Recipe | None, stores: list[Store], what: What) -> Subject:
    if recipe is None:
        return store_subject(asked.path, stores, what, asked.codec, asked.split)
    return recipe_subject(asked.path, recipe, {store.info.name: store for store in stores}, what, asked.codec, asked.split)


def suggested(seen: InspectedSource, store: Path | None) -> Recipe:
    """A recipe of one raw source, as `rt2data inspect --suggest` has it."""
    side = "1" if seen.source.role == "robot" else "0"
    place = f"store: {json.dumps(str(store.absolute()))}\n" if store else ""
    return parse_recipe(f"robot_frac: {side}\n{place}{seen.suggestion()}", str(seen.path), seen.path.absolute().parent)
