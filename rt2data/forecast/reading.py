"""How a build reads images from an object store: individually, or from compacted blobs in long runs; requests, time and cost.

Figures were measured with an emulator on one machine: see docs/scaling.md. Pure functions; prices come from The content of
schemas/prices/storage.toml.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import date
from math import expm1, isqrt
from typing import Literal, NamedTuple

import msgspec
import numpy as np

from rt2data.forecast.cost import Price, Region, Text
from rt2data.io import location
from rt2data.io.installation import schemas
from rt2data.io.location.ahead import GAP
from rt2data.io.location.object_file import LARGEST
from rt2data.order import WINDOW
from rt2data.plan.model import Plan, SourcePlan
from rt2data.plan.recipe import Recipe
from rt2data.prepare.compact import AUTO_IMAGES, LEAST, MOST, PIECE, decide, reads_objects
from rt2data.prepare.store import Known, Store
from rt2data.write.shard import SPAN

PART = 5 * 2**20
"""Bytes per part of an uploaded object, as sent by obstore."""
READS = 1_300
"""Ranged reads of 50 kB per second and worker, with 64 in flight."""
RUN_RATE = 821e6
"""Bytes per second and worker, in runs of 8 MB, 8 at once."""
FIRST_READS, DOUBLES_S = 5_000, 20 * 60
"""Reads per second that a new bucket serves, according to its provider's documentation, and the time in s after which this
doubles."""


class Rates(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Prices of storage in one region."""

    standard_gib_month: Price
    thousand_writes: Price
    thousand_reads: Price


class Storage(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of schemas/prices/storage.toml."""

    currency: Literal["USD"]
    as_of: date
    source: Text
    page: Text
    regions: dict[str, Rates]


def read_storage() -> Storage:
    """The table shipped with rt2data."""
    return msgspec.convert(tomllib.loads(location.read_text(schemas() / "prices" / "storage.toml")), Storage)


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """How one source's images in an object store are read."""

    source: str
    way: Literal["scattered", "compacted"]
    why: str
    images: int  # of all its examples
    image_bytes: int
    scattered: int  # requests: at most one per image
    compacted: int  # mean number of requests for runs
    stored_bytes: int  # of all images in its rows, which compacting copies
    cost: ReadingCost | None = None


class ReadingCost(msgspec.Struct, frozen=True, kw_only=True):
    """The cost of scattered reading, the one-time cost of compacting, and the monthly cost of the copy."""

    workers: int
    workers_s: float
    bucket_s: float  # until a new bucket has served as many reads
    scattered_usd: float
    compacted_usd: float
    spill_usd: float
    shuffle_usd: float
    month_usd: float
    prices_as_of: str


class Runs(NamedTuple):
    """The mean cost of reading a row from blobs."""

    requests: float
    bytes: float


def runs_of(rows: float, row_bytes: float) -> Runs:
    """The mean cost per row for this many rows, with this many bytes of images each, drawn at random from one window. Gaps up to
    `GAP` are read too.
    """
    share = min(rows / WINDOW, 1.0)
    gaps = np.arange(int(GAP // max(row_bytes, 1.0)) + 1)
    over = float((gaps * share * (1 - share) ** gaps).sum())
    taken, ends = row_bytes * (1 + over), (1 - share) ** len(gaps)
    full = LARGEST * ends / max(taken, 1.0)  # mean number of runs that end within the maximum request size
    requests = ends / -expm1(-full) if full > 1e-9 else taken / LARGEST
    return Runs(min(requests, max(1.0, row_bytes / LARGEST)), taken)


def readings(plan: Plan, recipe: Recipe, known: Mapping[str, Known]) -> tuple[Reading, ...]:
    """The reading of each source with images in an object store."""
    far = [source for source in plan.sources if reads_objects(recipe.sources[source.name])]
    return tuple(_reading(plan, source, recipe, known[source.name]) for source in far if source.images and plan.written(source))


def _reading(plan: Plan, source: SourcePlan, recipe: Recipe, known: Known) -> Reading:
    stored = known.info.splits.values()
    way, why = _way(recipe, known, sum(split.images for split in stored))
    rows = plan.written(source)
    together = min(rows / plan.shards, rows / plan.num_examples * SPAN / max(source.image_bytes, 1))
    return Reading(
        source=source.name,
        way=way,
        why=why,
        images=round(rows * source.images),
        image_bytes=rows * source.image_bytes,
        scattered=round(rows * source.images),
        compacted=round(rows * runs_of(together, source.image_bytes).requests),
        stored_bytes=sum(split.image_bytes for split in stored),
    )


def _way(recipe: Recipe, known: Known, images: int) -> tuple[Literal["scattered", "compacted"], str]:
    if isinstance(known, Store):
        return ("compacted", "its store is") if known.info.compacted else ("scattered", "its store is ready and is not compacted")
    if recipe.compact != "auto":
        way: Literal["scattered", "compacted"] = "scattered" if recipe.compact == "never" else "compacted"
        return way, f"compact is {recipe.compact}"
    if decide("auto", is_remote=True, images=images) == "never":
        return "scattered", f"{images:,} images, up to {AUTO_IMAGES:,}"
    return "compacted", f"{images:,} images, more than {AUTO_IMAGES:,}"


def reading_cost(found: Reading, workers: int, rates: Rates, labour: Region, as_of: date) -> ReadingCost:
    """Requests and storage at these rates; the workers' own time is in the cost of the build."""
    reads, writes = spill_requests(found.stored_bytes)
    get, put = rates.thousand_reads.usd / 1000, rates.thousand_writes.usd / 1000
    return ReadingCost(
        workers=workers,
        workers_s=found.scattered / READS / workers,
        bucket_s=ramp_s(found.scattered, workers),
        scattered_usd=found.scattered * get,
        compacted_usd=found.compacted * get,
        spill_usd=reads * get + writes * put,
        shuffle_usd=found.stored_bytes / 1e9 * labour.shuffle_gb.usd,
        month_usd=found.stored_bytes / 2**30 * rates.standard_gib_month.usd,
        prices_as_of=as_of.isoformat(),
    )


def spill_requests(total: float) -> tuple[float, float]:
    """Reads and writes needed to compact this many bytes of images.

    Every group reads, from every spill, the position of its part and then the part.
    """
    step = min(max(LEAST, isqrt(int(total) * PIECE)), MOST)
    pieces = (total / step + 1) ** 2
    return 2 * total / LARGEST + 2 * pieces, 2 * total / PART


def ramp_s(reads: float, workers: int) -> float:
    """Seconds until a new bucket has served this many reads, limited by the workers' own rate."""
    left, rate, taken = float(reads), FIRST_READS, 0.0
    while left > 0:
        served = min(rate, workers * READS)
        step = min(DOUBLES_S, left / served)
        left, taken, rate = left - step * served, taken + step, 2 * rate
    return taken
