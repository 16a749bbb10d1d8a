"""Numbers and words as a page shows them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.look.report import figures
from tests.look.report import made


@given(st.text())
def test_words_become_plain_and_stay_so(text: str) -> None:
    found = figures.plain(text)
    assert all(char.isprintable() for char in found) and len(found) <= figures.MAX_CHARS + 1
    assert figures.plain(found) == found


@pytest.mark.parametrize("words", made.HOSTILE)
def test_hostile_words_cannot_steer_or_grow(words: str) -> None:
    found = figures.plain(words, 100)
    assert found.isprintable() and len(found) <= 101


def test_what_is_cut_says_so() -> None:
    assert figures.plain("abcdef", 3) == "abc…" and figures.plain("abc", 3) == "abc"


SHARES = {
    0: "0.00 %",
    0.5: "50.00 %",
    1: "100.00 %",
    1e-7: "<0.01 %",
    1 - 1e-7: ">99.99 %",
    -0.25: "−25.00 %",
    None: "–",
    math.inf: "–",
}
NUMBERS = {
    0.0: "0",
    12: "12",
    -1.5: "−1.5",
    0.00123456: "0.001235",
    1234567.8: "1,234,568",
    1e30: "1e+30",
    math.inf: "–",
    None: "–",
}


@pytest.mark.parametrize(("value", "shown"), SHARES.items())
def test_shares(value: float | None, shown: str) -> None:
    assert figures.percent(value) == shown


@pytest.mark.parametrize(("value", "shown"), NUMBERS.items())
def test_numbers(value: float | None, shown: str) -> None:
    assert figures.real(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (2.5e9, "2.5 GB"), (7e15, "7,000.0 TB"), (None, "–")]
)
def test_bytes(value: float | None, shown: str) -> None:
    assert figures.amount(value) == shown


def test_durations() -> None:
    assert figures.duration(200) == "3 min 20 s"
    assert figures.duration(None) == "–"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_can_be_shown(value: float) -> None:
    for show in (figures.whole, figures.real, figures.percent, figures.amount):
        assert show(value) and "-" not in show(value).replace("e-", "")
