"""docs/scaling.md says what its arithmetic gives, and of every figure how it is known."""

from __future__ import annotations

import pytest

from tests import scaling
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "scaling.md").read_text("utf-8")


@pytest.mark.parametrize("table", scaling.tables(), ids=lambda table: table.split("|")[1].strip())
def test_tables_are_those_of_the_arithmetic(table: str) -> None:
    assert f"\n\n{table}\n\n" in PAGE, f"python -m tests.scaling gives\n{table}"


def test_tables_fit_a_terminal() -> None:
    assert [line for line in PAGE.splitlines() if line.startswith("|") and len(line) > 80] == []


def test_prices_have_a_date_and_no_one_vouches_for_them() -> None:
    assert scaling.STORAGE.currency == "USD" and scaling.STORAGE.as_of.isoformat() in PAGE
    assert "none read on the provider's page by us" in PAGE.replace("\n", " ")
    assert not any(getattr(scaling.PAID, name).verified for name in scaling.PAID.__struct_fields__)


def test_a_bill_by_hand() -> None:
    """1e8 images: GETs at $0.0004 a thousand, 997,000 parts written at $0.005, a copy of 5 TB for a month at $0.02 a GiB."""
    assert scaling.read_usd(10**8) == pytest.approx(40)
    assert scaling.write_usd(10**8, scaling.EXAMPLE) == pytest.approx(5.225e12 / (5 * 2**20) * 5e-6)
    assert scaling.month_usd(10**8, 50_000) == pytest.approx(5e12 / 2**30 * 0.02)


def test_a_bucket_warms_up() -> None:
    """6e6 reads in its first 20 minutes, twice as many in the next; never faster than the workers ask."""
    assert scaling.ramp_s(10**6) == 200
    assert scaling.ramp_s(6 * 10**6 + 10**4) == 1201
    assert scaling.ramp_s(10**10) > 10**10 / (scaling.WORKERS * scaling.READS)
