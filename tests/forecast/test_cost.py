"""What Dataflow costs: sums that can be done by hand, prices that are data, and nothing unverified passed off as known."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rt2data.errors import UsageError
from rt2data.forecast.cost import BUSY, DISK_GB, ORDER_BYTES, START_H, Workload, builtin_cpu_s, cloud_cost, read_prices
from rt2data.forecast.forecast import forecast_plan, known_sources, workload
from rt2data.io.installation import schemas
from rt2data.prepare.begin import begin, staging_folder
from rt2data.prepare.gather import gather_orders
from rt2data.prepare.unit import prepare_unit
from rt2data.write.shard import ShardOrder
from tests.forecast.conftest import Read

SHIPPED = schemas() / "prices" / "dataflow.toml"


def labour(hours: float = 10.0, lanes: int = 1000) -> Workload:
    return Workload(
        cpu_s=(hours * 3600, 2 * hours * 3600),
        cpu_from="a test",
        orders=1000,
        lanes=lanes,
        read_bytes=10**12,
        write_bytes=10**12,
    )


def test_a_bill_by_hand() -> None:
    found = cloud_cost(labour(), read_prices(), "us-central1", "n2-standard-4")
    busy = 10 / BUSY[0]
    workers = 6  # for half an hour: 10 / 0.9 / 4 / 0.5, rounded up
    assert found.low.workers == workers
    held = busy / 4 + workers * START_H[0]
    assert found.low.vcpu_hours == pytest.approx(4 * held)
    assert found.low.memory_gb_hours == pytest.approx(16 * held)
    assert found.low.disk_gb_hours == pytest.approx(DISK_GB * held)
    assert found.low.shuffle_gb == pytest.approx(1000 * ORDER_BYTES / 1e9)
    paid = 4 * held * 0.056 + 16 * held * 0.003557 + DISK_GB * held * 0.000054 + found.low.shuffle_gb * 0.011
    assert found.low.usd == pytest.approx(paid)
    assert found.cpu_hours == 15


@given(st.floats(0.001, 10_000), st.integers(1, 5000), st.sampled_from(["n1-standard-1", "n2-standard-4", "e2-standard-8"]))
def test_a_bill_is_a_range_that_holds_the_work(hours: float, lanes: int, machine: str) -> None:
    prices = read_prices()
    found = cloud_cost(labour(hours, lanes), prices, "us-central1", machine)
    assert 0 < found.low.usd < found.high.usd
    assert found.low.vcpu_hours >= hours and found.high.vcpu_hours >= 2 * hours
    most = max(1, -(-lanes // prices.machine(machine).vcpus))
    assert 1 <= found.low.workers <= most and 1 <= found.high.workers <= most


def test_no_price_is_passed_off_as_known() -> None:
    found = cloud_cost(labour(), read_prices(), "us-central1", "n2-standard-4")
    assert found.unverified_prices == ("vcpu_hour", "memory_gb_hour", "disk_gb_hour", "shuffle_gb")
    assert found.prices_as_of == "2023-09-05" and "dataflow-metrics-exporter" in found.prices_from


@pytest.mark.parametrize(
    ("region", "machine", "words"),
    [("mars-north1", "n2-standard-4", "choose one of us-central1"), ("us-central1", "n2-standard-5", "did you mean n2-standard-")],
)
def test_what_the_table_lacks_is_asked_for(region: str, machine: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        cloud_cost(labour(), read_prices(), region, machine)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('currency = "USD"', 'currency = "EUR"', "currency"),
        ('currency = "USD"', "", "currency"),
        ("as_of = 2023-09-05", 'as_of = "lately"', "as_of"),
        ("as_of = 2023-09-05", "as_of = 2023-09-05\ndate = 1", "date"),
        ("usd = 0.056, verified = false", "usd = 0.056", "verified"),
        ("usd = 0.056, verified = false", "usd = -1, verified = false", "usd"),
        ("usd = 0.056, verified = false", 'usd = "0.056", verified = false', "usd"),
        ("usd = 0.056, verified = false", "usd = 0.056, verified = 0", "verified"),
        ("usd = 0.056, verified = false", "usd = nan, verified = false", "usd"),
        ("usd = 0.056, verified = false", "usd = 0.056, verified = false, eur = 1", "eur"),
        ("vcpu_hour", "cpu_hour", "cpu_hour"),
        ("vcpus = 4, memory_gb = 16", "vcpus = 0, memory_gb = 16", "vcpus"),
        ("vcpus = 4, memory_gb = 16", "vcpus = 4", "memory_gb"),
        ("[machines]", "[machine]", "machine"),
        ("[machines]", "[machines", "TOML"),
    ],
)
def test_a_table_is_read_strictly(tmp_path: Path, old: str, new: str, words: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(SHIPPED.read_text())
    assert read_prices(path) == read_prices()
    assert old in SHIPPED.read_text()
    path.write_text(SHIPPED.read_text().replace(old, new, 1))
    with pytest.raises(UsageError, match="not a table of prices") as caught:
        read_prices(path)
    assert words in str(caught.value) or words == "TOML"
    assert caught.value.where == str(path)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        read_prices(tmp_path / "gone.toml")


def test_orders_are_as_small_as_is_said(read: Read, tmp_path: Path) -> None:
    recipe = read()
    orders = begin("arm", recipe.robot["arm"], tmp_path / "arm")
    done = [prepare_unit(order) for order in orders]
    flowing = [
        *orders,
        *done,
        *gather_orders("arm", staging_folder(tmp_path / "arm"), done),
        ShardOrder(str(tmp_path), "f" * 32, 7),
    ]
    assert max(len(pickle.dumps(each)) for each in flowing) < ORDER_BYTES


def test_work_without_a_canary_is_by_built_in_rates(read: Read, tmp_path: Path) -> None:
    recipe = read()
    found = forecast_plan(recipe, known_sources(recipe, tmp_path))
    work = workload(found)
    units = 6 + 4 + 1 + 1
    assert work.orders == 2 * (units + 4 + found.shards)
    rows = sum(source.rows for source in found.sources)
    reads = sum(each.reads for each in found.estimates.values())
    middle = builtin_cpu_s(rows, reads, found.num_examples, found.bytes)
    assert work.cpu_s == (pytest.approx(middle / 2), pytest.approx(middle * 2))
    assert "docs/measurements.md" in work.cpu_from


def test_built_in_rates_are_those_of_the_measurements() -> None:
    """40,000 steps of 50 KB: 38 microseconds a step to prepare and 1.5 s to gather; 60 microseconds an example to write."""
    assert builtin_cpu_s(40_000, 40_000 * 50_000, 0, 0) == pytest.approx(40_000 * 38e-6 + 1.5, rel=0.02)
    assert builtin_cpu_s(0, 0, 40_000, 40_000 * 50_000) == pytest.approx(40_000 * 60e-6)
