"""Laws of the order: exact counts, bounded deviation, permutations; and golden values, so that it never changes unnoticed."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.order import (
    BLOCK,
    EpochOrder,
    apportion,
    boundaries,
    interleave,
    key64,
    keyed_permutation,
    running_quotas,
    sided_quotas,
)

weights = st.lists(st.fractions(0, 1000, max_denominator=1000), min_size=1, max_size=12).filter(any)
counts = st.lists(st.integers(0, 400), min_size=1, max_size=40).filter(any)
side = st.lists(st.integers(0, 300), min_size=1, max_size=8)


@given(st.integers(0, 10**9), weights)
def test_apportion_is_exact_and_fair(total: int, shares: list[Fraction]) -> None:
    got = apportion(total, shares)
    assert sum(got) == total
    for count, weight in zip(got, shares, strict=True):
        assert abs(count - total * weight / sum(shares)) < 1


def test_apportion_refuses_no_weight() -> None:
    with pytest.raises(ValueError, match="positive"):
        apportion(10, [Fraction(0)])


@given(counts, st.integers(1, 60))
def test_running_quotas_stay_within_one_of_the_share(n: list[int], parts: int) -> None:
    total = sum(n)
    ends = boundaries(total, parts)
    placed = running_quotas(n, ends)
    assert (placed.sum(axis=1) == ends).all()
    assert (np.diff(placed, axis=0, prepend=0) >= 0).all()
    assert placed[-1].tolist() == n
    for row, end in zip(placed.tolist(), ends.tolist(), strict=True):
        assert all(abs(Fraction(got) - Fraction(want * end, total)) < 1 for got, want in zip(row, n, strict=True))


@given(side, side, st.integers(1, 30))
def test_sides_stay_within_one_of_their_share(robot: list[int], web: list[int], parts: int) -> None:
    total = sum(robot) + sum(web)
    ends = boundaries(total, parts)
    placed = sided_quotas([robot, web], ends)
    share = placed[:, : len(robot)].sum(axis=1)
    for got, end in zip(share.tolist(), ends.tolist(), strict=True):
        assert abs(got * total - sum(robot) * end) < total or total == 0
    assert placed[-1].tolist() == [*robot, *web]


@given(counts, st.integers(0, 2**32))
def test_interleave_places_each_example_once_and_evenly(n: list[int], seed: int) -> None:
    order = interleave([n, []], key64("test", seed))
    assert np.bincount(order, minlength=len(n)).tolist() == n
    for end in range(BLOCK, sum(n), BLOCK):
        seen = np.bincount(order[:end], minlength=len(n))
        assert all(abs(Fraction(int(got)) - Fraction(want * end, sum(n))) < 1 for got, want in zip(seen, n, strict=True))


def test_strided_readers_are_not_starved() -> None:
    order = interleave([[8192], [8192]], key64("stride"))
    for world in (2, 4, 8):
        shares = [float((order[rank::world] == 0).mean()) for rank in range(world)]
        assert max(abs(share - 0.5) for share in shares) < 0.04


@given(st.integers(1, 40_000), st.integers(0, 3), st.integers(0, 99))
def test_an_epoch_is_a_permutation(rows: int, epoch: int, seed: int) -> None:
    got, epochs = EpochOrder(rows, seed, "s").draw(epoch * rows, (epoch + 1) * rows)
    assert np.array_equal(np.sort(got), np.arange(rows))
    assert (epochs == epoch).all()


@given(st.integers(1, 20_000), st.data())
def test_any_part_is_computed_by_itself(rows: int, data: st.DataObject) -> None:
    order = EpochOrder(rows, 7, "s")
    start = data.draw(st.integers(0, 3 * rows))
    stop = data.draw(st.integers(start, 3 * rows))
    whole = order.draw(0, stop)
    part = order.draw(start, stop)
    assert np.array_equal(whole[0][start:], part[0])
    assert np.array_equal(whole[1][start:], part[1])


def test_a_new_epoch_is_a_new_order() -> None:
    order = EpochOrder(20_000, 0, "s")
    first, second = order.draw(0, 20_000)[0], order.draw(20_000, 40_000)[0]
    assert (first == second).mean() < 0.01


def test_golden_order() -> None:
    """Changing these numbers changes every mixture ever built: raise the plan's version with them."""
    assert key64("a", 1) == 14924708896500468241
    assert keyed_permutation(10, 1).tolist() == GOLDEN_PERMUTATION
    assert interleave([[6, 3], [9]], 5).tolist() == GOLDEN_INTERLEAVE
    assert EpochOrder(9, 3, "s").draw(5, 14)[0].tolist() == GOLDEN_DRAWS


GOLDEN_PERMUTATION = [8, 4, 3, 7, 0, 1, 5, 9, 6, 2]
GOLDEN_INTERLEAVE = [0, 2, 0, 0, 1, 0, 2, 2, 2, 2, 2, 0, 0, 2, 2, 1, 2, 1]
GOLDEN_DRAWS = [5, 0, 1, 8, 4, 7, 5, 0, 6]
