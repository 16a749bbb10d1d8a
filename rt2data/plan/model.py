"""A Plan: what will be written, as it is sealed in the manifest. Who writes a shard needs this, and nothing of the recipe."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Literal

import msgspec

from rt2data.formats.base import Sizes
from rt2data.records import Agreement, Kind, Slot, Warn
from rt2data.render.reasoning import Dropout


class MixturePart(msgspec.Struct, frozen=True, kw_only=True):
    """One source in a folder of its own, which has its name."""

    source: str
    examples: int  # written, each row once
    shards: int
    weight: int  # against the other parts


class SourcePlan(msgspec.Struct, frozen=True, kw_only=True):
    """How one source is drawn."""

    name: str
    kind: Kind
    source: str  # kind of raw format
    digest: str
    rows: int
    groups: int
    weight: str
    share: str  # of all examples, exact
    draws: int
    epochs: float
    repeats_min: int
    repeats_max: int
    unseen: int
    images: float  # mean in one example
    image_bytes: int  # mean of all of one example
    record_bytes: int  # mean, of a sample
    action_space: str | None
    action_dim: int
    codec: dict[str, Any] | None
    camera: str | None = None  # of the first image; None for web
    cameras: tuple[str, ...] = ()  # all that the source has; none for web
    slots: tuple[Slot, ...] = ()  # the places of an example's images; none for web
    horizon: int = 1  # actions of a chunk
    gaps: str = ""  # what a window does at a gap; empty without windows
    loss_weight: str = "1"
    agreement: Agreement | msgspec.UnsetType = msgspec.UNSET  # which answers count as the same; unset: `case`
    control_hz: float | None = None
    control_mode: str | None = None
    state_names: tuple[str, ...] | None = None
    path: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET  # the groups it is in, outermost first; unset: none

    @property
    def has_actions(self) -> bool:
        """Whether it is a robot's."""
        return self.kind == "robot"

    @property
    def place(self) -> str:
        """Its side, and the groups it is in, outermost first: `web.vqa`."""
        return ".".join((self.kind, *(self.path or ())))

    @property
    def camera_line(self) -> str:
        """Which cameras of how many, and the others; empty where there is only one."""
        taken = list(dict.fromkeys(slot.camera for slot in self.slots)) or [self.camera or ""]
        dropped = ", ".join(name for name in self.cameras if name not in taken)
        if len(taken) == 1:
            return f"camera {self.camera}, 1 of {len(self.cameras)}; dropped: {dropped}" if dropped else ""
        more = f"; dropped: {dropped}" if dropped else ""
        return f"cameras {', '.join(taken)}, {len(taken)} of {len(self.cameras)}{more}"

    @property
    def window_line(self) -> str:
        """The windows in time of an example; empty where it is of one step."""
        back = [str(offset) for offset in dict.fromkeys(slot.offset for slot in self.slots) if offset]
        said = [f"chunks of {self.horizon} actions"] if self.horizon > 1 else []
        return ", ".join([*said, *([f"images of step {', '.join(back)} too"] if back else [])])


class GroupPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How the share of a group is divided: all figures are sums of its sources. A side with rules of its own has an empty path."""

    kind: Kind
    path: tuple[str, ...]
    weighting: str  # of its members, with its parameters
    weights: str | None  # the published mixture that gives the weights of its members
    weight: str
    share: str  # of all examples, exact
    rows: int
    draws: int
    unseen: int

    @property
    def place(self) -> str:
        """Where it is: the names of the groups, from the side on."""
        return ".".join((self.kind, *self.path))

    def holds(self, source: SourcePlan) -> bool:
        """Whether a source is in it, or in a group in it."""
        return source.kind == self.kind and (source.path or ())[: len(self.path)] == self.path


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What will be written. Robot sources first, each side by name."""

    version: int
    tool_version: str
    fingerprint: str = ""
    robot_frac: str
    num_examples: int
    robot_examples: int
    seed: int
    split: str
    template: str
    codec: str
    tokenizer: dict[str, Any]
    max_tokens: int | None
    format: str
    shards: int
    bytes: int  # estimate
    action_dim: int  # actions are padded to it
    horizon: int = 1  # actions of a chunk, of the source that has most
    images: int | None = None  # places for images in each example; None: every example has exactly one image
    sources: tuple[SourcePlan, ...]
    answers: dict[str, str]  # answer rule of each web source
    warnings: tuple[Warn, ...]
    materialize: Literal["once"] | msgspec.UnsetType = msgspec.UNSET  # unset: each draw is written, repeats and all
    parts: tuple[MixturePart, ...] | msgspec.UnsetType = msgspec.UNSET  # with `once`
    regions: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET  # how boxes and points are written; unset where there are none
    groups: tuple[GroupPlan, ...] | msgspec.UnsetType = msgspec.UNSET  # each before those in it; unset: none
    more: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET  # fields of examples that only some mixtures have; unset: none
    reasoning_dropout: dict[str, str] | msgspec.UnsetType = msgspec.UNSET  # by source; unset: nothing is left out

    @property
    def sizes(self) -> Sizes:
        """The sizes that all examples have."""
        return Sizes(self.action_dim, self.horizon, self.images, self.more or ())

    def dropout(self, source: SourcePlan) -> Dropout:
        """Which notes of a source are left out."""
        return Dropout(Fraction((self.reasoning_dropout or {}).get(source.name, "0")), self.seed)

    def written(self, source: SourcePlan) -> int:
        """How many examples of a source there are in the shards."""
        return min(source.draws, source.rows) if self.materialize else source.draws

    def sides(self) -> list[list[int]]:
        """Draws of the robot sources and of the web sources, in the order of `sources`."""
        return [[s.draws for s in self.sources if s.kind == kind] for kind in ("robot", "web")]
