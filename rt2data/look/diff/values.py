"""Trees of plain values, and statistics of dimensions, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import hypot, sqrt
from typing import Any, Literal

from rt2data.look.diff.model import Change, Shift

MOMENTS = ("mean", "std", "q01", "q99")


def changes(before: Any, after: Any, path: str = "") -> Iterator[Change]:
    """Leaves that differ, by path; a list counts as one leaf unless mappings stand in it."""
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for name in sorted({*before, *after}):
            yield from changes(before.get(name), after.get(name), f"{path}.{name}".lstrip("."))
    elif before != after:
        yield Change(path=path, before=before, after=after)


def shifts(source: str, split: str, names: Sequence[str], before: Any, after: Any) -> Iterator[Shift]:
    """Dimensions of actions and states that moved, out of two entries of stats.json; none where one side has no such statistics."""
    kinds: tuple[Literal["action", "state"], ...] = ("action", "state")
    for of in kinds:
        old, new = (before or {}).get(of), (after or {}).get(of)
        if old and new and len(old["mean"]) == len(new["mean"]):
            named = list(names) if of == "action" else []
            for i in range(len(old["mean"])):
                one, other = ({name: float(found[name][i]) for name in MOMENTS} for found in (old, new))
                if one != other:
                    yield _shift(source, split, of, named[i] if i < len(named) else str(i), one, other)


def _shift(
    source: str, split: str, of: Literal["action", "state"], name: str, before: dict[str, float], after: dict[str, float]
) -> Shift:
    std = hypot(before["std"], after["std"]) / sqrt(2)  # root of the mean variance: both sides count alike
    moved = {key: _move(after[key] - before[key], std) for key in ("mean", "q01", "q99")}
    return Shift(
        source=source,
        split=split,
        of=of,
        dimension=name,
        before=before,
        after=after,
        mean_moved=moved["mean"],
        q01_moved=moved["q01"],
        q99_moved=moved["q99"],
    )


def _move(by: float, std: float) -> float | None:
    if not by:
        return 0.0
    return by / std if std else None


def largest_first(found: Iterator[Shift]) -> tuple[Shift, ...]:
    """Those that moved most before those that moved little."""
    return tuple(sorted(found, key=lambda shift: -shift.most))
