"""A sample of the episodes of an RLDS dataset: a few files, a few records of each, found by their headers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import chain, zip_longest

from rt2data.errors import DataError
from rt2data.io import location
from rt2data.io.tfrecord.framing import scan
from rt2data.io.tfrecord.gzipped import is_gzipped
from rt2data.order import key64
from rt2data.read.rlds.units import UNIT_BYTES, require_count
from rt2data.read.sample import Part, Survey, shuffled
from rt2data.read.tfds_directory import Shard
from rt2data.records import SourceRecord, Step, Unit

FILES = 8
RECORDS = 128
"""Files looked at, and records chosen of all of them."""


def survey_shards(
    path: str,
    splits: Mapping[str, tuple[Shard, ...]],
    wanted: Collection[str],
    seed: int,
    read: Callable[[Unit], Iterable[SourceRecord]],
) -> Survey:
    """A survey of the wanted splits of a directory.

    Raises DataError where there are no episodes, or a file that is looked at is not whole.
    """
    by_split = [[location.stat(shard.path).size for shard in shards] for shards in splits.values()]
    sizes = [size for split in by_split for size in split]
    if not sum(sizes):
        raise DataError("there are no episodes", path)
    shards = [(split, shard) for split in sorted(wanted) for shard in splits[split] if shard.records]
    looked_at = shuffled(shards, key64("survey", seed))[:FILES]
    chosen = [_records(split, shard, seed, -(-RECORDS // len(looked_at))) for split, shard in looked_at]
    return Survey(
        measure="episodes",
        whole=sum(shard.records for _, shard in shards),
        units=sum(-(-sum(split) // UNIT_BYTES) for split in by_split),
        bytes=sum(sizes),
        parts=[part for part in chain.from_iterable(zip_longest(*chosen)) if part],
        read=lambda part: _first(read(part.place), int(part.measure)),
        unchecked=(f"headers of {len(sizes) - len(looked_at)} of {len(sizes)} files",) if len(looked_at) < len(sizes) else (),
    )


def _records(split: str, shard: Shard, seed: int, count: int) -> list[Part]:
    """Some records of one file, by seed; of a compressed file the first few."""
    if is_gzipped(shard.path):
        size, taken = location.stat(shard.path).size, min(count, shard.records)
        return [Part(taken, size * taken // shard.records, Unit(0, shard.path, split, bytes=size))]
    file = scan(shard.path)
    if file.broken is None:
        require_count(file, shard)
    numbers = shuffled(range(len(file.spans)), key64("records", seed, shard.path))[:count]
    spans = [(number, file.spans[number]) for number in numbers]
    return [
        Part(1, span.stop - span.offset, Unit(0, shard.path, split, span.offset, span.stop, number, span.stop - span.offset))
        for number, span in spans
    ]


def _first(records: Iterable[SourceRecord], episodes: int) -> Iterator[SourceRecord]:
    """The records of so many episodes; a lost one counts too."""
    seen, last = 0, ""
    for record in records:
        episode = record.episode if isinstance(record, Step) else ""
        if not episode or episode != last:
            if seen == episodes:
                return
            seen, last = seen + 1, episode
        yield record
