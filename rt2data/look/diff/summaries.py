"""Two summaries that `rt2data stats --json` printed: every number that moved, the largest moves first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from rt2data.errors import DataError
from rt2data.look.diff.model import Change, Difference, Moved
from rt2data.look.diff.values import changes
from rt2data.look.stats.model import Stats

LEAST = 0.01
"""Smaller moves, as a share of the larger of the two numbers, are not told."""
WHERE = ("version", "tool_version", "path")
"""What says where a summary comes from, and nothing of the data."""


def read_summary(path: Path) -> Stats | None:
    """A summary, where a JSON file is one. Raises DataError for one that is damaged or of another version."""
    if not path.is_file() or path.suffix != ".json" or path.name == "manifest.json":
        return None
    try:
        found = msgspec.json.decode(path.read_bytes())
        if not isinstance(found, dict) or not {"what", "sources", "leaks", "warnings"} <= found.keys():
            return None
        return msgspec.convert(found, Stats)
    except (msgspec.MsgspecError, OSError) as error:
        raise DataError(f"not statistics of this release: {error}", str(path), "make them again: rt2data stats --json") from None


def compare_summaries(before: Path, old: Stats, after: Path, new: Stats) -> Difference:
    """What moved and what else differs; warnings are told by what they warn of."""
    trees = [named({key: value for key, value in msgspec.to_builtins(stats).items() if key not in WHERE}) for stats in (old, new)]
    found = list(changes(*trees))
    lists = sum(map(_lists, found))
    moves = [Moved(path=c.path, before=c.before, after=c.after, share=moved(c.before, c.after)) for c in found if _numbers(c)]
    return Difference(
        what="statistics",
        before=str(before),
        after=str(after),
        equal=not found,
        moves=tuple(sorted((move for move in moves if move.share >= LEAST), key=lambda move: (-move.share, move.path))),
        figures=tuple(change for change in found if not _numbers(change) and not _lists(change)),
        notes=(f"{lists} lists differ (histograms, correlations): they are not shown",) if lists else (),
    )


def _numbers(change: Change) -> bool:
    return all(isinstance(side, int | float) and not isinstance(side, bool) for side in (change.before, change.after))


def _lists(change: Change) -> bool:
    return isinstance(change.before or change.after, list | tuple)


def moved(before: float, after: float) -> float:
    """How far a number went, as a share of the larger of the two: 0 to 2."""
    return abs(after - before) / (max(abs(before), abs(after)) or 1.0)


def named(tree: Any) -> Any:
    """The same tree with a mapping for each list of mappings, by what they are called: so that sources and dimensions meet."""
    if isinstance(tree, Mapping):
        return {key: named(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple) and all(isinstance(each, Mapping) for each in tree):
        return dict(_called(tree))
    return tree


def _called(many: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, Any]]:
    for number, each in enumerate(many):
        words = [str(each[key]) for key in ("name", "split", "source", "code", "action", "state", "reason") if each.get(key)]
        yield "/".join(words) or str(each.get("examples", number)), named(each)
