"""The laws of everything that is summed: zero, plus, and that the sums of parts are the sum of the whole."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import add
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from rt2data.look.stats.actions import sum_dimensions, sum_encoded, sum_values
from rt2data.look.stats.content import TokenSums, sum_texts, sum_tokens
from rt2data.read.action_space import load_space
from rt2data.render.codecs.table import make_codec
from rt2data.tally.counts import Counts, count
from rt2data.tally.moments import covariance, moments
from rt2data.tally.sums import Sum, add_up
from tests.laws import tries

FLOATS = st.floats(width=32, min_value=-1e6, max_value=1e6) | st.sampled_from([0.0, -0.0, 1.0, np.nan, np.inf, 2**-140, 0.5])
ROWS = arrays(np.float32, st.tuples(st.integers(0, 30), st.just(3)), elements=FLOATS)
CODEC = make_codec("rt2", load_space("language_table"))
Sums = Callable[[np.ndarray], Sum]


def near(one: Any, other: Any) -> None:
    """Equal, but for the rounding of floats."""
    if isinstance(one, msgspec.Struct):
        assert type(one) is type(other)
        for name in one.__struct_fields__:
            near(getattr(one, name), getattr(other, name))
    elif isinstance(one, dict):
        assert one.keys() == other.keys()
        for key, value in one.items():
            near(value, other[key])
    elif isinstance(one, tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            near(a, b)
    elif isinstance(one, np.ndarray) and one.dtype.kind in "iu":
        np.testing.assert_array_equal(one, other)
    else:
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-6 * float(np.max(np.abs(one), initial=1, where=np.isfinite(one))))


def packed(found: Sum) -> bytes:
    """Equal sums give equal bytes."""
    return msgspec.msgpack.encode(
        found, enc_hook=lambda array: (array.dtype.str, array.shape, array.tobytes()), order="deterministic"
    )


OBSERVED: dict[str, Sums] = {
    "counts": lambda rows: count(np.abs(np.nan_to_num(rows[:, 0], posinf=7.0)).astype(np.uint64)),
    "moments": moments,
    "covariance": lambda rows: covariance(rows[:, :2], rows[:, 1:]),
    "own covariance": covariance,
    "dimensions": sum_dimensions,
    "values": lambda rows: sum_values(rows, sum_dimensions(np.arange(30, dtype=np.float32).reshape(10, 3)).wanted()),
    "encoded": lambda rows: sum_encoded(CODEC, rows[:, :2] / 1e6, np.zeros(len(rows), np.bool_)),
    "tokens": lambda rows: sum_tokens([1] * len(rows), [2 + i for i in range(len(rows))]) if len(rows) else TokenSums(),
    "texts": lambda rows: sum_texts(pa.array([f"word {v:.1f}" for v in rows[:, 0]], pa.string()))[0],
}


@pytest.mark.parametrize("name", OBSERVED)
@tries(25)
@given(one=ROWS, other=ROWS, third=ROWS)
def test_a_sum_of_parts_is_the_sum_of_the_whole(name: str, one: np.ndarray, other: np.ndarray, third: np.ndarray) -> None:
    of = OBSERVED[name]
    a, b, c = of(one), of(other), of(third)
    zero = type(a)()
    near(a + zero, a)
    near(zero + a, a)
    near(a + b, b + a)
    near((a + b) + c, a + (b + c))
    if name not in ("dimensions", "tokens"):  # candidates for common values depend on the part, as the token lengths above
        near(a + b, of(np.concatenate([one, other])))
    near(add_up(zero, [a, b, c]), reduce(add, [a, b, c], zero))


@given(first=ROWS, new=ROWS)
@tries(25)
def test_columns_of_two_parts_are_those_of_both(first: np.ndarray, new: np.ndarray) -> None:
    whole, sum_ = sum_dimensions(np.concatenate([first, new])), sum_dimensions(first) + sum_dimensions(new)
    near(sum_.columns, whole.columns)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40))
def test_additions_depend_on_the_order_of_the_parts_alone(values: list[int]) -> None:
    parts = [count(np.array([value])) for value in values]
    whole = add_up(Counts(), iter(parts))
    assert dict(zip(whole.keys.tolist(), whole.counts.tolist(), strict=True)) == {v: values.count(v) for v in set(values)}
