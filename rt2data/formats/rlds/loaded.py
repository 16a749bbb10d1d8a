"""Actions and states as transformed by OpenVLA's loader, so that statistics describe what it trains on.

Each function takes whole episodes, concatenated: actions f32[n, D], states f32[n, S], and `starts`, the first row of each episode.
It returns the same for the remaining steps. Arithmetic is in float32, as in the loader. Source: openvla c8f03f4
prismatic/vla/datasets/rlds/{dataset,utils/data_utils}.py, oxe/{configs,transforms}.py.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from rt2data.formats.rlds.episode import map_gripper
from rt2data.formats.rlds.loader_layouts import OPENVLA, find_encoding, gripper_map, kept_dims
from rt2data.order import I64
from rt2data.read.action_space import ActionSpace
from rt2data.records import F32

_ARM = 6
"""Dimensions before the gripper."""
_OPEN, _CLOSED = np.float32(0.95), np.float32(0.05)
_STILL = np.float32(0.1)


class Loaded(NamedTuple):
    """The remaining steps: actions f32[m, D], gripper last, and proprio f32[m, P]."""

    action: F32
    proprio: F32 | None


def as_loaded(layout: str, space: ActionSpace, action: F32, state: F32 | None, starts: I64) -> Loaded | None:
    """A dataset as the loader transforms it, in a layout or plain as registered; None if the loader cannot read it."""
    if layout == "bridge":
        assert state is not None
        return bridge(action, state, starts)
    if layout == "libero":
        assert state is not None
        return libero(action, state)
    return registered(space, action, state, starts) if find_encoding(space, OPENVLA).name else None


def bridge(action: F32, state: F32, starts: I64) -> Loaded:
    """`bridge_orig`: the first six numbers are the next state minus this one, angles not wrapped; the gripper is binary.

    First and last steps are dropped. Proprio is the pose, a zero, the gripper.
    """
    inner = np.ones(len(action), bool)
    inner[starts] = inner[np.append(starts[1:], len(action)) - 1] = False
    moved = np.diff(state[:, :_ARM], axis=0, append=state[-1:, :_ARM])
    gripper = binary_gripper(action[:, _ARM], starts)
    pose = np.column_stack([state[:, :_ARM], np.zeros(len(state), np.float32), state[:, -1]])
    return Loaded(np.column_stack([moved, gripper])[inner], pose[inner])


def libero(action: F32, state: F32) -> Loaded:
    """`libero_*_no_noops`: the gripper is clipped to 0..1 and inverted. Proprio is the pose and two gripper numbers."""
    gripper = np.float32(1) - np.clip(action[:, _ARM], np.float32(0), np.float32(1))
    return Loaded(np.column_stack([action[:, :_ARM], gripper]), np.column_stack([state[:, :_ARM], state[:, -2:]]))


def registered(space: ActionSpace, action: F32, state: F32 | None, starts: I64) -> Loaded:
    """A plain dataset, with the transform of its registration: no terminate, the gripper 1 open and 0 closed."""
    relative = space.gripper_mode == "relative"
    found = map_gripper(action, gripper_map(space, 1.0, -1.0 if relative else 0.0))[:, kept_dims(space)]
    if relative:
        found[:, -1] = absolute_gripper(found[:, -1], starts)
    return Loaded(found, state)


def binary_gripper(gripper: F32, starts: I64) -> F32:
    """f32[n]: above 0.95 is 1, below 0.05 is 0; between takes the next decided value, or at the end the last one as it is."""
    sure = (gripper > _OPEN) | (gripper < _CLOSED)
    ends = np.append(starts[1:], len(gripper)) - 1
    after = np.minimum.accumulate(np.where(sure, np.arange(len(gripper)), len(gripper))[::-1])[::-1]
    last = ends[_episode_of(len(gripper), starts)]
    found = np.where(after <= last, (gripper > _OPEN)[np.minimum(after, last)].astype(np.float32), gripper[last])
    return np.asarray(found, np.float32)


def absolute_gripper(change: F32, starts: I64) -> F32:
    """f32[n]: 1 open, 0 closed, from changes, positive to open: each holds until the next, and the opposite before the first."""
    moves = np.where(change > _STILL, 1, np.where(change < -_STILL, -1, 0))
    rows = np.arange(len(change))
    before = np.maximum.accumulate(np.where(moves != 0, rows, -1))
    after = np.minimum.accumulate(np.where(moves != 0, rows, len(rows))[::-1])[::-1]
    episode = _episode_of(len(change), starts)
    stops = np.append(starts[1:], len(change))
    first = after[starts]
    at_first = np.where(first < stops, -moves[np.minimum(first, len(rows) - 1)], 1)
    held = np.where(before >= starts[episode], moves[before], at_first[episode])
    return (held / 2 + 0.5).astype(np.float32)


def _episode_of(rows: int, starts: I64) -> NDArray[np.int64]:
    """Index of each row's episode, int64[rows]."""
    marks = np.zeros(rows, np.int64)
    marks[starts] = 1
    return np.cumsum(marks) - 1
