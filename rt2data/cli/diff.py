"""`rt2data diff`: what changed between two recipes, prepared stores or mixtures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.text import Text

from rt2data.cli.console import say_json, table, talk
from rt2data.errors import DataError
from rt2data.io.words import number, size
from rt2data.look.diff import Comparison, compare
from rt2data.look.diff.merge import KeyCounts
from rt2data.look.differences import Difference
from rt2data.read.text import one_line

SHOWN = 24
"""Maximum differences printed per kind; `--json` gives all."""
LARGE = 0.1
"""A change of more pooled standard deviations than this is highlighted."""


def diff(before: Path, after: Path, quick: bool, exit_code: bool, as_json: bool) -> int:
    """Print what changed. The exit code is 0, or with `exit_code` 3 if anything changed."""
    found = compare(before, after, quick)
    if as_json:
        say_json(msgspec.to_builtins(found))
    else:
        show(found)
    return DataError.code if exit_code and not found.equal else 0


def show(found: Comparison) -> None:
    """Print the verdict first, then each kind of difference found."""
    print(f"{one_line(found.before, 1000)} -> {one_line(found.after, 1000)}")
    print(verdict(found))
    _table(("settings", "before", "after"), found.settings, _values, left=3)
    for what, names in (("added", found.sources_added), ("removed", found.sources_removed)):
        if names:
            print(f"\nsources {what}: {', '.join(map(one_line, names))}")
    for title, differences in (("plan", found.plan), ("figures", found.figures), ("dropped", found.rejects)):
        _table((title, "before", "after"), differences, _values, left=3)
    _keys(found)
    _examples(found.examples)
    _table(SHIFTS, found.shifts, _shift, drop=SHIFTS_DROPPED, above="moved, in units of the pooled std:")
    _table(("figure", "before", "after", "moved by"), found.moves, _move)
    for note in found.notes:
        talk(f"note: {one_line(note, 1000)}")


def verdict(found: Comparison) -> str:
    """The verdict in one line."""
    if found.what == "recipe and mixture":
        said = {True: "a build would write the same bytes", False: "a build would write other bytes", None: ""}[found.same_bytes]
        return said or ("the same recipe" if found.equal else "different recipes")
    if found.what == "mixtures" and found.same_bytes:
        return "the same bytes, by the hashes in their manifests" + ("" if found.equal else ", of different plans")
    if found.shards is not None:
        return f"different bytes: {found.shards_equal:,} of {found.shards[0]:,} and {found.shards[1]:,} shards are equal"
    return "the same" if found.equal else f"different {found.what}"


Cells = tuple[str | Text, ...]


def _table(
    columns: Sequence[str],
    found: Sequence[Difference],
    cells: Callable[[Difference], Cells],
    *,
    left: int = 1,
    drop: Sequence[str] = (),
    above: str = "",
) -> None:
    """Print the first differences of one kind, one per row, starting with the path."""
    if not found:
        return
    print(f"\n{above}" if above else "")
    table(columns, [(one_line(each.path, 200), *cells(each)) for each in found[:SHOWN]], left=left, drop=drop)
    if len(found) > SHOWN:
        print(f"and {len(found) - SHOWN:,} more: --json gives all")


def _values(found: Difference) -> Cells:
    return Text(shown(found.before, found.path), "red"), Text(shown(found.after, found.path), "green")


def shown(value: Any, path: str) -> str:
    """A value on one line; `-` if there is none."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return size(value) if path.endswith("bytes") else str(value) if path.endswith("seed") else f"{value:,}"
    return one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), 48)


def _keys(found: Comparison) -> None:
    """Print how many rows, episodes and files were added, removed or changed, with a few names."""
    parts = [(f"rows {split}", keys) for split, keys in found.rows.items()]
    parts += [(f"groups {split}", keys) for split, keys in found.groups.items()]
    parts += [("files", found.files)] if found.files else []
    rows = [(one_line(name), one_line("; ".join(_named(keys)), 80), *_counts(keys)) for name, keys in parts if not keys.equal]
    if rows:
        print()
        table(("of", "first", "same", "added", "removed", "changed"), rows, left=2, drop=("first", "same"))


def _counts(keys: KeyCounts) -> Iterator[str]:
    return map(number, (keys.same, keys.added, keys.removed, keys.changed))


def _named(keys: KeyCounts) -> Iterator[str]:
    for what, names in keys.examples.items():
        yield f"{what} {', '.join(names[:2])}"


def _examples(found: KeyCounts | None) -> None:
    if found is None:
        return
    print(f"\nexamples: {found.both:,} in both, {found.removed:,} only before, {found.added:,} only after")
    for field, (here, there) in found.first.items():
        first = f"the first is example {here:,} before, {there:,} after"
        print(f"  {found.fields[field]:,} of those in both have another {field}; {first}")


SHIFTS = ("dimension", "mean before", "mean after", "std before", "std after", "mean moved", "q01 moved", "q99 moved")
SHIFTS_DROPPED = ("std before", "std after", "mean before", "mean after", "q01 moved", "q99 moved")


def _shift(found: Difference) -> Cells:
    figures = [found.before["mean"], found.after["mean"], found.before["std"], found.after["std"]]
    return *(f"{figure:.4g}" for figure in figures), *(_moved(found.moved[name]) for name in ("mean", "q01", "q99"))


def _moved(by: float | None) -> Text:
    """A change as text; between two constants it has no unit."""
    large = by is None or abs(by) > LARGE
    return Text("to another" if by is None else f"{by:+.3f}", "bold yellow" if large else "")


def _move(found: Difference) -> Cells:
    return f"{found.before:.6g}", f"{found.after:.6g}", f"{found.moved['share']:.1%}"
