"""Quantiles by two passes of integer counts are numpy's, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rt2data.look.stats.content import distribution
from rt2data.tally.counts import Counts, count, histogram
from rt2data.tally.quantiles import (
    QUANTILES,
    count_bins,
    count_values,
    quantiles,
    to_keys,
    to_values,
    wanted_bins,
)
from rt2data.tally.sums import add_up
from tests.laws import tries

ANY = st.floats(width=32, allow_nan=False, allow_infinity=False)
ODD = st.sampled_from(np.array([0.0, -0.0, 1e-45, -1e-45, 3.4e38, -3.4e38, 1.0, 1.0000001, 0.1], np.float32).tolist())
VALUES = arrays(np.float32, st.integers(1, 200), elements=ANY | ODD)


@given(VALUES)
def test_keys_rise_with_values(values: np.ndarray) -> None:
    keys = to_keys(values)
    assert (values[np.argsort(keys, kind="stable")] == np.sort(values)).all()
    assert (to_values(keys) == values).all()


def both_passes(parts: list[np.ndarray]) -> list[float]:
    """Quantiles of one column that comes in parts."""
    columns = [part[:, None] for part in parts]
    bins = add_up(Counts(), map(count_bins, columns))
    wanted = wanted_bins(bins, 1)
    return quantiles(bins, add_up(Counts(), (count_values(each, wanted) for each in columns)), 0)


@tries(150)
@given(values=VALUES, cuts=st.lists(st.integers(0, 200), max_size=4))
@example(values=np.array([-0.0, 0.0, 0.0], np.float32), cuts=[1])
@example(values=np.array([1e-45, -1e-45, 3.4e38, -3.4e38], np.float32), cuts=[2])
def test_they_are_numpys(values: np.ndarray, cuts: list[int]) -> None:
    parts = np.split(values, sorted(cut for cut in cuts if cut < len(values)))
    assert both_passes(parts) == np.quantile(values.astype(np.float64), QUANTILES).tolist()


def test_a_long_column(rng: np.random.Generator) -> None:
    values = np.concatenate([rng.normal(0, 1, 50_000), np.zeros(20_000), rng.normal(5, 1e-6, 5_000)]).astype(np.float32)
    rng.shuffle(values)
    assert both_passes(np.array_split(values, 7)) == np.quantile(values.astype(np.float64), QUANTILES).tolist()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_dimensions_do_not_mix(rng: np.random.Generator) -> None:
    values = rng.normal(0, 1, (1000, 80)).astype(np.float32) * np.arange(80, dtype=np.float32)
    values[::7, 3] = np.nan
    bins = count_bins(values)
    counted = count_values(values, wanted_bins(bins, 80))
    for i in range(80):
        column = values[:, i].astype(np.float64)
        assert quantiles(bins, counted, i) == np.quantile(column[np.isfinite(column)], QUANTILES).tolist()


def test_new_rows_need_no_rereading_while_they_fall_into_the_bins(rng: np.random.Generator) -> None:
    """One more episode added to earlier sums; it raises if the old rows must be read again."""
    old, new = rng.normal(0, 1, (100_000, 1)).astype(np.float32), rng.normal(0, 1, (100, 1)).astype(np.float32)
    bins = count_bins(old)
    wanted = wanted_bins(bins, 1)
    counted = count_values(old, wanted)
    found = quantiles(bins + count_bins(new), counted + count_values(new, wanted), 0)
    assert found == np.quantile(np.concatenate([old, new])[:, 0].astype(np.float64), QUANTILES).tolist()
    far = np.full((300_000, 1), 9.0, np.float32)
    with pytest.raises(LookupError, match="read the rows again"):
        quantiles(bins + count_bins(far), counted + count_values(far, wanted), 0)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=100))
def test_distributions_and_histograms(values: list[int]) -> None:
    found, exact = distribution(count(np.array(values))), np.quantile(np.array(values, np.float64), [0.05, 0.5, 0.95, 0.99])
    assert [found.p05, found.p50, found.p95, found.p99] == exact.tolist()
    assert (found.count, found.total, found.min, found.max) == (len(values), sum(values), min(values), max(values))
    drawn = histogram(count(np.array(values)))
    assert sum(height for _, height in drawn) == len(values) and len(drawn) <= 64
    assert drawn[0][0] == min(values)
