"""Laws of the order of what was written once: exact shares, every example in its turn, any part computed by itself."""

from __future__ import annotations

from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.loading import blending
from rt2data.loading.blending import Blend, make_layout
from rt2data.loading.sampling import SampleLayout
from tests.laws import tries

quick = tries(40)
sources = st.lists(st.tuples(st.integers(1, 300), st.lists(st.integers(1, 40), min_size=1, max_size=4)), min_size=1, max_size=4)


@pytest.fixture(autouse=True)
def short_stretches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blending, "STRETCH", 64)
    for cached in (blending._stretch, blending._turn):
        cached.cache_clear()


def blend(robot: Any, web: Any, seed: int = 0, shuffle: bool = True) -> Blend:
    sides = [[draws for draws, _ in side] for side in (robot, web)]
    sizes, shards = [size for _, own in (*robot, *web) for size in own], [len(own) for _, own in (*robot, *web)]
    found = make_layout(sizes, sides, shards, seed, shuffle)
    assert isinstance(found, Blend)
    return found


def owners(layout: Blend) -> Any:
    """Source of each shard."""
    return np.repeat(np.arange(len(layout.shards)), layout.shards)


@quick
@given(robot=sources, web=sources, shuffle=st.booleans(), epoch=st.integers(0, 3))
def test_every_block_of_sixteen_has_its_share_and_an_epoch_all_draws(robot: Any, web: Any, shuffle: bool, epoch: int) -> None:
    layout = blend(robot, web, shuffle=shuffle)
    shard, _ = layout.locate(epoch, np.arange(layout.total))
    source = owners(layout)[shard]
    draws = [d for d, _ in [*robot, *web]]
    assert np.bincount(source, minlength=len(draws)).tolist() == draws
    ends = np.minimum(np.arange(16, layout.total + 16, 16), layout.total)
    robots = np.cumsum(source < len(robot))[ends - 1]
    assert (np.abs(robots - ends * sum(d for d, _ in robot) / layout.total) < 2).all()


@quick
@given(robot=sources, web=sources, shuffle=st.booleans())
def test_each_source_is_read_through_again_and_again(robot: Any, web: Any, shuffle: bool) -> None:
    """Over epochs: every example of a source before any comes a second time; shard by shard, from its start."""
    layout = blend(robot, web, shuffle=shuffle)
    found = np.concatenate([np.stack(layout.locate(epoch, np.arange(layout.total))) for epoch in range(3)], axis=1)
    for number, (_, sizes) in enumerate([*robot, *web]):
        mine = [tuple(each) for each in found[:, owners(layout)[found[0]] == number].T.tolist()]
        rows = sum(sizes)
        for start in range(0, len(mine), rows):
            turn = mine[start : start + rows]
            assert len(set(turn)) == len(turn)
            assert all(a[0] != b[0] or b[1] == a[1] + 1 for a, b in pairwise(turn))
            assert all(b[1] == 0 for a, b in pairwise(turn) if a[0] != b[0])


@quick
@given(robot=sources, web=sources, data=st.data())
def test_any_part_is_computed_by_itself(robot: Any, web: Any, data: st.DataObject) -> None:
    layout = blend(robot, web, seed=9)
    whole = np.stack(layout.locate(2, np.arange(layout.total)))
    positions = np.array(data.draw(st.lists(st.integers(0, layout.total - 1), max_size=20)), np.int64)
    np.testing.assert_array_equal(np.stack(layout.locate(2, positions)), whole[:, positions])
    runs = [(run.shard, place) for run in layout.runs(2, positions) for place in range(run.start, run.stop)]
    assert runs == list(zip(*whole[:, positions].tolist(), strict=True))


def test_shuffle_gives_each_epoch_an_order_of_its_own() -> None:
    robot, web = [(100, [20, 20, 20])], [(100, [10, 30, 60])]
    still, mixed = blend(robot, web, shuffle=False), blend(robot, web)
    order = [owners(layout)[layout.locate(epoch, np.arange(200))[0]] for layout in (still, mixed) for epoch in (0, 1)]
    assert order[0].tolist() == order[1].tolist()
    assert order[2].tolist() != order[3].tolist()


def test_what_is_mixed_already_has_the_layout_of_its_shards() -> None:
    found = make_layout([5, 6], [[5], [6]], [], 3, False)
    assert type(found) is SampleLayout and asdict(found) == {"sizes": (5, 6), "seed": 3, "shuffle": False}
