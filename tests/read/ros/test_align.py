"""Which messages belong to which step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.read.ros.align import clock_of, following, held, median_interval, nearest, ticks_of

times = st.lists(st.integers(0, 10_000), max_size=40).map(lambda found: np.array(sorted(found), np.int64))


def at(*found: int) -> np.ndarray:
    return np.array(found, np.int64)


def test_steps_are_counted_over_gaps() -> None:
    clock = clock_of(at(0, 100, 205, 500, 600, 600, 400), 1)
    assert clock.times.tolist() == [0, 100, 205, 400, 500, 600]
    assert clock.numbers.tolist() == [0, 1, 2, 4, 5, 6]
    assert (clock.period, clock.missing, clock.uneven, clock.repeated) == (100, 1, 0, 1)
    assert clock_of(at(0, 100, 240, 300, 400), 1).uneven == 2


def test_steps_of_few_times() -> None:
    assert clock_of(at(), 7).times.tolist() == [] and clock_of(at(), 7).numbers.tolist() == []
    one = clock_of(at(5), 7)
    assert (one.times.tolist(), one.numbers.tolist(), one.period) == ([5], [0], 7)


def test_a_long_pause_is_a_gap_of_a_bounded_length() -> None:
    clock = clock_of(at(0, 10, 20, 10**15), 1)
    assert clock.numbers.tolist() == [0, 1, 2, 1002]


def test_even_steps() -> None:
    assert ticks_of(at(10**9, 2 * 10**9), 4).times.tolist() == [10**9, 1_250_000_000, 1_500_000_000, 1_750_000_000, 2 * 10**9]
    assert ticks_of(at(), 4).times.tolist() == []
    with pytest.raises(ValueError, match="steps between the first time and the last"):
        ticks_of(at(0, 1 << 61), 1000)


def test_what_follows_a_step() -> None:
    """N images and N - 1 commands: the last image has none."""
    steps = at(0, 100, 200, 300)
    assert following(steps, at(20, 120, 220), 100).tolist() == [0, 1, 2, -1]
    assert following(steps, at(0, 100, 200, 300), 100).tolist() == [0, 1, 2, 3]
    assert following(steps, at(20, 30, 120, 340), 100).tolist() == [0, 2, -1, 3]
    assert following(at(0, 500), at(160, 520), 100).tolist() == [-1, 1]  # behind a gap it is another step's
    assert following(at(0), at(149), 100).tolist() == [0]
    assert following(at(0), at(150), 100).tolist() == [-1]
    assert following(steps, at(), 100).tolist() == [-1] * 4


def test_what_is_held_at_a_step() -> None:
    assert held(at(0, 100, 200, 300), at(20, 120, 220)).tolist() == [-1, 0, 1, 2]
    assert held(at(20), at(20, 20)).tolist() == [1]


def test_what_is_nearest_to_a_step() -> None:
    assert nearest(at(0, 100, 200), at(40, 160), 50).tolist() == [0, -1, 1]
    assert nearest(at(50), at(0, 100), 50).tolist() == [0]
    assert nearest(at(0), at(), 50).tolist() == [-1]


@given(times, times, st.integers(0, 3000))
def test_nearest_is_the_nearest(steps: np.ndarray, given_times: np.ndarray, tolerance: int) -> None:
    for step, found in zip(steps, nearest(steps, given_times, tolerance), strict=True):
        distances = np.abs(given_times - step)
        assert (found >= 0) == bool(len(distances) and distances.min() <= tolerance)
        if found >= 0:
            assert distances[found] == distances.min()


@given(times, times, st.integers(1, 3000))
def test_each_command_follows_one_step_at_most(steps: np.ndarray, commands: np.ndarray, period: int) -> None:
    steps, commands = np.unique(steps), np.unique(commands)
    found = following(steps, commands, period)
    used = found[found >= 0]
    assert len(np.unique(used)) == len(used)
    for number, (step, command) in enumerate(zip(steps, found, strict=True)):
        end = min(steps[number + 1] if number + 1 < len(steps) else 10**9, step + int(1.5 * period))
        there = commands[(commands >= step) & (commands < end)]
        assert (command >= 0) == bool(len(there))
        assert command < 0 or commands[command] == there[0]


def test_intervals() -> None:
    assert median_interval(at(0, 10, 20, 100)) == 10
    assert median_interval(at(5)) == median_interval(at()) == 0
