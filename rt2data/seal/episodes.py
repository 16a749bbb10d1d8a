"""Step seven for RLDS: metadata of each dataset, statistics, registration, and the manifest last."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np

from rt2data.errors import DataError
from rt2data.formats.rlds.dataset import DatasetPlan, RldsPlan, ShardSpec
from rt2data.formats.rlds.episode import map_gripper, pad_state
from rt2data.formats.rlds.loaded import as_loaded
from rt2data.formats.rlds.registration import FILE, registration
from rt2data.io import location
from rt2data.io.installation import VERSION
from rt2data.io.location import path_of
from rt2data.io.tfrecord.directory import FEATURES, INFO, Shard, encode_info
from rt2data.io.tfrecord.features import encode_features
from rt2data.order import I64
from rt2data.plan.episode_index import GapRule, index_split
from rt2data.plan.episodes import space_of
from rt2data.plan.job import RldsJob
from rt2data.plan.recipe.model import Recipe, from_canonical
from rt2data.prepare.row_table import vectors
from rt2data.prepare.statistics import summarize
from rt2data.prepare.store import Lost, Store
from rt2data.records import F32
from rt2data.seal.seal import close_folder, pretty
from rt2data.seal.side_files import Sidecars
from rt2data.seal.trainer_statistics import SourceStatistics, openvla
from rt2data.write.shard import ShardInfo

STATISTICS = "dataset_statistics.json"


class EpisodeShard(msgspec.Struct, frozen=True, kw_only=True):
    """What one shard holds."""

    dataset: str
    split: str
    index: int  # within the split
    name: str
    episodes: int
    steps: int
    bytes: int
    image_bytes: int
    tokens: int
    xxh3_128: str
    fresh: bool = True


class RldsManifest(msgspec.Struct, frozen=True, kw_only=True):
    """manifest.json of an output of episode datasets."""

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
    shards: tuple[EpisodeShard, ...]
    files: dict[str, str]  # xxh3-128 of every other file


def read_rlds_manifest(out: Path) -> RldsManifest:
    """The manifest of a complete output. Raises DataError if it is missing, damaged or of another kind."""
    path = out / "manifest.json"
    try:
        return msgspec.json.decode(location.read_bytes(path), type=RldsManifest)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError("no manifest: not a complete output", str(out), "write it") from None
    except msgspec.MsgspecError as error:
        raise DataError(f"not the manifest of an RLDS output, or a damaged one: {error}", str(path), "write it again") from None


def seal_episodes(folder: Path, job: RldsJob, infos: Sequence[ShardInfo]) -> RldsManifest:
    """Write the metadata of each dataset, then the manifest; remove temporary files."""
    places = job.plan.places
    shards = tuple(sorted((_shard(places[info.index], info) for info in infos), key=lambda s: (s.dataset, s.split, s.index)))
    stores = {name: Store(path_of(path)) for name, path in sorted(job.stores.items())}
    recipe = from_canonical(msgspec.json.encode(job.recipe))
    manifest = RldsManifest(
        version=1,
        kind="rlds",
        tool="rt2data",
        tool_version=VERSION,
        episodes=sum(s.episodes for s in shards),
        steps=sum(s.steps for s in shards),
        bytes=sum(s.bytes for s in shards),
        plan=job.plan,
        rejects={name: store.info.rejects for name, store in stores.items()},
        recipe=job.recipe,
        shards=shards,
        files=_side_files(folder, job.plan, recipe, stores, shards),
    )
    for entry in list(location.children(folder)):
        if entry.name.startswith("rows-") and entry.name.endswith(".arrow"):
            location.delete(entry.path)
    close_folder(folder, manifest, infos)
    return manifest


def _shard(place: ShardSpec, info: ShardInfo) -> EpisodeShard:
    total = info.sources[place.dataset.source]
    return EpisodeShard(
        dataset=place.dataset.dataset,
        split=place.split.name,
        index=place.number,
        name=place.name,
        episodes=place.shard.episodes,
        steps=total.examples,
        bytes=info.bytes,
        image_bytes=total.image_bytes,
        tokens=total.prompt_tokens + total.target_tokens,
        xxh3_128=info.xxh3_128,
    )


def _side_files(
    folder: Path, plan: RldsPlan, recipe: Recipe, stores: dict[str, Store], shards: Sequence[EpisodeShard]
) -> dict[str, str]:
    """Write the metadata files next to the shards; return the hash of each."""
    beside = Sidecars(folder)
    for dataset in plan.datasets:
        with beside.within(dataset.folder, 0) as inner:
            inner.write(INFO, pretty(_info(dataset, shards)))
            inner.write(FEATURES, pretty(encode_features(dataset.leaves)))
            statistics = loaded_statistics(dataset, recipe, stores[dataset.source])
            if statistics is not None:
                inner.write(STATISTICS, pretty(statistics))
    text = registration_of(plan, recipe, stores)
    if text is not None:
        beside.write(FILE, text.encode())
    return {name: file.xxh3_128 for name, file in beside.files.items()}


def _info(dataset: DatasetPlan, shards: Sequence[EpisodeShard]) -> dict[str, Any]:
    """dataset_info.json in the form that TFDS reads."""
    about = [f"Source {dataset.source}, written by rt2data {VERSION}.", *dataset.changes, *dataset.warnings]
    own = [shard for shard in shards if shard.dataset == dataset.dataset]
    splits = {split.name: [Shard(s.name, s.episodes, s.bytes) for s in own if s.split == split.name] for split in dataset.splits}
    return encode_info(dataset.dataset, dataset.version, splits, "\n- ".join(about))


def loaded_statistics(dataset: DatasetPlan, recipe: Recipe, store: Store) -> dict[str, Any] | None:
    """dataset_statistics.json for OpenVLA, of the recipe's split (or the first), as its loader transforms the data.

    None if the loader cannot read the dataset, or keeps no step of it.
    """
    source = recipe.sources[dataset.source]
    space = space_of(source, store.info)
    if space is None:
        return None
    split = {each.name: each for each in dataset.splits}.get(recipe.split, dataset.splits[0])
    loaded = as_loaded(dataset.layout, space, *_written(dataset, store, split.name, GapRule.of(source)))
    if loaded is None or not len(loaded.action):
        return None
    proprio = None if loaded.proprio is None else summarize(loaded.proprio)
    action = summarize(loaded.action)
    mask = [number < action.size - 1 for number in range(action.size)]
    return {dataset.dataset: openvla(SourceStatistics(dataset.dataset, action, proprio, split.episodes, mask))}


def _written(dataset: DatasetPlan, store: Store, split: str, rule: GapRule) -> tuple[F32, F32 | None, I64]:
    """Actions and states of a split as written, f32[n, D] and f32[n, S], and the first row of each episode."""
    index = index_split(store, split, set(), rule)
    order = np.argsort(index.places)[: index.rows]
    action = vectors(store.column(split, "action"), store.info.action_dim)
    state = vectors(store.column(split, "state"), store.info.state_dim)
    assert action is not None
    acted = map_gripper(action[order], dataset.gripper)
    stood = pad_state(None if state is None else state[order], len(order), dataset.state_dim) if dataset.state_dim else None
    return acted, stood, index.starts


def registration_of(plan: RldsPlan, recipe: Recipe, stores: dict[str, Store]) -> str | None:
    """Python code that registers the plain robot datasets with OpenVLA and Octo; None if there are none."""
    spaces = {d.source: space_of(recipe.sources[d.source], stores[d.source].info) for d in plan.datasets}
    return registration(plan.datasets, {name: space for name, space in spaces.items() if space is not None})
