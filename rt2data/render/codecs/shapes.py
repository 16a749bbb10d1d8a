"""Statistics of a source in the shapes that other trainers read; OpenVLA's is in `statistics`.

Sources: octo `data/utils/data_utils.py`, openpi `shared/normalize.py`, lerobot `datasets/compute_stats.py`. The numbers are those
of the emitted rows, in the action space's units: none is normalized or turned into a delta.
"""

from __future__ import annotations

from typing import Any

from rt2data.prepare.statistics import DimStats


def octo_statistics(action: DimStats, state: DimStats | None, trajectories: int) -> dict[str, Any]:
    """One entry of Octo's dataset_statistics: quantiles are called p01 and p99, nothing is masked."""
    found: dict[str, Any] = {"action": _octo(action) | {"mask": [True] * action.size}}
    found |= {"proprio": _octo(state)} if state else {}
    return found | {"num_transitions": action.count, "num_trajectories": trajectories}


OPENPI_ABOUT = (
    "Statistics of single steps, as the actions are written. openpi takes its own over action chunks, after its transforms, so"
    " these fit only where no transform changes a number (no delta actions, no other gripper, no other order). Even then openpi"
    " counts the steps that pad the ends of episodes, and its figures differ a little. Otherwise run openpi's"
    " scripts/compute_norm_stats.py."
)


def openpi_norm_stats(action: DimStats, state: DimStats | None) -> dict[str, Any]:
    """A norm_stats.json; `about` says what it fits, which openpi passes over."""
    parts = {"actions": action} | ({"state": state} if state else {})
    picked = {name: _picked(part, "mean", "std", "q01", "q99") for name, part in sorted(parts.items())}
    return {"about": OPENPI_ABOUT, "norm_stats": picked}


def lerobot_stats(action: DimStats, state: DimStats | None) -> dict[str, Any]:
    """A meta/stats.json; of the quantiles it holds q01 and q99."""
    parts = {"action": action} | ({"observation.state": state} if state else {})
    names = ("min", "max", "mean", "std", "q01", "q99")
    return {name: _picked(part, *names) | {"count": [part.count]} for name, part in parts.items()}


def _octo(stats: DimStats) -> dict[str, list[float]]:
    quantiles = {"p01": list(stats.q01), "p99": list(stats.q99)}
    return _picked(stats, "mean", "std", "max", "min") | quantiles


def _picked(stats: DimStats, *names: str) -> dict[str, list[float]]:
    return {name: list(getattr(stats, name)) for name in names}
