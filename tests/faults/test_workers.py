"""The same bytes with any number of workers of any kind, first build or later."""

from __future__ import annotations

import pytest

from tests.faults.command import rt2data
from tests.faults.conftest import Place

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("pool", ["processes", "threads"])
@pytest.mark.parametrize("workers", [0, 1, 2, 4])
def test_the_same_bytes(place: Place, built: Place, pool: str, workers: int) -> None:
    options = ("build-mixture", "--workers", str(workers), "--pool", pool)
    rt2data(place.folder, *options).succeeded()
    assert place.bytes_built == built.bytes_built


def test_the_same_bytes_again(prepared: Place, built: Place) -> None:
    rt2data(prepared.folder, "build-mixture", "--workers", "2").succeeded()
    assert prepared.bytes_built == built.bytes_built


def test_workers_of_a_file_system_without_direct_io(place: Place, built: Place) -> None:
    rt2data(place.folder, "build-mixture", "--workers", "2", env={"RT2DATA_DIRECT_IO": "0"}).succeeded()
    assert place.bytes_built == built.bytes_built
