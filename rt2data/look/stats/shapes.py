"""Statistics in the shapes that other trainers read, from a summary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rt2data.errors import UsageError
from rt2data.io.words import choose
from rt2data.look.stats.model import Numbers, SourceStats, Stats
from rt2data.prepare.statistics import DimStats, openvla_statistics
from rt2data.render.codecs.shapes import lerobot_stats, octo_statistics, openpi_norm_stats

TRAIN = "train"
Shape = Callable[[SourceStats, DimStats, DimStats | None], dict[str, Any]]


def dim_stats(dims: Sequence[Numbers]) -> DimStats:
    """The statistics of all dimensions, side by side."""
    columns = {name: tuple(getattr(dim, name) for dim in dims) for name in ("mean", "std", "min", "max", "q01", "q99")}
    return DimStats(count=dims[0].count, **columns)


def as_shape(stats: Stats, name: str) -> dict[str, Any]:
    """What a trainer reads: by the names of the sources, which are the keys that loaders look for (OpenVLA's unnorm_key).

    Of one source openpi's and LeRobot's shapes have no name. Raises UsageError for an unknown shape, where no source has actions,
    and where `one_split` does.
    """
    if name not in SHAPES:
        raise UsageError(f"no trainer's statistics are called {name!r}", do=choose(name, SHAPES))
    robots = [source for source in stats.sources if source.actions is not None]
    if not robots:
        raise UsageError("no source has actions", stats.path, "name one with robot data")
    found = {source.name: _shaped(source, SHAPES[name]) for source in one_split(robots)}
    if name in NAMED:
        return found
    return next(iter(found.values())) if len(found) == 1 else found


def one_split(sources: Sequence[SourceStats]) -> list[SourceStats]:
    """Each source once: its split `train` where it has several. Quantiles of splits cannot be merged, and val is not trained on.

    Raises UsageError where none of several is called train.
    """
    chosen = []
    for name in dict.fromkeys(source.name for source in sources):
        splits = {source.split: source for source in sources if source.name == name}
        if len(splits) > 1 and TRAIN not in splits:
            raise UsageError(f"source {name} has splits {', '.join(splits)}", do="choose one with --split")
        chosen.append(splits.get(TRAIN) or next(iter(splits.values())))
    return chosen


def _shaped(source: SourceStats, shape: Shape) -> dict[str, Any]:
    assert source.actions is not None
    return shape(source, dim_stats(source.actions.dims), dim_stats(source.state) if source.state else None)


def _openvla(source: SourceStats, action: DimStats, state: DimStats | None) -> dict[str, Any]:
    """For OpenVLA's own training: the mask leaves out the gripper, which it does not scale. (dataset_statistics.json of a mixture
    is for whoever undoes what that mixture's codec did.)"""
    assert source.actions is not None
    grip = source.actions.gripper.name if source.actions.gripper else None
    mask = [dim.name != grip for dim in source.actions.dims]
    found: dict[str, Any] = openvla_statistics("", action, mask, source.groups, state)[""]
    return found


def _lerobot(source: SourceStats, action: DimStats, state: DimStats | None) -> dict[str, Any]:
    assert source.actions is not None
    found = lerobot_stats(action, state)
    for key, dims in (("action", source.actions.dims), ("observation.state", source.state)):
        for quantile in ("q10", "q50", "q90"):
            if dims:
                found[key][quantile] = [getattr(dim, quantile) for dim in dims]
    return found


SHAPES: dict[str, Shape] = {
    "openvla": _openvla,
    "octo": lambda source, action, state: octo_statistics(action, state, source.groups),
    "openpi": lambda source, action, state: openpi_norm_stats(action, state),
    "lerobot": _lerobot,
}
NAMED = ("openvla", "octo")
"""Shapes with the dataset's name on top, always."""
