"""Nothing is compared across a gap: two steps beside each other are not one after the other there."""

from __future__ import annotations

import numpy as np

from rt2data.look.stats.motion import Steps, sum_motion
from rt2data.read.action_space import load_space


def test_a_step_behind_a_gap_repeats_nothing() -> None:
    steps = Steps(
        episode=np.zeros(4, np.int64),
        step=np.array([0, 1, 5, 6], np.int32),
        action=np.full((4, 7), 0.5, np.float32),
        state=None,
        timestamp=np.full(4, np.nan),
    )
    found = sum_motion(steps, load_space("widowx_bridge"))
    assert (found.repeated, found.same_place) == (2, 2)
