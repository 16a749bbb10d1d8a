"""Counts are exact: distinct integers in any number of files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rt2data.tally import counts
from rt2data.tally.counts import count_distinct


@pytest.mark.parametrize("at_once", [1, 7, 1 << 22])
def test_distinct_integers_whatever_is_held_in_memory(at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "IN_MEMORY", at_once)
    rng = np.random.default_rng(at_once)
    parts = [rng.integers(0, 40, n).astype(np.uint64) * np.uint64(2**57 + 1) for n in (0, 1, 30, 30)]
    assert count_distinct(parts, 61, tmp_path) == len(np.unique(np.concatenate(parts)))
    assert not list(tmp_path.iterdir())
