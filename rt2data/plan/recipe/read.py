"""Reading a recipe: YAML, then what the command line changes, then types and sense. All mistakes are told at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rt2data.errors import UsageError, command
from rt2data.io import location
from rt2data.plan.recipe.cross_checks import nonsense
from rt2data.plan.recipe.document import MAX_BYTES, Document, parse
from rt2data.plan.recipe.existence import absences
from rt2data.plan.recipe.messages import Finding, findings, shown
from rt2data.plan.recipe.mistakes import Mistake, RecipeError, Spot, dotted
from rt2data.plan.recipe.model import Recipe, recipe_model
from rt2data.plan.recipe.overrides import override, put
from rt2data.settings import default_store_root

MAX_MISTAKES = 100


def read_recipe(path: str | Path, overrides: Sequence[str] = (), robot_frac: str | None = None, check: bool = False) -> Recipe:
    """The recipe of a YAML file, changed by `overrides` (each `a.b=value`, the value in YAML) and by `robot_frac`.

    Relative paths are relative to the file, those of overrides too. Of overrides of one key the last counts. With
    `check` the files, splits and features that it names are looked for too. Raises UsageError where there is no such file and
    RecipeError with every mistake, its line and its column.
    """
    path = location.path_of(path)
    return parse_recipe(_text(path), str(path), path.parent, overrides, robot_frac, check)


def parse_recipe(
    text: str, origin: str, folder: Path, overrides: Sequence[str] = (), robot_frac: str | None = None, check: bool = False
) -> Recipe:
    """The same from text: `origin` names it in mistakes, relative paths are relative to `folder`."""
    document = parse(text, origin)
    for each in overrides:
        override(document, each)
    if robot_frac is not None:
        put(document, ("robot_frac",), robot_frac, Spot(f"--robot-frac {robot_frac}"))
    recipe, found = _validated(document.value, folder)
    there = absences(document.value, location.absolute(folder)) if check else ()
    mistakes = [*document.mistakes, *_placed(document, (*found, *there))]
    if recipe is None or mistakes:
        raise RecipeError(_limited(mistakes))
    if recipe.store is None:
        default_store_root()  # $RT2DATA_STORE is a path that enters, too: told now, not when something is written
    return recipe


def _validated(tree: Any, folder: Path) -> tuple[Recipe | None, list[Finding]]:
    if tree is None:
        return None, [Finding((), f"is empty: start from the one that {command('init')} writes")]
    if not isinstance(tree, dict):
        return None, [Finding((), f"must be a mapping of settings, got {shown(tree)}")]
    model = recipe_model()
    senseless = list(nonsense(tree))
    try:
        return model.model_validate(tree, context={"folder": location.absolute(folder)}), senseless
    except ValidationError as error:
        return None, [*findings(error.errors(include_url=False), model), *senseless]


def _placed(document: Document, found: Iterable[Finding]) -> Iterable[Mistake]:
    """Findings at their lines; none for a value that could not be taken from the YAML in the first place."""
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
