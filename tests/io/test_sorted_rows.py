"""Rows are sorted as numpy does, however few of them fit in memory."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.io import sorted_rows
from rt2data.io.sorted_rows import sorted_parts

DTYPE = [("key", "i8"), ("place", "i4"), ("value", "f4")]


@given(st.lists(st.integers(-3, 3) | st.integers(-(2**63), 2**63 - 1), max_size=60), st.integers(1, 4), st.integers(1, 4))
def test_parts_are_one_stable_sort(keys: list[int], samples: int, sample: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sorted_rows, "RUN", samples * sample)
        patch.setattr(sorted_rows, "SAMPLE", sample)
        parts = list(sorted_parts(((key, place, 0.5) for place, key in enumerate(keys)), DTYPE))
    rows = np.array([(key, place, 0.5) for place, key in enumerate(keys)], DTYPE)
    assert np.array_equal(np.concatenate([*parts, rows[:0]]), np.sort(rows, order=("key", "place")))
    assert all(one["key"][-1] < other["key"][0] for one, other in pairwise(parts)), "a key is in one part"
    if len(set(keys)) == len(keys):
        run = samples * sample
        assert all(len(part) <= run + -(-len(keys) // run) * sample for part in parts)
