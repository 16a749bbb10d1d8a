"""Two recipes, or a recipe and what was built of another: settings by path, and what a build would change."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from rt2data.errors import RtError
from rt2data.look.diff.model import Change, Difference
from rt2data.look.diff.values import changes
from rt2data.look.verify.manifest_bounds import sound_manifest
from rt2data.plan.decide import decide
from rt2data.plan.plan import Plan, needed_sources
from rt2data.plan.recipe import Recipe, RecipeError, canonical, read_recipe
from rt2data.prepare.store import Store
from rt2data.prepare.unit import ready_store, store_folder

SIDES = ("robot", "web")


def compare_recipes(before: Path, after: Path) -> Difference:
    """What is asked otherwise. Raises UsageError, RecipeError where one is none."""
    (old, absent), (new, missing) = _read(before), _read(after)
    settings, added, removed = compare_settings(_settings(old), _settings(new))
    return Difference(
        what="recipes",
        before=str(before),
        after=str(after),
        equal=not (settings or added or removed),
        settings=settings,
        sources_added=added,
        sources_removed=removed,
        notes=(*absent, *missing),
    )


def _read(path: Path) -> tuple[Recipe, tuple[str, ...]]:
    """A recipe, and what it names that is not there: settings can be compared without the data."""
    try:
        return read_recipe(path, check=True), ()
    except RecipeError as error:
        return read_recipe(path), tuple(map(str, error.mistakes))


class Asked(NamedTuple):
    """What two recipes ask otherwise."""

    settings: tuple[Change, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]


def compare_settings(before: Mapping[str, Any], after: Mapping[str, Any]) -> Asked:
    """Settings of two canonical recipes that differ, and sources that only the second and only the first has."""
    old, new = ({f"{side}.{name}" for side in SIDES for name in tree.get(side, {})} for tree in (before, after))
    gone = {*old ^ new}
    found = tuple(changes(_without(before, gone), _without(after, gone)))
    return Asked(found, tuple(sorted(new - old)), tuple(sorted(old - new)))


def _without(tree: Mapping[str, Any], gone: set[str]) -> dict[str, Any]:
    """A recipe without the sources that the other one lacks: they are told by name."""
    sides = {side: {n: s for n, s in tree.get(side, {}).items() if f"{side}.{n}" not in gone} for side in SIDES}
    return {**tree, **sides}


def _settings(recipe: Recipe) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(canonical(recipe))
    return found


def compare_with_mixture(recipe_path: Path, mixture: Path, recipe_first: bool) -> Difference:
    """What building the recipe would change in the mixture, or the other way round.

    Where every source it needs is prepared, the plan is made too, and tells whether a build would write the same bytes.
    """
    (recipe, absent), manifest = _read(recipe_path), sound_manifest(mixture)
    sides = [_settings(recipe), manifest.recipe][:: 1 if recipe_first else -1]
    settings, added, removed = compare_settings(*sides)
    plan, note = _planned(recipe)
    old, new = [plan and plan_facts(plan), plan_facts(manifest.plan)][:: 1 if recipe_first else -1]
    paths = [str(recipe_path), str(mixture)][:: 1 if recipe_first else -1]
    same = None if plan is None else plan.fingerprint == manifest.plan.fingerprint
    return Difference(
        what="recipe and mixture",
        before=paths[0],
        after=paths[1],
        equal=not (settings or added or removed) and same is not False,
        same_bytes=same,
        settings=settings,
        sources_added=added,
        sources_removed=removed,
        plan=tuple(changes(old, new)) if plan else (),
        notes=(*((note,) if note else ()), *absent),
    )


def _planned(recipe: Recipe) -> tuple[Plan | None, str]:
    """The plan, where all stores are ready; else why there is none."""
    try:
        folders = {name: store_folder(recipe.store_folder, name, source) for name, source in needed_sources(recipe).items()}
        missing = [name for name, folder in folders.items() if ready_store(folder) is None]
        if missing:
            return None, f"not yet prepared, so the plan was not compared: {', '.join(missing)}"
        return decide(recipe, {name: Store(folder) for name, folder in folders.items()}, allow_bad=True).plan, ""
    except RtError as error:
        return None, f"no plan can be made: {error}"


def plan_facts(plan: Plan) -> dict[str, Any]:
    """What was decided, sources by name, without what only says the same again."""
    found: dict[str, Any] = msgspec.to_builtins(plan)
    found["sources"] = {source["name"]: source for source in found["sources"]}
    return {name: value for name, value in found.items() if name not in ("fingerprint", "warnings")}
