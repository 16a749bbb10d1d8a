"""From a sample to the whole: right on average, exact where all is seen, and honest about its error."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.forecast.estimate import Guess, Range, mean_guess, student_t, total_guess

counts = st.lists(st.integers(0, 1000), min_size=1, max_size=30)


@given(counts)
def test_all_of_it_is_exact(values: list[int]) -> None:
    assert total_guess(values, [1] * len(values), len(values)) == (sum(values), 0)


@given(st.integers(2, 20), st.floats(0.1, 50), st.integers(21, 10_000))
def test_what_is_in_proportion_has_no_error(parts: int, ratio: float, whole: int) -> None:
    measures = [1 + i % 3 for i in range(parts)]
    found = total_guess([ratio * measure for measure in measures], measures, whole * 3)
    assert found.value == pytest.approx(ratio * whole * 3)
    assert found.error == pytest.approx(0, abs=1e-6 * found.value)


def test_one_part_says_nothing_of_its_error() -> None:
    assert total_guess([40], [1], 100) == Guess(4000, None)
    assert total_guess([40], [1], 100).range() == Range(4000, None, None)
    assert mean_guess([7]) == Guess(7, None)


def test_nothing_gives_nothing() -> None:
    assert total_guess([], [], 0) == Guess(0, 0)
    assert total_guess([], [], 10) == Guess(0, None)
    assert mean_guess([]) == Guess(0, 0)


@pytest.mark.parametrize("sampled", [3, 8, 20, 60])
def test_ranges_hold_the_truth_about_as_often_as_they_say(sampled: int) -> None:
    """Episodes of very different lengths; 400 samples; 95 % are promised, a skewed population gives a little less."""
    random = np.random.default_rng(sampled)
    lengths = random.gamma(3, 15, 500).astype(int) + 1
    held = 0
    for _ in range(400):
        values = random.choice(lengths, sampled, replace=False)
        found = total_guess(values.tolist(), [1] * sampled, len(lengths)).range()
        assert found.low is not None and found.high is not None
        held += found.low <= lengths.sum() <= found.high
    assert 0.88 <= held / 400 <= 0.995


def test_students_t_comes_down_to_the_normal() -> None:
    factors = [student_t(n) for n in range(1, 500)]
    assert factors == sorted(factors, reverse=True)
    assert factors[0] == 12.71 and factors[-1] == pytest.approx(1.965, abs=0.01)
