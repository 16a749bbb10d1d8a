"""What a build on Dataflow uses, and about what that costs. Pure: all prices are in a table, and every assumption is named."""

from __future__ import annotations

from math import ceil

import msgspec

from rt2data.forecast.prices import Machine, Prices, Region
from rt2data.io.words import size

ROW_S = 30e-6
"""Processor time to prepare a row (docs/measurements.md: 38 microseconds with a picture of 50 KB, 8 of them for its bytes)."""
READ_BYTE_S = 8e-6 / 50e3
GATHER_ROW_S = 37e-6
"""To order rows, take statistics and plan: 1.5 s for 40,000 rows."""
EXAMPLE_S = 30e-6
"""To draw, render and lay out an example (docs/measurements.md), and about as much for the system to move 50 KB."""
WRITE_BYTE_S = 30e-6 / 50e3
RATES = "built-in rates of one core, from docs/measurements.md"

BUSY = (0.9, 0.4)
"""Share of the time that is paid for in which a worker's processors are at work: at best, at worst. Assumed."""
START_H = (2 / 60, 6 / 60)
"""Hours from a worker's birth to its first order, and from its last to its end, together. Assumed."""
TARGET_H = 0.5
"""So many workers are taken that a job is done in about this time."""
MAX_WORKERS = 1000
DISK_GB = 25
"""Boot disk of a batch worker with Dataflow Shuffle, as its documentation says."""
ORDER_BYTES = 4096
"""Room for a work order or a summary as it flows: settings, paths, counts."""


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """What is paid for, at one end of the range."""

    workers: int
    hours: float
    vcpu_hours: float
    memory_gb_hours: float
    disk_gb_hours: float
    shuffle_gb: float
    usd: float


class CloudCost(msgspec.Struct, frozen=True, kw_only=True):
    """A job on Dataflow: what it uses and costs, from best to worst."""

    machine: str
    region: str
    cpu_hours: float
    cpu_from: str
    low: Use
    high: Use
    prices_as_of: str
    prices_from: str
    unverified_prices: tuple[str, ...]
    notes: tuple[str, ...]


class Labour(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to do."""

    cpu_s: tuple[float, float]  # least, most
    cpu_from: str
    orders: int  # work orders and summaries that flow through the job
    lanes: int  # orders that can be carried out at one time
    read_bytes: int
    write_bytes: int


def builtin_cpu_s(rows: int, read_bytes: int, examples: int, write_bytes: int) -> float:
    """Processor time by the built-in rates: preparing so many rows, writing so many examples. Pictures decoded come on top."""
    prepare = rows * (ROW_S + GATHER_ROW_S) + read_bytes * READ_BYTE_S
    return prepare + examples * EXAMPLE_S + write_bytes * WRITE_BYTE_S


def cloud_cost(labour: Labour, prices: Prices, region: str, machine: str) -> CloudCost:
    """Raises UsageError where the table lacks the region or the machine."""
    shape, rates = prices.machine(machine), prices.region(region)
    ends = [_use(labour, shape, rates, end) for end in (0, 1)]
    return CloudCost(
        machine=machine,
        region=region,
        cpu_hours=sum(labour.cpu_s) / 2 / 3600,
        cpu_from=labour.cpu_from,
        low=ends[0],
        high=ends[1],
        prices_as_of=prices.as_of.isoformat(),
        prices_from=f"{prices.source} (compare: {prices.page})",
        unverified_prices=rates.unverified(),
        notes=_notes(labour, region),
    )


def _use(labour: Labour, shape: Machine, rates: Region, end: int) -> Use:
    """Best or worst: how busy the workers are, and how long they take to start, decide."""
    busy_h = labour.cpu_s[end] / 3600 / BUSY[end]
    lanes = max(1, min(MAX_WORKERS, ceil(labour.lanes / shape.vcpus)))
    workers = max(1, min(lanes, ceil(busy_h / shape.vcpus / TARGET_H)))
    hours = busy_h / shape.vcpus / workers + START_H[end]
    held = workers * hours
    used = {
        "vcpu_hours": held * shape.vcpus,
        "memory_gb_hours": held * shape.memory_gb,
        "disk_gb_hours": held * DISK_GB,
        "shuffle_gb": labour.orders * ORDER_BYTES * (end + 1) / 1e9,  # at worst every one is written and read
    }
    paid = (("vcpu_hours", rates.vcpu_hour), ("memory_gb_hours", rates.memory_gb_hour), ("disk_gb_hours", rates.disk_gb_hour))
    usd = sum(used[name] * price.usd for name, price in (*paid, ("shuffle_gb", rates.shuffle_gb)))
    return Use(workers=workers, hours=hours, usd=usd, **used)


def _notes(labour: Labour, region: str) -> tuple[str, ...]:
    moved = f"{size(labour.read_bytes)} are read and {size(labour.write_bytes)} written"
    return (
        f"only work orders and summaries go through the shuffle ({labour.orders:,} of at most {ORDER_BYTES:,} bytes): "
        "pictures never do",
        f"{moved}: free of egress where data and output lie in {region}, charged for each GB where they do not; not in the price",
        "storage, mounted file systems, logging and discounts are not in the price",
        f"workers are assumed busy {BUSY[0]:.0%} to {BUSY[1]:.0%} of the time, and to take {START_H[0] * 60:.0f} to "
        f"{START_H[1] * 60:.0f} minutes to come and go",
    )
