"""The plan of an RLDS output: datasets, their features, splits and shards, as small JSON that determines every byte."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec
import xxhash

from rt2data.io.installation import VERSION
from rt2data.io.tfrecord.directory import TEMPLATE, shard_name
from rt2data.io.tfrecord.features import STEPS, Leaf
from rt2data.records import Kind

RLDS_VERSION = 3
"""Increase this when the same recipe and rows would give different bytes."""


class GripperMap(msgspec.Struct, frozen=True):
    """The map to a loader layout's gripper: value * slope + offset."""

    dim: int
    slope: float
    offset: float


class ImageFeature(msgspec.Struct, frozen=True):
    """The images of one camera: `format` is empty if formats differ, a size is None if sizes differ."""

    feature: str
    camera: str
    format: str
    height: int | None
    width: int | None


class ShardPlan(msgspec.Struct, frozen=True):
    """Rows first..first+rows-1 of the split, in output order: whole episodes."""

    first: int
    rows: int
    episodes: int


class SplitPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One split of a dataset."""

    name: str
    rows: int
    episodes: int
    shards: tuple[ShardPlan, ...]


class DatasetPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One source as one TFDS dataset."""

    source: str
    kind: Kind
    dataset: str
    version: str
    layout: str  # name of the loader layout
    digest: str
    action_dim: int  # dimensions of the action as written; 0 if there is none
    state_dim: int
    bins: int  # of a tokenized action; 0 for web, or if no tokens are written
    tokens: bool
    images: tuple[ImageFeature, ...]
    gripper: GripperMap | None
    splits: tuple[SplitPlan, ...]
    changes: tuple[str, ...]  # differences from the source, in words
    warnings: tuple[str, ...] = ()

    @property
    def folder(self) -> str:
        """The dataset's version directory in the output."""
        return f"{self.dataset}/{self.version}"

    @property
    def has_actions(self) -> bool:
        """Whether it is a robot dataset."""
        return self.kind == "robot"

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        """The features of an episode."""
        own = self._robot() if self.has_actions else self._web()
        return tuple(sorted((*_SHARED, *own, *self._images(), *self._tokens()), key=lambda leaf: leaf.key))

    def _robot(self) -> list[Leaf]:
        found = [_step("action", "tensor", "float32", self.action_dim), _step("step", "scalar", "int32")]
        found += [_step("observation/state", "tensor", "float32", self.state_dim)] if self.state_dim else []
        return [*found, Leaf("episode_metadata/recorded_steps", "scalar", "int32")]

    def _web(self) -> list[Leaf]:
        acted = [_step("action", "tensor", "float32", self.action_dim), _step("action_mask", "tensor", "bool", self.action_dim)]
        found = [_step("answer", "text", "string"), _step("answers", "ragged", "string")]
        return [*found, *(acted if self.action_dim else ()), Leaf("episode_metadata/image_id", "text", "string")]

    def _images(self) -> list[Leaf]:
        keys = [f"{STEPS}/observation/{image.feature}" for image in self.images]
        return [
            Leaf(key, "image", "uint8", (image.height, image.width, 3), image.format)
            for key, image in zip(keys, self.images, strict=True)
        ]

    def _tokens(self) -> list[Leaf]:
        if not self.tokens:
            return []
        bins = [_step("action_bins", "tensor", "int32", self.bins)] if self.bins else []
        texts = [_step("prompt", "text", "string"), _step("target", "text", "string")]
        return [*bins, *texts, _step("input_ids", "ragged", "int32"), _step("loss_mask", "ragged", "int32")]


def _step(name: str, kind: Any, dtype: str, *shape: int) -> Leaf:
    return Leaf(f"{STEPS}/{name}", kind, dtype, shape)


_SHARED = (
    Leaf("episode_metadata/episode_id", "text", "string"),
    Leaf("episode_metadata/source", "text", "string"),
    _step("discount", "scalar", "float32"),
    _step("is_first", "scalar", "bool"),
    _step("is_last", "scalar", "bool"),
    _step("is_terminal", "scalar", "bool"),
    _step("language_instruction", "text", "string"),
    _step("reward", "scalar", "float32"),
)


class ShardSpec(NamedTuple):
    """Shard `number` of a split of a dataset."""

    dataset: DatasetPlan
    split: SplitPlan
    number: int

    @property
    def shard(self) -> ShardPlan:
        return self.split.shards[self.number]

    @property
    def name(self) -> str:
        """File name within the dataset's folder."""
        return shard_name(TEMPLATE, self.dataset.dataset, self.split.name, self.number, len(self.split.shards))

    @property
    def path(self) -> str:
        """Path relative to the output folder."""
        return f"{self.dataset.folder}/{self.name}"


class RldsPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The whole output."""

    version: int = RLDS_VERSION
    tool_version: str = VERSION
    fingerprint: str = ""
    tokens: str | None  # fingerprint of the mixture plan whose template, tokenizer and codecs make the tokens
    datasets: tuple[DatasetPlan, ...]

    @property
    def places(self) -> list[ShardSpec]:
        """All shards, in the order of their numbers in work orders."""
        return [ShardSpec(d, s, number) for d in self.datasets for s in d.splits for number in range(len(s.shards))]

    @property
    def shards(self) -> int:
        """Number of shards."""
        return len(self.places)


def fingerprinted(plan: RldsPlan) -> RldsPlan:
    """The plan with a hash of everything that determines the output bytes."""
    bare = msgspec.structs.replace(plan, fingerprint="")
    return msgspec.structs.replace(plan, fingerprint=xxhash.xxh3_128_hexdigest(msgspec.json.encode(bare, order="deterministic")))
