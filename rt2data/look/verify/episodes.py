"""Checks written datasets of episodes from their bytes: hashes, checksums, counts and flags, and that there are no other files."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rt2data.errors import DataError, UsageError
from rt2data.formats.rlds.dataset import RLDS_VERSION, fingerprinted
from rt2data.io import location
from rt2data.io.digest import sized_hash
from rt2data.io.generations import current
from rt2data.io.location import path_of
from rt2data.io.tfrecord.example import Feature, decode_example
from rt2data.io.tfrecord.features import STEPS, Leaf
from rt2data.io.tfrecord.framing import FrameFault
from rt2data.io.tfrecord.reading import read_records
from rt2data.io.tfrecord.wire import MalformedError
from rt2data.look.verify.findings import MANIFEST, Fault
from rt2data.look.verify.output import Workers
from rt2data.seal.episodes import EpisodeShard, RldsManifest, read_rlds_manifest
from rt2data.seal.seal import pretty

CACHED = re.compile(r"dataset_statistics_[0-9a-f]{64}\.json")
"""Files that OpenVLA's and Octo's loaders leave next to the shards they read."""
MAX_FAULTS = 100


@dataclass(frozen=True)
class EpisodeCheck:
    """Work order: check one shard."""

    folder: str  # of the dataset
    leaves: tuple[Leaf, ...]  # of its records
    shard: EpisodeShard

    @property
    def label(self) -> str:
        return f"verify {self.shard.name}"


@dataclass(frozen=True)
class EpisodeFindings:
    """All faults of an output, or of one shard, and its actual contents."""

    out: str
    faults: tuple[Fault, ...]
    episodes: int = 0
    steps: int = 0
    bytes: int = 0

    @property
    def ok(self) -> bool:
        return not self.faults


def is_rlds(out: Path) -> bool:
    """Whether a folder is a complete output of episodes."""
    try:
        read_rlds_manifest(current(out))
    except DataError:
        return False
    return True


def verify_episodes(out: Path, pool: Workers | None = None) -> EpisodeFindings:
    """Check a finished output. Raises UsageError if there is no such folder; anything else wrong is a Fault."""
    out = current(out)
    if not location.is_folder(out):
        raise UsageError("no such folder", str(out), "name the folder that was written")
    try:
        manifest = read_rlds_manifest(out)
    except DataError as error:
        return EpisodeFindings(str(out), (Fault(MANIFEST, "", error.what),))
    known = {dataset.dataset: (str(out / dataset.folder), dataset.leaves) for dataset in manifest.plan.datasets}
    orders = [EpisodeCheck(*known[shard.dataset], shard) for shard in manifest.shards]
    waiting = [pool.submit(verify_episode_shard, order) for order in orders] if pool else []
    seen = [future.result() for future in waiting] if pool else [verify_episode_shard(order) for order in orders]
    faults = [*_manifest_faults(manifest), *_file_faults(out, manifest), *_unknown(out, manifest)]
    return _added(str(out), seen, faults)


def _added(out: str, seen: Sequence[EpisodeFindings], faults: Sequence[Fault]) -> EpisodeFindings:
    whole = (*faults, *(fault for each in seen for fault in each.faults))
    return EpisodeFindings(out, whole, sum(s.episodes for s in seen), sum(s.steps for s in seen), sum(s.bytes for s in seen))


def _manifest_faults(manifest: RldsManifest) -> Iterator[Fault]:
    plan, shards = manifest.plan, manifest.shards
    pairs: list[tuple[str, object, object]] = [
        ("plan.version", plan.version, RLDS_VERSION),
        ("plan.fingerprint", plan.fingerprint, fingerprinted(plan).fingerprint),
        *((name, getattr(manifest, name), sum(getattr(s, name) for s in shards)) for name in ("episodes", "steps", "bytes")),
    ]
    for dataset in plan.datasets:
        for split in dataset.splits:
            written = [(s.steps, s.episodes) for s in shards if (s.dataset, s.split) == (dataset.dataset, split.name)]
            pairs.append((f"{dataset.dataset} {split.name}", written, [(s.rows, s.episodes) for s in split.shards]))
    for where, seen, wanted in pairs:
        if seen != wanted:
            yield Fault(MANIFEST, where, f"is {seen}, should be {wanted}")


def _file_faults(out: Path, manifest: RldsManifest) -> Iterator[Fault]:
    """Check metadata, statistics and registration by their hashes."""
    for name, digest in manifest.files.items():
        if not location.is_file(out / name):
            yield Fault(name, "", "is missing")
        elif sized_hash(out / name)[1] != digest:
            yield Fault(name, "", "is not as it was written")
    if location.read_bytes(out / MANIFEST) != pretty(manifest):
        yield Fault(MANIFEST, "", "is not as it was written")


def _unknown(out: Path, manifest: RldsManifest) -> Iterator[Fault]:
    """Files that do not belong to an output, except those of loaders and of Python."""
    known = {MANIFEST, *manifest.files, *(place.path for place in manifest.plan.places)}
    for path in sorted(Path(name) for name, _ in location.files_below(out)):
        name = path.relative_to(out).as_posix()
        if name not in known and not CACHED.fullmatch(path.name) and "__pycache__" not in path.parts:
            yield Fault(name, "", "does not belong here: the manifest does not know it")


def verify_episode_shard(order: EpisodeCheck) -> EpisodeFindings:
    """Check one shard: its hash, and every record against its features."""
    shard, path = order.shard, path_of(order.folder) / order.shard.name
    if not location.is_file(path):
        return EpisodeFindings(shard.name, (Fault(shard.name, "", "is missing"),))
    faults, episodes, steps = [], 0, 0
    size, digest = sized_hash(path)
    if digest != shard.xxh3_128:
        faults.append(Fault(shard.name, "", f"has xxh3 {digest}, the manifest says {shard.xxh3_128}"))
    try:
        for count, problem in _records(path, order.leaves):
            episodes, steps = episodes + 1, steps + count
            faults += [Fault(shard.name, f"episode {episodes - 1}", problem)] if problem else []
    except DataError as error:
        faults.append(Fault(shard.name, error.where, error.what))
    for what, seen in (("episodes", episodes), ("steps", steps), ("bytes", size)):
        if seen != (wanted := getattr(shard, what)):
            faults.append(Fault(shard.name, "", f"holds {seen:,} {what}, the manifest says {wanted:,}"))
    return EpisodeFindings(shard.name, tuple(faults[:MAX_FAULTS]), episodes, steps, size)


def _records(path: Path, leaves: tuple[Leaf, ...]) -> Iterator[tuple[int, str]]:
    """Steps of each record of a file, and what is wrong with it, if anything. Raises DataError if the file is truncated."""
    for found in read_records(str(path)):
        if isinstance(found, FrameFault):
            yield 0, f"byte {found.offset}: its checksum is wrong"
            continue
        try:
            yield _check(decode_example(found[1]), leaves)
        except (MalformedError, KeyError) as error:
            yield 0, f"is not an episode: {error}"


def _check(features: dict[str, Feature], leaves: tuple[Leaf, ...]) -> tuple[int, str]:
    """The number of steps, and the first thing wrong: a leaf without all its values, a flag not at its end."""
    flags = {name: features[f"{STEPS}/{name}"].int64s() for name in ("is_first", "is_last", "is_terminal")}
    steps = len(flags["is_last"])
    for leaf in leaves:
        wanted = (steps if leaf.per_step else 1) * (leaf.width or 1 if leaf.kind != "image" else 1)
        if (seen := _values(features, leaf)) != wanted:
            return steps, f"{leaf.key} has {seen} values, not {wanted}"
    for name, at in (("is_first", 0), ("is_last", steps - 1)):
        if np.flatnonzero(flags[name]).tolist() != [at]:
            return steps, f"{name} is not set at step {at} alone"
    if flags["is_terminal"][:-1].any():
        return steps, "is_terminal is set before the last step"
    return steps, ""


def _values(features: dict[str, Feature], leaf: Leaf) -> int:
    """The number of values of a leaf; for a sequence inside a step, the number of steps that have one."""
    if leaf.kind != "ragged":
        return len(features[leaf.key].values())
    rows = features[f"{leaf.key}/ragged_row_lengths_0"].int64s()
    flat = len(features[f"{leaf.key}/ragged_flat_values"].values())
    return len(rows) if int(rows.sum()) == flat else -1
