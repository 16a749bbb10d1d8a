"""The result of a comparison: plain values, for programs and for the command's tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import hypot, sqrt
from typing import Any, Literal

import msgspec

from rt2data.look.diff.merge import KeyCounts
from rt2data.look.differences import Difference

MOMENTS = ("mean", "std", "q01", "q99")


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """All that differs between two recipes, stores, mixtures or files of statistics."""

    what: Literal["recipes", "stores", "mixtures", "recipe and mixture", "statistics"]
    before: str
    after: str
    equal: bool
    same_bytes: bool | None = None  # mixtures: all shards have the same hashes; recipe: a build would write the same
    settings: tuple[Difference, ...] = ()
    sources_added: tuple[str, ...] = ()
    sources_removed: tuple[str, ...] = ()
    plan: tuple[Difference, ...] = ()
    figures: tuple[Difference, ...] = ()  # counts: examples, bytes, shares, rows
    rejects: tuple[Difference, ...] = ()  # by reason
    rows: dict[str, KeyCounts] = {}  # by split
    groups: dict[str, KeyCounts] = {}  # episodes or images, by split
    files: KeyCounts | None = None
    shifts: tuple[Difference, ...] = ()  # statistics of a dimension, with changes in units of its std; the largest first
    moves: tuple[Difference, ...] = ()  # figures of `stats --json`, with changes as a share of the larger; the largest first
    shards_equal: int | None = None
    shards: tuple[int, int] | None = None
    examples: KeyCounts | None = None
    notes: tuple[str, ...] = ()


def shifts(source: str, split: str, names: Sequence[str], before: Any, after: Any) -> Iterator[Difference]:
    """Dimensions of actions and states that differ, from two entries of stats.json; none if one side lacks these statistics.

    Changes of mean, q01 and q99 are in units of the pooled standard deviation sqrt((s1^2 + s2^2) / 2).
    """
    for of in ("action", "state"):
        old, new = (before or {}).get(of), (after or {}).get(of)
        if old and new and len(old["mean"]) == len(new["mean"]):
            named = list(names) if of == "action" else []
            for i in range(len(old["mean"])):
                one, other = ({name: float(found[name][i]) for name in MOMENTS} for found in (old, new))
                if one != other:
                    path = ".".join((source, split, of, named[i] if i < len(named) else str(i)))
                    yield Difference(path=path, before=one, after=other, moved=_moves(one, other))


def _moves(before: dict[str, float], after: dict[str, float]) -> dict[str, float | None]:
    std = hypot(before["std"], after["std"]) / sqrt(2)  # root of the mean variance: both sides count equally
    return {name: _move(after[name] - before[name], std) for name in ("mean", "q01", "q99")}


def _move(by: float, std: float) -> float | None:
    if not by:
        return 0.0
    return by / std if std else None
