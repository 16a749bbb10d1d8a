"""Turns sums into the summary of one split of one source, and finds leaks between two of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import msgspec
import numpy as np

from rt2data.look.stats.actions import common_values, dimensions, encoded, with_drift
from rt2data.look.stats.content import CameraSums, TokenSums, distribution, first_images, pair_hashes, text_hashes
from rt2data.look.stats.episodes import EpisodeSums
from rt2data.look.stats.model import Actions, Dimension, Dropped, EncodedDimension, Gripper, Leak, Motion, SourceStats
from rt2data.look.stats.motion import LAGS, MARGIN, NO_LAG, Correlations, correlate
from rt2data.look.stats.passes import RowSums, SecondSums
from rt2data.look.stats.row_set import GENERIC, RowSet, codec_of, space_from_json
from rt2data.order import U64
from rt2data.read.action_space import ActionSpace, Dim
from rt2data.render.codecs.codec import Codec

VALUES = 8
"""Number of most common gripper values in the summary."""
POSITIONS = 0.8
"""Correlation with the state itself from which actions look like positions."""


@dataclass(frozen=True)
class Summed:
    """All sums of one row set."""

    rows: RowSet
    first: RowSums
    second: SecondSums
    episodes: EpisodeSums


def source_stats(found: Summed, tokens: TokenSums, limit: int | None, dropped: Sequence[Dropped]) -> SourceStats:
    """The summary of one split of one source."""
    rows, first, second = found.rows, found.first, found.second
    web = not rows.has_actions
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
        state=_states(dimensions(first.state, second.state, names, [""] * len(names)), found.episodes.motion.wraps),
        episodes=None if web else found.episodes.summary(),
        text=first.text.summary(second.texts.texts),
        answers=first.answers.summary(second.texts.texts) if web else None,
        answers_each=distribution(first.answers_each) if web else None,
        tokens=tokens.summary(limit) if len(tokens.whole) else None,
        cameras=tuple(sums.summary(name, web or name in rows.cameras) for name, sums in sorted(first.cameras.items())),
        lost=tuple(dropped),
        conversions=dict(rows.conversions),
    )


def _states(found: tuple[Dimension, ...], wraps: Sequence[int]) -> tuple[Dimension, ...]:
    return tuple(msgspec.structs.replace(each, wraps=times) for each, times in zip(found, wraps, strict=True)) if wraps else found


# Actions


def _actions(found: Summed) -> Actions:
    rows, first, sums = found.rows, found.first, found.episodes.motion
    space, codec = space_from_json(rows.space), codec_of(rows.codec) if rows.codec else None
    dims = dimensions(first.action, found.second.action, space.names, [dim.unit for dim in space.dims])
    correlations = correlate(sums, len(dims))
    pairs = correlations.pairs(rows.state_dim) if correlations else {}
    motion = tuple(_motion(correlations, i, j, space, sums.wraps[j]) for i, j in pairs.items()) if correlations else ()
    absolute = says_absolute(space) or (space.name == GENERIC and follow_the_state(motion, dims))
    zero_is_still = not absolute and (space.name != GENERIC or bool(motion))  # as far as is known
    steps = max(first.rows, 1)
    return Actions(
        space=space.name,
        codec=f"{codec.name}/{codec.version}" if codec else "",
        dims=dims,
        coded=_encoded(found, codec, space, zero_is_still) if codec else (),
        noop=(sums.same_place if absolute else sums.still) / steps,
        absolute=absolute,
        terminate=first.terminate,
        repeated=sums.repeated / steps,
        gripper=None if space.gripper is None else _gripper(found, space, space.gripper, motion),
        motion=motion,
        correlation=_matrix(first),
        unpaired=tuple(name for i, name in enumerate(space.names) if correlations and i not in pairs),
    )


def _motion(found: Correlations, i: int, j: int, space: ActionSpace, wraps: int) -> Motion:
    by_lag = found.change[:, i, j].tolist()
    best = max(range(len(LAGS)), key=lambda at: (abs(by_lag[at]), -abs(LAGS[at])))
    return Motion(
        action=space.dims[i].name,
        state=f"s_{j}",
        delta=by_lag[NO_LAG],
        absolute=float(found.level[i, j]),
        lag=LAGS[best],
        best=by_lag[best],
        wraps=wraps,
        steps=found.steps,
    )


def _encoded(found: Summed, codec: Codec, space: ActionSpace, zero_is_still: bool) -> tuple[EncodedDimension, ...]:
    dims = encoded(found.first.encoded, codec)
    hz = found.episodes.summary().fps or space.control_hz  # as recorded, else from the action space
    return with_drift(dims, space, hz) if zero_is_still else dims


def says_absolute(space: ActionSpace) -> bool:
    """Whether an action space says that its actions are positions."""
    return (space.control_mode or "").startswith("absolute") or "absolute" in f"{space.title} {space.frame}".lower()


def follow_the_state(motion: Sequence[Motion], dims: Sequence[Dimension]) -> bool:
    """Whether most dimensions that move correlate with the state itself, and much less with its change."""
    moving = {dim.name for dim in dims if not dim.dead}
    positions = [m for m in motion if m.action in moving and m.absolute > POSITIONS and m.absolute > abs(m.delta) + MARGIN]
    return len(positions) * 2 > len(moving)


def _gripper(found: Summed, space: ActionSpace, i: int, motion: Sequence[Motion]) -> Gripper:
    sums, second = found.episodes.motion, found.second.action
    count = max(int(found.first.action.columns.moments.count[i]), 1)
    pair = next((m for m in motion if m.action == space.dims[i].name), None)
    return Gripper(
        name=space.dims[i].name,
        values=common_values(second, i, VALUES),
        binary=int(second.at_ends.of([i])[0]) / count,
        transitions=distribution(sums.transitions),
        agrees=_agrees(pair, space.dims[i]) if pair else None,
        measured=pair.state if pair else None,
    )


def _agrees(pair: Motion, dim: Dim) -> float:
    """Correlation of the commanded opening with the next change of the paired state, assumed to be an opening."""
    opens_up = (dim.open or 0.0) > (dim.closed or 0.0)
    return pair.delta * (1 if opens_up else -1)


def _matrix(first: RowSums) -> tuple[tuple[float, ...], ...]:
    size = first.action.dims
    if len(first.correlation.x) != size * size:
        return ()
    found = first.correlation.correlation.reshape(size, size)
    np.fill_diagonal(found, np.where(np.diag(found) > 0, 1.0, 0.0))
    return tuple(map(tuple, found.tolist()))


# Leaks

Shared = Literal["group", "image", "text_and_image"]


def find_leaks(found: Sequence[Summed]) -> Iterator[Leak]:
    """Data shared by each two row sets. Groups are compared only within a source: names in different sources are unrelated.

    Raises DataError if rows cannot be read; they are read for an example of each leak.
    """
    for here, there in combinations(found, 2):
        if here.rows.name == there.rows.name:
            yield from _leak("group", here, there, here.first.groups.keys, there.first.groups.keys)
        yield from _leak("image", here, there, _images(here), _images(there))
        yield from _leak("text_and_image", here, there, here.first.pairs.keys, there.first.pairs.keys)


def _images(found: Summed) -> U64:
    """Hashes of the mixture's images."""
    return found.first.cameras.get(found.rows.camera, CameraSums()).hashes.keys


def _leak(what: Shared, here: Summed, there: Summed, ours: U64, theirs: U64) -> Iterator[Leak]:
    common = np.intersect1d(ours, theirs, assume_unique=True)
    if len(common):
        example = _example(what, here.rows, common[0])
        yield Leak(what=what, here=here.rows.place, there=there.rows.place, count=len(common), example=example)


def _example(what: Shared, rows: RowSet, hash_: np.uint64) -> str:
    """Key of the first row with this hash; for a group its name."""
    for number in range(rows.files):
        table = rows.read(number, ("key", "group", "text", "images"))
        images, hashes = table["images"].combine_chunks(), text_hashes(table["group"].combine_chunks())
        if what != "group" and len(images):
            hashes = first_images(images)
        if what == "text_and_image":
            hashes = pair_hashes(text_hashes(table["text"].combine_chunks()), hashes)
        at = np.flatnonzero(hashes == hash_)
        if len(at):
            return str(table["group" if what == "group" else "key"][int(at[0])].as_py())
    return ""
