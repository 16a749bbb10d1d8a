"""A summary's statistics in the format of a trainer: `rt2data stats --as`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rt2data.errors import UsageError
from rt2data.look.stats.model import Dimension, SourceStats, Stats
from rt2data.prepare.statistics import OPTIONAL, VECTORS, DimStats
from rt2data.seal.trainer_statistics import BY_NAME, TRAINERS, SourceStatistics

TRAIN = "train"


def as_trainer(stats: Stats, trainer: str) -> dict[str, Any]:
    """A trainer's statistics file, computed from the emitted actions and not from a codec's bounds.

    Sources are keyed by name, which loaders look up (OpenVLA's unnorm_key); openpi's and LeRobot's files of one source have no key.
    Raises UsageError for an unknown trainer, if no source has actions, and as `one_split` does.
    """
    if trainer not in TRAINERS:
        raise UsageError(f"no trainer's statistics are called {trainer!r}", do=f"choose one of {', '.join(TRAINERS)}")
    robots = [source for source in stats.sources if source.actions is not None]
    if not robots:
        raise UsageError("no source has actions", stats.path, "name one with robot data")
    found = {source.name: TRAINERS[trainer](_statistics(source)) for source in one_split(robots)}
    return found if trainer in BY_NAME or len(found) > 1 else next(iter(found.values()))


def one_split(sources: Sequence[SourceStats]) -> list[SourceStats]:
    """One split of each source: `train` if it has several. Quantiles of splits cannot be merged, and val is not trained on.

    Raises UsageError if none of several is called train.
    """
    chosen = []
    for name in dict.fromkeys(source.name for source in sources):
        splits = {source.split: source for source in sources if source.name == name}
        if len(splits) > 1 and TRAIN not in splits:
            raise UsageError(f"source {name} has splits {', '.join(splits)}", do="choose one with --split")
        chosen.append(splits.get(TRAIN) or next(iter(splits.values())))
    return chosen


def _statistics(source: SourceStats) -> SourceStatistics:
    """For a trainer that encodes actions itself: OpenVLA scales all dimensions but the gripper, and takes their own quantiles."""
    assert source.actions is not None
    grip = source.actions.gripper.name if source.actions.gripper else None
    state = dim_stats(source.state) if source.state else None
    mask = [dim.name != grip for dim in source.actions.dims]
    return SourceStatistics(source.name, dim_stats(source.actions.dims), state, source.groups, mask)


def dim_stats(dims: Sequence[Dimension]) -> DimStats:
    """The statistics of all dimensions together."""
    vectors = {name: tuple(getattr(dim, name) for dim in dims) for name in (*VECTORS, *OPTIONAL)}
    return DimStats(count=dims[0].count, **vectors)
