"""Windows in time: chunks and history of any episode, against a plain program that looks step by step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.standardize.windows import Runs, action_chunks, history
from tests.laws import tries

EPISODES = 100_000


def plain_chunk(actions: np.ndarray, steps: list[int], at: int, horizon: int, join: bool) -> tuple[list[list[float]], int]:
    """The chunk of one step, and how many of its actions are no padding."""
    found = [actions[at]]
    for ahead in range(at + 1, len(steps)):
        if len(found) == horizon or (not join and steps[ahead] != steps[ahead - 1] + 1):
            break
        found.append(actions[ahead])
    return [each.tolist() for each in found + [found[-1]] * (horizon - len(found))], len(found)


def plain_past(steps: list[int], at: int, offset: int, join: bool) -> int:
    """The step so many before, or -1."""
    for back in range(at, at + offset, -1):
        if back == 0 or (not join and steps[back] != steps[back - 1] + 1):
            return -1
    return at + offset


@tries(200)
@given(st.data())
def test_any_episode(data: st.DataObject) -> None:
    steps = sorted(data.draw(st.sets(st.integers(0, 30), min_size=1, max_size=20)))
    horizon, join = data.draw(st.integers(1, 12)), data.draw(st.booleans())
    actions = np.arange(2 * len(steps), dtype=np.float32).reshape(-1, 2)
    ends = np.array(data.draw(st.lists(st.booleans(), min_size=len(steps), max_size=len(steps))))
    runs = Runs.of(steps, join)
    chunks = action_chunks(actions, ends, runs, horizon)
    for at in range(len(steps)):
        expected, real = plain_chunk(actions, steps, at, horizon, join)
        assert chunks.actions[at].tolist() == expected and chunks.real[at] == real
        assert chunks.is_pad[at].tolist() == [False] * real + [True] * (horizon - real)
        first = next((k for k in range(real) if ends[at + k]), -1)
        assert chunks.ends[at] == first
    for offset in (0, -1, -3):
        assert history(runs, offset).tolist() == [plain_past(steps, at, offset, join) for at in range(len(steps))]


@pytest.mark.slow
def test_no_chunk_of_a_hundred_thousand_episodes_crosses_its_end() -> None:
    """Episodes of every length from 1 on: each action says its episode and step, so a stranger would be seen."""
    rng, horizon = np.random.default_rng(0), 8
    lengths = np.concatenate([[1, 1, 2], rng.integers(1, 13, EPISODES - 3)])
    for number, length in enumerate(lengths.tolist()):
        actions = np.stack([np.full(length, number), np.arange(length)], axis=1).astype(np.float32)
        chunks = action_chunks(actions, np.arange(length) == length - 1, Runs.of(range(length)), horizon)
        expected = np.minimum(np.arange(length)[:, None] + np.arange(horizon), length - 1)
        assert (chunks.actions[..., 0] == number).all() and (chunks.actions[..., 1] == expected).all()
        assert (chunks.is_pad.sum(1) == np.maximum(np.arange(length) + horizon - length, 0)).all()
