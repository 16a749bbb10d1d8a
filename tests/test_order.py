"""Laws of the order: exact counts, bounded deviation, permutations; and golden values, so that it never changes unnoticed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rt2data import order as module
from rt2data.order import (
    BLOCK,
    MAX_EXAMPLES,
    EpochOrder,
    EvenEnds,
    SidedQuotas,
    SteadyEnds,
    apportion,
    boundaries,
    interleave,
    key64,
    keyed_permutation,
    multiply_divide,
    running_quotas,
    sided_quotas,
)
from tests.laws import tries

weights = st.lists(st.fractions(0, 1000, max_denominator=1000), min_size=1, max_size=12).filter(any)
counts = st.lists(st.integers(0, 400), min_size=1, max_size=40).filter(any)
side = st.lists(st.integers(0, 300), min_size=1, max_size=8)
rare = st.lists(st.integers(0, 6) | st.integers(0, 400), min_size=1, max_size=12)
"""Some sources have fewer examples than there are shards."""
large = st.integers(0, MAX_EXAMPLES)


def one_after_another(counts: Sequence[int], ends: Sequence[int]) -> list[list[int]]:
    """The quotas by their definition, earliest deadline first, boundary after boundary, in numbers without limit."""
    total, placed, rows = max(sum(counts), 1), [0] * len(counts), []
    for end in ends:
        placed = [max(end * count // total, before) for count, before in zip(counts, placed, strict=True)]
        due = {i: -(-(placed[i] + 1) * total // n) for i, n in enumerate(counts) if placed[i] < -(-end * n // total)}
        for i in sorted(due, key=lambda i: due[i])[: end - sum(placed)]:
            placed[i] += 1
        rows.append(placed)
    return rows


def sides_one_after_another(sides: Sequence[Sequence[int]], ends: Sequence[int]) -> list[list[int]]:
    by_side = zip(*one_after_another([sum(side) for side in sides], ends), strict=True)
    inside = [one_after_another(side, column) for side, column in zip(sides, by_side, strict=True)]
    return [list(chain(*rows)) for rows in zip(*inside, strict=True)]


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


@given(rare, st.lists(st.integers(0, 2000), min_size=1, max_size=60))
def test_quotas_are_those_of_earliest_deadline_first(n: list[int], found: list[int]) -> None:
    """At any boundaries, also such that many fall on the same example."""
    ends = sorted(min(end, sum(n)) for end in found)
    assert running_quotas(n, np.array(ends, np.int64)).tolist() == one_after_another(n, ends)


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few boundaries are many groups, and looking back takes several steps."""
    monkeypatch.setattr(module, "GROUP", 4)


@pytest.mark.slow
@pytest.mark.usefixtures("small_groups")
@tries(120, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rare, rare, st.integers(1, 200), st.booleans(), st.randoms(use_true_random=False))
def test_any_boundary_is_computed_by_itself(robot: list[int], web: list[int], parts: int, even: bool, chance: object) -> None:
    total = sum(robot) + sum(web)
    ends = EvenEnds(total, parts) if even else SteadyEnds(total, -(-total // parts))
    wanted = sides_one_after_another([robot, web], ends(0, parts + 1).tolist())
    quotas, numbers = SidedQuotas((tuple(robot), tuple(web)), ends), list(range(parts + 1))
    chance.shuffle(numbers)  # type: ignore[attr-defined]
    assert {number: quotas.at(number).tolist() for number in numbers[:20]} == {number: wanted[number] for number in numbers[:20]}
    assert [quotas.at(number).tolist() for number in range(parts + 1)] == wanted
    start = numbers[0]
    assert quotas.rows(start, parts + 1).tolist() == wanted[start:]
    assert sided_quotas([robot, web], ends(0, parts + 1)).tolist() == wanted


@given(large, st.integers(0, 10**9), st.integers(1, MAX_EXAMPLES))
def test_products_of_any_two_counts_are_exact(a: int, b: int, by: int) -> None:
    quotient, rest = multiply_divide(np.array([a]), min(b, by), by)
    assert (int(quotient[0]), int(rest[0])) == divmod(a * min(b, by), by)


@given(st.integers(1, MAX_EXAMPLES), st.data())
def test_ends_of_any_parts_are_exact(total: int, data: st.DataObject) -> None:
    parts = data.draw(st.integers(1, total))
    start = data.draw(st.integers(0, parts))
    wanted = [number * total // parts for number in range(start, min(start + 5, parts + 1))]
    assert EvenEnds(total, parts)(start, start + len(wanted)).tolist() == wanted
    assert EvenEnds(total, parts)(parts, parts + 3).tolist() == [total] * 3


@tries(50)
@given(st.lists(st.integers(1, 10**9), min_size=2, max_size=30), st.integers(10**9, MAX_EXAMPLES), st.data())
def test_laws_at_any_size(weighed: list[int], total: int, data: st.DataObject) -> None:
    """Of shards anywhere in a plan of up to 1e12 examples: they add up, never fall, and are the floor or ceiling of the share."""
    counts = apportion(total, [Fraction(weight) for weight in weighed])
    parts = data.draw(st.integers(1, 10**6))
    middle = data.draw(st.integers(1, len(counts) - 1))
    sides = (tuple(counts[:middle]), tuple(counts[middle:]))
    start = data.draw(st.integers(0, parts))
    stop = min(start + 3, parts + 1)
    quotas, ends = SidedQuotas(sides, EvenEnds(total, parts)), [k * total // parts for k in range(start, stop)]
    rows = [quotas.at(number).tolist() for number in range(start, stop)]
    assert [sum(row) for row in rows] == ends
    assert all(a <= b for row, later in pairwise(rows) for a, b in zip(row, later, strict=True))
    for row, end in zip(rows, ends, strict=True):
        parted = (row[:middle], row[middle:])
        for side, placed in zip(sides, parted, strict=True):
            whole = sum(side)
            assert sum(placed) - end * whole // total in (0, 1) and abs(sum(placed) * total - end * whole) < total
            assert all(abs(got * whole - sum(placed) * n) < whole for got, n in zip(placed, side, strict=True) if whole)


def test_more_than_can_be_counted_exactly_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 1,000,000,000,000 examples"):
        running_quotas([MAX_EXAMPLES, 1], np.array([1]))


@pytest.mark.slow
@pytest.mark.parametrize(("total", "parts"), [(10**10, 10**5), (10**11, 4 * 10**5)])
def test_shards_of_a_huge_plan_fit_end_to_end(total: int, parts: int) -> None:
    """Shards computed by workers that know nothing of each other, against one pass over all boundaries."""
    sides, before = huge(total), np.zeros(66, np.int64)
    for start, placed in one_pass(sides, total, parts):
        alone = SidedQuotas(sides, EvenEnds(total, parts))
        shard = min(start + start // 1024 * 7 % 1024, parts - 1)
        assert alone.at(start).tolist() == before.tolist()
        assert alone.at(shard + 1).tolist() == placed[shard - start].tolist()
        assert placed[shard - start].sum() == (shard + 1) * total // parts
        before = placed[-1]
    assert before.tolist() == list(chain(*sides))


def one_pass(sides: Sequence[Sequence[int]], total: int, parts: int) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """What is placed at the ends of all shards, 1,024 at a time, each time from what was placed before."""
    before = None
    for start in range(0, parts, 1024):
        placed = sided_quotas(sides, EvenEnds(total, parts)(start + 1, min(start + 1024, parts) + 1), before)
        yield start, placed
        before = placed[-1]


def huge(total: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """A plan like those people make: a few large sources, many small ones, some with fewer examples than there are shards."""
    robot = apportion(total // 2, [Fraction(1, k**3) for k in range(1, 61)])
    rest = apportion(total - total // 2 - 30_000, [Fraction(5), Fraction(3), Fraction(1)])
    return tuple(robot), (*rest, 29_000, 990, 10)


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


def test_golden_layout() -> None:
    """20 sources, 2e9 examples in 100,000 shards: as laid out when that was the most there could be."""
    counts = apportion(2 * 10**9, [Fraction(int(weight)) for weight in np.random.default_rng(0).integers(1, 1000, 20)])
    placed = sided_quotas([counts[:12], counts[12:]], boundaries(2 * 10**9, 10**5))
    assert hashlib.md5(placed.tobytes()).hexdigest() == "5ad139cf257a1709581785714e532460"


GOLDEN_PERMUTATION = [8, 4, 3, 7, 0, 1, 5, 9, 6, 2]
GOLDEN_INTERLEAVE = [0, 2, 0, 0, 1, 0, 2, 2, 2, 2, 2, 0, 0, 2, 2, 1, 2, 1]
GOLDEN_DRAWS = [5, 0, 1, 8, 4, 7, 5, 0, 6]
