"""Sums over episodes beside a plain loop over the steps; the same for any number of parts and batches."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from rt2data.look.stats import episodes as module
from rt2data.look.stats.episodes import EpisodesOrder, EpisodeSums, part_of, sum_episodes
from rt2data.look.stats.motion import LAGS
from rt2data.look.stats.row_set import RowSet, row_sets
from rt2data.tally.sums import add_up
from tests.look.stats.stores import files_of, lay, robot_rows
from tests.look.stats.test_sums import near, packed


def make(folder: Path, episodes: int = 9) -> tuple[RowSet, list[tuple[np.ndarray, np.ndarray, list[int]]]]:
    """A store, and its episodes: actions, states, step numbers. Some have gaps, some stand still, one has a single step."""
    rng, rows, found = np.random.default_rng(1), [], []
    for number in range(episodes):
        length = 1 if number == 4 else int(rng.integers(5, 40))
        action = rng.normal(0, 0.01, (length, 7)).astype(np.float32)
        action[:, 6] = rng.integers(0, 2, length)
        action[2:4] = action[1:2]
        action[3:4, :6] = 0
        state = np.cumsum(action, axis=0).astype(np.float32)
        state[:, 5] = (state[:, 5] * 300 + np.pi) % (2 * np.pi) - np.pi
        steps = [i if number != 2 or i < 3 else i + 2 for i in range(length)]
        found.append((action, state, steps))
        rows += robot_rows(f"e{number}", action, state, hz=5, steps=steps)
    (rowset,) = row_sets(lay(folder / "s", files_of(rows), "widowx_bridge"), "rt2")
    return rowset, found


def by_hand(found: list[tuple[np.ndarray, np.ndarray, list[int]]]) -> dict[str, float]:
    still = same = repeated = wraps = 0
    changes, lags = [], {lag: ([], []) for lag in LAGS}
    for action, state, steps in found:
        said = [grip > 0.5 for grip in action[:, 6].tolist()]
        changes.append(sum(a != b for a, b in pairwise(said)))
        for t in range(len(action)):
            holds = t == 0 or action[t, 6] == action[t - 1, 6]
            still += bool(holds and np.linalg.norm(action[t, :6].astype(np.float64)) < 1e-4)
            if t:
                same += bool(holds and np.linalg.norm(action[t, :6].astype(np.float64) - action[t - 1, :6]) < 1e-4)
                repeated += bool((action[t] == action[t - 1]).all())
                if steps[t] == steps[t - 1] + 1:
                    wraps += bool(abs(float(state[t, 5]) - float(state[t - 1, 5])) > np.pi)
            for lag, (a, d) in lags.items():
                ends = [t, t + lag, t + lag + 1]
                if min(ends) >= 0 and max(ends) < len(action) and steps[max(ends)] - steps[min(ends)] == max(ends) - min(ends):
                    a.append(float(action[t, 0]))
                    d.append(float(state[t + lag + 1, 0]) - float(state[t + lag, 0]))
    figures = {"still": still, "same": same, "repeated": repeated, "wraps": wraps, "changes": sum(changes)}
    return figures | {f"lag {lag}": float(np.corrcoef(a, d)[0, 1]) for lag, (a, d) in lags.items()}


def test_they_are_those_of_a_plain_loop(tmp_path: Path) -> None:
    rows, found = make(tmp_path)
    sums, wanted = sum_episodes(EpisodesOrder(rows, 0, 1)), by_hand(found)
    motion = sums.motion
    assert motion.still == wanted["still"] > 0
    assert motion.same_place == wanted["same"]
    assert motion.repeated == wanted["repeated"] > 0
    assert motion.wraps[5] == wanted["wraps"] > 0
    changes = motion.transitions
    assert int((changes.keys.astype(int) * changes.counts).sum()) == wanted["changes"]
    assert changes.total == len(found)
    for lag, pairs in zip(LAGS, motion.lags, strict=True):
        assert pairs.correlation.reshape(7, 7)[0, 0] == pytest.approx(wanted[f"lag {lag}"], abs=1e-9)
    summary = sums.summary()
    assert (summary.count, summary.short, summary.incomplete) == (9, 1, 1)
    assert summary.fps == pytest.approx(5, rel=1e-4) and summary.gaps == summary.backwards == 0
    assert summary.steps.total == sum(len(action) for action, _, _ in found)


@pytest.mark.parametrize("parts", [2, 5])
def test_parts_add_up(tmp_path: Path, parts: int) -> None:
    rows, _ = make(tmp_path)
    whole = sum_episodes(EpisodesOrder(rows, 0, 1))
    near(add_up(EpisodeSums(), (sum_episodes(EpisodesOrder(rows, part, parts)) for part in range(parts))), whole)
    hashes = np.arange(1000, dtype=np.uint64) * np.uint64(2**54 + 1)
    assert set(part_of(hashes, parts).tolist()) == set(range(parts))


def test_batches_add_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, _ = make(tmp_path)
    whole = sum_episodes(EpisodesOrder(rows, 0, 1))
    monkeypatch.setattr(module, "BATCH", 7)
    parts = sum_episodes(EpisodesOrder(rows, 0, 1))
    near(parts, whole)
    assert packed(parts.lengths) == packed(whole.lengths)


def test_an_empty_part_is_zero(tmp_path: Path) -> None:
    rows, _ = make(tmp_path, episodes=1)
    found = [sum_episodes(EpisodesOrder(rows, part, 64)).summary().count for part in range(64)]
    assert sum(found) == 1


def test_time_that_strays(tmp_path: Path) -> None:
    """Intervals from time stamps: a gap, one that goes back, and jitter."""
    rows = robot_rows("e", np.ones((40, 2)), np.ones((40, 2)), hz=10)
    rows[20]["timestamp"] = rows[19]["timestamp"] - 0.05
    for each in rows[30:]:
        each["timestamp"] += 0.2
    (rowset,) = row_sets(lay(tmp_path / "s", files_of(rows)), "rt2")
    found = sum_episodes(EpisodesOrder(rowset, 0, 1)).summary()
    assert found.fps == pytest.approx(10)
    assert (found.backwards, found.gaps) == (1, 2), "back, forth again, and the pause"
    assert found.jitter == pytest.approx(0, abs=1e-3)
