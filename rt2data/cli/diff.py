"""`rt2data diff`: what changed between two recipes, prepared stores or mixtures."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.text import Text

from rt2data.cli.console import say_json, talk
from rt2data.cli.tables import table
from rt2data.errors import DataError
from rt2data.io.words import number, size
from rt2data.look.diff import Difference, compare
from rt2data.look.diff.model import Change, Common, Keys, Moved, Shift
from rt2data.read.text import one_line

SHOWN = 24
"""Changes of one kind that are printed; `--json` gives all."""
STRANGE = 0.1
"""A move of more pooled standard deviations than this stands out."""


def diff(before: Path, after: Path, quick: bool, exit_code: bool, as_json: bool) -> int:
    """Say what changed. The exit code: 0, or with `exit_code` 3 where anything did."""
    found = compare(before, after, quick)
    if as_json:
        say_json(msgspec.to_builtins(found))
    else:
        show(found)
    return DataError.code if exit_code and not found.equal else 0


def show(found: Difference) -> None:
    """The verdict first, then each kind of change that there is."""
    print(f"{one_line(found.before, 1000)} -> {one_line(found.after, 1000)}")
    print(verdict(found))
    _changes("settings", found.settings)
    for what, names in (("added", found.sources_added), ("removed", found.sources_removed)):
        if names:
            print(f"\nsources {what}: {', '.join(map(one_line, names))}")
    _changes("plan", found.plan)
    _changes("figures", found.figures)
    _changes("left out", found.rejects)
    _keys(found)
    _examples(found.examples)
    _shifts(found.shifts)
    _moves(found.moves)
    for note in found.notes:
        talk(f"note: {one_line(note, 1000)}")


def verdict(found: Difference) -> str:
    """In one line."""
    if found.what == "recipe and mixture":
        said = {True: "a build would write the same bytes", False: "a build would write other bytes", None: ""}[found.same_bytes]
        return said or ("the same recipe" if found.equal else "different recipes")
    if found.what == "mixtures" and found.same_bytes:
        return "the same bytes, by the hashes in their manifests" + ("" if found.equal else ", of different plans")
    if found.shards is not None:
        return f"different bytes: {found.shards_equal:,} of {found.shards[0]:,} and {found.shards[1]:,} shards are equal"
    return "the same" if found.equal else f"different {found.what}"


def _changes(title: str, found: Sequence[Change]) -> None:
    if found:
        print()
        table((title, "before", "after"), [(one_line(each.path, 200), *_values(each)) for each in found[:SHOWN]], left=3)
        if len(found) > SHOWN:
            print(f"and {len(found) - SHOWN:,} more: --json gives all")


def _values(change: Change) -> tuple[Text, Text]:
    return Text(shown(change.before, change.path), "red"), Text(shown(change.after, change.path), "green")


def shown(value: Any, path: str) -> str:
    """A value on one line; nothing where there is none."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return size(value) if path.endswith("bytes") else str(value) if path.endswith("seed") else f"{value:,}"
    return one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), 48)


def _keys(found: Difference) -> None:
    """Rows, episodes, files: how many came, went, changed, and a few of their names."""
    parts = [(f"rows {split}", keys) for split, keys in found.rows.items()]
    parts += [(f"groups {split}", keys) for split, keys in found.groups.items()]
    parts += [("files", found.files)] if found.files else []
    rows = [(one_line(name), one_line("; ".join(_named(keys)), 80), *counts(keys)) for name, keys in parts if not keys.equal]
    if rows:
        print()
        table(("of", "first", "same", "added", "removed", "changed"), rows, left=2, drop=("first", "same"))


def counts(keys: Keys) -> tuple[str, str, str, str]:
    """Same, added, removed, changed."""
    return number(keys.same), number(keys.added), number(keys.removed), number(keys.changed)


def _named(keys: Keys) -> Iterator[str]:
    for what, names in keys.examples.items():
        yield f"{what} {', '.join(names[:2])}"


def _examples(found: Common | None) -> None:
    if found is None:
        return
    print(f"\nexamples: {found.both:,} in both, {found.before - found.both:,} only before, {found.after - found.both:,} only after")
    for what in ("target", "prompt", "ids", "picture"):
        if count := getattr(found, what):
            here, there = found.first[what]
            print(f"  {count:,} of those in both have another {what}; the first is example {here:,} before, {there:,} after")


def _shifts(found: Sequence[Shift]) -> None:
    if found:
        print("\nmoved, in units of the pooled std:")
        columns = (
            "dimension",
            "mean before",
            "mean after",
            "std before",
            "std after",
            "mean moved",
            "q01 moved",
            "q99 moved",
        )
        drop = ("std before", "std after", "mean before", "mean after", "q01 moved", "q99 moved")
        table(columns, [_shift(shift) for shift in found[:SHOWN]], drop=drop)
        if len(found) > SHOWN:
            print(f"and {len(found) - SHOWN:,} more dimensions: --json gives all")


def _shift(shift: Shift) -> tuple[str | Text, ...]:
    figures = [shift.before["mean"], shift.after["mean"], shift.before["std"], shift.after["std"]]
    moves = [_move(move) for move in (shift.mean_moved, shift.q01_moved, shift.q99_moved)]
    name = one_line(f"{shift.source} {shift.split} {shift.of} {shift.dimension}", 300)
    return name, *(f"{figure:.4g}" for figure in figures), *moves


def _moves(found: Sequence[Moved]) -> None:
    if found:
        print()
        rows = [(one_line(m.path, 200), f"{m.before:.6g}", f"{m.after:.6g}", f"{m.share:.1%}") for m in found[:SHOWN]]
        table(("number", "before", "after", "moved by"), rows)
        if len(found) > SHOWN:
            print(f"and {len(found) - SHOWN:,} more numbers: --json gives all")


def _move(by: float | None) -> Text:
    """A move; from one constant to another it has no measure."""
    strange = by is None or abs(by) > STRANGE
    return Text("to another" if by is None else f"{by:+.3f}", "bold yellow" if strange else "")
