"""The resources used by a build on Dataflow, and their approximate cost. Pure functions: prices come from the table in
schemas/prices, read strictly, and every assumption is named."""

from __future__ import annotations

import tomllib
from datetime import date
from math import ceil
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec

from rt2data.errors import UsageError
from rt2data.io import location
from rt2data.io.installation import schemas
from rt2data.io.words import choose, plural, size

Positive = Annotated[float, msgspec.Meta(gt=0)]
Text = Annotated[str, msgspec.Meta(min_length=1)]
Entry = TypeVar("Entry")


class Price(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One price, and whether it was read on the provider's own page."""

    usd: Annotated[float, msgspec.Meta(ge=0)]
    verified: bool


class Region(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Prices of one region."""

    vcpu_hour: Price
    memory_gb_hour: Price
    disk_gb_hour: Price
    shuffle_gb: Price

    def unverified(self) -> tuple[str, ...]:
        """Names of the prices that were not read on the provider's own page."""
        return tuple(name for name in self.__struct_fields__ if not getattr(self, name).verified)


class Machine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The shape of a worker."""

    vcpus: Annotated[int, msgspec.Meta(ge=1)]
    memory_gb: Positive


class Prices(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of prices with date and origin."""

    currency: Literal["USD"]
    as_of: date
    source: Text
    page: Text
    regions: Annotated[dict[str, Region], msgspec.Meta(min_length=1)]
    machines: Annotated[dict[str, Machine], msgspec.Meta(min_length=1)]

    def region(self, name: str) -> Region:
        """The prices of a region. Raises UsageError if the table lacks it."""
        return _find(self.regions, name, "prices of region", "--region")

    def machine(self, name: str) -> Machine:
        """The shape of a machine. Raises UsageError if the table lacks it."""
        return _find(self.machines, name, "machine", "--machine")


def read_prices(path: Path | None = None) -> Prices:
    """The table shipped with rt2data, or your own. Raises UsageError with what is wrong, and where."""
    place = path or schemas() / "prices" / "dataflow.toml"
    try:
        return msgspec.convert(tomllib.loads(location.read_text(place)), Prices)
    except OSError as error:
        raise UsageError(f"a table of prices cannot be read: {error.strerror}", str(place)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise UsageError(f"not a table of prices: {error}", str(place), "see schemas/prices for an example") from None


def _find(table: dict[str, Entry], name: str, what: str, option: str) -> Entry:
    if name not in table:
        raise UsageError(f"no {what} {name!r}", option, choose(name, table))
    return table[name]


ROW_S = 30e-6
"""CPU time to prepare a row (docs/measurements.md: 38 microseconds with an image of 50 kB, 8 of them for its bytes)."""
READ_BYTE_S = 8e-6 / 50e3
GATHER_ROW_S = 37e-6
"""CPU time per row to sort, compute statistics and plan: 1.5 s for 40,000 rows."""
EXAMPLE_S = 30e-6
"""CPU time to draw, render and lay out an example (docs/measurements.md), plus about the same for the system to move 50 kB."""
WRITE_BYTE_S = 30e-6 / 50e3
RATES = "built-in rates of one core, from docs/measurements.md"

BUSY = (0.9, 0.4)
"""Share of the paid time in which a worker's CPUs are busy: at best, at worst. Assumed."""
START_H = (2 / 60, 6 / 60)
"""Hours that a worker takes to start and shut down, in total. Assumed."""
TARGET_H = 0.5
"""Target duration of a job in hours, which determines the number of workers."""
MAX_WORKERS = 1000
DISK_GB = 25
"""Boot disk of a batch worker with Dataflow Shuffle, according to the documentation."""
ORDER_BYTES = 4096
"""Upper bound of a work order or a summary in the job: settings, paths, counts."""


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """The work of a build."""

    cpu_s: tuple[float, float]  # least, most
    cpu_from: str
    orders: int  # work orders and summaries that flow through the job
    lanes: int  # work orders that can run at the same time
    read_bytes: int
    write_bytes: int


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """The resources paid for, at one end of the range."""

    workers: int
    hours: float
    vcpu_hours: float
    memory_gb_hours: float
    disk_gb_hours: float
    shuffle_gb: float
    usd: float


class CloudCost(msgspec.Struct, frozen=True, kw_only=True):
    """A job on Dataflow: what it uses and costs, at best and at worst."""

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


def builtin_cpu_s(rows: int, read_bytes: int, examples: int, write_bytes: int) -> float:
    """CPU time to prepare rows and write examples, by the built-in rates. Decoding and resizing of images is extra."""
    prepare = rows * (ROW_S + GATHER_ROW_S) + read_bytes * READ_BYTE_S
    return prepare + examples * EXAMPLE_S + write_bytes * WRITE_BYTE_S


def cloud_cost(work: Workload, prices: Prices, region: str, machine: str) -> CloudCost:
    """The cost of a job. Raises UsageError if the table lacks the region or the machine."""
    shape, rates = prices.machine(machine), prices.region(region)
    low, high = (_use(work, shape, rates, end) for end in (0, 1))
    return CloudCost(
        machine=machine,
        region=region,
        cpu_hours=sum(work.cpu_s) / 2 / 3600,
        cpu_from=work.cpu_from,
        low=low,
        high=high,
        prices_as_of=prices.as_of.isoformat(),
        prices_from=f"{prices.source} (compare: {prices.page})",
        unverified_prices=rates.unverified(),
        notes=_notes(work, region),
    )


def _use(work: Workload, shape: Machine, rates: Region, end: int) -> Use:
    """The use at best (0) or at worst (1), which differ in how busy the workers are and how long they take to start."""
    busy_h = work.cpu_s[end] / 3600 / BUSY[end]
    lanes = max(1, min(MAX_WORKERS, ceil(work.lanes / shape.vcpus)))
    workers = max(1, min(lanes, ceil(busy_h / shape.vcpus / TARGET_H)))
    hours = busy_h / shape.vcpus / workers + START_H[end]
    held = workers * hours
    used = {
        "vcpu_hours": held * shape.vcpus,
        "memory_gb_hours": held * shape.memory_gb,
        "disk_gb_hours": held * DISK_GB,
        "shuffle_gb": work.orders * ORDER_BYTES * (end + 1) / 1e9,  # at worst every one is written and read
    }
    usd = sum(amount * getattr(rates, name.replace("_hours", "_hour")).usd for name, amount in used.items())
    return Use(workers=workers, hours=hours, usd=usd, **used)


def _notes(work: Workload, region: str) -> tuple[str, ...]:
    return (
        f"only work orders and summaries go through the shuffle ({plural(work.orders, 'order')} of at most {ORDER_BYTES:,} bytes), "
        "never images",
        f"{size(work.read_bytes)} are read and {size(work.write_bytes)} written: free of egress where data and output are in "
        f"{region}, charged for each GB elsewhere; not in the price",
        "storage, mounted file systems, logging and discounts are not in the price",
        f"workers are assumed to be busy {BUSY[0]:.0%} to {BUSY[1]:.0%} of the time, and to take {START_H[0] * 60:.0f} to "
        f"{START_H[1] * 60:.0f} minutes to start and shut down",
    )
