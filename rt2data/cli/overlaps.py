"""`rt2data overlaps`: what the sources of a recipe have in common."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import msgspec

from rt2data.beam.pool import pool_at_work
from rt2data.cli.build import BuildOptions
from rt2data.cli.console import insist, say_json, table, talk
from rt2data.cli.progress import quiet_libraries
from rt2data.cli.stats import PassProgress
from rt2data.errors import DataError, UsageError
from rt2data.io.location.folders import temporary_folder
from rt2data.io.words import number, plural
from rt2data.look.overlaps.model import Overlap, Overlaps
from rt2data.look.overlaps.run import FARTHEST, Asked, Subject, find_overlaps
from rt2data.plan.plan import needed_sources
from rt2data.plan.recipe import Recipe
from rt2data.read.text import one_line

WORDS = {
    "bytes": "same picture",
    "pixels": "same pixels",
    "alike": "looks alike",
    "coco": "same COCO image",
    "actions": "same episode",
}
LEVELS = {"error": "leak", "warning": "twice", "note": ""}


@dataclass(frozen=True)
class OverlapOptions:
    """The command's options in addition to those of a build."""

    near: int | None
    pixels: bool


def overlaps(asked: BuildOptions, wanted: OverlapOptions) -> int:
    """Find and print overlaps; the exit code is 3 if training data is also held out, else 0."""
    if wanted.near is not None and not 0 <= wanted.near <= FARTHEST:
        raise UsageError(f"--near takes 0 to {FARTHEST} bits, got {wanted.near}", do="start with 4")
    found = _find(asked, Asked(wanted.near, wanted.pixels))
    if asked.as_json:
        say_json({"ok": found.ok} | msgspec.to_builtins(found))
    else:
        show(found)
    return 0 if found.ok else DataError.code


def _find(asked: BuildOptions, wanted: Asked) -> Overlaps:
    recipe, progress = asked.read(), PassProgress(asked.quiet)
    with pool_at_work(asked.pool, asked.workers) as pool, temporary_folder("rt2data-overlaps-") as scratch, quiet_libraries():
        from rt2data.beam.run import prepare_locally

        stores = prepare_locally(with_all_sources(recipe), pool, progress)
        subject = Subject(str(asked.recipe), stores, frozenset(needed_sources(recipe)), recipe.split)
        return find_overlaps(subject, wanted, scratch, pool, progress)


def with_all_sources(recipe: Recipe) -> Recipe:
    """The recipe without groups, and with a weight for every source of a drawn side: sources of weight 0 are held out, and must be
    prepared to be compared.
    """
    weighed = {name: source.model_copy(update={"weight": source.weight or Fraction(1)}) for name, source in recipe.sources.items()}
    sides = {side: {name: source for name, source in weighed.items() if source.role == side} for side in ("robot", "web")}
    return recipe.model_copy(update=sides)


def show(found: Overlaps) -> None:
    """Print the parts, then what they share, then where to look."""
    _parts(found)
    if found.overlaps:
        print()
        rows = [
            (one_line(each.one), one_line(_other(each)), WORDS[each.what], LEVELS[each.level], number(each.count))
            for each in found.overlaps
        ]
        table(("data", "and", "what", "", "count"), rows, left=4, drop=("",))
        print()
    for each in found.overlaps:
        _examples(each)
    if found.plain or found.unread:
        talk(f"not compared by looks: {plural(found.plain, 'even picture')}, {plural(found.unread, 'picture')} that cannot be read")
    leaks = [each for each in found.overlaps if each.level == "error"]
    if leaks:
        insist(f"rt2data: {plural(len(leaks), 'leak')}: what is trained on is held out too -> drop it on one of the two sides")
    elif not found.overlaps:
        print("nothing is shared")


def _other(each: Overlap) -> str:
    return "itself" if each.one == each.other else each.other


def _parts(found: Overlaps) -> None:
    rows = [
        (one_line(str(each)), "trained on" if each.trained else "held out", number(each.rows), number(each.images))
        for each in found.parts
    ]
    table(("data", "use", "rows", "images"), rows, left=2, drop=("images", "rows"))


def _examples(each: Overlap) -> None:
    """Print one line per side of the first example; `--json` has all."""
    for one, other in each.examples[:1]:
        print(f"{WORDS[each.what]}: {one_line(one.part)} {one_line(one.key)} {one_line(one.path, 200)}".rstrip())
        print(f"  and {one_line(other.part)} {one_line(other.key)} {one_line(other.path, 200)}".rstrip())
