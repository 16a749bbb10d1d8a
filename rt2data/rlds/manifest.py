"""What the output says of itself, and sealing it: metadata, statistics, registration; manifest.json is written last."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import xxhash

from rt2data.errors import DataError
from rt2data.io.installation import VERSION
from rt2data.io.publish import write_whole
from rt2data.io.tfrecord.features import encode_features
from rt2data.order import I64
from rt2data.plan.recipe.model import from_canonical
from rt2data.prepare.statistics import summarize
from rt2data.prepare.store import Lost, Store, vectors
from rt2data.read.tfds_directory import FEATURES, INFO, TEMPLATE
from rt2data.records import F32
from rt2data.rlds.decide import space_of
from rt2data.rlds.episode import turn, widen
from rt2data.rlds.index import GapRule, index_split
from rt2data.rlds.loaded import as_loaded
from rt2data.rlds.plan import JOB, DatasetPlan, RldsJob, RldsPlan
from rt2data.rlds.registration import FILE, registration
from rt2data.rlds.shard import RldsShard
from rt2data.seal.trainer_statistics import SourceStatistics, openvla

MANIFEST, STATISTICS = "manifest.json", "dataset_statistics.json"
WORKING = ("parts", "done", JOB)
"""What only writing needs."""


class RldsManifest(msgspec.Struct, frozen=True, kw_only=True):
    """manifest.json of datasets of episodes."""

    version: int
    kind: Literal["rlds"]
    tool: str
    tool_version: str
    episodes: int
    steps: int
    bytes: int
    plan: RldsPlan
    rejects: dict[str, tuple[Lost, ...]]
    recipe: dict[str, Any]
    shards: tuple[RldsShard, ...]
    files: dict[str, str]  # xxh3 of every other file


def read_rlds_manifest(out: Path) -> RldsManifest:
    """The manifest of a complete output. Raises DataError where there is none, or where it is damaged or of another kind."""
    path = out / MANIFEST
    try:
        return msgspec.json.decode(path.read_bytes(), type=RldsManifest)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError("no manifest: not a complete output", str(out), "write it") from None
    except msgspec.MsgspecError as error:
        raise DataError(f"not the manifest of an RLDS output, or a damaged one: {error}", str(path), "write it again") from None


def seal_rlds(folder: Path, job: RldsJob, shards: Sequence[RldsShard]) -> RldsManifest:
    """Write what makes shards a dataset, then the manifest; remove what was only needed while writing."""
    ordered = tuple(msgspec.structs.replace(s, fresh=True) for s in sorted(shards, key=lambda s: (s.dataset, s.split, s.index)))
    files: dict[str, str] = {}
    for dataset in job.plan.datasets:
        for name, value in _metadata(dataset, job, [s for s in ordered if s.dataset == dataset.dataset]).items():
            _write(folder, f"{dataset.folder}/{name}", pretty(value), files)
    text = registration_of(job)
    if text is not None:
        _write(folder, FILE, text.encode(), files)
    manifest = RldsManifest(
        version=1,
        kind="rlds",
        tool="rt2data",
        tool_version=VERSION,
        episodes=sum(s.episodes for s in ordered),
        steps=sum(s.steps for s in ordered),
        bytes=sum(s.bytes for s in ordered),
        plan=job.plan,
        rejects={name: Store(Path(path)).info.rejects for name, path in sorted(job.stores.items())},
        recipe=job.recipe,
        shards=ordered,
        files=files,
    )
    write_whole(folder / MANIFEST, pretty(manifest))
    for name in WORKING:
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    return manifest


def _write(folder: Path, name: str, content: bytes, files: dict[str, str]) -> None:
    write_whole(folder / name, content)
    files[name] = xxhash.xxh3_128_hexdigest(content)


def pretty(value: Any) -> bytes:
    """JSON for people too."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def _metadata(dataset: DatasetPlan, job: RldsJob, shards: Sequence[RldsShard]) -> dict[str, Any]:
    found = {INFO: _info(dataset, shards), FEATURES: encode_features(dataset.leaves)}
    statistics = dataset_statistics(dataset, job)
    return found if statistics is None else found | {STATISTICS: statistics}


def _info(dataset: DatasetPlan, shards: Sequence[RldsShard]) -> dict[str, Any]:
    """dataset_info.json, as TFDS reads it."""
    told = [f"Source {dataset.source}, written by rt2data {VERSION}.", *dataset.changes, *dataset.warnings]
    splits = []
    for split in dataset.splits:
        here = [s for s in shards if s.split == split.name]
        splits.append(
            {
                "name": split.name,
                "shardLengths": [str(s.episodes) for s in here],
                "numBytes": str(sum(s.bytes for s in here)),
                "filepathTemplate": TEMPLATE,
            }
        )
    return {
        "name": dataset.dataset,
        "version": dataset.version,
        "description": "\n- ".join(told),
        "fileFormat": "tfrecord",
        "splits": splits,
    }


def dataset_statistics(dataset: DatasetPlan, job: RldsJob) -> dict[str, Any] | None:
    """dataset_statistics.json as OpenVLA reads it, of the recipe's split (or the first there is): of what its loader makes of what
    was written. None where it knows no way to read it, or leaves nothing of it."""
    store = Store(Path(job.stores[dataset.source]))
    if store.info.kind != "robot":
        return None
    splits = {each.name: each for each in dataset.splits}
    split = splits.get(job.recipe["split"], dataset.splits[0])
    source = from_canonical(msgspec.json.encode(job.recipe)).sources[dataset.source]
    space = space_of(source, store.info)
    assert space is not None
    loaded = as_loaded(dataset.skin, space, *_written(dataset, store, split.name, GapRule.of(source)))
    if loaded is None or not len(loaded.action):
        return None
    proprio = None if loaded.proprio is None else summarize(loaded.proprio)
    action = summarize(loaded.action)
    mask = [number < action.size - 1 for number in range(action.size)]
    return {dataset.dataset: openvla(SourceStatistics(dataset.dataset, action, proprio, split.episodes, mask))}


def _written(dataset: DatasetPlan, store: Store, split: str, rule: GapRule) -> tuple[F32, F32 | None, I64]:
    """Actions and states of a split as they were written, f32[n, D] and f32[n, S], and the first row of each episode."""
    index = index_split(store, split, set(), rule)
    order = np.argsort(index.places)[: index.rows]
    action = vectors(store.column(split, "action"), store.info.action_dim)
    state = vectors(store.column(split, "state"), store.info.state_dim)
    assert action is not None
    acted = turn(action[order], dataset.grip)
    stood = widen(None if state is None else state[order], len(order), dataset.state_dim) if dataset.state_dim else None
    return acted, stood, index.starts


def registration_of(job: RldsJob) -> str | None:
    """The Python that makes the plain robot datasets known to OpenVLA and Octo; None where there are none."""
    recipe = from_canonical(msgspec.json.encode(job.recipe))
    spaces = {}
    for dataset in job.plan.datasets:
        space = space_of(recipe.sources[dataset.source], Store(Path(job.stores[dataset.source])).info)
        if space is not None:
            spaces[dataset.source] = space
    return registration(job.plan.datasets, spaces)
