"""From sums to the summary of one split of one source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rt2data.actions.space import ActionSpace
from rt2data.stats.coded import coded
from rt2data.stats.episodes import EpisodeSums
from rt2data.stats.lengths import LengthSums
from rt2data.stats.model import Actions, Gripper, Lost, Motion, Numbers, SourceStats
from rt2data.stats.motion import LAGS, MotionSums
from rt2data.stats.numbers import commonest_values, numbers
from rt2data.stats.rows import RowSums
from rt2data.stats.rowset import RowSet, codec_from, space_from
from rt2data.stats.second import SecondSums
from rt2data.stats.spreads import spread

HERE = LAGS.index(0)
VALUES = 8
"""Values of the gripper that are told."""
POSITIONS = 0.8
"""Correlation with the state itself from which actions look like positions."""


@dataclass(frozen=True)
class Summed:
    """All sums of one RowSet."""

    rows: RowSet
    first: RowSums
    second: SecondSums
    episodes: EpisodeSums


def source_stats(found: Summed, lengths: LengthSums, limit: int | None, lost: Sequence[Lost]) -> SourceStats:
    """The summary of one split of one source."""
    rows, first, second = found.rows, found.first, found.second
    web = rows.kind == "web"
    names = [f"s_{i}" for i in range(first.state.dims)]
    return SourceStats(
        name=rows.name,
        kind=rows.kind,
        source=rows.source,
        split=rows.split,
        rows=first.rows,
        groups=len(first.groups),
        image_bytes=first.image_bytes,
        digest=rows.digest,
        camera=rows.camera,
        actions=_actions(found) if first.action.dims else None,
        state=numbers(first.state, second.state, names, [""] * len(names)),
        episodes=None if web else found.episodes.summary(),
        text=first.text.summary(second.texts.texts),
        answers=first.answers.summary(second.texts.texts) if web else None,
        answers_each=spread(first.answers_each) if web else None,
        tokens=lengths.summary(limit) if len(lengths.whole) else None,
        cameras=tuple(sums.summary(name, name == rows.camera) for name, sums in sorted(first.cameras.items())),
        lost=tuple(lost),
        conversions=dict(rows.conversions),
    )


def _actions(found: Summed) -> Actions:
    rows, first, sums = found.rows, found.first, found.episodes.motion
    space, codec = space_from(rows.space), codec_from(rows.codec) if rows.codec else None
    dims = numbers(first.action, found.second.action, space.names, [dim.unit for dim in space.dims])
    motion = tuple(_motion(sums, i, space) for i in range(len(sums.lags[HERE].x) if sums.lags else 0))
    absolute = _absolute(space, motion, dims)
    steps = max(first.rows, 1)
    return Actions(
        space=space.name,
        codec=f"{codec.name}/{codec.version}" if codec else "",
        dims=dims,
        coded=coded(first.coded, codec) if codec else (),
        noop=(sums.same_place if absolute else sums.still) / steps,
        absolute=absolute,
        terminate=first.terminate,
        repeated=sums.repeated / steps,
        gripper=None if space.gripper is None else _gripper(found, space, space.gripper),
        motion=motion,
        correlation=_matrix(first),
    )


def _motion(sums: MotionSums, i: int, space: ActionSpace) -> Motion:
    by_lag = [float(pairs.correlation[i]) if pairs.count else 0.0 for pairs in sums.lags]
    best = max(range(len(LAGS)), key=lambda at: (abs(by_lag[at]), -abs(LAGS[at])))
    return Motion(
        action=space.dims[i].name,
        state=f"s_{i}",
        delta=by_lag[HERE],
        absolute=float(sums.level.correlation[i]) if sums.level.count else 0.0,
        lag=LAGS[best],
        best=by_lag[best],
        wraps=sums.wraps[i],
        steps=sums.lags[HERE].count,
    )


def says_absolute(space: ActionSpace) -> bool:
    """Whether an action space says of itself that its actions are positions."""
    return "absolute" in f"{space.title} {space.frame}".lower()


def _absolute(space: ActionSpace, motion: Sequence[Motion], dims: Sequence[Numbers]) -> bool:
    return says_absolute(space) or (space.name == "generic_nd" and follow_the_state(motion, dims))


def follow_the_state(motion: Sequence[Motion], dims: Sequence[Numbers]) -> bool:
    """Whether most dimensions that move go with the state itself, and much less with its change."""
    moving = [m for m, dim in zip(motion, dims, strict=False) if not dim.dead]
    positions = [m for m in moving if m.absolute > POSITIONS and m.absolute > abs(m.delta) + 0.3]
    return len(positions) * 2 > len(moving)


def _gripper(found: Summed, space: ActionSpace, i: int) -> Gripper:
    sums, second = found.episodes.motion, found.second.action
    count = max(int(found.first.action.moments.count[i]), 1)
    return Gripper(
        name=space.dims[i].name,
        values=commonest_values(second, i, VALUES),
        binary=int(second.at_ends.of([i])[0]) / count,
        transitions=spread(sums.transitions),
        agrees=_agrees(sums, space, i),
        measured=f"s_{i}" if sums.lags else None,
    )


def _agrees(sums: MotionSums, space: ActionSpace, i: int) -> float | None:
    """Correlation of how far open the command is with the next change of the state at its place, taken to be an opening."""
    if not sums.lags or not sums.lags[HERE].count:
        return None
    opens_up = (space.dims[i].open or 0.0) > (space.dims[i].closed or 0.0)
    return float(sums.lags[HERE].correlation[i]) * (1 if opens_up else -1)


def _matrix(first: RowSums) -> tuple[tuple[float, ...], ...]:
    size = first.action.dims
    if len(first.correlation.x) != size * size:
        return ()
    found = first.correlation.correlation.reshape(size, size)
    np.fill_diagonal(found, np.where(np.diag(found) > 0, 1.0, 0.0))
    return tuple(map(tuple, found.tolist()))
