"""Checks an output: its folder and manifest, each shard separately in parallel, then everything that needs all shards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence, Set
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import numpy as np
import xxhash

from rt2data.errors import DataError, UsageError
from rt2data.formats.base import make_format
from rt2data.io import location
from rt2data.io.digest import sized_hash
from rt2data.io.generations import current
from rt2data.look.verify.expected import Expected, parts_add_up, readable, shard_names
from rt2data.look.verify.findings import MANIFEST, NO_KEYS, STATISTICS, EpochSums, Fault, Findings, ShardFindings
from rt2data.look.verify.manifest import manifest_faults, statistics_faults
from rt2data.look.verify.shard import MAX_FAULTS, ShardCheck, verify_shard
from rt2data.read.source import recognize
from rt2data.seal.blend import once_files
from rt2data.seal.manifest import Manifest, read_manifest
from rt2data.seal.seal import robot_fractions
from rt2data.write.shard import SideTotals

OnShard = Callable[[ShardFindings, int], None]
"""Called after each shard, with the total number of shards."""
CARD = "README.md"
"""The card, which users may edit or remove."""
KNOWN = frozenset({MANIFEST, STATISTICS, CARD})


class Workers(Protocol):
    """Any pool that carries out work orders."""

    def submit(self, work: Callable[[Any], Any], order: Any) -> Future[Any]: ...


def verify(out: Path, pool: Workers | None = None, on_shard: OnShard | None = None) -> Findings:
    """Check a finished output from its bytes, and report every fault.

    `on_shard` is called after each shard. Raises UsageError if there is no such folder, or it clearly is something else; anything
    wrong inside, including a missing manifest, is a Fault in the Findings.
    """
    out = current(out)
    if not location.is_folder(out):
        raise UsageError("no such folder", str(out), "name the folder that was built")
    try:
        manifest = read_manifest(out)
    except DataError as error:
        _refuse_other(out)
        return _only(out, Fault(MANIFEST, "", error.what))
    faults = list(manifest_faults(manifest))
    if not readable(manifest):
        return _only(out, *faults)
    faults += [*statistics_faults(out, manifest), *_file_faults(out, manifest), *_blend_faults(out, manifest)]
    faults += _unknown_files(out, {*shard_names(Expected(out, manifest)), *manifest.files})
    shards = check_shards(out, manifest, pool, on_shard)
    for shard in shards:
        faults += shard.faults
    faults += [*epoch_faults(manifest, shards), *duplicate_faults(out, manifest, shards)]
    return _findings(out, manifest, shards, faults)


def _refuse_other(out: Path) -> None:
    """Raises UsageError if a folder without a manifest clearly never was a mixture."""
    ours = any(location.exists(out / name) for name in (MANIFEST, "SHA256SUMS"))
    if ours or any(Path(name).name.startswith("shard-") for name, _ in location.files_below(out)):
        return
    if other := recognize(out):
        raise UsageError(f"not a mixture: this is {other.what}", str(out), "name the folder that was built")


# Files


def _file_faults(out: Path, manifest: Manifest) -> Iterator[Fault]:
    """Check the files listed in the manifest against their sizes and hashes."""
    for name, said in manifest.files.items():
        parts = PurePosixPath(name).parts
        if not parts or parts[0] == "/" or ".." in parts:
            yield Fault(MANIFEST, f"files.{name}", "leads out of the folder")
            continue
        try:
            size, digest = sized_hash(out / name)
        except OSError as error:
            yield Fault(name, "", "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}")
            continue
        if (size, digest) != (said.bytes, said.xxh3_128):
            yield Fault(name, "", f"is not as it was written: {size:,} bytes with xxh3-128 {digest}")


def _blend_faults(out: Path, manifest: Manifest) -> Iterator[Fault]:
    """Check weights, and the mixing files for readers, against the plan."""
    if not parts_add_up(manifest.plan):
        return  # reported by the check of the manifest
    for name, wanted in once_files(make_format(manifest.plan.format), manifest).items():
        if name not in manifest.files:
            yield Fault(MANIFEST, "files", f"do not list {name}")
        with suppress(OSError):  # missing files are reported above
            if location.read_bytes(out / name) != wanted:
                yield Fault(name, "", "does not agree with the plan")


def _unknown_files(out: Path, names: Set[str]) -> Iterator[Fault]:
    """Files that do not belong to an output. Lock files are hidden and may stay."""
    files = KNOWN | names
    folders = {str(parent) for name in files for parent in PurePosixPath(name).parents}
    yield from _unknown(out, "", files, folders)


def _unknown(out: Path, folder: str, files: Set[str], folders: Set[str]) -> Iterator[Fault]:
    for entry in sorted(location.children(out / folder), key=lambda entry: entry.name):
        name = str(PurePosixPath(folder, entry.name))
        if name in files:
            if not entry.is_file():
                yield Fault(name, "", "is not a file")
        elif name in folders and entry.is_dir(follow_symlinks=False):
            yield from _unknown(out, name, files, folders)
        elif not (entry.name.startswith(".") and entry.name.endswith(".lock")):
            yield Fault(name, "", "does not belong here: the manifest does not list it")


# Shards


def check_shards(out: Path, manifest: Manifest, pool: Workers | None, on_shard: OnShard | None) -> list[ShardFindings]:
    """Check every shard, with the pool's workers or sequentially in this process."""
    content = xxhash.xxh3_64_hexdigest(location.read_bytes(out / MANIFEST))
    orders = [ShardCheck(str(location.absolute(out)), content, index) for index in range(len(manifest.shards))]

    def done(future: Future[ShardFindings]) -> None:
        if on_shard and not future.cancelled() and future.exception() is None:
            on_shard(future.result(), len(orders))

    waiting = []
    for order in orders:
        waiting.append(pool.submit(verify_shard, order) if pool else _carried_out(order))
        waiting[-1].add_done_callback(done)
    return [future.result() for future in waiting]


def _carried_out(order: ShardCheck) -> Future[ShardFindings]:
    future: Future[ShardFindings] = Future()
    future.set_result(verify_shard(order))
    return future


def epoch_faults(manifest: Manifest, shards: Sequence[ShardFindings]) -> Iterator[Fault]:
    """Check the examples of each epoch against the plan, and every full epoch against the first: the same rows, each once."""
    found = add_epochs(shards)
    for source in manifest.plan.sources:
        full, rest = divmod(manifest.plan.written(source), max(source.rows, 1))
        wanted = [source.rows] * full + [rest] * bool(rest)
        here = {epoch: each for (name, epoch), each in found.items() if name == source.name}
        for epoch in sorted(here.keys() | set(range(len(wanted)))):
            each, count = here.get(epoch, EpochSums()), wanted[epoch] if 0 <= epoch < len(wanted) else 0
            place = f"source {source.name} epoch {epoch}"
            if each.examples != count:
                yield Fault("shards", place, f"holds {each.examples:,} examples, the plan says {count:,}")
            elif 0 < epoch < full and each.rows != here[0].rows and here[0].examples == source.rows:
                yield Fault("shards", place, "does not hold the same rows as epoch 0")


def add_epochs(shards: Sequence[ShardFindings]) -> dict[tuple[str, int], EpochSums]:
    """Sums over shards."""
    found: dict[tuple[str, int], EpochSums] = {}
    for shard in shards:
        for place, each in shard.epochs.items():
            found[place] = found.get(place, EpochSums()) + each
    return found


def duplicate_faults(out: Path, manifest: Manifest, shards: Sequence[ShardFindings]) -> Iterator[Fault]:
    """Duplicate keys. Hashes of all keys are sorted; if two are equal, the keys themselves are read."""
    hashes = np.sort(np.concatenate([NO_KEYS, *(shard.keys for shard in shards)]))
    twice = np.unique(hashes[1:][hashes[1:] == hashes[:-1]])
    if not len(twice):
        return
    expected, places = Expected(out, manifest), dict[str, list[tuple[str, int]]]()
    for shard in shards:
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
    """Keys of some examples of a shard that was already read; damage was reported then."""
    if not places:
        return
    with suppress(DataError, OSError):
        for at, member in enumerate(expected.format.read(expected.folder / name)):
            if at in places:
                yield at, member.key


# Findings


def _findings(out: Path, manifest: Manifest, shards: Sequence[ShardFindings], faults: list[Fault]) -> Findings:
    totals: dict[str, SideTotals] = {}
    for shard in shards:
        for name, part in shard.totals.items():
            totals[name] = totals.get(name, SideTotals()) + part
    fractions = [shard.robot / shard.examples for shard in shards if shard.examples] or [0.0]
    epochs = add_epochs(shards)
    names = [s.name for s in manifest.plan.sources]
    return Findings(
        out=str(out),
        faults=tuple(faults),
        notes=(*_notes(Expected(out, manifest)), *_blank_notes(shards)),
        shards=sum(1 for shard in shards if shard.bytes),
        bytes=sum(shard.bytes for shard in shards),
        examples=sum(shard.examples for shard in shards),
        totals={name: totals.get(name, SideTotals()) for name in names},
        epochs={name: tuple(each.examples for (of, _), each in sorted(epochs.items()) if of == name) for name in names},
        robot_frac=robot_fractions(manifest.plan, totals)[0],
        robot_frac_shards=(min(fractions), max(fractions)),
    )


def _notes(expected: Expected) -> Iterator[str]:
    """Notes on what could not be checked, and on the meaning of figures."""
    if expected.plan.parts:
        yield "each row was written once: the robot share is that of the weights, all other figures are of the rows as written"
    if expected.tokenizer_note:
        yield f"ids were not compared with their texts: {expected.tokenizer_note}"
    elif expected.texts is None:
        yield "ids were not compared with their texts: the prompt template is not known here"


def _blank_notes(shards: Sequence[ShardFindings]) -> Iterator[str]:
    """Examples whose prompt asks for nothing, such as `take to ?`."""
    found = sum((Counter(shard.empty) for shard in shards), Counter[str]())
    for name, count in sorted(found.items()):
        yield f"{count:,} examples of source {name} have a blank instruction or question in their prompt"


def _only(out: Path, *faults: Fault) -> Findings:
    return Findings(str(out), faults, (), 0, 0, 0, {}, {}, 0.0, (0.0, 0.0))
