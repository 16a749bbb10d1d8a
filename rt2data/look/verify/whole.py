"""Checking an output: its folder and manifest, every shard by itself in parallel, then what holds only for the whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import xxhash

from rt2data.errors import DataError, UsageError
from rt2data.look.verify.expected import Expected, readable, shard_names
from rt2data.look.verify.findings import MANIFEST, NO_KEYS, EpochSeen, Fault, Findings, ShardSeen
from rt2data.look.verify.sealed import manifest_faults, statistics_faults
from rt2data.look.verify.shard import MAX_FAULTS, ShardCheck, verify_shard
from rt2data.look.verify.side_files import once_faults, sidecar_faults, unknown_files
from rt2data.read.source import recognize
from rt2data.seal.manifest import Manifest, read_manifest
from rt2data.seal.seal import robot_fractions
from rt2data.write.shard import SideTotals

OnShard = Callable[[ShardSeen, int], None]
"""Hears of a shard that was checked, and of how many there are."""


class Workers(Protocol):
    """Who checks shards: any pool of work orders."""

    def submit(self, work: Callable[[Any], Any], order: Any) -> Future[Any]: ...


def verify(out: Path, pool: Workers | None = None, on_shard: OnShard | None = None) -> Findings:
    """Check a finished output again from its bytes, and name every fault.

    `on_shard` hears of every shard checked and of how many there are. Raises UsageError where there is no such folder; anything
    wrong inside is a Fault of the Findings, a missing manifest too.
    """
    if not out.is_dir():
        raise UsageError("no such folder", str(out), "name the folder that was built")
    try:
        manifest = read_manifest(out)
    except DataError as error:
        _refuse_other(out)
        return _only(out, Fault(MANIFEST, "", error.what))
    faults = list(manifest_faults(manifest))
    if not readable(manifest):
        return _only(out, *faults)
    faults += [*statistics_faults(out, manifest), *sidecar_faults(out, manifest), *once_faults(out, manifest)]
    faults += unknown_files(out, {*shard_names(Expected(out, manifest)), *manifest.files})
    seen = check_shards(out, manifest, pool, on_shard)
    for shard in seen:
        faults += shard.faults
    faults += [*epoch_faults(manifest, seen), *duplicate_faults(out, manifest, seen)]
    return _findings(out, manifest, seen, faults)


def _refuse_other(out: Path) -> None:
    """Raises UsageError where a folder without a manifest plainly never was a mixture."""
    other = None if any((out / name).exists() for name in (MANIFEST, "SHA256SUMS")) or any(out.rglob("shard-*")) else recognize(out)
    if other:
        raise UsageError(f"not a mixture: this is {other.what}", str(out), "name the folder that was built")


def check_shards(out: Path, manifest: Manifest, pool: Workers | None, on_shard: OnShard | None) -> list[ShardSeen]:
    """Every shard, by the pool's workers or one after another here."""
    content = xxhash.xxh3_64_hexdigest((out / MANIFEST).read_bytes())
    orders = [ShardCheck(str(out.absolute()), content, index) for index in range(len(manifest.shards))]
    hear = on_shard or (lambda seen, count: None)
    if pool is None:
        return [_heard(verify_shard(order), len(orders), hear) for order in orders]
    waiting = []
    for order in orders:
        waiting.append(pool.submit(verify_shard, order))
        waiting[-1].add_done_callback(lambda done: _hear(done, len(orders), hear))
    return [future.result() for future in waiting]


def _heard(seen: ShardSeen, count: int, hear: OnShard) -> ShardSeen:
    hear(seen, count)
    return seen


def _hear(done: Future[ShardSeen], count: int, hear: OnShard) -> None:
    if not done.cancelled() and done.exception() is None:
        hear(done.result(), count)


def epoch_faults(manifest: Manifest, seen: Sequence[ShardSeen]) -> Iterator[Fault]:
    """Examples of each epoch against the plan, and every full epoch against the first: the same rows, each once."""
    found = add_epochs(seen)
    for source in manifest.plan.sources:
        full, rest = divmod(manifest.plan.written(source), max(source.rows, 1))
        wanted = [source.rows] * full + [rest] * bool(rest)
        here = {epoch: each for (name, epoch), each in found.items() if name == source.name}
        for epoch in sorted(here.keys() | set(range(len(wanted)))):
            each, count = here.get(epoch, EpochSeen()), wanted[epoch] if 0 <= epoch < len(wanted) else 0
            place = f"source {source.name} epoch {epoch}"
            if each.examples != count:
                yield Fault("shards", place, f"holds {each.examples:,} examples, the plan says {count:,}")
            elif 0 < epoch < full and each.rows != here[0].rows and here[0].examples == source.rows:
                yield Fault("shards", place, "does not hold the same rows as epoch 0")


def add_epochs(seen: Sequence[ShardSeen]) -> dict[tuple[str, int], EpochSeen]:
    """Sums over shards."""
    found: dict[tuple[str, int], EpochSeen] = {}
    for shard in seen:
        for place, each in shard.epochs.items():
            found[place] = found.get(place, EpochSeen()) + each
    return found


def duplicate_faults(out: Path, manifest: Manifest, seen: Sequence[ShardSeen]) -> Iterator[Fault]:
    """Keys that are there more than once. Hashes of all keys are sorted; where two agree, the keys themselves are read."""
    hashes = np.sort(np.concatenate([NO_KEYS, *(shard.keys for shard in seen)]))
    twice = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
    if not len(twice):
        return
    expected, places = Expected(out, manifest), dict[str, list[tuple[str, int]]]()
    for shard in seen:
        suspects = set(np.flatnonzero(np.isin(shard.keys, twice)).tolist())
        for at, key in _keys_at(expected, shard.name, suspects):
            places.setdefault(key, []).append((shard.name, at))
    repeated = {key: at for key, at in sorted(places.items()) if len(at) > 1}
    for key, (first, *others) in list(repeated.items())[:MAX_FAULTS]:
        for name, at in others:
            yield Fault(name, f"example {at}, key {key}", f"the same key as example {first[1]} of {first[0]}")
    if len(repeated) > MAX_FAULTS:
        yield Fault("shards", "", f"and {len(repeated) - MAX_FAULTS:,} more repeated keys")


def _keys_at(expected: Expected, name: str, places: set[int]) -> Iterator[tuple[int, str]]:
    """Keys of some examples of a shard that has been read before; what is damaged has been told then."""
    if not places:
        return
    try:
        for at, member in enumerate(expected.format.read(expected.folder / name)):
            if at in places:
                yield at, member.key
    except (DataError, OSError):
        return


def _findings(out: Path, manifest: Manifest, seen: Sequence[ShardSeen], faults: list[Fault]) -> Findings:
    totals: dict[str, SideTotals] = {}
    for shard in seen:
        for name, part in shard.totals.items():
            totals[name] = totals.get(name, SideTotals()) + part
    fractions = [shard.robot / shard.examples for shard in seen if shard.examples] or [0.0]
    examples = sum(shard.examples for shard in seen)
    epochs = add_epochs(seen)
    names = [s.name for s in manifest.plan.sources]
    return Findings(
        out=str(out),
        faults=tuple(faults),
        notes=(*_notes(Expected(out, manifest)), *_empty(seen)),
        shards=sum(1 for shard in seen if shard.bytes),
        bytes=sum(shard.bytes for shard in seen),
        examples=examples,
        totals={name: totals.get(name, SideTotals()) for name in names},
        epochs={name: tuple(each.examples for (of, _), each in sorted(epochs.items()) if of == name) for name in names},
        robot_frac=robot_fractions(manifest.plan, totals)[0],
        robot_frac_shards=(min(fractions), max(fractions)),
    )


def _notes(expected: Expected) -> Iterator[str]:
    """What could not be checked, and what figures mean."""
    if expected.plan.parts:
        yield "each row was written once: the robot share is that of the weights, all other figures are of the rows as they lie"
    if expected.tokenizer_note:
        yield f"ids were not compared with their texts: {expected.tokenizer_note}"
    elif expected.texts is None:
        yield "ids were not compared with their texts: the prompt template is not known here"


def _empty(seen: Sequence[ShardSeen]) -> Iterator[str]:
    """Examples that ask for nothing, such as `take to ?`."""
    found = sum((Counter(shard.empty) for shard in seen), Counter[str]())
    for name, count in sorted(found.items()):
        yield f"{count:,} examples of source {name} have an empty place in their prompt, where words belong"


def _only(out: Path, *faults: Fault) -> Findings:
    return Findings(str(out), faults, (), 0, 0, 0, {}, {}, 0.0, (0.0, 0.0))
