"""The arithmetic of time: a machine made of numbers is found again from its orders, and a part of it foretells the whole."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.forecast.forecast import Extent, Line, Point, Rates, cpu_seconds, first_build, fit, makespan, remix, solve

durations = st.lists(st.floats(0, 100), min_size=1, max_size=40)


@given(durations, st.integers(1, 8))
def test_a_pool_is_as_quick_as_it_can_be_and_never_quicker(seconds: list[float], workers: int) -> None:
    found = makespan(seconds, workers)
    assert max(max(seconds), sum(seconds) / workers) <= found + 1e-9
    assert found <= sum(seconds) / workers + max(seconds) + 1e-9  # Graham 1966
    assert makespan(seconds, 1) == pytest.approx(sum(seconds))


@given(st.floats(1e-4, 1), st.floats(1e-10, 1e-6), st.integers(2, 6))
def test_fixed_costs_and_costs_by_size_come_apart(each: float, per: float, count: int) -> None:
    points = [Point(amount, each + per * amount, 0) for amount in [1e5] * count + [1e7] * count]
    found = fit(points)
    assert (found.each, found.per) == (pytest.approx(each, rel=1e-6), pytest.approx(per, rel=1e-6))


def test_a_straggler_does_not_bend_the_line() -> None:
    points = [Point(amount, 0.01 + 1e-9 * amount, 0) for amount in [1e6] * 5 + [2e7] * 5]
    points[-1] = points[-1]._replace(seconds=3.0)
    assert fit(points)(64e6) == pytest.approx(0.01 + 0.064)


@given(st.lists(st.tuples(st.floats(1, 1e9), st.floats(0, 100)), min_size=1, max_size=10))
def test_no_line_foretells_less_than_nothing(found: list[tuple[float, float]]) -> None:
    line = fit([Point(amount, seconds, 0) for amount, seconds in found])
    assert line.each >= 0 and line.per >= 0


def test_what_has_one_size_is_by_size_alone() -> None:
    assert fit([Point(100, 2, 1), Point(100, 2, 1)]) == Line(0, 0.02)
    assert fit([Point(100, 2, 1)], cpu=True) == Line(0, 0.01)
    assert fit([Point(0, 2, 1)]) == Line(2, 0)


@given(st.floats(1e-6, 1e-3), st.floats(1e-6, 1e-1))
def test_rows_and_fragments_come_apart(row: float, fragment: float) -> None:
    found = solve((500, 16, 500 * row + 16 * fragment), (2000, 4, 2000 * row + 4 * fragment))
    assert found == (pytest.approx(row, rel=1e-5), pytest.approx(fragment, rel=1e-5))


@given(*[st.tuples(st.floats(0, 1e5), st.floats(0, 100), st.floats(0, 10))] * 2)
def test_no_rate_is_less_than_nothing(one: tuple[float, float, float], other: tuple[float, float, float]) -> None:
    assert min(solve(one, other)) >= 0


RATES = Rates(
    startup_s=1.0,
    workers_s=1.0,
    import_s=2.0,
    list_s=0.2,
    smallest_s=0.7,
    smallest_remix_s=0.5,
    prepare={"log": Line(0.01, 1e-9)},
    prepare_cpu={"log": Line(0.005, 0.5e-9)},
    gather_row_s=1e-5,
    gather_fragment_s=1e-3,
    seal_row_s=1e-6,
    write=Line(0.02, 2e-9),
    write_cpu=Line(0.01, 1e-9),
    seal_example_s=1e-6,
    scatter=0.1,
)


def extent(units: int = 32, shards: int = 8, workers: int = 2) -> Extent:
    sizes = (64_000_000,) * units
    return Extent(
        units={"log": sizes} if units else {},
        rows={"log": units * 1280},
        examples=shards * 5000,
        bytes=shards * 256_000_000,
        shards=shards,
        workers=workers,
    )


def test_a_build_by_hand() -> None:
    found = first_build(RATES, extent())
    assert found.prepare == pytest.approx(16 * 0.074)
    assert found.write == pytest.approx(4 * (0.02 + 0.512))
    assert found.gather == pytest.approx(20480 * 1e-5 + 32e-3 + 40960 * 1e-6)
    assert found.seal == pytest.approx(0.7 + 0.04)
    # imports 1.0, listing 0.2; then Beam's 2 s and 2.4 s of work share two processors
    assert found.start + found.prepare == pytest.approx(1.2 + (2.0 + 32 * 0.074) / 2)
    again = remix(RATES, extent())
    assert again.start + again.write == pytest.approx(1.0 + (2.0 + 8 * 0.532) / 2)
    assert again.total < found.total


def test_alone_one_thing_comes_after_another() -> None:
    found = first_build(RATES, extent(workers=0))
    assert found.start == pytest.approx(1.0 + 0.2 + 2.0)
    assert found.prepare == pytest.approx(32 * 0.074)
    assert found.write == pytest.approx(8 * 0.532)


@given(st.integers(1, 200), st.integers(1, 50), st.integers(0, 16))
def test_more_takes_longer(units: int, shards: int, workers: int) -> None:
    here = first_build(RATES, extent(units, shards, workers)).total
    assert here <= first_build(RATES, extent(units + 50, shards, workers)).total
    assert here <= first_build(RATES, extent(units, shards + 20, workers)).total
    assert cpu_seconds(RATES, extent(units, shards, workers)) == pytest.approx(cpu_seconds(RATES, extent(units, shards, 1)))


@given(st.integers(0, 2**32), st.floats(0, 0.1))
def test_a_small_part_foretells_the_whole(seed: int, noise: float) -> None:
    """A machine of random rates, orders timed with noise, then a set a thousand times as large as what was timed."""
    random = np.random.default_rng(seed)
    prepare, write = (
        Line(random.uniform(0, 0.05), random.uniform(1, 9) * 1e-9),
        Line(random.uniform(0, 0.05), random.uniform(1, 9) * 1e-9),
    )

    def points(line: Line, sizes: list[float]) -> list[Point]:
        return [Point(size, line(size) * random.uniform(1 - noise, 1 + noise), 0) for size in sizes]

    sizes = [4e6] * 16 + [32e6] * 4
    measured = msgspec.structs.replace(RATES, prepare={"log": fit(points(prepare, sizes))}, write=fit(points(write, sizes)))
    truth = msgspec.structs.replace(RATES, prepare={"log": prepare}, write=write)
    whole = extent(2000, 500)
    assert first_build(measured, whole).total == pytest.approx(first_build(truth, whole).total, rel=0.01 + 1.5 * noise)
