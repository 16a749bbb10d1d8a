"""Statistics in each trainer's format, from the per-dimension statistics of one source.

The numbers describe the emitted rows, in the action space's units: not normalized, not turned into deltas. Field names are those of
OpenVLA `prismatic/vla/datasets/rlds/utils/data_utils.py`, Octo `octo/data/utils/data_utils.py`, openpi `shared/normalize.py` and
LeRobot `datasets/compute_stats.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rt2data.plan.model import Plan
from rt2data.prepare.statistics import DimStats
from rt2data.render.codecs.table import codec_from_json

Bounds = tuple[Sequence[float], Sequence[float]]


@dataclass(frozen=True)
class SourceStatistics:
    """The input of a trainer's file, for one robot source."""

    name: str
    action: DimStats  # D dimensions
    state: DimStats | None
    episodes: int
    mask: Sequence[bool]  # bool[D]: the dimensions that OpenVLA scales back from [-1, 1]
    bounds: Bounds | None = None  # (lo, hi) of the codec, float[D] each: replace the quantiles of masked dimensions
    chunk: DimStats | None = None  # of all actions in chunks, padding included; D dimensions

    def __post_init__(self) -> None:
        if len(self.mask) != self.action.size:
            raise ValueError(f"a mask of {len(self.mask)} for {self.action.size} dimensions")


def openvla(source: SourceStatistics) -> dict[str, Any]:
    """One entry of dataset_statistics.json, as `predict_action(unnorm_key=name)` reads it.

    With the codec's bounds as q01 and q99, encoded actions decode to the same values. Without a state, proprio is zeros, as OpenVLA
    writes it.
    """
    fields = {name: name for name in ("mean", "std", "max", "min", "q01", "q99")}
    action = _fields(source.action, fields)
    for key, ends in zip(("q01", "q99"), source.bounds or (), strict=False):
        action[key] = [end if scaled else own for end, scaled, own in zip(ends, source.mask, action[key], strict=True)]
    zeros = {key: [0.0] * source.action.size for key in fields}
    return {
        "action": action | {"mask": [bool(scaled) for scaled in source.mask]},
        "proprio": _fields(source.state, fields) if source.state else zeros,
        "num_transitions": source.action.count,
        "num_trajectories": source.episodes,
    }


def octo(source: SourceStatistics) -> dict[str, Any]:
    """One entry of Octo's dataset_statistics: quantiles are named p01 and p99, every dimension is normalized."""
    fields = {"mean": "mean", "std": "std", "max": "max", "min": "min", "p01": "q01", "p99": "q99"}
    found: dict[str, Any] = {"action": _fields(source.action, fields) | {"mask": [True] * source.action.size}}
    found |= {"proprio": _fields(source.state, fields)} if source.state else {}
    return found | {"num_transitions": source.action.count, "num_trajectories": source.episodes}


_OPENPI_FIT = (
    " openpi takes its own over action chunks, after its transforms, so these fit only where no transform changes a number"
    " (no delta actions, no other gripper, no other order). Otherwise run openpi's scripts/compute_norm_stats.py."
)
OPENPI_STEPS = (
    "Statistics of single steps, as the actions are written: the recipe asks for no chunks. openpi counts the actions that pad"
    " the ends of episodes too, so its figures differ a little." + _OPENPI_FIT
)
OPENPI_CHUNKS = "Statistics of all actions of the chunks, those that pad the ends of episodes included." + _OPENPI_FIT


def openpi(source: SourceStatistics) -> dict[str, Any]:
    """A norm_stats.json; `about`, which openpi ignores, says when the numbers apply."""
    fields = {name: name for name in ("mean", "std", "q01", "q99")}
    parts = {"actions": source.chunk or source.action} | ({"state": source.state} if source.state else {})
    return {
        "about": OPENPI_CHUNKS if source.chunk else OPENPI_STEPS,
        "norm_stats": {name: _fields(part, fields) for name, part in sorted(parts.items())},
    }


def lerobot(source: SourceStatistics) -> dict[str, Any]:
    """Actions and state for a meta/stats.json (v3.0)."""
    fields = {name: name for name in ("min", "max", "mean", "std", "q01", "q10", "q50", "q90", "q99")}
    parts = {"action": source.action} | ({"observation.state": source.state} if source.state else {})
    return {name: _fields(part, fields) | {"count": [part.count]} for name, part in parts.items()}


def _fields(stats: DimStats, fields: Mapping[str, str]) -> dict[str, list[float]]:
    """Values by the trainer's field names; unknown fields are omitted."""
    return {name: list(values) for name, own in fields.items() if (values := getattr(stats, own))}


TRAINERS: dict[str, Callable[[SourceStatistics], dict[str, Any]]] = {
    "openvla": openvla,
    "octo": octo,
    "openpi": openpi,
    "lerobot": lerobot,
}
BY_NAME = ("openvla", "octo")
"""Trainers whose file holds several sources, by name. Others have one file per source."""


def sources_of(plan: Plan, statistics: Mapping[str, Any]) -> list[SourceStatistics]:
    """The robot sources of a mixture, with `statistics` from its manifest. Bounds and mask are the codec's."""
    found = []
    for source in plan.sources:
        if source.codec is not None:
            here, codec = statistics[source.name], codec_from_json(source.codec)
            state = None if here["state"] is None else DimStats.from_json(here["state"])
            action = DimStats.from_json(here["action"])
            chunk = DimStats.from_json(here["chunk"]) if "chunk" in here else None
            found.append(SourceStatistics(source.name, action, state, source.groups, codec.mask, (codec.lo, codec.hi), chunk))
    return found


def dataset_statistics(plan: Plan, statistics: Mapping[str, Any]) -> dict[str, Any]:
    """A mixture's dataset_statistics.json for OpenVLA: by source, what undoes the normalization."""
    return {source.name: openvla(source) for source in sources_of(plan, statistics)}


def statistics_files(plan: Plan, statistics: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The other trainers' files by name without suffix: Octo's holds all sources by name, openpi's and LeRobot's one each."""
    sources = sources_of(plan, statistics)
    found = {"octo": {source.name: octo(source) for source in sources}} if sources else {}
    for source in sources:
        found |= {f"openpi_{source.name}": openpi(source), f"lerobot_{source.name}": lerobot(source)}
    return found
