"""Two paths: what lies there decides how they are compared."""

from __future__ import annotations

from pathlib import Path

from rt2data.errors import UsageError
from rt2data.look.diff.mixtures import compare_mixtures
from rt2data.look.diff.model import Difference
from rt2data.look.diff.recipes import compare_recipes, compare_with_mixture
from rt2data.look.diff.stores import compare_stores
from rt2data.look.diff.summaries import compare_summaries, read_summary
from rt2data.look.inspect import recognise
from rt2data.prepare.store import Store


def compare(before: Path, after: Path, quick: bool = False) -> Difference:
    """What changed from `before` to `after`: two recipes, two stores, two mixtures, a recipe and a mixture in either order,
    or two files of `rt2data stats --json`.

    `quick` reads no rows and no shards. Raises UsageError where the two do not go together.
    """
    old, new = read_summary(before), read_summary(after)
    if old is not None and new is not None:
        return compare_summaries(before, old, after, new)
    seen = [recognise(path) for path in (before, after)]
    kinds = tuple(each.kind for each in seen)
    if kinds == ("recipe", "recipe"):
        return compare_recipes(seen[0].path, seen[1].path)
    if kinds == ("store", "store"):
        return compare_stores(Store(seen[0].path), Store(seen[1].path), quick)
    if kinds == ("mixture", "mixture"):
        return compare_mixtures(seen[0].path, seen[1].path, quick)
    if set(kinds) == {"recipe", "mixture"}:
        recipe, mixture = sorted(seen, key=lambda each: each.kind != "recipe")
        return compare_with_mixture(recipe.path, mixture.path, kinds[0] == "recipe")
    raise UsageError(
        f"a {kinds[0]} and a {kinds[1]} cannot be compared",
        f"{before}, {after}",
        "name two recipes, two prepared stores, two mixtures, or a recipe and a mixture",
    )
