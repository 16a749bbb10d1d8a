"""From sums to the summary of one split of one source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from rt2data.look.stats.coded import coded, drifting
from rt2data.look.stats.episodes import EpisodeSums
from rt2data.look.stats.lengths import LengthSums
from rt2data.look.stats.model import Actions, Coded, Gripper, Lost, Motion, Numbers, SourceStats
from rt2data.look.stats.motion import LAGS
from rt2data.look.stats.numbers import commonest_values, numbers
from rt2data.look.stats.pairing import HERE, MARGIN, Compared, compare
from rt2data.look.stats.rows import RowSums
from rt2data.look.stats.rowset import GENERIC, RowSet, codec_from, space_from
from rt2data.look.stats.second import SecondSums
from rt2data.look.stats.spreads import spread
from rt2data.read.action_space import ActionSpace, Dim
from rt2data.render.codecs.codec import Codec

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
        state=_states(numbers(first.state, second.state, names, [""] * len(names)), found.episodes.motion.wraps),
        episodes=None if web else found.episodes.summary(),
        text=first.text.summary(second.texts.texts),
        answers=first.answers.summary(second.texts.texts) if web else None,
        answers_each=spread(first.answers_each) if web else None,
        tokens=lengths.summary(limit) if len(lengths.whole) else None,
        cameras=tuple(sums.summary(name, name == rows.camera) for name, sums in sorted(first.cameras.items())),
        lost=tuple(lost),
        conversions=dict(rows.conversions),
    )


def _states(found: tuple[Numbers, ...], wraps: Sequence[int]) -> tuple[Numbers, ...]:
    return tuple(msgspec.structs.replace(each, wraps=times) for each, times in zip(found, wraps, strict=True)) if wraps else found


def _actions(found: Summed) -> Actions:
    rows, first, sums = found.rows, found.first, found.episodes.motion
    space, codec = space_from(rows.space), codec_from(rows.codec) if rows.codec else None
    dims = numbers(first.action, found.second.action, space.names, [dim.unit for dim in space.dims])
    together = compare(sums, len(dims))
    pairs = together.pairs(rows.state_dim) if together else {}
    motion = tuple(_motion(together, i, j, space, sums.wraps[j]) for i, j in pairs.items()) if together else ()
    absolute = _absolute(space, motion, dims)
    steps = max(first.rows, 1)
    return Actions(
        space=space.name,
        codec=f"{codec.name}/{codec.version}" if codec else "",
        dims=dims,
        coded=_coded(found, codec, space, stands_still=not absolute and (space.name != GENERIC or bool(motion))) if codec else (),
        noop=(sums.same_place if absolute else sums.still) / steps,
        absolute=absolute,
        terminate=first.terminate,
        repeated=sums.repeated / steps,
        gripper=None if space.gripper is None else _gripper(found, space, space.gripper, motion),
        motion=motion,
        correlation=_matrix(first),
        unpaired=tuple(name for i, name in enumerate(space.names) if together and i not in pairs),
    )


def _motion(found: Compared, i: int, j: int, space: ActionSpace, wraps: int) -> Motion:
    by_lag = found.change[:, i, j].tolist()
    best = max(range(len(LAGS)), key=lambda at: (abs(by_lag[at]), -abs(LAGS[at])))
    return Motion(
        action=space.dims[i].name,
        state=f"s_{j}",
        delta=by_lag[HERE],
        absolute=float(found.level[i, j]),
        lag=LAGS[best],
        best=by_lag[best],
        wraps=wraps,
        steps=found.steps,
    )


def _coded(found: Summed, codec: Codec, space: ActionSpace, stands_still: bool) -> tuple[Coded, ...]:
    """`stands_still`: an action of 0 tells the robot to do so, as far as is known."""
    dims = coded(found.first.coded, codec)
    return drifting(dims, space, _rate(found, space)) if stands_still else dims


def _rate(found: Summed, space: ActionSpace) -> float | None:
    """Steps in a second: as recorded, else as the action space says."""
    return found.episodes.summary().fps or space.control_hz


def says_absolute(space: ActionSpace) -> bool:
    """Whether an action space says of itself that its actions are positions."""
    return "absolute" in f"{space.title} {space.frame}".lower()


def _absolute(space: ActionSpace, motion: Sequence[Motion], dims: Sequence[Numbers]) -> bool:
    return says_absolute(space) or (space.name == GENERIC and follow_the_state(motion, dims))


def follow_the_state(motion: Sequence[Motion], dims: Sequence[Numbers]) -> bool:
    """Whether most dimensions that move go with the state itself, and much less with its change."""
    moving = {dim.name for dim in dims if not dim.dead}
    positions = [m for m in motion if m.action in moving and m.absolute > POSITIONS and m.absolute > abs(m.delta) + MARGIN]
    return len(positions) * 2 > len(moving)


def _gripper(found: Summed, space: ActionSpace, i: int, motion: Sequence[Motion]) -> Gripper:
    sums, second = found.episodes.motion, found.second.action
    count = max(int(found.first.action.moments.count[i]), 1)
    pair = next((m for m in motion if m.action == space.dims[i].name), None)
    return Gripper(
        name=space.dims[i].name,
        values=commonest_values(second, i, VALUES),
        binary=int(second.at_ends.of([i])[0]) / count,
        transitions=spread(sums.transitions),
        agrees=_agrees(pair, space.dims[i]) if pair else None,
        measured=pair.state if pair else None,
    )


def _agrees(pair: Motion, dim: Dim) -> float:
    """Correlation of how far open the command is with the next change of the state it is paired with, taken to be an opening."""
    opens_up = (dim.open or 0.0) > (dim.closed or 0.0)
    return pair.delta * (1 if opens_up else -1)


def _matrix(first: RowSums) -> tuple[tuple[float, ...], ...]:
    size = first.action.dims
    if len(first.correlation.x) != size * size:
        return ()
    found = first.correlation.correlation.reshape(size, size)
    np.fill_diagonal(found, np.where(np.diag(found) > 0, 1.0, 0.0))
    return tuple(map(tuple, found.tolist()))
