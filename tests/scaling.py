"""The arithmetic of docs/scaling.md: `python -m tests.scaling` prints its tables. Measured figures are named constants, with where
they were measured; prices come from schemas/prices.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rt2data.forecast import reading
from rt2data.forecast.cost import BUSY, EXAMPLE_S, GATHER_ROW_S, READ_BYTE_S, ROW_S, read_prices
from rt2data.forecast.reading import PART, READS, RUN_RATE, read_storage
from rt2data.io.location.object_file import LARGEST
from rt2data.write.shard import SPAN

SIZES = (10**6, 10**8, 10**10)
IMAGE = 50_000
EXAMPLE = 2_090_000_000 / 40_000
"""Bytes of an example in a tar shard: docs/measurements.md, images of 50 kB."""
SHARD = (256 * 10**6, 256 * 10**6, 2 * 10**9)
"""Bytes of a shard. A million shards is the most there can be: 1e10 examples need more than the 256 MB of the default."""
RUN = LARGEST
"""Bytes read at once where images lie in the order they are read in."""

# Measured against an emulator of an object store on the same machine, 2 cores, 30 ms to the first byte.
GET_S = 320e-6  # processor time of a ranged read of 50 kB, at most
STREAM_READ_S = 1.0 / 2**30  # processor time of a byte that is read in a stream
STREAM_WRITE_S = 1.1 / 2**30

# Measured on one machine with local disks: docs/measurements.md.
FIRST_RATE, AGAIN_RATE = 310e6, 440e6
MANIFEST_SHARD, LOADED_SHARD, VERIFIED_SHARD = 2_000, 2_300, 4_800  # bytes of each shard, ten sources: file, load, verify
WINDOW_BYTES = 16 / 8192  # of each row of a source, in the lists of windows

# Assumed.
WORKERS, MACHINE = 100, "n2-standard-4"

STORAGE = read_storage()
PAID = STORAGE.regions["us-central1"]
LABOUR = read_prices().region("us-central1")
SHAPE = read_prices().machine(MACHINE)


# Quantities


def shards(n: int) -> int:
    return round(n * EXAMPLE / SHARD[SIZES.index(n)])


def reads(n: int, size: float, at_once: float = RUN) -> float:
    return n * size / at_once


def prepare_cpu(n: int) -> float:
    return n * (ROW_S + GATHER_ROW_S + IMAGE * (READ_BYTE_S + STREAM_READ_S))


def scattered_cpu(n: int) -> float:
    return n * (EXAMPLE_S + GET_S + EXAMPLE * STREAM_WRITE_S)


def compacted_cpu(n: int) -> float:
    return n * (EXAMPLE_S + drawn(n).bytes * STREAM_READ_S + EXAMPLE * STREAM_WRITE_S)


def compacting_cpu(n: int) -> float:
    """Every image is read twice and written twice: to the spill, and in order."""
    return 2 * n * IMAGE * (STREAM_READ_S + STREAM_WRITE_S)


def ramp_s(n: float) -> float:
    """Until a bucket has served n reads, of workers that can do no more than theirs."""
    return reading.ramp_s(n, WORKERS)


def drawn(n: int, share: float = 1.0) -> reading.Runs:
    """What an example takes to be read from blobs, of a source that has this share of each shard."""
    return reading.runs_of(share * min(SHARD[SIZES.index(n)] / EXAMPLE, SPAN / IMAGE), IMAGE)


def compact_reads(n: int) -> float:
    return reading.spill_requests(n * IMAGE)[0]


def compact_writes(n: int) -> float:
    return reading.spill_requests(n * IMAGE)[1]


# Money


def worker_hour() -> float:
    return SHAPE.vcpus * LABOUR.vcpu_hour.usd + SHAPE.memory_gb * LABOUR.memory_gb_hour.usd


def cpu_usd(seconds: float) -> tuple[float, float]:
    """At best and at worst: workers are busy for 90 % or for 40 % of the time that is paid."""
    best, worst = (seconds / 3600 / SHAPE.vcpus / busy * worker_hour() for busy in BUSY)
    return best, worst


def month_usd(n: int, size: float) -> float:
    return n * size / 2**30 * PAID.standard_gib_month.usd


def read_usd(count: float) -> float:
    return count / 1000 * PAID.thousand_reads.usd


def write_usd(n: int, size: float) -> float:
    return n * size / PART / 1000 * PAID.thousand_writes.usd


# Words


def count(value: float) -> str:
    return f"{value:.0f}" if value < 1000 else f"{float(f'{value:.3g}'):,.0f}"


def size(value: float) -> str:
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if value >= factor:
            return f"{float(f'{value / factor:.3g}'):g} {unit}"
    return f"{float(f'{value / 1e3:.2g}'):g} kB"


def span(seconds: float) -> str:
    for unit, factor in (("h", 3600), ("min", 60)):
        if seconds >= 1.5 * factor:
            return f"{float(f'{seconds / factor:.2g}'):g} {unit}"
    return f"{seconds:.2g} s"


def usd(value: float) -> str:
    if value < 0.01:
        return "< $0.01"
    return f"${value:.2f}" if value < 10 else f"${float(f'{value:.2g}'):,.0f}"


def between(pair: tuple[float, float]) -> str:
    low, high = map(usd, pair)
    return f"{low}-{high[1:]}" if low.startswith("$") else f"< {high.removeprefix('< ')}"


def core_hours(seconds: float) -> str:
    return f"{float(f'{seconds / 3600:.2g}'):,g}"


# Tables

Row = tuple[str, Callable[[int], str]]


def table(head: str, rows: Sequence[Row]) -> str:
    cells = [[head, "1e6", "1e8", "1e10"], *([name, *map(say, SIZES)] for name, say in rows)]
    return "\n".join(["| " + " | ".join(row) + " |" for row in (cells[0], ["---", "--:", "--:", "--:"], *cells[1:])])


def tables() -> Iterator[str]:
    yield table(
        "bytes and files",
        [
            ("images of 50 kB", lambda n: size(n * IMAGE)),
            ("the mixture, as tar shards", lambda n: size(n * EXAMPLE)),
            ("size of a shard", lambda n: size(SHARD[SIZES.index(n)])),
            ("shards", lambda n: count(shards(n))),
            ("to keep the mixture, a month", lambda n: usd(month_usd(n, EXAMPLE))),
        ],
    )
    yield table(
        "requests",
        [
            ("prepare: the sources in runs of 8 MB", lambda n: count(reads(n, IMAGE))),
            ("mix, scattered: one an image", lambda n: count(n)),
            ("mix, compacted: one source", lambda n: count(n * drawn(n).requests)),
            ("the same, ten sources", lambda n: count(n * drawn(n, 0.1).requests)),
            ("write shards: parts of 5 MB", lambda n: count(n * EXAMPLE / PART)),
            ("compact: reads", lambda n: count(compact_reads(n))),
            ("compact: writes", lambda n: count(compact_writes(n))),
        ],
    )
    yield table(
        "processor time, core-hours",
        [
            ("prepare", lambda n: core_hours(prepare_cpu(n))),
            ("mix or re-mix, scattered", lambda n: core_hours(scattered_cpu(n))),
            ("mix or re-mix, compacted", lambda n: core_hours(compacted_cpu(n))),
            ("compact, once", lambda n: core_hours(compacting_cpu(n))),
        ],
    )
    yield table(
        "time, at least",
        [
            ("2 cores, local disk: first build", lambda n: span(n * EXAMPLE / FIRST_RATE)),
            ("2 cores, local disk: re-mix", lambda n: span(n * EXAMPLE / AGAIN_RATE)),
            ("100 workers: prepare", lambda n: span(_wall(n, prepare_cpu(n), 1))),
            ("100 workers: mix, scattered", lambda n: span(max(ramp_s(n), _wall(n, scattered_cpu(n), 0)))),
            ("the same, bucket warmed up", lambda n: span(max(n / READS / WORKERS, _wall(n, scattered_cpu(n), 0)))),
            ("100 workers: mix, compacted", lambda n: span(_wall(n, compacted_cpu(n), drawn(n).bytes / IMAGE))),
            ("100 workers: compact, once", lambda n: span(max(ramp_s(compact_reads(n)), _wall(n, compacting_cpu(n), 2)))),
        ],
    )
    yield table(
        "money",
        [
            ("prepare: workers", lambda n: between(cpu_usd(prepare_cpu(n)))),
            ("prepare: requests", lambda n: usd(read_usd(reads(n, IMAGE)))),
            ("mix, scattered: workers", lambda n: between(_waiting(n))),
            ("mix, scattered: requests", lambda n: usd(read_usd(n) + write_usd(n, EXAMPLE))),
            ("mix, compacted: workers", lambda n: between(cpu_usd(compacted_cpu(n)))),
            ("mix, compacted: requests", lambda n: usd(read_usd(n * drawn(n).requests) + write_usd(n, EXAMPLE))),
            ("compact by spill: workers", lambda n: between(cpu_usd(compacting_cpu(n)))),
            (
                "compact by spill: requests",
                lambda n: usd(read_usd(compact_reads(n)) + compact_writes(n) / 1000 * PAID.thousand_writes.usd),
            ),
            ("compact by Dataflow's shuffle", lambda n: usd(n * IMAGE / 1e9 * LABOUR.shuffle_gb.usd)),
            ("to keep the copy, a month", lambda n: usd(month_usd(n, IMAGE))),
        ],
    )
    yield table(
        "requests for 100 images, compacted",
        [
            (f"a source with {share:.0%} of a shard", lambda n, share=share: f"{100 * drawn(n, share).requests:.2g}")  # type: ignore[misc]
            for share in (1.0, 0.5, 0.2, 0.1, 0.05)
        ],
    )
    yield table(
        "memory",
        [
            ("lay out shards, a worker", lambda n: "6 MB"),
            ("order of a source's rows, a worker", lambda n: size(n * WINDOW_BYTES)),
            ("manifest.json, ten sources", lambda n: size(shards(n) * MANIFEST_SHARD)),
            ("`load`, each process", lambda n: size(shards(n) * LOADED_SHARD + 32e6)),
            ("`verify`, each process", lambda n: size(shards(n) * VERIFIED_SHARD)),
        ],
    )


def _wall(n: int, cpu_s: float, passes: float) -> float:
    """Of all workers' cores, and of as many passes through the images as runs of 8 MB take."""
    return max(cpu_s / WORKERS / SHAPE.vcpus, passes * n * IMAGE / RUN_RATE / WORKERS)


def _compact_usd(n: int) -> float:
    return read_usd(compact_reads(n)) + compact_writes(n) / 1000 * PAID.thousand_writes.usd


def _waiting(n: int) -> tuple[float, float]:
    """Workers that wait for a bucket are paid as if they worked: at best it is warm."""
    warm, cold = (WORKERS * seconds / 3600 * worker_hour() for seconds in (n / READS / WORKERS, ramp_s(n)))
    least, most = cpu_usd(scattered_cpu(n))
    return max(warm, least), max(cold, most)


if __name__ == "__main__":
    print("\n\n".join(tables()))
