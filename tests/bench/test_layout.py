"""`make bench`: what it takes to lay out 1e10 and 1e11 examples. Prints; asserts only that memory does not grow with the plan."""

from __future__ import annotations

import sys

import pytest

from tests.bench.measure import run
from tests.conftest import ROOT

pytestmark = pytest.mark.bench


def test_layouts_of_huge_plans() -> None:
    peaks = {}
    for examples, shards in (("1e6", "200"), ("1e10", "1e5"), ("1e11", "4e5")):
        for which, of in (("one", 100), ("all", float(shards))):
            found = run([sys.executable, "-m", "tests.bench.layout", examples, shards, which], ROOT)
            took = f"{found.seconds:.1f} s for {of:,.0f}, imports included"
            print(f"\n{examples} examples, {shards} shards, {which}: {took}; peak {found.peak_rss / 1e6:.0f} MB")
            peaks[examples, which] = found.peak_rss
    assert peaks["1e11", "all"] < peaks["1e6", "all"] + 100e6
