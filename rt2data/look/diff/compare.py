"""Compares two paths according to their kind. Files of statistics are compared here, figure by figure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from rt2data.errors import DataError, UsageError
from rt2data.io import location
from rt2data.look.diff.comparison import Comparison
from rt2data.look.diff.mixtures import compare_mixtures, compare_recipes, compare_with_mixture
from rt2data.look.diff.stores import compare_stores
from rt2data.look.differences import Difference, differences, largest_first
from rt2data.look.inspect import recognize
from rt2data.look.stats.model import Stats
from rt2data.prepare.store import Store

LEAST = 0.01
"""Smaller changes, as a share of the larger of the two figures, are not reported."""
ORIGIN = ("version", "tool_version", "path")
"""Keys on where statistics come from, which say nothing about the data."""
NAMES = ("name", "split", "source", "code", "action", "state", "reason")
"""Keys that name the entries of a list."""


def compare(before: Path, after: Path, quick: bool = False) -> Comparison:
    """What changed from `before` to `after`: two recipes, two stores, two mixtures, a recipe and a mixture in either order,
    or two files of `rt2data stats --json`.

    `quick` reads no rows and no shards. Raises UsageError for any other pair, DataError if one of them is damaged.
    """
    old, new = read_statistics_file(before), read_statistics_file(after)
    if old is not None and new is not None:
        return compare_statistics(before, old, after, new)
    seen = [recognize(path) for path in (before, after)]
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


# Statistics


def read_statistics_file(path: Path) -> Stats | None:
    """The output of `rt2data stats --json` in a file; None for other files. Raises DataError for another version."""
    if not location.is_file(path) or path.suffix != ".json" or path.name == "manifest.json":
        return None
    try:
        found = msgspec.json.decode(location.read_bytes(path))
        if not isinstance(found, dict) or not {"what", "sources", "leaks", "warnings"} <= found.keys():
            return None
        return msgspec.convert(found, Stats)
    except (msgspec.MsgspecError, OSError) as error:
        raise DataError(f"not statistics of this release: {error}", str(path), "make them again: rt2data stats --json") from None


def compare_statistics(before: Path, old: Stats, after: Path, new: Stats) -> Comparison:
    """Figures that changed, and all other differences. Lists (histograms, correlations) are only counted."""
    found = list(differences(_tree(old), _tree(new)))
    lists = sum(map(_is_list, found))
    moves = (msgspec.structs.replace(each, moved={"share": moved(each.before, each.after)}) for each in found if _is_figure(each))
    return Comparison(
        what="statistics",
        before=str(before),
        after=str(after),
        equal=not found,
        moves=largest_first(each for each in moves if each.most >= LEAST),
        figures=tuple(each for each in found if not _is_figure(each) and not _is_list(each)),
        notes=(f"{lists} lists differ (histograms, correlations): they are not shown",) if lists else (),
    )


def _tree(stats: Stats) -> Any:
    return by_name({key: value for key, value in msgspec.to_builtins(stats).items() if key not in ORIGIN})


def _is_figure(found: Difference) -> bool:
    return all(isinstance(side, int | float) and not isinstance(side, bool) for side in (found.before, found.after))


def _is_list(found: Difference) -> bool:
    return isinstance(found.before or found.after, list | tuple)


def moved(before: float, after: float) -> float:
    """The change of a figure, as a share of the larger of the two: 0 to 2."""
    return abs(after - before) / (max(abs(before), abs(after)) or 1.0)


def by_name(tree: Any) -> Any:
    """The same tree with lists of mappings turned into mappings by name, so that sources and dimensions are compared by name, not
    by position.
    """
    if isinstance(tree, Mapping):
        return {key: by_name(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple) and all(isinstance(each, Mapping) for each in tree):
        return dict(_named(tree))
    return tree


def _named(many: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    for number, each in enumerate(many):
        words = [str(each[key]) for key in NAMES if each.get(key)]
        yield "/".join(words) or str(each.get("examples", number)), by_name(each)
