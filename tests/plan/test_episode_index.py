"""Which row goes where: a permutation that keeps episodes whole and their steps in order, cut between episodes."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from rt2data.plan.episode_index import GapRule, order_episodes
from tests.laws import tries


@st.composite
def rows(draw: st.DrawFn) -> tuple[list[int], list[int], list[int]]:
    """Hash of the episode, number of the step and size of rows that lie in any order."""
    lengths = draw(st.dictionaries(st.integers(0, 2**64 - 1), st.integers(1, 9), min_size=1, max_size=12))
    steps = draw(st.permutations([(group, 3 * step) for group, length in lengths.items() for step in range(length)]))
    sizes = draw(st.lists(st.integers(1, 10_000), min_size=len(steps), max_size=len(steps)))
    return [group for group, _ in steps], [step for _, step in steps], sizes


@given(rows(), st.integers(1, 50_000))
@tries(150)
def test_every_row_has_one_place_in_its_episode(found: tuple[list[int], list[int], list[int]], shard_bytes: int) -> None:
    group, step, size = np.array(found[0], np.uint64), np.array(found[1], np.int64), np.array(found[2], np.int64)
    index = order_episodes(group, step, size, {}, GapRule("join"))
    assert sorted(index.places.tolist()) == list(range(len(group)))
    placed = np.argsort(index.places)
    runs = np.split(placed, index.starts[1:])
    assert len(runs) == len(set(found[0]))
    for run, run_size in zip(runs, index.sizes.tolist(), strict=True):
        assert len(set(group[run].tolist())) == 1
        assert np.all(np.diff(step[run]) > 0)
        assert size[run].sum() == run_size
    _check_shards(index.shards(shard_bytes), index.starts.tolist(), len(group))


def _check_shards(shards: tuple[object, ...], starts: list[int], total: int) -> None:
    at, episodes = 0, 0
    for shard in shards:
        first, rows_here, count = shard.first, shard.rows, shard.episodes  # type: ignore[attr-defined]
        assert (first, first in starts) == (at, True)
        assert rows_here > 0
        assert count == sum(first <= start < first + rows_here for start in starts)
        at, episodes = at + rows_here, episodes + count
    assert (at, episodes) == (total, len(starts))


@st.composite
def torn(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Hash of the episode and number of the step of rows in any order, some steps missing."""
    episodes = draw(st.dictionaries(st.integers(0, 2**64 - 1), st.sets(st.integers(0, 12), min_size=1), min_size=1, max_size=8))
    rows = draw(st.permutations([(group, step) for group, steps in episodes.items() for step in steps]))
    return [group for group, _ in rows], [step for _, step in rows]


@given(torn(), st.integers(1, 4))
@tries(150)
def test_no_two_steps_beside_each_other_have_a_gap_between_them(found: tuple[list[int], list[int]], shortest: int) -> None:
    group, step = np.array(found[0], np.uint64), np.array(found[1], np.int64)
    size = np.ones(len(group), np.int64)
    cut, dropped = (order_episodes(group, step, size, {}, GapRule(gaps, shortest)) for gaps in ("cut", "drop"))
    torn = {name for name in found[0] if _has_gap(step[group == np.uint64(name)])}
    assert cut.gapped == dropped.gapped == len(torn)
    assert {int(name) for name in group[~dropped.kept]} == torn
    for index in (cut, dropped):
        assert sorted(index.places.tolist()) == list(range(len(group)))
        runs = np.split(np.argsort(index.places)[: index.rows], index.starts[1:]) if len(index.starts) else []
        for run in runs:
            assert len({(int(group[row]), int(index.pieces[row])) for row in run}) == 1
            assert np.all(np.diff(step[run]) == 1)
            assert len(run) >= shortest or int(group[run[0]]) not in torn
    assert cut.dropped <= (shortest - 1) * len(group)
    assert cut.kept[~np.isin(group, np.array(sorted(torn), np.uint64))].all()


def _has_gap(steps: np.ndarray) -> bool:
    return bool(np.any(np.diff(np.sort(steps)) != 1))
