"""The cost model: synthetic machines are recovered from timed orders, and a small part predicts the whole."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.forecast.timing import Extent, Line, Point, Rates, cpu_seconds, fit, predict

# The line


@given(st.floats(1e-4, 1), st.floats(1e-10, 1e-6), st.integers(2, 6))
def test_the_fit_separates_fixed_costs_from_rates(fixed: float, rate: float, count: int) -> None:
    found = fit([Point(amount, fixed + rate * amount) for amount in [1e5] * count + [1e7] * count])
    assert (found.fixed, found.rate) == (pytest.approx(fixed, rel=1e-6), pytest.approx(rate, rel=1e-6))


def test_a_straggler_does_not_bend_the_line() -> None:
    points = [Point(amount, 0.01 + 1e-9 * amount) for amount in [1e6] * 5 + [2e7] * 5]
    points[-1] = points[-1]._replace(seconds=3.0)
    assert fit(points)(64e6) == pytest.approx(0.01 + 0.064)


@given(st.lists(st.tuples(st.floats(1, 1e9), st.floats(0, 100)), min_size=1, max_size=10))
def test_no_line_is_negative(found: list[tuple[float, float]]) -> None:
    line = fit([Point(amount, seconds) for amount, seconds in found])
    assert line.fixed >= 0 and line.rate >= 0


def test_orders_of_one_size_give_a_rate_alone() -> None:
    assert fit([Point(100, 2), Point(100, 2)]) == Line(0, 0.02)
    assert fit([Point(0, 2)]) == Line(2, 0)
    assert fit([]) == Line(0, 0)


# The whole


RATES = Rates(
    startup_s=1.0,
    workers_s=1.0,
    list_s=0.2,
    import_s=2.0,
    graph_s=0.7,
    prepare={"log": Line(0.01, 1e-9)},
    gather=Line(0.032, 1e-5),
    statistics=Line(0.0, 1e-6),
    write=Line(0.02, 2e-9),
    seal=Line(0.0, 1e-6),
    cpu_share=0.5,
    scatter=0.1,
)


def extent(units: int = 32, shards: int = 8, workers: int = 2) -> Extent:
    return Extent(
        units={"log": (units, units * 64_000_000)} if units else {},
        rows={"log": units * 1280},
        examples=shards * 5000,
        bytes=shards * 256_000_000,
        shards=shards,
        workers=workers,
    )


def test_a_build_by_hand() -> None:
    found = predict(RATES, extent())
    assert found.prepare == pytest.approx(16 * 0.074)
    assert found.write == pytest.approx(4 * (0.02 + 0.512))
    assert found.gather == pytest.approx(0.032 + 20480 * 1e-5 + 40960 * 1e-6)
    assert found.seal == pytest.approx(0.7 + 0.04)
    # imports 1.0, listing 0.2; then Beam's 2 s and 2.4 s of work share two processors
    assert found.start + found.prepare == pytest.approx(1.2 + (2.0 + 32 * 0.074) / 2)
    again = predict(RATES, extent(units=0))
    assert again.start + again.write == pytest.approx(1.0 + (2.0 + 8 * 0.532) / 2)
    assert again.prepare == again.gather == 0.0 and again.total < found.total


def test_one_shard_more_than_workers_takes_another_round() -> None:
    assert predict(RATES, extent(shards=3)).write == pytest.approx(2 * 0.532)


def test_in_one_process_phases_follow_one_another() -> None:
    found = predict(RATES, extent(workers=0))
    assert found.start == pytest.approx(1.0 + 0.2 + 2.0)
    assert found.prepare == pytest.approx(32 * 0.074)
    assert found.write == pytest.approx(8 * 0.532)


@given(st.integers(1, 200), st.integers(1, 50), st.integers(0, 16))
def test_more_takes_longer(units: int, shards: int, workers: int) -> None:
    here = predict(RATES, extent(units, shards, workers)).total
    assert here <= predict(RATES, extent(units + 50, shards, workers)).total + 1e-9
    assert here <= predict(RATES, extent(units, shards + 20, workers)).total + 1e-9
    assert cpu_seconds(RATES, extent(units, shards, workers)) == cpu_seconds(RATES, extent(units, shards, 1))


@given(st.integers(0, 2**32), st.floats(0, 0.1))
def test_a_small_part_predicts_the_whole(seed: int, noise: float) -> None:
    """A machine of random rates, orders timed with noise, then a data set a thousand times as large as what was timed."""
    random = np.random.default_rng(seed)
    prepare, write = (Line(random.uniform(0, 0.05), random.uniform(1, 9) * 1e-9) for _ in range(2))

    def points(line: Line) -> list[Point]:
        return [Point(size, line(size) * random.uniform(1 - noise, 1 + noise)) for size in [4e6] * 16 + [32e6] * 4]

    measured = msgspec.structs.replace(RATES, prepare={"log": fit(points(prepare))}, write=fit(points(write)))
    truth = msgspec.structs.replace(RATES, prepare={"log": prepare}, write=write)
    whole = extent(2000, 500)
    assert predict(measured, whole).total == pytest.approx(predict(truth, whole).total, rel=0.01 + 1.5 * noise)
