"""Step four for RLDS: a job from a recipe, its prepared stores and the options of write-rlds. Reads small columns only."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from rt2data.errors import DataError, UsageError, command
from rt2data.formats.rlds.dataset import DatasetPlan, GripperMap, ImageFeature, RldsPlan, SplitPlan, fingerprinted
from rt2data.formats.rlds.loader_layouts import (
    LoaderLayout,
    doubts,
    find_layout,
    gripper_of,
    name_datasets,
    name_images,
    require_fit,
    unregistered,
)
from rt2data.io.tfrecord.directory import tfds_name
from rt2data.plan.decide import decide
from rt2data.plan.episode_index import GapRule, ImageKind, SplitIndex, index_split
from rt2data.plan.filtered import require_kept
from rt2data.plan.job import Job, RldsJob
from rt2data.plan.plan import needed_sources, require_few_rejects
from rt2data.plan.recipe import Recipe, canonical
from rt2data.plan.source_notes import ends
from rt2data.prepare.row_builder import wanted_cameras
from rt2data.prepare.store import Store, StoreInfo
from rt2data.read.action_space import ActionSpace, load_space
from rt2data.read.source import RobotSource, WebSource

VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)", re.ASCII)


@dataclass(frozen=True)
class RldsOptions:
    """Options of write-rlds apart from the recipe."""

    layout: str = "plain"  # name of the loader layout
    tokens: bool = False
    cameras: tuple[str, ...] = ()  # CAMERA or FEATURE=CAMERA
    names: Mapping[str, str] = field(default_factory=dict)  # dataset name by source
    version: str = "1.0.0"


Index = Mapping[str, Mapping[str, SplitIndex]]
"""By source and split."""


def decide_episodes(
    recipe: Recipe, stores: Mapping[str, Store], options: RldsOptions, allow_bad: bool = False
) -> tuple[RldsJob, Index]:
    """The job, and the position of each row. Raises UsageError, DataError or RejectLimitError if it cannot be written."""
    if not allow_bad:
        require_few_rejects(recipe, stores)
    require_kept(recipe, stores)
    if not VERSION.fullmatch(options.version):
        raise UsageError("not a valid TFDS version", options.version, "three numbers, such as 1.0.0")
    mixture = decide(recipe, stores, allow_bad) if options.tokens else None
    datasets = [_Dataset(recipe, store, options, mixture, name) for name, store in _named(recipe, stores, options)]
    width = max((each.info.action_dim for each in datasets if each.robot), default=0)
    plan = RldsPlan(tokens=mixture.plan.fingerprint if mixture else None, datasets=tuple(each.plan(width) for each in datasets))
    job = RldsJob(
        plan=fingerprinted(plan),
        recipe=msgspec.json.decode(canonical(recipe)),
        stores={name: str(store.path) for name, store in stores.items()},
        mixture=mixture,
    )
    return job, {each.info.name: each.index for each in datasets}


def _named(recipe: Recipe, stores: Mapping[str, Store], options: RldsOptions) -> Iterator[tuple[str, Store]]:
    """Dataset and store of each source, robot first."""
    _require_one_answer(recipe)
    robots = [name for name in needed_sources(recipe) if stores[name].info.has_actions]
    others = [name for name in needed_sources(recipe) if name not in robots]
    cameras = {camera for name in robots for camera in stores[name].info.cameras}
    unknown = sorted({_camera(asked) for asked in options.cameras} - cameras)
    if unknown:
        what = f"no robot source has a camera {', '.join(unknown)}"
        raise UsageError(what, "--camera", f"there are {', '.join(sorted(cameras)) or 'none'}")
    datasets = name_datasets(find_layout(options.layout), robots, others, options.names)
    return ((datasets[name], stores[name]) for name in [*robots, *others])


def _require_one_answer(recipe: Recipe) -> None:
    """Raises UsageError for weighted answers, or an `agreement` other than case: episodes cannot store either."""
    for name, source in needed_sources(recipe).items():
        if isinstance(source, WebSource) and (source.answers == "soft" or source.agreement != "case"):
            what = f"write-rlds writes no loss weights and no `agreement: {source.agreement}`"
            raise UsageError(what, f"source {name}", "set answers: all and agreement: case, or set its weight to 0")


def _camera(asked: str) -> str:
    return asked.rpartition("=")[2]


class _Dataset:
    """Builds the plan of one dataset."""

    def __init__(self, recipe: Recipe, store: Store, options: RldsOptions, mixture: Job | None, dataset: str) -> None:
        self.info, self.dataset, self.options, self.mixture = store.info, dataset, options, mixture
        self.robot, self.source = self.info.has_actions, recipe.sources[self.info.name]
        self.shard_bytes = recipe.shards.bytes
        self.layout = find_layout(options.layout if self.robot else "plain")
        self.space = space_of(self.source, self.info)
        if self.space is not None:
            require_fit(self.layout, self.info, self.space)
        self.gripper = gripper_of(self.layout, self.space) if self.space else None
        asked = [each for each in options.cameras if self.robot and _camera(each) in self.info.cameras]
        if not options.cameras and isinstance(self.source, RobotSource) and self.source.named_cameras is not None:
            asked = [*wanted_cameras(self.source, self.info.cameras)]
        self.features = name_images(self.layout, self.info, asked)
        self._index(store)
        self._find_images()

    def _index(self, store: Store) -> None:
        rule, cameras = GapRule.of(self.source), set(self.features.values())
        filled = [split for split in sorted(self.info.splits) if self.info.splits[split].rows]
        found = {split: index_split(store, split, cameras, rule) for split in filled}
        self.gapped, self.dropped = sum(each.gapped for each in found.values()), sum(each.dropped for each in found.values())
        self.index = {split: each for split, each in found.items() if each.rows}
        if not self.index:
            do = "set gaps: cut" if self.gapped else f"see the rejects: {command('store', 'rejects', self.info.name)}"
            raise DataError(f"source {self.info.name} has no {'episode without a gap' if self.gapped else 'rows'}", do=do)

    def _find_images(self) -> None:
        """Find the features of cameras that every row has, and the cameras that only some rows have."""
        rows, self.images, self.partial = sum(len(index.places) for index in self.index.values()), list[ImageFeature](), list[str]()
        for feature, camera in self.features.items():
            kinds = [each for index in self.index.values() for each in index.kinds.items() if each[0][0] == camera]
            if sum(count for _, count in kinds) == rows:
                self.images.append(_image_feature(feature, camera, [kind for kind, _ in kinds]))
            else:
                self.partial.append(camera)
        if not self.images:
            raise DataError(f"no camera of source {self.info.name} has an image in every row", ", ".join(self.partial))

    def plan(self, widest: int) -> DatasetPlan:
        """The finished plan; actions of web rows have `widest` numbers."""
        return DatasetPlan(
            source=self.info.name,
            kind=self.info.kind,
            dataset=self.dataset,
            version=self.options.version,
            layout=self.layout.name,
            digest=self.info.digest,
            action_dim=self.info.action_dim if self.robot else widest,
            state_dim=max(self.info.state_dim, self.layout.state_dim) if self.robot else 0,
            bins=self._bins(),
            tokens=self.mixture is not None,
            images=tuple(self.images),
            gripper=self.gripper,
            splits=tuple(
                SplitPlan(name=name, rows=index.rows, episodes=len(index.starts), shards=index.shards(self.shard_bytes))
                for name, index in self.index.items()
            ),
            changes=tuple(changes(self.info, self.layout, self.gripper)),
            warnings=tuple(self._warnings()),
        )

    def _bins(self) -> int:
        sources = self.mixture.plan.sources if self.mixture else ()
        return next((int(s.codec["width"]) for s in sources if s.name == self.info.name and s.codec), 0)

    def _warnings(self) -> Iterator[str]:
        if tfds_name(self.info.name) != self.info.name and self.info.name not in self.options.names:
            yield f"the dataset is called {self.dataset}: names in TFDS have lower-case letters, digits and _ only"
        yield from self.layout.notes
        if self.space is not None:
            yield from doubts(self.layout, self.space) if self.layout.datasets else unregistered(self.space)
        yield from (what for _, level, what, _ in ends(self.source, self.info) if level != "note")
        if self.gapped:
            yield self._gaps()
        for image in self.images:
            if not image.format:
                yield f"camera {image.camera} has JPEG and PNG images, so features.json declares no encoding"
        if self.layout.datasets and self.dataset not in self.layout.datasets:
            yield f"{self.dataset} is not a name that loaders recognize: register it like {self.layout.datasets[0]}"
        if self.layout.state_dim > self.info.state_dim:
            yield f"the state has {self.info.state_dim} numbers, padded with zeros to {self.layout.state_dim}"
        for camera in self.partial:
            yield f"camera {camera} is dropped: some rows have no image of it"
        for split in self.index:
            if split == "all" or "-" in split:
                yield f"split {split!r}: loaders may not find a split of this name"

    def _gaps(self) -> str:
        """How episodes with missing steps in the middle were handled."""
        gapped, rule = f"{self.gapped:,} episodes have gaps: ", getattr(self.source, "gaps", "join")
        if rule == "join":
            return gapped + "the remaining steps are joined, so states and images jump there (gaps: join)"
        if rule == "drop":
            return gapped + f"they are dropped, with {self.dropped:,} steps (gaps: drop)"
        pieces = sum(index.added for index in self.index.values())
        short = f", and {self.dropped:,} steps in pieces shorter than min_steps are dropped" if self.dropped else ""
        return gapped + f"cut there, which makes {pieces:,} more episodes{short} (gaps: cut)"


def _image_feature(feature: str, camera: str, kinds: Sequence[ImageKind]) -> ImageFeature:
    """The format and size common to all images of a camera."""
    formats, sizes = {form for _, form, _, _ in kinds}, {(height, width) for _, _, height, width in kinds}
    height, width = next(iter(sizes)) if len(sizes) == 1 else (None, None)
    return ImageFeature(feature, camera, next(iter(formats)) if len(formats) == 1 else "", height, width)


def space_of(source: Any, info: StoreInfo) -> ActionSpace | None:
    """The action space of a robot source, with as many dimensions as its actions; None for web."""
    return load_space(source.action_space).sized(info.action_dim) if isinstance(source, RobotSource) else None


def changes(info: StoreInfo, layout: LoaderLayout, gripper: GripperMap | None) -> Iterator[str]:
    """How the output differs from the source, in words."""
    if not info.has_actions:
        yield "each question is an episode of one step; language_instruction is the question, answer is the most frequent one"
        yield "there are no actions: action is zeros, action_mask false, reward 0, discount 1"
        return
    yield "is_first and is_last mark the ends of the kept part of an episode"
    rule = info.settings.get("terminate")
    yield f"is_terminal is set on the last step where the task ends there in success, by the recipe's terminate: {rule}"
    yield "reward is 1 where is_terminal is set and 0 elsewhere, discount is 1: prepared stores hold neither"
    if info.settings.get("gripper_open") is not None:
        yield f"the gripper, open at {info.settings['gripper_open']} in the source, follows the action space"
    if gripper is not None:
        yield f"the gripper is remapped for the {layout.name} layout: value * {gripper.slope:g} + {gripper.offset:g}"
    for lost in info.rejects:
        yield f"{lost.count} {lost.reason} dropped"
    for rule, count in info.conversions.items():
        yield f"{count} images re-encoded: {rule}"
