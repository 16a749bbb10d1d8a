"""Reading a recipe: YAML, command line overrides, types, then cross-checks. All mistakes are reported at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rt2data.errors import UsageError, command
from rt2data.io import location
from rt2data.io.words import closest
from rt2data.plan.recipe.cross_checks import absences, contradictions
from rt2data.plan.recipe.document import MAX_BYTES, Document, parse
from rt2data.plan.recipe.groups import walk
from rt2data.plan.recipe.messages import KeyPath, Mistake, RecipeError, RecipeFinding, Spot, dotted, findings, shown
from rt2data.plan.recipe.model import Recipe, recipe_model
from rt2data.settings import default_store_root

MAX_MISTAKES = 100
_OVERRIDE = re.compile(r"([A-Za-z_][\w-]*(?:\.[\w-]+){0,15})=(.*)", re.DOTALL)
_REPLACES: dict[KeyPath, tuple[str, ...]] = {
    ("size", "num_examples"): ("epochs", "of"),
    ("size", "epochs"): ("num_examples",),
    ("size", "of"): ("num_examples",),
}
"""Mutually exclusive settings: setting one removes the others."""


def read_recipe(path: str | Path, overrides: Sequence[str] = (), robot_frac: str | None = None, check: bool = False) -> Recipe:
    """The recipe in a YAML file, changed by `overrides` (each `a.b=value`, the value in YAML) and by `robot_frac`.

    Relative paths, also in overrides, are relative to the file. The last override of a key wins. With `check` the files, splits and
    features that it names must exist. Raises UsageError if there is no such file, and RecipeError with every mistake, its line and
    its column.
    """
    path = location.path_of(path)
    with location.one_look():
        return parse_recipe(_text(path), str(path), path.parent, overrides, robot_frac, check)


def parse_recipe(
    text: str, origin: str, folder: Path, overrides: Sequence[str] = (), robot_frac: str | None = None, check: bool = False
) -> Recipe:
    """The same from text: `origin` names it in mistakes, relative paths are relative to `folder`."""
    document = parse(text, origin)
    written = document.value
    for each in overrides:
        override(document, each)
    _refuse_unknown_sources(document, written)
    if robot_frac is not None:
        put(document, ("robot_frac",), robot_frac, Spot(f"--robot-frac {robot_frac}"))
    recipe, found = _validated(document.value, folder)
    there = absences(document.value, location.absolute(folder)) if check else ()
    mistakes = [*document.mistakes, *_placed(document, (*found, *there))]
    if recipe is None or mistakes:
        raise RecipeError(_limited(mistakes))
    if recipe.store is None:
        default_store_root()  # checks $RT2DATA_STORE now, not at the first write
    return recipe


def _validated(tree: Any, folder: Path) -> tuple[Recipe | None, list[RecipeFinding]]:
    if tree is None:
        return None, [RecipeFinding((), f"is empty: start from the one that {command('init')} writes")]
    if not isinstance(tree, dict):
        return None, [RecipeFinding((), f"must be a mapping of settings, got {shown(tree)}")]
    model = recipe_model(tree)
    conflicts = list(contradictions(tree, location.absolute(folder)))
    try:
        return model.model_validate(tree, context={"folder": location.absolute(folder)}), conflicts
    except ValidationError as error:
        return None, [*findings(error.errors(include_url=False), model), *conflicts]


def _placed(document: Document, found: Iterable[RecipeFinding]) -> Iterable[Mistake]:
    """Findings with their lines; none for a value that could not be read from the YAML."""
    for each in found:
        if not any(each.path[: len(path)] == path for path in document.unread):
            yield Mistake(document.spot(each.path, each.at_key), dotted(each.path), each.message, each.suggestion)


def _limited(mistakes: list[Mistake]) -> list[Mistake]:
    if len(mistakes) <= MAX_MISTAKES:
        return mistakes
    more = Mistake(Spot(mistakes[0].spot.origin), "", f"and {len(mistakes) - MAX_MISTAKES} more mistakes")
    return [*RecipeError(mistakes).mistakes[:MAX_MISTAKES], more]


def _text(path: Path) -> str:
    try:
        content = location.read_head(path, MAX_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise UsageError(f"no recipe at {path}", do=f"run {command('init')}, or name one") from None
    except OSError as error:
        raise UsageError(f"cannot read the recipe {path}: {error.strerror}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        message = f"is not UTF-8: byte {content[error.start]:#04x}"
        raise RecipeError([Mistake(Spot(str(path), line, 1), "", message)]) from None


# Overrides


def override(document: Document, text: str) -> None:
    """Apply one `a.b=value`. Anything wrong with it becomes a mistake at `--set a.b=value`."""
    spot = Spot(f"--set {text}")
    found = _OVERRIDE.fullmatch(text)
    if found is None:
        document.mistakes.append(Mistake(spot, "", "must be key=value, or key.key=value"))
        return
    path = tuple(found[1].split("."))
    try:
        given = parse(found[2], "")
    except RecipeError as error:
        document.mistakes += [Mistake(spot, dotted(path), each.message) for each in error.mistakes]
        return
    document.mistakes += [Mistake(spot, dotted(path), each.message) for each in given.mistakes]
    document.unread |= {(*path, *inner) for inner in given.unread}
    put(document, path, given.value, spot)


def _refuse_unknown_sources(document: Document, written: Any) -> None:
    """An override of a source that is defined neither in the file nor by another override has a typo in its name."""
    for side in ("robot", "web"):
        names = {each.name: each for each in walk(_at(written, (side,)), (side,))}
        for each in walk(_at(document.value, (side,)), (side,)) if names else ():
            known = each.name in names and names[each.name].path == each.path
            settings = each.settings
            if not known and settings and isinstance(settings, dict) and not {"kind", "sources"} & settings.keys():
                there = names.get(each.name)
                where = f"it is {dotted(there.path)}" if there else f"the recipe has {', '.join(names)}"
                spot, near = document.spot(each.path, at_key=True), "" if there else closest(each.name, names)
                document.mistakes.append(Mistake(spot, dotted(each.path), f"there is no source of this name: {where}", near))
                document.unread.add(each.path)


def put(document: Document, path: KeyPath, value: Any, spot: Spot) -> None:
    """Set a value and record where it was given. Missing parents are created."""
    parents = [path[:end] for end in range(len(path))]
    for parent in parents:
        there = _at(document.value, parent)
        if there is not None and not isinstance(there, dict):
            message = f"is {shown(there)} and has no keys: set it as a whole"
            document.mistakes.append(Mistake(spot, dotted(parent), message))
            return
    made = [parent for parent in parents if parent and _at(document.value, parent) is None]
    rivals = [(*path[:-1], key) for key in _REPLACES.get(path, ())]
    document.value = _with(_without(document.value, rivals), path, value)
    for table in (document.keys, document.values):
        for old in [old for old in table if old[: len(path)] == path]:
            del table[old]
        table.update(dict.fromkeys((*made, path), spot))


def _at(tree: Any, path: KeyPath) -> Any:
    for key in path:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def _with(tree: Any, path: KeyPath, value: Any) -> Any:
    """The tree with one value set."""
    kept = tree or {}
    return {**kept, path[0]: _with(kept.get(path[0]), path[1:], value)} if path else value


def _without(tree: Any, paths: list[KeyPath]) -> Any:
    """The tree without these keys."""
    for path in paths:
        parent = _at(tree, path[:-1])
        if parent:
            tree = _with(tree, path[:-1], {key: each for key, each in parent.items() if key != path[-1]})
    return tree
