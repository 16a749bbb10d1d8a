"""Splits the shards of an RLDS dataset into units, and reads the records of a unit; samples records for estimates."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, pairwise, zip_longest
from typing import NamedTuple

from rt2data.errors import DataError
from rt2data.io import location
from rt2data.io.location.base import Stat
from rt2data.io.tfrecord.directory import Shard
from rt2data.io.tfrecord.framing import FrameFault, RecordSpan, scan
from rt2data.io.tfrecord.reading import is_gzipped, read_gzipped, read_records, scan_gzipped
from rt2data.order import key64
from rt2data.read import units as read_units
from rt2data.read.sample import SamplePart, SamplePlan, shuffled
from rt2data.read.units import put_together
from rt2data.records import Reject, SourceRecord, Step, Unit

UNSCANNED = 512 << 20
"""Objects up to this size become one unit each, without reading headers first: one request per record would take hours."""


class Raw(NamedTuple):
    """One whole record: its number in the shard and the offset of its payload (None if the file is compressed)."""

    number: int
    offset: int | None
    payload: memoryview


def all_parts(splits: Mapping[str, Sequence[Shard]], known: Mapping[str, Sequence[Unit]]) -> list[Unit]:
    """Whole files and ranges of about UNIT_BYTES, ordered by split and shard. Raises DataError as `shard_units` does."""
    stats = iter(location.stats([shard.path for shards in splits.values() for shard in shards]))
    each = [(split, shard, next(stats)) for split, shards in splits.items() for shard in shards]
    return [part for split, shard, stat in each for part in known.get(shard.path) or _parts_of(shard, split, stat)]


def _parts_of(shard: Shard, split: str, stat: Stat | None) -> list[Unit]:
    if stat is None or not location.is_remote(shard.path) or stat.size > UNSCANNED:
        return shard_units(shard, split)
    return [Unit(0, shard.path, split, 0, stat.size, 0, stat.size)] if stat.size else []


def chosen_parts(splits: Mapping[str, Sequence[Shard]], chosen: Mapping[str, Sequence[Sequence[int]]]) -> list[Unit]:
    """The chosen records of each file, by number, each as its own part, so that no others are read.

    Files chosen completely, or whose headers are not read, keep their normal parts. Raises DataError as `shard_units` does.
    """
    files = [
        (split, shard, numbers)
        for split, shards in splits.items()
        for shard, numbers in zip(shards, chosen[split], strict=True)
        if numbers
    ]
    stats = location.stats([shard.path for _, shard, _ in files])
    return [part for file, stat in zip(files, stats, strict=True) for part in _chosen_of(*file, stat)]


def _chosen_of(split: str, shard: Shard, numbers: Sequence[int], stat: Stat | None) -> list[Unit]:
    unscanned = stat is not None and location.is_remote(shard.path) and stat.size <= UNSCANNED
    if stat is None or unscanned or len(numbers) == shard.records or is_gzipped(shard.path):
        return _parts_of(shard, split, stat)
    file = scan(shard.path)
    if file.broken is not None:
        return [Unit(0, shard.path, split, 0, file.size, 0, file.size)]
    require_count(len(file.spans), shard)
    each = [(number, file.spans[number]) for number in numbers]
    return [Unit(0, shard.path, split, at.offset, at.stop, number, at.stop - at.offset) for number, at in each]


def shard_units(shard: Shard, split: str) -> list[Unit]:
    """Units of one file, numbered from 0; a unit of length 0 stands for a compressed file, which is read whole.

    Reads only headers. Raises DataError if the file is truncated or its number of records is not the declared one. After a damaged
    header the records are unknown: one unit covers the rest of the file, and `unit_records` counts them.
    """
    if is_gzipped(shard.path):
        require_count(len(scan_gzipped(shard.path).spans), shard)
        return [Unit(0, shard.path, split, bytes=location.stat(shard.path).size)]
    file = scan(shard.path)
    if file.broken is None:
        require_count(len(file.spans), shard)
    return [
        Unit(k, shard.path, split, start, stop, first, stop - start)
        for k, ((start, first), (stop, _)) in enumerate(pairwise(_edges(file.spans, 0, file.size, read_units.UNIT_BYTES)))
    ]


def _edges(spans: list[RecordSpan], start: int, stop: int, limit: int) -> list[tuple[int, int]]:
    """The boundaries of the units of [start, stop): byte offset and record number."""
    edges = [(start, 0)]
    for number, span in enumerate(spans, start=1):
        if span.stop - edges[-1][0] >= limit and span.stop < stop:
            edges.append((span.stop, number))
    return [*edges, (stop, len(spans))] if stop > start else []


def unit_pieces(unit: Unit, size: int) -> list[Unit]:
    """A unit split into pieces of whole records, each ending with the record that brings it to `size` bytes; a compressed file is
    one piece.
    """
    if unit.parts:
        return put_together([piece for part in unit.parts for piece in unit_pieces(part, size)], size)
    if not unit.stop:
        return [unit]
    spans = [span for span in scan(unit.path).spans if unit.start <= span.offset < unit.stop]
    edges = [(at, unit.first + number) for at, number in _edges(spans, unit.start, unit.stop, size)]
    return [replace(unit, start=start, stop=stop, first=first, bytes=stop - start) for (start, first), (stop, _) in pairwise(edges)]


def require_count(records: int, shard: Shard) -> None:
    """Raises DataError if a file has a different number of records than declared."""
    if records != shard.records:
        what = f"expected {shard.records} records, found {records}"
        raise DataError(what, shard.path, "the file is not whole, or dataset_info.json belongs to another")


def unit_records(unit: Unit, shard: Shard) -> Iterator[Raw | Reject]:
    """The complete records of a unit, and a Reject for each that is damaged or lost. Lost records are numbered too.

    Raises DataError if the file is truncated, or has more records than declared.
    """
    number, gaps = unit.first, 0
    whole = location.is_remote(unit.path) and not unit.start
    compressed = not unit.stop or (whole and is_gzipped(unit.path))
    for found in read_gzipped(unit.path) if compressed else read_records(unit.path, unit.start, unit.stop):
        if not isinstance(found, FrameFault):
            offset, payload = found
            yield Raw(number, None if compressed else offset, payload)
        else:
            yield Reject(found.reason, f"{unit.path}, byte {found.offset}", f"{found.skipped} bytes skipped")
            gaps += found.reason == "bad_length"
        number += 1
    if gaps and unit.stop == location.stat(unit.path).size:
        yield from _lost(unit, shard, number - gaps, gaps)
    elif whole and not gaps and unit.stop == location.stat(unit.path).size:
        require_count(number, shard)


def _lost(unit: Unit, shard: Shard, found: int, gaps: int) -> Iterator[Reject]:
    """Rejects for records lost in a gap, beyond the one already counted for it, up to the declared number."""
    missing = shard.records - found
    if missing < 0:
        raise DataError(f"expected {shard.records} records, found {found}", unit.path)
    if missing > gaps:
        yield Reject("bad_length", unit.path, "records behind a damaged header", count=missing - gaps)


# Sample

FILES = 8
RECORDS = 128
"""Maximum number of files checked, and of records chosen from all of them."""


def survey_shards(
    path: str,
    splits: Mapping[str, tuple[Shard, ...]],
    wanted: Collection[str],
    seed: int,
    read: Callable[[Unit], Iterable[SourceRecord]],
) -> SamplePlan:
    """A sample plan for the wanted splits of a directory.

    Raises DataError if there are no episodes, or a checked file is incomplete.
    """
    by_split = [[location.stat(shard.path).size for shard in shards] for shards in splits.values()]
    sizes = [size for split in by_split for size in split]
    if not sum(sizes):
        raise DataError("there are no episodes", path)
    shards = [(split, shard) for split in sorted(wanted) for shard in splits[split] if shard.records]
    looked_at = shuffled(shards, key64("survey", seed))[:FILES]
    chosen = [_records(split, shard, seed, -(-RECORDS // len(looked_at))) for split, shard in looked_at]
    return SamplePlan(
        measure="episodes",
        whole=sum(shard.records for _, shard in shards),
        units=sum(-(-sum(split) // read_units.UNIT_BYTES) for split in by_split),
        bytes=sum(sizes),
        parts=[part for part in chain.from_iterable(zip_longest(*chosen)) if part],
        read=lambda part: _first(read(part.place), int(part.measure)),
        unchecked=(f"headers of {len(sizes) - len(looked_at)} of {len(sizes)} files",) if len(looked_at) < len(sizes) else (),
    )


def survey_parts(parts: Sequence[Unit], units: int, size: int, read: Callable[[Unit], Iterable[SourceRecord]]) -> SamplePlan:
    """A sample plan of all wanted parts, given in random order; `units` and `size` are those of the whole source."""
    return SamplePlan(
        measure="bytes",
        whole=sum(part.bytes for part in parts),
        units=units,
        bytes=size,
        parts=[SamplePart(part.bytes, part.bytes, part) for part in parts],
        read=lambda part: read(part.place),
    )


def _records(split: str, shard: Shard, seed: int, count: int) -> list[SamplePart]:
    """Some records of one file, chosen by seed; for a compressed file the first few."""
    if is_gzipped(shard.path):
        size, taken = location.stat(shard.path).size, min(count, shard.records)
        return [SamplePart(taken, size * taken // shard.records, Unit(0, shard.path, split, bytes=size))]
    file = scan(shard.path)
    if file.broken is None:
        require_count(len(file.spans), shard)
    numbers = shuffled(range(len(file.spans)), key64("records", seed, shard.path))[:count]
    spans = [(number, file.spans[number]) for number in numbers]
    return [
        SamplePart(1, span.stop - span.offset, Unit(0, shard.path, split, span.offset, span.stop, number, span.stop - span.offset))
        for number, span in spans
    ]


def _first(records: Iterable[SourceRecord], episodes: int) -> Iterator[SourceRecord]:
    """The records of the first `episodes` episodes; lost ones count too."""
    seen, last = 0, ""
    for record in records:
        episode = record.episode if isinstance(record, Step) else ""
        if not episode or episode != last:
            if seen == episodes:
                return
            seen, last = seen + 1, episode
        yield record
