"""What the command line changes in a recipe: `a.b=value`, laid over the tree that was read."""

from __future__ import annotations

import re
from typing import Any

from rt2data.plan.recipe.document import Document, parse
from rt2data.plan.recipe.messages import shown
from rt2data.plan.recipe.mistakes import KeyPath, Mistake, RecipeError, Spot, dotted

_OVERRIDE = re.compile(r"([A-Za-z_][\w-]*(?:\.[\w-]+){0,15})=(.*)", re.DOTALL)
_REPLACES: dict[KeyPath, tuple[str, ...]] = {
    ("size", "num_examples"): ("epochs", "of"),
    ("size", "epochs"): ("num_examples",),
    ("size", "of"): ("num_examples",),
}
"""Settings that stand for one another: giving the one takes the others out."""


def override(document: Document, text: str) -> None:
    """Lay one `a.b=value` over the document. What is wrong with it becomes a mistake at `--set a.b=value`."""
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


def put(document: Document, path: KeyPath, value: Any, spot: Spot) -> None:
    """Set a value; it stands now where it was given. Absent parents are made."""
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
