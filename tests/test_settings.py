"""Fractions are read exactly as they are written."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.settings import parse_fraction

decimals = st.decimals(0, 10**6, allow_nan=False, places=9)


@given(st.integers(0, 10**12), st.integers(1, 10**12))
def test_a_ratio_is_exact(over: int, under: int) -> None:
    assert parse_fraction(f"{over}/{under}") == parse_fraction(f" {over} / {under} ") == Fraction(over, under)


@given(decimals)
def test_a_decimal_and_a_percentage_are_exact(number: Decimal) -> None:
    assert parse_fraction(f"{number:f}") == Fraction(number)
    assert parse_fraction(f"{number:f}%") == parse_fraction(f"{number:f} %") == Fraction(number) / 100


@given(decimals)
def test_a_float_counts_as_it_prints(number: Decimal) -> None:
    assert parse_fraction(float(number)) == Fraction(str(float(number)))


@given(st.fractions(0, 10**6, max_denominator=10**9))
def test_what_we_write_reads_back(fraction: Fraction) -> None:
    assert parse_fraction(str(fraction)) == parse_fraction(fraction) == fraction


def test_tenths_add_up_to_one() -> None:
    assert sum(parse_fraction(0.1) for _ in range(10)) == 1


ODD_TEXT = ["nan", "inf", "1e3", "1e400", "1E5", "012", "0x10", "1_000", "1:30", "no", "%", "1/0", "50%%", "1/2/3", "½", "٣"]


@pytest.mark.parametrize("odd", [*ODD_TEXT, "", float("nan"), float("inf"), True, None, (1,), "9" * 5000, 1e300, 1e-300])
def test_anything_else_is_refused(odd: Any) -> None:
    with pytest.raises(ValueError, match=r"^must be a"):
        parse_fraction(odd)
