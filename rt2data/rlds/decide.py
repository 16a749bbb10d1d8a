"""From a recipe, its prepared stores and what the command line wishes to a plan. Reads small columns only."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from rt2data.errors import DataError, UsageError, command
from rt2data.io.tfrecord.directory import tfds_name
from rt2data.plan.decide import decide
from rt2data.plan.job import Job
from rt2data.plan.plan import needed_sources, require_few_rejects
from rt2data.plan.recipe import Recipe, canonical
from rt2data.plan.source_notes import ends
from rt2data.prepare.store import Store, StoreInfo
from rt2data.read.action_space import ActionSpace, load_space
from rt2data.read.source import RobotSource
from rt2data.rlds.encodings import unregistered
from rt2data.rlds.index import GapRule, Look, SplitIndex, index_split
from rt2data.rlds.loader_layouts import Skin, doubts, find_skin, grip, name_datasets, name_pictures, require_fit
from rt2data.rlds.plan import DatasetPlan, Grip, Picture, RldsJob, RldsPlan, SplitPlan, fingerprinted

VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)", re.ASCII)


@dataclass(frozen=True)
class Wishes:
    """What is asked for besides the recipe."""

    skin: str = "plain"
    tokens: bool = False
    cameras: tuple[str, ...] = ()  # CAMERA or FEATURE=CAMERA
    names: Mapping[str, str] = field(default_factory=dict)  # dataset of a source
    version: str = "1.0.0"


Index = Mapping[str, Mapping[str, SplitIndex]]
"""By dataset and split."""


def decide_rlds(recipe: Recipe, stores: Mapping[str, Store], wishes: Wishes, allow_bad: bool = False) -> tuple[RldsJob, Index]:
    """What to write, and where each row goes. Raises UsageError, DataError or RejectLimitError where it cannot be written."""
    if not allow_bad:
        require_few_rejects(recipe, stores)
    if not VERSION.fullmatch(wishes.version):
        raise UsageError("not a version TFDS can have", wishes.version, "three numbers, such as 1.0.0")
    mixture = decide(recipe, stores, allow_bad) if wishes.tokens else None
    planned = [_Dataset(recipe, store, wishes, mixture, names) for names, store in _named(recipe, stores, wishes)]
    width = max((each.store.info.action_dim for each in planned if each.info.kind == "robot"), default=0)
    plan = RldsPlan(tokens=mixture.plan.fingerprint if mixture else None, datasets=tuple(each.plan(width) for each in planned))
    job = RldsJob(
        plan=fingerprinted(plan),
        recipe=msgspec.json.decode(canonical(recipe)),
        stores={name: str(store.path) for name, store in stores.items()},
        mixture=mixture,
    )
    return job, {each.dataset: each.index for each in planned}


def _named(recipe: Recipe, stores: Mapping[str, Store], wishes: Wishes) -> Iterator[tuple[str, Store]]:
    """Dataset and store of each source, robot first."""
    robots = [name for name in needed_sources(recipe) if stores[name].info.kind == "robot"]
    others = [name for name in needed_sources(recipe) if name not in robots]
    cameras = {camera for name in robots for camera in stores[name].info.cameras}
    unknown = sorted({wish.rpartition("=")[2] for wish in wishes.cameras} - cameras)
    if unknown:
        what = f"no robot source has a camera {', '.join(unknown)}"
        raise UsageError(what, "--camera", f"there are {', '.join(sorted(cameras)) or 'none'}")
    datasets = name_datasets(find_skin(wishes.skin), robots, others, wishes.names)
    for name in [*robots, *others]:
        yield datasets[name], stores[name]


class _Dataset:
    """The parts of one dataset's plan."""

    def __init__(self, recipe: Recipe, store: Store, wishes: Wishes, mixture: Job | None, dataset: str) -> None:
        self.store, self.info, self.dataset, self.wishes, self.mixture = store, store.info, dataset, wishes, mixture
        self.source = recipe.sources[self.info.name]
        self.shard_bytes = recipe.shards.bytes
        self.skin = find_skin(wishes.skin if self.info.kind == "robot" else "plain")
        self.space = space_of(self.source, self.info)
        if self.space is not None:
            require_fit(self.skin, self.info, self.space)
        self.named = name_pictures(self.skin, self.info, self._wished())
        rule = GapRule.of(self.source)
        found = {split: index_split(store, split, set(self.named.values()), rule) for split in self._filled()}
        self.torn, self.dropped = sum(each.torn for each in found.values()), sum(each.dropped for each in found.values())
        self.index = {split: each for split, each in found.items() if each.rows}
        if not self.index:
            do = "set gaps: cut" if self.torn else f"look at what was rejected: {command('store', 'rejects', self.info.name)}"
            raise DataError(f"source {self.info.name} has no {'episode without a gap' if self.torn else 'rows'}", do=do)

    def _filled(self) -> list[str]:
        """Splits that have rows."""
        return [split for split in sorted(self.info.splits) if self.info.splits[split].rows]

    def _wished(self) -> list[str]:
        """Those of the wished cameras that this source has."""
        robot = self.info.kind == "robot"
        return [wish for wish in self.wishes.cameras if robot and wish.rpartition("=")[2] in self.info.cameras]

    def plan(self, widest: int) -> DatasetPlan:
        robot = self.info.kind == "robot"
        pictures, partial = self._pictures()
        turned = grip(self.skin, self.space) if self.space else None
        return DatasetPlan(
            source=self.info.name,
            kind=self.info.kind,
            dataset=self.dataset,
            version=self.wishes.version,
            skin=self.skin.name,
            digest=self.info.digest,
            action_dim=self.info.action_dim if robot else widest,
            state_dim=max(self.info.state_dim, self.skin.state_dim) if robot else 0,
            bins=self._bins(),
            tokens=self.mixture is not None,
            pictures=pictures,
            grip=turned,
            splits=tuple(self._split(name, index) for name, index in self.index.items()),
            changes=tuple(changes(self.info, self.skin, turned)),
            warnings=tuple(self._warnings(pictures, partial)),
        )

    def _split(self, name: str, index: SplitIndex) -> SplitPlan:
        return SplitPlan(name=name, rows=index.rows, episodes=len(index.starts), shards=index.shards(self.shard_bytes))

    def _bins(self) -> int:
        sources = self.mixture.plan.sources if self.mixture else ()
        return next((int(s.codec["width"]) for s in sources if s.name == self.info.name and s.codec), 0)

    def _pictures(self) -> tuple[tuple[Picture, ...], list[str]]:
        """Features of the cameras that every row has; and the cameras that only some have."""
        rows, found, partial = sum(len(index.places) for index in self.index.values()), [], []
        for feature, camera in self.named.items():
            looks = {look: n for index in self.index.values() for look, n in index.looks.items() if look[0] == camera}
            count = sum(n for index in self.index.values() for look, n in index.looks.items() if look[0] == camera)
            if count == rows:
                found.append(_picture(feature, camera, list(looks)))
            else:
                partial.append(camera)
        if not found:
            raise DataError(f"no camera of source {self.info.name} has a picture in every row", ", ".join(partial))
        return tuple(found), partial

    def _warnings(self, pictures: Sequence[Picture], partial: Sequence[str]) -> Iterator[str]:
        if tfds_name(self.info.name) != self.info.name and self.info.name not in self.wishes.names:
            yield f"the dataset is called {self.dataset}: names in TFDS have lower-case letters, digits and _ only"
        yield from self.skin.says
        if self.space is not None:
            yield from doubts(self.skin, self.space) if self.skin.datasets else unregistered(self.space)
        yield from (what for _, level, what, _ in ends(self.source, self.info) if level != "note")
        if self.torn:
            yield self._gaps()
        for picture in pictures:
            if not picture.format:
                yield f"camera {picture.camera} has JPEG and PNG images, so features.json names no encoding"
        if self.skin.datasets and self.dataset not in self.skin.datasets:
            yield f"{self.dataset} is no name that loaders know: register it beside {self.skin.datasets[0]}"
        if self.skin.state_dim > self.info.state_dim:
            yield f"the state has {self.info.state_dim} numbers: zeros follow, to make {self.skin.state_dim}"
        for camera in partial:
            yield f"camera {camera} is left out: not every row has its picture"
        for split in self.index:
            if split == "all" or "-" in split:
                yield f"split {split!r}: loaders may not find a split of this name"

    def _gaps(self) -> str:
        """What became of episodes that lost steps in the middle, in words."""
        torn, rule = f"{self.torn:,} episodes lost steps in the middle: ", getattr(self.source, "gaps", "join")
        if rule == "join":
            return torn + "what is left is joined, so states and images jump there (gaps: join)"
        if rule == "drop":
            return torn + f"they are dropped, with {self.dropped:,} steps (gaps: drop)"
        pieces = sum(map(_behind_gaps, self.index.values()))
        short = f", and {self.dropped:,} steps in pieces shorter than min_steps are dropped" if self.dropped else ""
        return torn + f"cut there, which makes {pieces:,} more episodes{short} (gaps: cut)"


def _behind_gaps(index: SplitIndex) -> int:
    """Episodes of an output that begin behind a gap."""
    pieces = np.empty_like(index.pieces)
    pieces[index.places] = index.pieces
    return int((pieces[index.starts] > 0).sum())


def _picture(feature: str, camera: str, looks: Sequence[Look]) -> Picture:
    """What all pictures of a camera have in common."""
    formats, sizes = {form for _, form, _, _ in looks}, {(height, width) for _, _, height, width in looks}
    height, width = next(iter(sizes)) if len(sizes) == 1 else (None, None)
    return Picture(feature, camera, next(iter(formats)) if len(formats) == 1 else "", height, width)


def space_of(source: Any, info: StoreInfo) -> ActionSpace | None:
    """The action space of a robot source, with as many numbers as its actions have."""
    return load_space(source.action_space).sized(info.action_dim) if isinstance(source, RobotSource) else None


def changes(info: StoreInfo, skin: Skin, turned: Grip | None) -> Iterator[str]:
    """What the output has otherwise than the source, in words."""
    if info.kind == "web":
        yield "each question is an episode of one step; language_instruction is the question, answer the commonest one"
        yield "no action was taken: action is zeros, action_mask false, reward 0, discount 1"
        return
    yield "is_first and is_last are set at the ends of what was kept of an episode"
    rule = info.settings.get("terminate")
    yield f"is_terminal is set on the last step where the task ends there in success, by the recipe's terminate: {rule}"
    yield "reward is 1 where is_terminal is set and 0 elsewhere, discount is 1: prepared stores keep neither"
    if info.settings.get("gripper_open") is not None:
        yield f"the gripper, open at {info.settings['gripper_open']} in the source, is as the action space has it"
    if turned is not None:
        yield f"for the {skin.name} skin the gripper is turned: value * {turned.slope:g} + {turned.offset:g}"
    for lost in info.rejects:
        yield f"{lost.count} {lost.reason} left out"
    for rule, count in info.conversions.items():
        yield f"{count} pictures made anew: {rule}"
